"""An exponential moving average as a sequence mixer: h_t = a·h_{t−1} + (1 − a)·u_t, with a trained a for each feature.

To train it, name it in `models.registry.MIXERS`: "ema": MixerEntry(EMA, "your paper", 2026). Its option is then
`--config.model.ema.initial_decay`, and tests/models/test_mixers.py checks that it keeps to the contract.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.mixers.base import Mixer, MixerOptions, Steps
from models.ops.projection import Projection
from models.ops.scan import linear_scan


class EMA(Mixer):
    """width → `hidden_size` features, averaged over time → width."""

    initial_decay: float = 0.9

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        if not 0 < options["initial_decay"] < 1:
            raise options.error("initial_decay", "must be between 0 and 1")

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        return {"h": jnp.zeros((batch_size, self.hidden_size))}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        u = Projection(self.hidden_size, dtype=self.dtype, name="input")(x).astype(jnp.float32)
        initial = nn.initializers.constant(jnp.log(self.initial_decay / (1 - self.initial_decay)))
        a = jnp.broadcast_to(nn.sigmoid(self.param("decay", initial, (self.hidden_size,))), u.shape)
        h = jax.vmap(linear_scan)(a, (1 - a) * u, state["h"], steps.start, steps.valid)
        return Projection(self.width, dtype=self.dtype, name="output")(h), {"h": h[:, -1]}
