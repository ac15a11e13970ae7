"""Counting: as many b's as there were a's.

Weiss, Goldberg and Yahav 2018, "On the Practical Computational Power of Finite Precision RNNs for Language Recognition"
(arXiv 1805.04908): trained alike on aⁿbⁿ and aⁿbⁿcⁿ, an LSTM counts far beyond the n that it saw and a GRU does not.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, count_sequences, positions_and_segments, sequence_accuracy, static

_BEGIN, _END, _FIRST_LETTER = 1, 2, 3  # tokens; 0 is blank, and b and c follow on a


class Counting(Task):
    """Write as many b's as there were a's.

    A row is `begin aⁿ bⁿ end`, with cⁿ before the end if there are three `letters`; the target is the next token. n is
    drawn uniformly from 0 … `count_limit` − 1, or from what a shorter row holds: n ≤ (length − 2) // letters. The loss
    counts every token from `begin` to the last letter. After an a the next token can't be known; from the first b on
    it can, and the score is the share of strings in which all of these are right (strings with n = 0 do not count).
    `eval_lengths` adds a test set for each n in it, which may be a longer one: all of its strings are alike.

    The paper has n below 100 for aⁿbⁿ and below 50 for aⁿbⁿcⁿ, and accepts a string if each of its tokens, those after
    an a too, got more than a threshold.

    Example:

        input   ^ a b $ · · · · · · · ·
        target  a b $
    """

    letters: int = static(2)
    count_limit: int = static(100)
    eval_lengths: tuple[int, ...] = static(())

    def validate(self) -> None:
        self.require("letters", self.letters in (2, 3), "must be 2 or 3")
        self.require("count_limit", self.count_limit >= 2, "must be 2 or more, as n is below it")
        self.require(
            "eval_lengths",
            all(isinstance(n, int) and n >= 1 for n in self.eval_lengths),
            "must be whole numbers, 1 or more each",
        )

    @property
    def max_length(self) -> int:
        return self.letters * (self.count_limit - 1) + 2

    @property
    def vocabulary(self) -> int:
        return _FIRST_LETTER + self.letters

    @property
    def outputs(self) -> int:
        return self.vocabulary

    min_length = 2
    next_tokens = True

    @property
    def chance(self) -> float:
        """Every token guessed, among the letters and the end; strings with n = 0 do not count."""
        strings = range(1, self.count_limit)
        return sum((self.letters + 1.0) ** -(n * (self.letters - 1)) for n in strings) / len(strings)

    @property
    def baseline(self) -> tuple[str, float]:
        """Whichever n that is."""
        return "the same n for every string", 1 / (self.count_limit - 1)

    @property
    def extra_splits(self) -> Mapping[str, Split]:
        # Strings with the same n are alike, so that a few will do.
        return {f"test_{n}": Split(length=self.letters * n + 2, examples=8, subset="exact") for n in self.eval_lengths}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. With `subset` "exact" every n is the largest one that `length` holds."""
        most = (length - 2) // self.letters
        n = jax.random.randint(key, (batch, 1), 0, most + 1)
        n = jnp.full_like(n, most) if subset == "exact" else n
        positions, segments = positions_and_segments(batch, max_length, length)
        last = self.letters * n  # the step of the last letter
        inputs = _FIRST_LETTER + (positions - 1) // jnp.maximum(n, 1)
        inputs = jnp.where(positions == 0, _BEGIN, jnp.where(positions <= last, inputs, 0))
        inputs = jnp.where(positions == last + 1, _END, inputs)
        targets = jnp.roll(inputs, -1, axis=1) * (positions <= last)
        return Batch(inputs, targets, (positions <= last).astype(jnp.float32), positions, segments)

    def score_weights(self, batch: Batch) -> Float[Array, "B"]:
        return count_sequences(self._decided_weights(batch))

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return sequence_accuracy(outputs, batch._replace(weights=self._decided_weights(batch)))

    def _decided_weights(self, batch: Batch) -> Float[Array, "B T"]:
        """The weights of the targets that what was read before decides."""
        return batch.weights * (batch.inputs > _FIRST_LETTER)

    @classmethod
    def example(cls) -> Task:
        return cls(count_limit=6)

    def input_symbol(self, value: Any) -> str:
        return "·^$abc"[int(value)]


def first_failure(scores: Mapping[int, float]) -> int | None:
    """The least n whose strings were not all right, of scores of test sets by n; None where all were."""
    return min((n for n, score in scores.items() if not score >= 1), default=None)  # nan is not right
