"""Multi-query associative recall: which value came with this key?

Arora et al. 2023, "Zoology" (arXiv 2312.04927), §4: `D` key–value pairs, then each key once more as a query in one of
the slots that follow; the model names the value at the query. Queries come soon after the pairs more often than late.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Task, positions_and_segments, static


class Recall(Task):
    """Name the value that came with each key: multi-query associative recall.

    A row of `length` tokens holds `D = min(pairs, length // 4)` distinct keys with distinct values, `k₁ v₁ … k_D v_D`;
    the rest are slots of two tokens. Each key appears once more, at the start of a slot of its own: slots i = 1, 2, …
    are drawn without replacement with probability ∝ i^(power−1). The target at that query is the key's value, and
    nothing else counts. Tokens 1 … symbols/2−1 are keys, symbols/2 … symbols−1 are values, and 0 fills.

    Example:

        input   k1 v5 k5 v4 k6 v7 k6 · k1 · · · · · k5 ·
        target                    v7   v5           v4
    """

    pairs: int = static(8)
    symbols: int = static(64)
    max_length: int = static(32)
    power: float = static(0.01)

    def validate(self) -> None:
        self.require("symbols", self.symbols >= 4 and self.symbols % 2 == 0, "must be an even number, 4 or more")
        most = self.symbols // 2 - 1
        self.require(
            "pairs",
            1 <= self.pairs <= most,
            f"{self.symbols} symbols hold {most} distinct keys, so give 1 to {most} pairs or raise task.symbols",
        )
        needed = 4 * self.pairs
        self.require(
            "max_length", self.max_length >= needed, f"{self.pairs} pairs and their queries need {needed} tokens"
        )

    @property
    def vocabulary(self) -> int:
        return self.symbols

    @property
    def outputs(self) -> int:
        return self.symbols

    min_length = 4  # a pair and its query

    @property
    def chance(self) -> float:
        """A uniform guess among the values."""
        return 1 / (self.symbols // 2)

    @property
    def baseline(self) -> tuple[str, float]:
        return "any value seen in the sequence", 1 / self.pairs

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        one = partial(self._sample_sequence, max_length=max_length, length=length)
        inputs, targets = jax.vmap(one)(jax.random.split(key, batch))
        positions, segments = positions_and_segments(batch, max_length, length)
        return Batch(inputs, targets, (targets > 0).astype(jnp.float32), positions, segments)

    def _sample_sequence(
        self, key: PRNGKeyArray, *, max_length: int, length: Int[Array, ""] | int
    ) -> tuple[Int[Array, "T"], Int[Array, "T"]]:
        """One sequence and its targets (0 where nothing is asked)."""
        half = self.symbols // 2
        pairs = jnp.minimum(self.pairs, length // 4)
        slots = (length - 2 * pairs) // 2
        for_keys, for_values, for_slots = jax.random.split(key, 3)
        keys = 1 + jax.random.permutation(for_keys, half - 1)[: self.pairs]
        values = half + jax.random.permutation(for_values, half)[: self.pairs]

        # Gumbel top-k: the k largest of log p + Gumbel noise are k draws without replacement.
        slot = jnp.arange(max_length // 2)
        score = (self.power - 1) * jnp.log1p(slot) + jax.random.gumbel(for_slots, slot.shape)
        order = jnp.argsort(-jnp.where(slot < slots, score, -jnp.inf))[: self.pairs]

        pair = jnp.arange(self.pairs)
        exists = pair < pairs
        nowhere = max_length  # writes to this index are dropped
        query = jnp.where(exists, 2 * pairs + 2 * order, nowhere)
        blank = jnp.zeros(max_length, jnp.int32)
        inputs = blank.at[jnp.where(exists, 2 * pair, nowhere)].set(keys, mode="drop")
        inputs = inputs.at[jnp.where(exists, 2 * pair + 1, nowhere)].set(values, mode="drop")
        inputs = inputs.at[query].set(keys, mode="drop")
        targets = blank.at[query].set(values, mode="drop")
        return inputs, targets

    @classmethod
    def example(cls) -> Task:
        return cls(pairs=3, symbols=16, max_length=16)

    def input_symbol(self, value: Any) -> str:
        token, half = int(value), self.symbols // 2
        return "·" if token == 0 else f"k{token}" if token < half else f"v{token - half + 1}"
