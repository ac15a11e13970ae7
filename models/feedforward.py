"""The feed-forward layer of a block, and the activation functions."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.ops.projection import Projection


def _identity(x: Array) -> Array:
    return x


ACTIVATIONS = {"gelu": nn.gelu, "relu": nn.relu, "tanh": nn.tanh, "silu": nn.silu, "identity": _identity}


class FeedForward(nn.Module):
    """width → `hidden_size` → activation → width, for each token by itself (Vaswani et al. 2017, §3.3)."""

    width: int
    hidden_size: int
    activation: str = "gelu"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        y = Projection(self.hidden_size, dtype=self.dtype, name="up")(x)
        return Projection(self.width, dtype=self.dtype, name="down")(ACTIVATIONS[self.activation](y))
