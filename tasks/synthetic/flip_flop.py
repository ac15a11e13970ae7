"""Flip-flop language: one bit of memory, written, ignored and read.

Liu et al. 2023, "Exposing Attention Glitches with Flip-Flop Language Modeling" (arXiv 2306.00946), §3: a recurrence
learns it without error; attention is right nearly always, and wrong now and then where reads are far from writes.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, accuracy, positions_and_segments, static

WRITE, READ, IGNORE, BIT = 1, 2, 3, 4  # tokens; 4 and 5 are the bits 0 and 1
_IGNORE_SHARES = {
    "98": 0.98,
    "10": 0.1,
}  # of instructions that are ignored, in test sets unlike training: sparse and dense


class FlipFlop(Task):
    """Read back the last bit that was written, past instructions to ignore.

    Instructions (w, r, i: write, read, ignore) and bits take turns. The bit after a read is that of the last write;
    every other bit is random. The first instruction writes and the last one reads; of the others the share `ignores`
    ignores, and the rest writes or reads with equal chance. Loss and score count the bits after reads alone, and the
    score is the share that is wrong. Test sets: "test" as trained, "test_98" with 98 % ignored (sparse) and "test_10"
    (dense), of `examples` sequences each.

    Example:

        input   w 1 i 1 i 0 i 1 i 1 i 1 i 1 r 1
        target                              1
    """

    max_length: int = static(512)
    ignores: float = static(0.8)
    examples: int = static(512)

    def validate(self) -> None:
        self.require(
            "max_length", self.max_length >= 4 and self.max_length % 2 == 0, "must be an even number, 4 or more"
        )
        self.require("ignores", 0 <= self.ignores <= 1, "must be a share, from 0 to 1")
        self.require("examples", self.examples >= 1, "must be 1 or more sequences in each test set")

    min_length = 4
    vocabulary = BIT + 2
    outputs = BIT + 2
    next_tokens = True
    metric = "error rate"
    metric_mode = "min"
    chance = 0.5

    @property
    def baseline(self) -> tuple[str, float]:
        return "always 0", 0.5

    @property
    def splits(self) -> Mapping[str, Split]:
        tests = {"test": "test"} | {f"test_{name}": name for name in _IGNORE_SHARES}
        found = {name: Split(self.max_length, self.examples, subset) for name, subset in tests.items()}
        return {"validation": Split(self.max_length, 512), **found}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`; of an odd `length` the last step is padding. The subsets "98" and "10" have shares of
        ignored instructions of their own."""
        ignores = _IGNORE_SHARES.get(subset, self.ignores)
        for_kinds, for_bits = jax.random.split(key)
        pairs = (max_length + 1) // 2
        last = length // 2 - 1  # of the pairs of instruction and bit
        draw, pair = jax.random.uniform(for_kinds, (batch, pairs)), jnp.arange(pairs)
        kinds = jnp.where(draw < ignores, IGNORE, jnp.where(draw < (1 + ignores) / 2, WRITE, READ))
        kinds = jnp.where(pair == 0, WRITE, jnp.where(pair == last, READ, kinds))
        written = jax.lax.cummax(jnp.where(kinds == WRITE, pair, 0), axis=1)  # where the last write was
        bits = jax.random.bernoulli(for_bits, 0.5, (batch, pairs)).astype(jnp.int32)
        bits = jnp.where(kinds == READ, jnp.take_along_axis(bits, written, axis=1), bits)

        positions, segments = positions_and_segments(batch, max_length, length // 2 * 2)
        tokens = jnp.stack([kinds, BIT + bits], axis=-1).reshape(batch, -1)[:, :max_length] * segments
        targets = jnp.roll(tokens, -1, axis=1).at[:, -1].set(0) * (tokens == READ)
        return Batch(tokens, targets, (targets > 0).astype(jnp.float32), positions, segments)

    score_parts = "mean"

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        return 1 - accuracy(outputs, batch)

    @classmethod
    def example(cls) -> Task:
        return cls(max_length=16)

    def input_symbol(self, value: Any) -> str:
        return "·wri01"[int(value)]
