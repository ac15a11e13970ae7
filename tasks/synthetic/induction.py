"""Induction heads: what came after this token, the last time?

Olsson et al. 2022 (arXiv 2209.11895); as in Gu and Dao 2023 (arXiv 2312.00752), §4.1.2 and Table 11: two attention
layers can do it, one can't, and a recurrence that selects can do it at lengths it never saw.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, static


class Induction(Task):
    """Name the token that followed the special token when it first appeared.

    A row is uniformly drawn tokens 1 … symbols. The special token, symbols + 1, stands once among them, at a uniformly
    drawn place but the last two, and again at the end, where the token that followed it is the target. Nothing else
    counts. `eval_length_multipliers` adds test sets of so many times `max_length` tokens.

    Example:

        input   8 2 ! 2 3 1 2 6 6 5 6 !
        target                        2
    """

    symbols: int = static(16)
    max_length: int = static(256)
    eval_length_multipliers: tuple[float | int, ...] = static(())

    def validate(self) -> None:
        self.require("symbols", self.symbols >= 2, "must be 2 or more")
        self.require("max_length", self.max_length >= 3, "must be 3 or more")
        self.require(
            "eval_length_multipliers",
            all(round(t * self.max_length) >= 3 for t in self.eval_length_multipliers),
            f"times {self.max_length} tokens must be 3 or more each",
        )

    @property
    def vocabulary(self) -> int:
        return self.symbols + 2

    @property
    def outputs(self) -> int:
        return self.symbols + 1

    min_length = 3

    @property
    def chance(self) -> float:
        return 1 / self.symbols

    @property
    def baseline(self) -> tuple[str, float]:
        """Of the n − 2 tokens that it saw, one is the answer; each of the others may be the same by chance."""
        seen = self.max_length - 2
        return "any token seen in the sequence", 1 / seen + (1 - 1 / seen) / self.symbols

    @property
    def extra_splits(self) -> Mapping[str, Split]:
        sizes = {t: round(t * self.max_length) for t in self.eval_length_multipliers}
        return {f"test_{t:g}": Split(length=size, examples=512) for t, size in sizes.items()}

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        for_tokens, for_place = jax.random.split(key)
        positions, segments = positions_and_segments(batch, max_length, length)
        step, last = positions[:1], length - 1
        place = jax.random.randint(for_place, (batch, 1), 0, length - 2)
        tokens = jax.random.randint(for_tokens, (batch, max_length), 1, self.symbols + 1)
        inputs = jnp.where((step == place) | (step == last), self.symbols + 1, tokens) * segments
        answer = jnp.take_along_axis(tokens, place + 1, axis=1)
        targets = jnp.where(step == last, answer, 0)
        weights = jnp.broadcast_to(step == last, targets.shape).astype(jnp.float32)
        return Batch(inputs, targets, weights, positions, segments)

    @classmethod
    def example(cls) -> Task:
        return cls(symbols=8, max_length=12)

    def input_symbol(self, value: Any) -> str:
        return {0: "·", self.symbols + 1: "!"}.get(int(value), str(int(value)))
