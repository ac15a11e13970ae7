"""What the mixers with a matrix memory for each head have in common: heads, what comes before and what comes behind.

Before the memory stands a short convolution over queries, keys and values, and behind it an output gate, both as in
models/mixers/surroundings.py.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from models.mixers.base import Mixer, MixerOptions
from models.mixers.convolution import MAX_KERNEL_SIZE
from models.mixers.state_space import s6_rates
from models.mixers.surroundings import empty_past
from models.ops.matrix_state import IMPLEMENTATIONS
from models.ops.projection import Projection

LOWEST_LOG_GATE = -1000.0  # exp of it is 0 in float32, and sums of it over a chunk are exact


class MatrixMemory(Mixer):
    """`heads` memories of K × V numbers; the heads' values share `hidden_size` features.

    `implementation`, one of IMPLEMENTATIONS, is "chunks", a few matrix products for many steps at once, or "steps", one
    step after another.
    """

    heads: int = 4
    kernel: int = 4
    output_gate: bool = True
    implementation: str = "chunks"

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        options.check_range("kernel", 0, MAX_KERNEL_SIZE)
        options.check_choice("implementation", IMPLEMENTATIONS)
        options.check_heads()

    @property
    def head_size(self) -> int:
        """The number of a head's values."""
        return self.hidden_size // self.heads

    def empty_memory(self, batch_size: int, keys: int, convolved: int) -> dict[str, Array]:
        """{"memory": [B, H, K, V]}; with a short convolution also "past", the last of its `convolved` inputs."""
        past = empty_past(self.kernel, batch_size, convolved, self.dtype)
        return {"memory": jnp.zeros((batch_size, self.heads, keys, self.head_size)), **past}

    def _project(self, name: str, x: Float[Array, "B T D"], features: int, **kwargs: Any) -> Float[Array, "B T F"]:
        """A projection, without a bias unless `kwargs` ask for one."""
        return Projection(features, dtype=self.dtype, name=name, **{"use_bias": False, **kwargs})(x)

    def _split_heads(self, x: Float[Array, "B T F"]) -> Float[Array, "B T H S"]:
        return split_heads(x, self.heads)

    def _normalize_heads(self, y: Float[Array, "B T H V"]) -> Float[Array, "B T F"]:
        """Outputs over their root mean square in each head, times a trained scale that the heads share; joined."""
        return join_heads(nn.RMSNorm(epsilon=1e-5, name="norm")(y))


def split_heads(x: Float[Array, "B T F"], heads: int) -> Float[Array, "B T {heads} S"]:
    """Each head's share of the features, in float32."""
    return x.astype(jnp.float32).reshape(*x.shape[:2], heads, -1)


def join_heads(y: Float[Array, "B T H V"]) -> Float[Array, "B T F"]:
    """The features of all heads side by side."""
    return y.reshape(*y.shape[:2], -1)


def decay_log_gate(step: Float[Array, "B T H G"], log_rates: Float[Array, "H"]) -> Float[Array, "B T H G"]:
    """log g = −exp(log_rates)·Δ for steps Δ > 0 and a rate for each head (Dao and Gu 2024, arXiv 2405.21060).

    It is kept above −1000, where g is 0 in float32 anyway.
    """
    return jnp.maximum(-s6_rates(log_rates)[None, None, :, None] * step, LOWEST_LOG_GATE)


def init_log_rates(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """Logarithms of rates that are uniform between 1 and 16, as in Mamba-2's code."""
    return jnp.log(jax.random.uniform(key, shape, minval=1.0, maxval=16.0))
