"""A mixer that reads the sequence both ways (Schuster and Paliwal 1997): for encoders, which see all of it anyway.

    y = forward(x) + reversed(backward(reversed(x)))

Each direction has half of the inner width and parameters of its own. Both end in a projection to the width, so that
adding them is joining their states and projecting once.

A direction has read all of a sequence at its own end of it: forward at the last step, backward at the first. Where one
label is read off the last step, y there is `forward(x)` at the last step + `backward` at the first.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.ops.scan import segment_boundaries


class Bidirectional(nn.Module):
    """Two copies of `mixer`, a causal one, over the sequence and over its reverse; packed sequences stay apart."""

    mixer: Callable[..., nn.Module]
    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32

    causal = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        *,
        state: Any = None,
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        rng: PRNGKeyArray | None = None,
        at_ends: bool = False,
    ) -> tuple[Float[Array, "B T D"], None]:
        """With `at_ends` each step gets what `backward` gave at the first step of its segment, and not at the step.

        Raises ValueError for a `state`: the end of a sequence comes first in one direction, so it can't stream."""
        if state is not None:
            raise ValueError("a bidirectional mixer sees the whole sequence at once and can't be streamed")
        if self.hidden_size % 2:
            raise ValueError(f"model.hidden_size={self.hidden_size}: two directions share it, so it must be even")
        fields = {
            "width": self.width,
            "hidden_size": self.hidden_size // 2,
            "max_length": self.max_length,
            "dtype": self.dtype,
        }
        forward, backward = (self.mixer(**fields, name=name) for name in ("forward", "backward"))
        there, _ = forward(x, positions=positions, segments=segments, rng=rng)
        x, turned = jnp.flip(x, axis=1), jnp.flip(segments, axis=1)
        rng = None if rng is None else jax.random.fold_in(rng, 1)
        back, _ = backward(x, positions=jax.vmap(positions_within_segments)(turned), segments=turned, rng=rng)
        back = jnp.flip(back, axis=1)
        if at_ends:
            back = jnp.take_along_axis(back, jax.vmap(_first_steps_of_segments)(segments)[..., None], axis=1)
        return there + back, None


def positions_within_segments(segments: Int[Array, "T"]) -> Int[Array, "T"]:
    """Positions from 0 within each segment, padding left out."""
    start, valid, _ = segment_boundaries(segments, jnp.zeros((), segments.dtype))
    place = jnp.cumsum(valid) - 1
    first = jax.lax.associative_scan(jnp.maximum, jnp.where(start, place, 0))
    return jnp.maximum(place - first, 0)


def _first_steps_of_segments(segments: Int[Array, "T"]) -> Int[Array, "T"]:
    """The first step of each step's segment; at padding, that of the segment before it, or 0."""
    start, _, _ = segment_boundaries(segments, jnp.zeros((), segments.dtype))
    return jax.lax.cummax(jnp.where(start, jnp.arange(len(segments)), 0))
