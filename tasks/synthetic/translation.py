"""Translation from a generated language, whose dictionary, grammar and alignments are known.

What an encoder–decoder must carry across is the whole sentence, word by word, so that accuracy against length shows how
much it can carry: Cho et al. 2014 (arXiv 1409.1259) and Bahdanau et al. 2015 (arXiv 1409.0473), Fig. 2, on
sentences that can be had at any length and in any number.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, static

FIRST_WORD = 3  # the first token that is a word; 0 fills


class Translation(Task):
    """Translate a sentence of random words into a language with another order.

    A row is `x₁ … xₙ separator y₁ … yₙ`: a sentence of uniformly drawn words and its translation. Each of the `words`
    words has one translation. Words stand in pairs, and a pair whose words are of different kinds (an even and an odd
    one) changes places; a last word without a partner stays. A row of `length` tokens holds n = (length − 1) // 2 words
    on either side, at most `max_items` in training. The target at the separator is y₁, at y₁ it is y₂, and at yₙ the
    token `end`. The loss counts all of these, the score the words. `eval_lengths` adds test sets of sentences of so
    many words, longer ones than `max_items` too.

    Example:

        input   x1 x0 x2 x1 |  y0 y1 y1 y2
        target              y0 y1 y1 y2 .
    """

    words: int = static(20)
    max_items: int = static(10)
    eval_lengths: tuple[int, ...] = static(())

    def validate(self) -> None:
        self.require("words", self.words >= 2 and self.words % 2 == 0, "must be an even number, 2 or more")
        self.require("max_items", self.max_items >= 1, "must be 1 or more")
        self.require(
            "eval_lengths",
            all(isinstance(n, int) and n >= 1 for n in self.eval_lengths),
            "must be whole numbers of words, 1 or more each",
        )

    separator = 1  # a network that has a source and a target tells them apart by it; each takes half of a row
    end = 2
    min_length = 3
    next_tokens = True

    @property
    def max_length(self) -> int:
        return 2 * self.max_items + 1

    @property
    def vocabulary(self) -> int:
        return FIRST_WORD + 2 * self.words

    @property
    def outputs(self) -> int:
        return self.vocabulary

    @property
    def chance(self) -> float:
        """A uniform guess among the words; what was written already says nothing about the next one."""
        return 1 / self.words

    @property
    def baseline(self) -> tuple[str, float]:
        """A dictionary without grammar: right where a word has stayed, which one pair in two has."""
        pairs = self.max_items // 2
        return "word for word, in the source's order", 1 - pairs / self.max_items

    @property
    def extra_splits(self) -> Mapping[str, Split]:
        return {f"test_{n}": Split(length=2 * n + 1, examples=512) for n in self.eval_lengths}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`; of an even `length` the last step is padding. `subset` makes no difference: every draw is
        fresh."""
        n = (length - 1) // 2
        positions, segments = positions_and_segments(batch, max_length, 2 * n + 1)
        source = jax.random.randint(key, (batch, max_length), 0, self.words)
        target = self.words + jnp.take_along_axis(source, jax.vmap(word_alignment, (0, None))(source, n), axis=1)

        step = jnp.arange(max_length)[None]
        inputs = FIRST_WORD + jnp.where(step < n, source, jnp.roll(target, n + 1, axis=1))
        inputs = jnp.where(step == n, self.separator, inputs) * segments
        targets = jnp.roll(inputs, -1, axis=1).at[:, -1].set(0)
        targets = jnp.where(step == 2 * n, self.end, targets) * (step >= n)
        weights = (segments * (step >= n)).astype(jnp.float32)
        return Batch(inputs, targets * segments, weights, positions, segments)

    def score_weights(self, batch: Batch) -> Float[Array, "B T"]:
        return batch.weights * (batch.targets >= FIRST_WORD)

    @classmethod
    def example(cls) -> Task:
        return cls(words=6, max_items=4)

    def input_symbol(self, value: Any) -> str:
        word = int(value) - FIRST_WORD
        if word < 0:
            return "·|."[int(value)]
        return f"x{word}" if word < self.words else f"y{word - self.words}"


def word_alignment(source: Int[Array, "T"], n: Int[Array, ""] | int) -> Int[Array, "T"]:
    """Which word of a source of `n` words, the first ones in `source`, each word of its translation comes from."""
    place = jnp.arange(len(source))
    partner = place ^ 1
    other = source.at[partner].get(mode="fill", fill_value=0)
    moves = (partner < n) & ((source + other) % 2 == 1)
    return jnp.where(moves, partner, place)
