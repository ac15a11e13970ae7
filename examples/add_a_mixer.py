"""A mixer of one's own: an exponential moving average with a learned decay for each unit.

.venv/bin/python -m examples.add_a_mixer        (half a minute on two cores)

To keep it: put imports and class into models/mixers/moving_average.py, and name it in models/registry.py.
"""

import tempfile
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.mixers.base import Mixer, MixerOptions, Steps
from models.ops.projection import Projection
from models.ops.scan import linear_scan


class MovingAverage(Mixer):
    """h_t = a·h_{t−1} + (1 − a)·u_t with u = W·x and a = σ(decay), trained for each unit; y = V·h."""

    initial_decay: float = 0.9  # an option, --config.model.moving_average.initial_decay

    VERSION = 1

    @classmethod
    def validate(cls, options: MixerOptions) -> None:
        if not 0 < options["initial_decay"] < 1:
            raise options.error("initial_decay", "must be between 0 and 1")

    def empty_state(self, batch_size: int) -> dict[str, Array]:
        """The state before the first token, [B, N], in float32."""
        return {"h": jnp.zeros((batch_size, self.hidden_size))}

    @nn.compact
    def mix(
        self, x: Float[Array, "B T D"], state: dict[str, Any], steps: Steps
    ) -> tuple[Float[Array, "B T D"], dict[str, Any]]:
        """`linear_scan` runs h = a·h + b over a sequence, forgets h at a `start`, and holds it where not `valid`."""
        u = Projection(self.hidden_size, dtype=self.dtype, name="input")(x).astype(jnp.float32)
        logit = nn.initializers.constant(jnp.log(self.initial_decay / (1 - self.initial_decay)))
        a = jnp.broadcast_to(nn.sigmoid(self.param("decay", logit, (self.hidden_size,))), u.shape)
        h = jax.vmap(linear_scan)(a, (1 - a) * u, state["h"], steps.start, steps.valid)
        return Projection(self.width, dtype=self.dtype, name="output")(h), {"h": h[:, -1]}


def main(workdir: Path) -> None:
    import models
    import train
    from configs import recall

    # What the line in models/registry.py does: the class, its paper, the year.
    models.MIXERS["moving_average"] = models.MixerEntry(MovingAverage, "Hunter 1986, J. Quality Technology 18", 1986)

    config: Any = recall.get_config("moving_average")
    config.training.steps, config.training.eval_every = 200, 100
    result = train.train(config, workdir, tensorboard=False)
    cost, test = result["cost"], result["members"][0]["test"]
    print(f"{cost['mixer_parameters']:,} parameters, attention's number; {cost['state_floats']} floats of state")
    print(f"moving_average: test {result['metric']} {test:.3f}, chance {result['chance']:.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder) / "moving_average")
