"""A mixer that reads the sequence in both directions (Schuster and Paliwal 1997), for encoders.

    y = forward(x) + reversed(backward(reversed(x)))

Each direction has half of the hidden size, and its own parameters. Both end in a projection to the width, so adding
their outputs is the same as concatenating their states and projecting once.

Each direction has read the whole sequence at its own end: forward at the last step, backward at the first. Where one
label is read from the last step, y there is the sum of `forward` at the last step and `backward` at the first.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.mixers.base import Mixer
from models.ops.scan import segment_boundaries


class Bidirectional(Mixer, kw_only=True):
    """Two copies of `mixer`, a causal one: over the sequence and over its reverse. Packed sequences stay apart."""

    mixer: Callable[..., nn.Module]

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
        """With `at_ends` each step gets the output of `backward` at the first step of its segment, not at the step.

        Raises ValueError for a `state`: one direction begins at the end of the sequence, so it can't stream.
        """
        if state is not None:
            raise ValueError("a bidirectional mixer sees the whole sequence at once and can't be streamed")
        if self.hidden_size % 2:
            raise ValueError(f"model.hidden_size={self.hidden_size}: two directions share it, so it must be even")
        fields = {"width": self.width, "max_length": self.max_length, "dtype": self.dtype}
        fields["hidden_size"] = self.hidden_size // 2
        forward, backward = (self.mixer(**fields, name=name) for name in ("forward", "backward"))
        y_forward, _ = forward(x, positions=positions, segments=segments, rng=rng)
        x, reversed_segments = jnp.flip(x, axis=1), jnp.flip(segments, axis=1)
        rng = None if rng is None else jax.random.fold_in(rng, 1)
        reversed_positions = jax.vmap(positions_within_segments)(reversed_segments)
        y_backward, _ = backward(x, positions=reversed_positions, segments=reversed_segments, rng=rng)
        y_backward = jnp.flip(y_backward, axis=1)
        if at_ends:
            first_steps = jax.vmap(_first_steps_of_segments)(segments)
            y_backward = jnp.take_along_axis(y_backward, first_steps[..., None], axis=1)
        return y_forward + y_backward, None


def positions_within_segments(segments: Int[Array, "T"]) -> Int[Array, "T"]:
    """Positions from 0 within each segment, not counting padding."""
    start, valid, _ = segment_boundaries(segments, jnp.zeros((), segments.dtype))
    place = jnp.cumsum(valid) - 1
    first = jax.lax.associative_scan(jnp.maximum, jnp.where(start, place, 0))
    return jnp.maximum(place - first, 0)


def _first_steps_of_segments(segments: Int[Array, "T"]) -> Int[Array, "T"]:
    """The index of the first step of each step's segment; at padding, that of the segment before it, or 0."""
    start, _, _ = segment_boundaries(segments, jnp.zeros((), segments.dtype))
    return jax.lax.cummax(jnp.where(start, jnp.arange(len(segments)), 0))
