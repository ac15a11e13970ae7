"""Clothes of Fashion-MNIST in patches of 4 × 4 pixels, 49 steps, read both ways: what is it?"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "pixels", "dataset": "fashion_mnist", "patch": 4, "permuted": False}
    config.model.width = 32
    config.model.positions = "sinusoidal" if "attention" in mixer else "none"
    config.model.causal = False
    config.model.pool = "mean"
    config.training.steps = 2000
    config.training.eval_every = 200
    return config
