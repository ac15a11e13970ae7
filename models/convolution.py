"""Causal convolution, and the temporal convolutional network made of dilated ones.

    y_t = Σ_{j < K} w_j·x_{t − j·dilation}

Bai, Kolter and Koltun 2018 (arXiv 1803.01271), §3: a stack of these with dilations 1, 2, 4, … sees a past that doubles
with every layer. A convolution never reaches into another segment, and counts tokens, not padding.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.projection import Projection
from models.scan import boundaries, resumed

FARTHEST_TAP = 2**20  # steps back, at most: as much past is carried from step to step


def causal_convolution(
    x: Float[Array, "T M"],
    kernel: Float[Array, "K *M N"],
    past: Float[Array, "P M"],
    segments: Int[Array, "T"],
    last: Int[Array, ""],
    dilation: int = 1,
) -> tuple[Float[Array, "T N"], Float[Array, "P M"]]:
    """Outputs, and the `P = (K − 1)·dilation` inputs to go on from, zero where the segment had not begun.

    A kernel `[K, N]` acts on each of `N = M` features alone, one `[K, M, N]` mixes them. `past` belongs to the segment
    `last`.
    """
    reach, steps = len(past), len(x)
    valid = segments != 0
    place = jnp.cumsum(valid) - 1  # of a token among the tokens
    packed = jnp.where(valid, place, steps)  # past the end: dropped
    tokens = jnp.zeros_like(x).at[packed].set(x, mode="drop")
    whose = jnp.zeros_like(segments).at[packed].set(segments, mode="drop")
    tokens = jnp.concatenate([past.astype(x.dtype), tokens])
    whose = jnp.concatenate([jnp.full(reach, last), whose])

    y = jnp.zeros((steps, kernel.shape[-1]), x.dtype)
    for j, weight in enumerate(kernel):
        behind = slice(reach - j * dilation, reach - j * dilation + steps)
        seen = jnp.where((whose[behind] == whose[reach:])[:, None], tokens[behind], 0)
        y = y + (seen * weight if weight.ndim == 1 else seen @ weight)

    count = valid.sum()
    kept, of = (jax.lax.dynamic_slice_in_dim(a, count, reach) for a in (tokens, whose))
    now = jnp.where(count > 0, whose[jnp.maximum(reach + count - 1, 0)], last)
    return y[jnp.maximum(place, 0)], jnp.where((of == now)[:, None], kept, 0)


convolve = jax.vmap(causal_convolution, in_axes=(0, None, 0, 0, 0))  # over a batch, with one kernel


class TemporalConvolution(nn.Module):
    """width → `inner` → `layers` residual layers relu(convolution) with dilations 1, 2, 4, … → width."""

    width: int
    inner: int
    max_length: int = 0
    dtype: Any = jnp.float32
    layers: int = 4
    kernel: int = 3

    VERSION = 1
    causal = True

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        *,
        state: Any = None,
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        rng: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """The state is `{"past": [[B, (K−1)·dilation, N], …], "segment": [B]}`."""
        reach = [(self.kernel - 1) * 2**layer for layer in range(self.layers)]
        empty = {
            "past": [jnp.zeros((len(x), r, self.inner), self.dtype) for r in reach],
            "segment": jnp.zeros(len(x), jnp.int32),
        }
        state = resumed(state, empty)
        y, past = Projection(self.inner, dtype=self.dtype, name="input")(x), []
        for layer in range(self.layers):
            kernel = self.param(
                f"kernel_{layer}", nn.initializers.he_normal(in_axis=(0, 1)), (self.kernel, self.inner, self.inner)
            )
            bias = self.param(f"bias_{layer}", nn.initializers.zeros, (self.inner,))
            one = lambda y, p, s, last, kernel=kernel, layer=layer: causal_convolution(  # noqa: E731
                y, kernel.astype(self.dtype), p, s, last, 2**layer
            )
            added, kept = jax.vmap(one)(y, state["past"][layer], segments, state["segment"])
            y = y + nn.relu(added + bias.astype(self.dtype))
            past.append(kept)
        _, _, last = jax.vmap(boundaries)(segments, state["segment"])
        return Projection(self.width, dtype=self.dtype, name="output")(y), {"past": past, "segment": last}
