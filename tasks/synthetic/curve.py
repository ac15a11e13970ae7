"""Fitting a curve: what can a network without memory draw?

A vector goes in and a number comes out; the sequence has one step. With that, every network of this project is a plain
multilayer perceptron, and what its activations and its depth can do is seen without anything else.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, squared_error, static


class Curve(Task):
    """Fit y = 2·sin(π·waves·x₁)·cos(π·x₂) from one step that holds x.

    x is uniform in [−1, 1]²; y has mean 0 and variance 1. Both factors have mean 0, so that y correlates with neither
    x₁ nor x₂: the best straight line scores 1, which the mean alone does too.

    Example:

        input   0.90,0.96
        target  1.21
    """

    waves: int = static(2)

    def validate(self) -> None:
        self.require("waves", self.waves >= 1, "must be 1 or more")

    vocabulary = 0
    channels = 2
    outputs = 1
    max_length = 1
    min_length = 1
    target_level = "sequence"
    metric = "squared error"
    metric_mode = "min"
    chance = 1.0

    @property
    def baseline(self) -> tuple[str, float]:
        return "the best straight line", 1.0

    @property
    def splits(self) -> Mapping[str, Split]:
        split = Split(length=1, examples=16_384)
        return {"validation": split, "test": split}  # the same distribution, other draws

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`; steps after the first are padding. `subset` makes no difference: every draw is fresh."""
        x = jax.random.uniform(key, (batch, 1, 2), minval=-1, maxval=1)
        inputs = jnp.pad(x, ((0, 0), (0, max_length - 1), (0, 0)))
        positions, segments = positions_and_segments(batch, max_length, jnp.minimum(length, 1))
        return Batch(inputs, self.target_value(x[:, 0]), jnp.ones(batch), positions, segments)

    def target_value(self, x: Float[Array, "B 2"]) -> Float[Array, "B 1"]:
        y = 2 * jnp.sin(math.pi * self.waves * x[:, 0]) * jnp.cos(math.pi * x[:, 1])
        return y[:, None]

    def loss(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        return squared_error(outputs, batch)

    def score(self, outputs: Float[Array, "B O"], batch: Batch) -> Float[Array, ""]:
        return squared_error(outputs, batch)
