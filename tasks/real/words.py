"""Language modelling by word: which comes next?"""

import re
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tasks.base import Batch, Task, cross_entropy, static
from tasks.real.characters import WindowSampling, validate_window
from tasks.real.ngrams import cached_ngram_bits

UNKNOWN = "<unk>"  # the name of the token that stands for whatever has no token of its own
_WORD_PATTERN = re.compile(
    r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[^\w\s]"
)  # a word with its apostrophes, a number, or one sign


class Words(WindowSampling, Task):
    """Predict the next word of a text.

    `text` holds one long array of indices into `names` for each subset, "train", "validation" and "test". The first
    name stands for all words that have none. A row is `length` consecutive words from a uniformly drawn place, and the
    target of each is the word after it. The loss is in nats, the score is the perplexity, e to the loss. Unknown words
    count like any other, so that only models with the same names can be compared.

    Example:

        input   the dog sat on  the cat ,   and
        target  dog sat on  the cat ,   and so
    """

    text: Any
    names: tuple[str, ...] = static()
    max_length: int = static(32)

    def validate(self) -> None:
        if not 2 <= len(set(self.names)) == len(self.names):
            raise ValueError(f"names={self.names[:3]}…: must be two or more distinct words")
        validate_window(self.text, self.max_length)

    metric = "perplexity"

    @property
    def chance(self) -> float:
        return float(len(self.names))

    @property
    def baseline(self) -> tuple[str, float]:
        """2 to the bits of `ngrams.ngram_bits` at order 3, counted on the training text and measured on the test's."""
        train, test = (np.asarray(self.text[subset]).astype(np.int32).tobytes() for subset in ("train", "test"))
        return "trigram counts", 2 ** cached_ngram_bits(train, test, len(self.names), order=3)

    score_parts = "geometric mean"

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return jnp.exp(cross_entropy(outputs, batch))

    def encode(self, text: str) -> list[int]:
        """Tokens of the words and signs of a text; an unknown word is token 0. Raises ValueError for an empty one."""
        number = {name: i for i, name in enumerate(self.names)}
        found = [number.get(word, 0) for word in split_words(text)]
        if not found:
            raise ValueError(f"{text!r}: has no words")
        return found

    @classmethod
    def example(cls) -> Task:
        lines = {
            "train": "the cat sat on the mat , and the dog sat on the cat , and so on .",
            "validation": "the dog and the cat sat on the mat .",
            "test": "the mat and the dog sat on a cat .",
        }
        names = ("<unk>", *sorted(set(lines["train"].split())))
        text = {
            name: np.array([names.index(word) if word in names else 0 for word in line.split()], np.int32)
            for name, line in lines.items()
        }
        return cls(text=text, names=names, max_length=8)


def is_character_level(names: Sequence[str]) -> bool:
    """Whether tokens of these names are single characters, and perhaps an unknown one: they stand side by side."""
    return all(len(name) <= 1 or name == UNKNOWN for name in names)


def is_byte_level(names: Sequence[str]) -> bool:
    """Whether tokens of these names are padding and then the bytes of a text, in their order."""
    return tuple(names[1:3]) == ("<0x00>", "<0x01>")


def split_words(text: str) -> Sequence[str]:
    """Words with their apostrophes, numbers and signs, in small letters, as the data sets have them."""
    return _WORD_PATTERN.findall(text.lower())
