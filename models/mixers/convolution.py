"""Causal convolution, and the temporal convolutional network made of dilated ones.

    y_t = Σ_{j < K} w_j·x_{t − j·dilation}

Bai, Kolter and Koltun 2018 (arXiv 1803.01271), §3: in a stack of blocks with dilations 1, 2, 4, … the reach doubles
with every layer. A convolution never crosses into another segment, and counts tokens, not padding.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.field_errors import validate_choice
from models.mixers.base import Mixer, MixerOptions, Steps
from models.ops.dropout import apply_dropout, fold_rng
from models.ops.padding import move_padding_back, move_padding_behind
from models.ops.projection import Projection, uniform_init

CONVOLUTIONS_PER_BLOCK = {"bai": 2, "single": 1}
TCN_BLOCKS = tuple(CONVOLUTIONS_PER_BLOCK)
MAX_KERNEL_SIZE = 1024  # each tap is a product of its own
MAX_TAP_OFFSET = 2**20  # steps back: as many inputs are carried from step to step
_MAX_LAYERS = 64


def causal_convolution(
    x: Float[Array, "T M"],
    kernel: Float[Array, "K *M N"],
    past: Float[Array, "P M"],
    segments: Int[Array, "T"],
    last: Int[Array, ""],
    dilation: int = 1,
) -> tuple[Float[Array, "T N"], Float[Array, "P M"]]:
    """The outputs, and the last `P = (K − 1)·dilation` inputs, which the next call needs as its `past`.

    A kernel [K, N] acts on each of `N = M` features by itself (depthwise); a kernel [K, M, N] mixes them. `past`
    belongs to the segment `last`; inputs from before the current segment are zero.
    """
    reach, steps = len(past), len(x)
    valid = segments != 0
    place = jnp.cumsum(valid) - 1  # of a token among the tokens
    packed = jnp.where(valid, place, steps)  # past the end: dropped
    tokens = jnp.zeros_like(x).at[packed].set(x, mode="drop")
    owners = jnp.zeros_like(segments).at[packed].set(segments, mode="drop")
    tokens = jnp.concatenate([past.astype(x.dtype), tokens])
    owners = jnp.concatenate([jnp.full(reach, last), owners])

    y = jnp.zeros((steps, kernel.shape[-1]), x.dtype)
    for j, weight in enumerate(kernel):
        behind = slice(reach - j * dilation, reach - j * dilation + steps)
        shifted = jnp.where((owners[behind] == owners[reach:])[:, None], tokens[behind], 0)
        y = y + (shifted * weight[None] if weight.ndim == 1 else shifted @ weight)

    count = valid.sum()
    next_past, next_owners = (jax.lax.dynamic_slice_in_dim(a, count, reach) for a in (tokens, owners))
    current = jnp.where(count > 0, owners[jnp.maximum(reach + count - 1, 0)], last)
    return y[jnp.maximum(place, 0)], jnp.where((next_owners == current)[:, None], next_past, 0)


def convolve_batch(
    x: Float[Array, "B T N"],
    kernel: Float[Array, "K N"],
    past: Float[Array, "B P N"],
    segments: Int[Array, "B T"],
    last: Int[Array, "B"],
) -> tuple[Float[Array, "B T N"], Float[Array, "B P N"]]:
    """`causal_convolution` of rows with one depthwise kernel and no dilation, in fewer passes over the inputs."""
    reach, steps = past.shape[1], x.shape[1]
    valid = segments != 0
    (x, segments), behind = move_padding_behind((jnp.where(valid[..., None], x, 0), segments), valid)
    tokens = jnp.concatenate([past.astype(x.dtype), x], axis=1)
    owners = jnp.concatenate([jnp.broadcast_to(last[:, None], (len(x), reach)), segments], axis=1)

    y = x * kernel[0][None, None]
    for j in range(1, len(kernel)):
        before = slice(reach - j, reach - j + steps)
        y += jnp.where((owners[:, before] == segments)[..., None], tokens[:, before], 0) * kernel[j][None, None]

    count = valid.sum(axis=1)[:, None]
    kept = count + jnp.arange(reach)[None]
    current = jnp.take_along_axis(owners, jnp.maximum(reach + count - 1, 0), axis=1)
    is_current = jnp.take_along_axis(owners, kept, axis=1) == current
    next_past = jnp.where(is_current[..., None], jnp.take_along_axis(tokens, kept[..., None], axis=1), 0)
    return move_padding_back(y, behind, valid), next_past


class TemporalConvolution(Mixer):
    """TCN: `layers` residual blocks with dilations 1, 2, 4, …, each with `hidden_size` output channels; then → width.

    `block`, one of TCN_BLOCKS, is "bai" (the paper's, §3.4 and Fig. 1), relu(x + F(x)), where F is two weight-normed
    convolutions of one dilation, each followed by a relu and dropout. A projection of x replaces x where it does not
    have `hidden_size` channels, as in the first block. A step then sees 1 + 2·(K − 1)·(2^layers − 1) steps. The other
    is "single", x + relu(convolution), with half of that reach, after a projection from width to `hidden_size`.

    Weight norm (Salimans and Kingma 2016, arXiv 1602.07868): each output's kernel has a trained length and a trained
    direction. The paper does not say how it initializes; this is what the authors' code comes to: weight norm discards
    its normal initialization of deviation 0.01 and keeps PyTorch's uniform one, except for the projections of x.
    """

    layers: int = 4
    kernel: int = 3
    block: str = "bai"
    dropout: float = 0.0  # the skeleton's rate, used inside the blocks too, as in the paper

    VERSION = 2

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_range("layers", 1, _MAX_LAYERS)
        options.check_range("kernel", 1, MAX_KERNEL_SIZE)
        options.check_choice("block", TCN_BLOCKS)
        convolutions = CONVOLUTIONS_PER_BLOCK[options["block"]]
        if convolutions * (options["kernel"] - 1) * 2 ** min(options["layers"], 32) > 2 * MAX_TAP_OFFSET:
            raise options.error(
                "layers",
                f"with kernel={options['kernel']} its last layer would reach more than {MAX_TAP_OFFSET:,} steps back; "
                f"use fewer",
            )

    def empty_state(self, batch_size: int) -> dict[str, Any]:
        """{"past": [B, (K−1)·dilation, channels] for each convolution}"""
        validate_choice("model.tcn.block", self.block, TCN_BLOCKS)
        convolutions = CONVOLUTIONS_PER_BLOCK[self.block]
        count = convolutions * self.layers
        channels = [self.width if self.block == "bai" else self.hidden_size, *[self.hidden_size] * (count - 1)]
        reach = [(self.kernel - 1) * 2 ** (i // convolutions) for i in range(count)]
        return {"past": [jnp.zeros((batch_size, r, c), self.dtype) for r, c in zip(reach, channels, strict=True)]}

    def product_matrices(self) -> dict[str, int]:
        beside = {f"beside_{layer}/kernel": 1 for layer in range(self.layers)}  # where a layer changes the width
        return {"input/kernel": 1, **beside, "output/kernel": 1}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        bai = self.block == "bai"
        y = x.astype(self.dtype) if bai else Projection(self.hidden_size, dtype=self.dtype, name="input")(x)
        past = []

        def convolve(y: Float[Array, "B T M"], layer: int, which: int) -> Float[Array, "B T N"]:
            index = CONVOLUTIONS_PER_BLOCK[self.block] * layer + which
            make_kernel = self._weight_normed_kernel if bai else self._plain_kernel
            kernel, bias = make_kernel(f"{layer}_{which}" if bai else f"{layer}", y.shape[-1])
            dilated = partial(causal_convolution, dilation=2**layer)
            y, last_inputs = jax.vmap(dilated, in_axes=(0, None, 0, 0, 0))(
                y, kernel.astype(self.dtype), state["past"][index], steps.segments, steps.previous_segment
            )
            past.append(last_inputs)
            return nn.relu(y + bias.astype(self.dtype)[None, None])

        for layer in range(self.layers):
            if not bai:
                y = y + convolve(y, layer, 0)
                continue
            inner = y
            for which in range(2):
                rng = fold_rng(steps.rng, 2 * layer + which)
                inner = apply_dropout(convolve(inner, layer, which), self.dropout, rng)
            if y.shape[-1] != self.hidden_size:
                inits = {"kernel_init": nn.initializers.normal(0.01), "bias_init": uniform_init(y.shape[-1] ** -0.5)}
                y = Projection(self.hidden_size, dtype=self.dtype, name=f"beside_{layer}", **inits)(y)
            y = nn.relu(y + inner)
        return Projection(self.width, dtype=self.dtype, name="output")(y), {"past": past}

    def _plain_kernel(self, name: str, channels: int) -> tuple[Float[Array, "K M N"], Float[Array, "N"]]:
        """A kernel and a bias, both trained as they are."""
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
