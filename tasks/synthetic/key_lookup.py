"""A string, and what follows a key in it: one task, in which the key stands before the string or behind it.

Jelassi et al. 2024, "Repeat After Me" (arXiv 2402.01032), §3: whoever reads the key first has to keep only that and
what follows it; whoever reads it last has to keep the whole string.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, count_sequences, positions_and_segments, sequence_accuracy, static

_ALPHABET_SIZE = 26
_BEGIN, _MARK = _ALPHABET_SIZE + 1, _ALPHABET_SIZE + 2  # $ and |


class KeyLookup(Task):
    """Copy the letters that follow a key in a string.

    The key has `key_length` letters, the answer `answer_length`. A row is `$ key | string | answer`, or `$ string |
    key | answer` unless `key_first`. The key occurs once in the string (where a short key and a long string leave
    none, it is any). A row of `length` tokens holds a string of `length` − key_length − answer_length − 2 letters, at
    most `max_items` in training: the last letter of the answer is a target and no input. Loss and score are of the
    answer alone, and the score is the share of answers that are all right, each letter being told those before it.
    `eval_length_multipliers` adds test sets of strings of so many times `max_items` letters. The lengths of the
    paper's keys and answers are not on record.

    Example (key first):

        input   $ v b | k q v b o t a | o
        target                        o t
    """

    max_items: int = static(20)
    key_length: int = static(2)
    answer_length: int = static(2)
    key_first: bool = static(True)
    eval_length_multipliers: tuple[float | int, ...] = static(())

    def validate(self) -> None:
        for name in ("key_length", "answer_length"):
            self.require(name, getattr(self, name) >= 1, "must be 1 or more")
        least = self.key_length + self.answer_length
        self.require("max_items", self.max_items >= least, f"must be {least} or more, for a key and its answer")
        self.require(
            "eval_length_multipliers",
            all(round(t * self.max_items) >= least for t in self.eval_length_multipliers),
            f"times {self.max_items} letters must be {least} or more each",
        )

    @property
    def _other_tokens(self) -> int:
        """The tokens of a row that are not the string's."""
        return self.key_length + self.answer_length + 2

    @property
    def max_length(self) -> int:
        return self.max_items + self._other_tokens

    @property
    def min_length(self) -> int:
        return self.key_length + self.answer_length + self._other_tokens

    vocabulary = _MARK + 1
    outputs = _MARK + 1
    next_tokens = True

    @property
    def chance(self) -> float:
        """Of a whole answer, guessed letter by letter."""
        return _ALPHABET_SIZE**-self.answer_length

    @property
    def baseline(self) -> tuple[str, float]:
        """Some letters of the string in a row, wherever they stand."""
        return "any letters of the string", 1 / (self.max_items - self.answer_length + 1)

    @property
    def extra_splits(self) -> Mapping[str, Split]:
        sizes = {t: round(t * self.max_items) + self._other_tokens for t in self.eval_length_multipliers}
        return {f"test_{t:g}": Split(length=size, examples=512) for t, size in sizes.items()}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        for_letters, for_places = jax.random.split(key)
        k, m, n = self.key_length, self.answer_length, length - self._other_tokens
        letters = jax.random.randint(for_letters, (batch, max_length), 1, _ALPHABET_SIZE + 1)
        place = self._sample_places(for_places, letters, n)[:, None]  # of the key
        positions, segments = positions_and_segments(batch, max_length, length)
        step = positions[:1]
        answer = n + k + 3  # the step of its first letter
        second = k + 2 if self.key_first else n + 2  # the step where the second part begins
        in_key = (step < k + 1) if self.key_first else (step >= n + 2)
        offset = step - jnp.where(step < second, 1, second)
        read = jnp.where(in_key, place + offset, offset)
        read = jnp.where(step >= answer, place + k + step - answer, read)
        inputs = jnp.take_along_axis(letters, jnp.clip(read, 0, max_length - 1), axis=1)
        inputs = jnp.where((step == second - 1) | (step == answer - 1), _MARK, inputs)
        inputs = jnp.where(step == 0, _BEGIN, inputs) * segments
        due = step - (answer - 1)
        asked = ((due >= 0) & (due < m)) * segments
        following = jnp.clip(place + k + due, 0, max_length - 1)
        targets = jnp.take_along_axis(letters, following, axis=1) * asked
        return Batch(inputs, targets, asked.astype(jnp.float32), positions, segments)

    def _sample_places(self, key: PRNGKeyArray, letters: Int[Array, "B T"], n: Int[Array, ""] | int) -> Int[Array, "B"]:
        """Where a key begins that occurs once in the first `n` letters and has an answer behind it."""
        k, at = self.key_length, jnp.arange(letters.shape[1])[None]
        same = jnp.ones((*letters.shape, letters.shape[1]), bool)
        for offset in range(k):
            shifted = jnp.roll(letters, -offset, axis=1)
            same &= shifted[:, :, None] == shifted[:, None, :]
        occurrences = (same & (at <= n - k)[:, None]).sum(axis=2)
        score = jax.random.uniform(key, letters.shape) + (occurrences == 1)
        return jnp.where(at <= n - k - self.answer_length, score, -1.0).argmax(axis=1)

    def score_weights(self, batch: Batch) -> Float[Array, "B"]:
        return count_sequences(batch.weights)

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return sequence_accuracy(outputs, batch)

    @classmethod
    def example(cls) -> Task:
        return cls(max_items=7)

    def input_symbol(self, value: object) -> str:
        return "·abcdefghijklmnopqrstuvwxyz$|"[int(value)]  # pyright: ignore[reportArgumentType]
