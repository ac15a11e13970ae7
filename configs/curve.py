"""A curve over a square, by a plain multilayer perceptron: no memory, no norm, no residual."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "dense") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "curve", "waves": 2}
    config.model.update(width=32, hidden_size=32, feedforward=1.0, norm="none", residual=False, final_norm=False)
    config.training.update(batch_size=256, steps=1000, steps_per_call=100, eval_every=200)
    return config
