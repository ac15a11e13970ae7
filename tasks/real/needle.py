"""A needle in a haystack: one fact, a long stretch of text, one question.

After Kamradt 2023 (gkamradt/LLMTest_NeedleInAHaystack) and the pass key of Mohtashami and Jaggi 2023 (arXiv 2305.16300,
§4.2), for models that are trained on the task itself: the text is of a data set, the fact is one token.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, static
from tasks.real.rows import draw_places

OVERHEAD = 3  # tokens besides the text: the mark of the fact, the fact, the question
_EXAMPLES = 256


class Needle(Task):
    """Name the fact that was told, however much text has been read since.

    `text` holds one long array of indices into `alphabet` for each subset, "train", "validation" and "test". A row of
    `length` tokens is `length` − 3 consecutive characters from a uniformly drawn place, with the fact put in: a mark
    and one of `facts` tokens. At its end the question, one more token, has the fact as its target, and nothing else
    counts. In training the fact stands at a uniformly drawn place; in validation and test it stands first, so that all
    of the text lies between. `eval_distances` adds test sets of so many characters of text.

    Tokens are the characters of the alphabet, then the facts, the mark and the question.

    Example:

        input   ! 2 b r o w n ␣ f o x ␣ j u m ?
        target                                2
    """

    text: Any
    alphabet: str = static()
    max_length: int = static(131)
    facts: int = static(16)
    eval_distances: tuple[int, ...] = static(())

    def validate(self) -> None:
        alphabet_is_valid = 2 <= len(set(self.alphabet)) == len(self.alphabet) <= 256
        if not alphabet_is_valid:
            raise ValueError(f"alphabet={self.alphabet!r}: must be 2 to 256 distinct characters")
        self.require("facts", self.facts >= 2, "must be 2 or more")
        # Where JAX rebuilds a task, anything may stand in for its arrays.
        shapes = [shape for leaf in jax.tree.leaves(self.text) if (shape := getattr(leaf, "shape", ()))]
        most = min((shape[-1] for shape in shapes), default=2**31)
        self.require(
            "max_length",
            OVERHEAD < self.max_length <= most + OVERHEAD,
            f"must be {OVERHEAD + 1} to {most + OVERHEAD}, three more than the shortest text has characters",
        )
        self.require(
            "eval_distances",
            all(isinstance(n, int) and 1 <= n <= most for n in self.eval_distances),
            f"must be whole numbers of characters, 1 to {most} each",
        )

    min_length = OVERHEAD + 1

    @property
    def mark(self) -> int:
        """The token before the fact; the one after it is the question."""
        return len(self.alphabet) + self.facts

    @property
    def vocabulary(self) -> int:
        return self.mark + 2

    @property
    def outputs(self) -> int:
        return self.facts

    @property
    def chance(self) -> float:
        return 1 / self.facts

    @property
    def baseline(self) -> tuple[str, float]:
        return "always the same fact", self.chance

    @property
    def splits(self) -> Mapping[str, Split]:
        found = {subset: Split(self.max_length, _EXAMPLES, subset) for subset in ("validation", "test")}
        return found | {f"test_{n}": Split(n + OVERHEAD, _EXAMPLES, "test") for n in self.eval_distances}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. Raises ValueError where the text of the subset is shorter than a row's."""
        text = jnp.asarray(self.text[subset])
        if max_length - OVERHEAD > text.shape[0]:
            raise ValueError(f"max_length={max_length}: the {subset} text allows {text.shape[0] + OVERHEAD} at most")
        for_text, for_fact, for_place = jax.random.split(key, 3)
        begins = draw_places(for_text, batch, text.shape[0] + 1, length - OVERHEAD)[:, None]
        facts = jax.random.randint(for_fact, (batch, 1), 0, self.facts)
        place = jnp.zeros((batch, 1), jnp.int32)
        if subset == "train":
            place = jax.random.randint(for_place, (batch, 1), 0, length - OVERHEAD)  # one character is behind it
        positions, segments = positions_and_segments(batch, max_length, length)
        read = positions - 2 * (positions > place)  # characters before this step
        characters = text.at[begins + read].get(mode="fill", fill_value=0).astype(jnp.int32)
        inputs = jnp.where(positions == place, self.mark, characters)
        inputs = jnp.where(positions == place + 1, len(self.alphabet) + facts, inputs)
        asks = positions == length - 1
        inputs = jnp.where(asks, self.mark + 1, inputs) * segments
        return Batch(inputs, jnp.where(asks, facts, 0), asks.astype(jnp.float32), positions, segments)

    @classmethod
    def example(cls) -> Task:
        lines = {
            "train": "the quick brown fox jumps over the lazy dog. ",
            "validation": "a lazy fox and a quick dog. ",
            "test": "the dog jumps over the fox. ",
        }
        alphabet = "".join(sorted(set("".join(lines.values()))))
        text = {name: np.array([alphabet.index(letter) for letter in line], np.uint8) for name, line in lines.items()}
        return cls(text=text, alphabet=alphabet, max_length=16, facts=4)

    def input_symbol(self, value: Any) -> str:
        token, letters = int(value), len(self.alphabet)
        if token < letters:
            return self.alphabet[token]
        return str(token - letters) if token < self.mark else "!?"[token - self.mark]

    def target_symbol(self, value: Any) -> str:
        return str(int(value))
