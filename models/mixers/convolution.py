"""Causal convolution, and the temporal convolutional network made of dilated ones.

    y_t = Σ_{j < K} w_j·x_{t − j·dilation}

Bai, Kolter and Koltun 2018 (arXiv 1803.01271), §3: a stack of blocks with dilations 1, 2, 4, … sees a past that doubles
with every layer. A convolution never reaches into another segment, and counts tokens, not padding.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from models.ops.projection import Projection, uniform_init
from models.ops.scan import resume_state, segment_boundaries
from models.skeleton import apply_dropout, fold_rng

CONVOLUTIONS_PER_BLOCK = {"bai": 2, "single": 1}  # of a block
TCN_BLOCKS = tuple(CONVOLUTIONS_PER_BLOCK)
MAX_KERNEL_SIZE = 1024  # of a kernel: each is a product of its own
MAX_TAP_OFFSET = 2**20  # steps back, at most: as much past is carried from step to step


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
        y = y + (seen * weight[None] if weight.ndim == 1 else seen @ weight)

    count = valid.sum()
    kept, of = (jax.lax.dynamic_slice_in_dim(a, count, reach) for a in (tokens, whose))
    now = jnp.where(count > 0, whose[jnp.maximum(reach + count - 1, 0)], last)
    return y[jnp.maximum(place, 0)], jnp.where((of == now)[:, None], kept, 0)


convolve_batch = jax.vmap(causal_convolution, in_axes=(0, None, 0, 0, 0))  # over a batch, with one kernel


class TemporalConvolution(nn.Module):
    """`layers` residual blocks with dilations 1, 2, 4, …, each from what came before to `hidden_size` channels; →
    width.

    A `block`, one of BLOCKS, is "bai" (the paper's, §3.4 and Fig. 1), relu(x + F(x)) with F two convolutions of one
    dilation, each with normed weights and with a relu and dropout behind it; x goes through a product where it has not
    `hidden_size` channels, as the first block's has not. So a step sees 1 + 2·(K − 1)·(2^layers − 1) steps. Or it is
    "single", x + relu(convolution), at half of that reach, behind a product from width to `hidden_size`.

    Weight norm (Salimans and Kingma 2016, arXiv 1602.07868): each output's kernel has a length and a direction, both
    trained. The paper names no start; this one is what the authors' code comes to: its normal numbers of deviation
    0.01 are written over by weight norm, which keeps PyTorch's uniform ones, but for those of the products of x.
    """

    width: int
    hidden_size: int
    max_length: int = 0
    dtype: Any = jnp.float32
    layers: int = 4
    kernel: int = 3
    block: str = "bai"
    dropout: float = 0.0  # of the skeleton, and here too, as in the paper's blocks

    VERSION = 2
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
        """The state is `{"past": [[B, (K−1)·dilation, channels], …], "segment": [B]}`, a past for each convolution."""
        if self.block not in TCN_BLOCKS:
            raise ValueError(f"model.tcn.block={self.block}: must be one of {', '.join(TCN_BLOCKS)}")
        bai = self.block == "bai"
        y = x.astype(self.dtype) if bai else Projection(self.hidden_size, dtype=self.dtype, name="input")(x)
        given = [
            y.shape[-1],
            *[self.hidden_size] * (CONVOLUTIONS_PER_BLOCK[self.block] * self.layers - 1),
        ]  # channels of each input
        reach = [(self.kernel - 1) * 2 ** (i // CONVOLUTIONS_PER_BLOCK[self.block]) for i in range(len(given))]
        empty = {
            "past": [jnp.zeros((len(x), r, channels), self.dtype) for r, channels in zip(reach, given, strict=True)],
            "segment": jnp.zeros(len(x), jnp.int32),
        }
        state, past = resume_state(state, empty), []

        def convolved(y: Float[Array, "B T M"], layer: int, which: int) -> Float[Array, "B T N"]:
            index = CONVOLUTIONS_PER_BLOCK[self.block] * layer + which
            kernel, bias = (self._weight_normed_kernel if bai else self._plain_kernel)(
                f"{layer}_{which}" if bai else f"{layer}", y.shape[-1]
            )
            one = partial(causal_convolution, dilation=2**layer)
            added, kept = jax.vmap(one, in_axes=(0, None, 0, 0, 0))(
                y, kernel.astype(self.dtype), state["past"][index], segments, state["segment"]
            )
            past.append(kept)
            return nn.relu(added + bias.astype(self.dtype)[None, None])

        for layer in range(self.layers):
            if not bai:
                y = y + convolved(y, layer, 0)
                continue
            made = y
            for which in range(2):
                made = apply_dropout(convolved(made, layer, which), self.dropout, fold_rng(rng, 2 * layer + which))
            if y.shape[-1] != self.hidden_size:
                beside = {"kernel_init": nn.initializers.normal(0.01), "bias_init": uniform_init(y.shape[-1] ** -0.5)}
                y = Projection(self.hidden_size, dtype=self.dtype, name=f"beside_{layer}", **beside)(y)
            y = nn.relu(y + made)
        _, _, last = jax.vmap(segment_boundaries)(segments, state["segment"])
        return Projection(self.width, dtype=self.dtype, name="output")(y), {"past": past, "segment": last}

    def _plain_kernel(self, name: str, channels: int) -> tuple[Float[Array, "K M N"], Float[Array, "N"]]:
        """A kernel and a bias as they are trained."""
        initial = nn.initializers.he_normal(in_axis=(0, 1))
        kernel = self.param(f"kernel_{name}", initial, (self.kernel, channels, self.hidden_size))
        return kernel, self.param(f"bias_{name}", nn.initializers.zeros, (self.hidden_size,))

    def _weight_normed_kernel(self, name: str, channels: int) -> tuple[Float[Array, "K M N"], Float[Array, "N"]]:
        """A kernel whose part for each output has the length `length` and the direction of `kernel`; and a bias."""
        initial = uniform_init((self.kernel * channels) ** -0.5)
        kernel = self.param(f"kernel_{name}", initial, (self.kernel, channels, self.hidden_size))
        squares = (kernel * kernel).sum(axis=(0, 1))
        length = self.param(f"length_{name}", lambda _: jnp.sqrt(squares))
        bias = self.param(f"bias_{name}", initial, (self.hidden_size,))
        return kernel * (length * jax.lax.rsqrt(squares + 1e-12))[None, None], bias
