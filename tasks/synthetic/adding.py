"""The adding problem: the sum of the two numbers that were marked.

Hochreiter and Schmidhuber 1997; marks placed as in Bai, Kolter and Koltun 2018 (arXiv 1803.01271), §4.1: anywhere.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Task, positions_and_segments, squared_error, static


class Adding(Task):
    """Add the two numbers that are marked.

    A step is `[u, m]`, with u ~ U(0, 1) and m = 1 at two distinct, uniformly drawn steps; the target, one per row, is
    the sum of their u's.

    Example:

        input   0.84 0.18 0.23* 0.12 0.19 0.72 0.77 0.15*
        target  0.38
    """

    max_length: int = static(100)

    def validate(self) -> None:
        self.require("max_length", self.max_length >= 2, "two marks need 2 steps or more")

    min_length = 2
    vocabulary = 0
    channels = 2
    outputs = 1
    target_level = "sequence"
    metric = "squared error"
    metric_mode = "min"
    chance = 1 / 6 + 1  # E (u + v)², for an answer of 0

    @property
    def baseline(self) -> tuple[str, float]:
        """The variance of the sum of two uniform numbers: 2/12. (Bai et al. print 0.1767 for the same rule.)"""
        return "always 1", 1 / 6

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`. `subset` makes no difference: every draw is fresh."""
        for_numbers, for_marks = jax.random.split(key)
        positions, segments = positions_and_segments(batch, max_length, length)
        numbers = jax.random.uniform(for_numbers, (batch, max_length)) * segments
        # The two largest of random scores mark two distinct steps, every pair as likely as any other.
        scores = jnp.where(segments > 0, jax.random.uniform(for_marks, (batch, max_length)), -1.0)
        _, marked = jax.lax.top_k(scores, 2)
        marks = jax.nn.one_hot(marked, max_length).sum(axis=1)
        targets = (numbers * marks).sum(axis=1)[:, None]
        return Batch(jnp.stack([numbers, marks], axis=-1), targets, jnp.ones(batch), positions, segments)

    def loss(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        return squared_error(outputs, batch)

    def score(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        return squared_error(outputs, batch)

    @classmethod
    def example(cls) -> Task:
        return cls(max_length=8)

    def input_symbol(self, value: Any) -> str:
        number, mark = value
        return f"{number:.2f}{'*' if mark else ''}"
