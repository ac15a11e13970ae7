"""What may stand around a recurrence, as options of one name in every mixer with matrix or diagonal states.

`kernel`: a short convolution of so many taps before the recurrence, each feature by itself; 0 for none.
`output_gate`: the recurrence's outputs times a gate that is computed from the mixer's input; the silu of a projection,
unless the mixer's paper has another. Attention has this option too.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.mixers.base import Mixer, Steps
from models.mixers.convolution import convolve_batch
from models.ops.projection import Projection


def empty_past(taps: int, batch_size: int, features: int, dtype: Any) -> dict[str, Array]:
    """{"past": [B, K − 1, F]}, the inputs that a short convolution of K `taps` begins with; {} without taps."""
    return {"past": jnp.zeros((batch_size, taps - 1, features), dtype)} if taps else {}


def convolve_shortly(
    mixer: Mixer, taps: int, x: Float[Array, "B T F"], state: dict[str, Any], steps: Steps, *, use_bias: bool = False
) -> tuple[Float[Array, "B T F"], dict[str, Any]]:
    """The outputs of a short convolution, and its next {"past"}; `x` and {} without taps.

    The taps are the parameter "kernel" [K, F] of `mixer`, within whose compact method this is called.
    """
    if not taps:
        return x, {}
    kernel = mixer.param("kernel", nn.initializers.lecun_normal(), (taps, x.shape[-1])).astype(mixer.dtype)
    x, past = convolve_batch(x.astype(mixer.dtype), kernel, state["past"], steps.segments, steps.previous_segment)
    if use_bias:
        bias = mixer.param("kernel_bias", nn.initializers.zeros, (x.shape[-1],))
        x = x + bias.astype(mixer.dtype)[None, None]
    return x, {"past": past}


def silu_gate(mixer: Mixer, x: Float[Array, "B T D"]) -> Float[Array, "B T F"]:
    """silu(x·W) for each of the hidden features, W the parameter "output_gate/kernel" of `mixer`."""
    return nn.silu(_project_gate(mixer, x))


def sigmoid_gate(mixer: Mixer, x: Float[Array, "B T D"]) -> Float[Array, "B T F"]:
    """σ(x·W) for each of the hidden features, W the parameter "output_gate/kernel" of `mixer`."""
    return nn.sigmoid(_project_gate(mixer, x))


def _project_gate(mixer: Mixer, x: Float[Array, "B T D"]) -> Float[Array, "B T F"]:
    return Projection(mixer.hidden_size, use_bias=False, dtype=mixer.dtype, name="output_gate")(x)
