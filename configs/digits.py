"""scikit-learn's handwritten digits, 8 × 8, read as sequences of 64 pixels: which digit was it?"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "pixels", "dataset": "digits"}
    config.model.width = 32
    config.training.steps = 1000
    config.training.eval_every = 100
    return config
