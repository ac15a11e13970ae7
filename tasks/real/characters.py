"""Language modelling by character: what comes next?"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from tasks.base import Batch, Split, Task, cross_entropy, positions_and_segments, static
from tasks.real.ngrams import cached_ngram_bits
from tasks.real.rows import RowSampling, draw_places

EVAL_WINDOWS = 256  # in an evaluation


class WindowSampling(RowSampling):
    """Mixin for a task whose rows are windows of one long text; `text` holds that of each subset.

    A window is as many consecutive tokens as a row has steps and one more: the target of each is the token after it.
    """

    text: Any
    names: Any
    max_length: Any

    train_size = 0
    next_tokens = True
    metric_mode = "min"

    @property
    def vocabulary(self) -> int:
        return len(self.names)

    @property
    def outputs(self) -> int:
        return len(self.names)

    def count_rows(self, subset: str) -> int:
        return self.text[subset].shape[0]

    def draw(
        self, key: PRNGKeyArray, batch: int, length: Int[Array, ""] | int, available: int, subset: str = "train"
    ) -> Int[Array, "B"] | Int[Array, "B 2"]:
        del subset
        return draw_places(key, batch, available, length)  # the last target is still in the text

    def gather(self, rows: Int[Array, "B"], max_length: int, subset: str = "train") -> Integer[Array, "B W"]:
        """Windows that begin at these places. Raises ValueError where the text is shorter than one."""
        text = jnp.asarray(self.text[subset])
        if max_length >= text.shape[0]:
            raise ValueError(f"max_length={max_length}: the {subset} text allows {text.shape[0] - 1} at most")
        return text.at[rows[:, None] + jnp.arange(max_length + 1)[None]].get(mode="fill", fill_value=0)

    def collate(self, rows: Integer[Array, "B W"], max_length: int, length: Int[Array, ""] | int) -> Batch:
        positions, segments = positions_and_segments(len(rows), max_length, length)
        window = rows.astype(jnp.int32)
        inputs, targets = window[:, :-1] * segments, window[:, 1:] * segments
        return Batch(inputs, targets, segments.astype(jnp.float32), positions, segments)

    @property
    def splits(self) -> Mapping[str, Split]:
        return {subset: Split(self.max_length, EVAL_WINDOWS, subset) for subset in ("validation", "test")}


class Characters(WindowSampling, Task):
    """Predict the next character of a text.

    `text` holds one long array of indices into `alphabet` for each subset, "train", "validation" and "test". A row is
    `length` consecutive characters from a uniformly drawn place, and the target of each is the character after it. The
    loss is in nats, the score in bits per character.

    Example:

        input   h e ␣ q u i c k ␣ b r o w n ␣ f
        target  e ␣ q u i c k ␣ b r o w n ␣ f o
    """

    text: Any
    alphabet: str = static()
    max_length: int = static(128)

    def validate(self) -> None:
        alphabet_is_valid = 2 <= len(set(self.alphabet)) == len(self.alphabet) <= 256
        if not alphabet_is_valid:
            raise ValueError(f"alphabet={self.alphabet!r}: must be 2 to 256 distinct characters")
        validate_window(self.text, self.max_length)

    @property
    def names(self) -> tuple[str, ...]:
        """What each token looks like."""
        return tuple(self.alphabet)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text. Raises ValueError, naming them, for characters that are not in the alphabet."""
        known = {character: token for token, character in enumerate(self.alphabet)}
        if unknown := [character for character in dict.fromkeys(text) if character not in known]:
            raise ValueError(f"the alphabet has no {', '.join(map(repr, unknown))}")
        return [known[character] for character in text]

    metric = "bits per character"

    @property
    def chance(self) -> float:
        return math.log2(len(self.alphabet))

    @property
    def baseline(self) -> tuple[str, float]:
        """Bits per character of `ngram_bits` at order 3, counted on the training text and measured on the test's."""
        train, test = (np.asarray(self.text[subset]).astype(np.int32).tobytes() for subset in ("train", "test"))
        return "trigram counts", cached_ngram_bits(train, test, len(self.alphabet), order=3)

    score_parts = "mean"

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return cross_entropy(outputs, batch) / math.log(2)

    @classmethod
    def example(cls) -> Task:
        lines = {
            "train": "the quick brown fox jumps over the lazy dog. ",
            "validation": "a lazy fox and a quick dog. ",
            "test": "the dog jumps over the fox. ",
        }
        alphabet = "".join(sorted(set("".join(lines.values()))))
        text = {name: np.array([alphabet.index(letter) for letter in line], np.uint8) for name, line in lines.items()}
        return cls(text=text, alphabet=alphabet, max_length=16)


def validate_window(texts: Any, length: int) -> None:
    """Refuse, with ValueError, windows that the shortest of these texts has no room for."""
    # Where JAX rebuilds a task, anything may stand in for its arrays.
    shapes = [shape for leaf in jax.tree.leaves(texts) if (shape := getattr(leaf, "shape", ()))]
    most = min((shape[-1] for shape in shapes), default=2**31) - 1
    if not 1 <= length <= most:
        raise ValueError(f"task.max_length={length}: must be 1 to {most}, one less than the shortest text has")
