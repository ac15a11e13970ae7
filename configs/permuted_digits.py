"""The handwritten digits of configs/digits.py, their pixels in one random order, the same for all."""

from ml_collections import ConfigDict

from configs import digits


def get_config(mixer: str = "attention") -> ConfigDict:
    config = digits.get_config(mixer)
    config.task.permuted = True
    return config
