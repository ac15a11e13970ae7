"""Translation from a generated language, whose dictionary, grammar and alignments are known.

What an encoder–decoder must carry across is the whole sentence, word by word, so that accuracy against length shows how
much it can carry: Cho et al. 2014 (arXiv 1409.1259) and Bahdanau et al. 2015 (arXiv 1409.0473), Fig. 2, on
sentences that can be had at any length and in any number.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, accuracy, positions_and_segments, static

FIRST_WORD = 3  # the first token that is a word; 0 fills


class Translation(Task):
    """A sentence of uniformly drawn words, the token `separator`, and the sentence in the other language.

    Each of the `words` words has one translation. Words stand in pairs, and a pair whose words are of different kinds
    (an even and an odd one) changes places; a last word without a partner stays. A row of `length` tokens holds
    n = (length − 1) // 2 words and as many again, `max_items` at most in training: `x₁ … xₙ separator y₁ … yₙ`. The
    target at the separator is y₁, at y₁ y₂, and at yₙ the token `end`. The loss counts all of these, the score the
    words. `eval_lengths` asks for test sets of sentences of so many words, longer ones than `max_items` too.
    """

    words: int = static(20)
    max_items: int = static(10)
    eval_lengths: tuple[int, ...] = static(())

    def validate(self) -> None:
        if self.words < 2 or self.words % 2:
            raise ValueError(f"task.words={self.words}: must be an even number, 2 or more")
        if self.max_items < 1:
            raise ValueError(f"task.max_items={self.max_items}: must be 1 or more")
        if any(not isinstance(n, int) or n < 1 for n in self.eval_lengths):
            raise ValueError(f"task.eval_lengths={self.eval_lengths}: must be whole numbers of words, 1 or more each")

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

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return accuracy(outputs, batch, batch.weights * (batch.targets >= FIRST_WORD))


def word_alignment(source: Int[Array, "T"], n: Int[Array, ""] | int) -> Int[Array, "T"]:
    """Which word of a source of `n` words, the first ones in `source`, each word of its translation comes from."""
    place = jnp.arange(len(source))
    partner = place ^ 1
    other = source.at[partner].get(mode="fill", fill_value=0)
    moves = (partner < n) & ((source + other) % 2 == 1)
    return jnp.where(moves, partner, place)
