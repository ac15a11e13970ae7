"""Handwritten digits of MNIST in patches of 4 × 4 pixels, 49 steps, read both ways: which digit was it?

5,000 of them; `--config.task.dataset=mnist` takes all, for those with a network, `--config.task.patch=1` single pixels.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "pixels", "dataset": "mnist_5k", "patch": 4, "permuted": False}
    config.model.width = 32
    config.model.positions = "sinusoidal" if "attention" in mixer else "none"
    config.model.causal = False
    config.model.pool = "mean"
    config.training.steps = 1000
    config.training.eval_every = 100
    return config
