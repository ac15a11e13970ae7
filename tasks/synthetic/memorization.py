"""Memorization and compression: what a network knows by heart, and what fits into the vector that it hands on.

Poli et al. 2024, "Mechanistic Design and Scaling of Hybrid Architectures" (arXiv 2403.17844), §3.1 and Appendix B, and
the authors' code (athms/mad-lab), whose settings the defaults are; its options for noise in these two, which its
benchmark leaves at 0, are left out. The paper trains on 12,800 sequences, of memorization on 256, many times over; here
every draw is fresh, as everywhere among these tasks.

The other tasks of that paper are in `tasks.synthetic.pair_streams`, and selective copying is `SelectiveCopy` with
layout "mad".
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Task, accuracy, cross_entropy, positions_and_segments, random_key, static


class Memorization(Task):
    """Name the value of a key by heart: no row shows it before.

    A row of `length` tokens is `k ? k ? …` of drawn keys, and at each `?` the key's value is the target; of an odd
    `length` the last step is padding. The last of `symbols` is `?`, the first half of the others are keys, the second
    half values. Which value belongs to which key is drawn once, without replacement, from `map_seed`.

    Example:

        input   1 ? 0 ? 2 ? 1 ?
        target    3   4   5   3
    """

    symbols: int = static(256)
    max_length: int = static(32)
    map_seed: int = static(12345)

    def validate(self) -> None:
        self.require("symbols", self.symbols >= 3, "must be 3 or more: a key, a value and the one that asks")
        self.require("max_length", self.max_length >= 2, "must be 2 or more")
        self.require("map_seed", 0 <= self.map_seed < 2**32, "must be a whole number from 0 to 2**32 − 1")

    min_length = 2

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def outputs(self) -> int:
        return self.symbols

    @property
    def key_count(self) -> int:
        return (self.symbols - 1) // 2

    @property
    def chance(self) -> float:
        """A uniform guess among the values."""
        return 1 / (self.symbols - 1 - self.key_count)

    @property
    def baseline(self) -> tuple[str, float]:
        return "always the same value", 1 / self.key_count

    @property
    def key_values(self) -> Int[Array, "K"]:
        """The value of each key."""
        values = jax.random.permutation(random_key(np.uint32(self.map_seed)), self.symbols - 1 - self.key_count)
        return self.key_count + values[: self.key_count]

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        keys = jax.random.randint(key, (batch, (max_length + 1) // 2), 0, self.key_count)
        keys = jnp.repeat(keys, 2, axis=1)[:, :max_length]
        positions, segments = positions_and_segments(batch, max_length, length // 2 * 2)
        asks = (positions % 2 == 1) & (segments > 0)
        inputs = jnp.where(asks, self.symbols - 1, keys) * segments
        targets = jnp.where(asks, self.key_values[keys], 0)
        return Batch(inputs, targets, asks.astype(jnp.float32), positions, segments)

    @classmethod
    def example(cls) -> Task:
        return cls(symbols=7, max_length=8)

    def input_symbol(self, value: Any) -> str:
        return "?" if int(value) == self.symbols - 1 else str(int(value))


class Compression(Task):
    """Name all tokens of a sequence, from the output at its last step alone.

    A row of `length` tokens is length − 1 drawn symbols 0 … symbols − 2, and then the last symbol, at which everything
    is asked at once: the outputs are `symbols` numbers for each of max_length − 1 places. Whatever the mixer, what it
    hands on is the one vector of its last step. Loss and score count all places alike.

    The paper decodes that vector, with the place added to it, by a network of two layers for all places; here each
    place has a linear map of its own. Its code counts the last symbol too, which is always the same.

    Example:

        input   1 2 6 2 6 5 1 ?
        target  1 2 6 2 6 5 1
    """

    symbols: int = static(16)
    max_length: int = static(32)

    def validate(self) -> None:
        self.require("symbols", self.symbols >= 3, "must be 3 or more")
        self.require("max_length", self.max_length >= 2, "must be 2 or more")

    min_length = 2
    target_level = "sequence"

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def outputs(self) -> int:
        return (self.max_length - 1) * self.symbols

    @property
    def chance(self) -> float:
        return 1 / (self.symbols - 1)

    @property
    def baseline(self) -> tuple[str, float]:
        return "always the same symbol", self.chance

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        positions, segments = positions_and_segments(batch, max_length, length)
        symbols = jax.random.randint(key, (batch, max_length), 0, self.symbols - 1) * segments
        inputs = jnp.where(positions == length - 1, self.symbols - 1, symbols)
        targets = symbols[:, :-1] * segments[:, 1:]
        return Batch(inputs, targets, jnp.ones(batch), positions, segments)

    def loss(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        by_place, places = self._split_places(outputs, batch, self.loss_weights(batch))
        return cross_entropy(by_place, places)

    def score(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        by_place, places = self._split_places(outputs, batch, batch.weights)
        return accuracy(by_place, places)

    def _split_places(
        self, outputs: Float[Array, "B O"], batch: Batch, weights: Float[Array, "B"]
    ) -> tuple[Float[Array, "B T V"], Batch]:
        """The outputs of each place, and the batch with a weight for each of them."""
        by_place = outputs.reshape(len(outputs), -1, self.symbols)
        return by_place, batch._replace(weights=weights[:, None] * (batch.segments[:, 1:] > 0))

    @classmethod
    def example(cls) -> Task:
        return cls(symbols=8, max_length=8)

    def input_symbol(self, value: Any) -> str:
        return "?" if int(value) == self.symbols - 1 else str(int(value))

    def target_symbol(self, value: Any) -> str:
        return " ".join(str(int(one)) for one in np.ravel(value))
