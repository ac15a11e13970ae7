"""The handwritten digits of configs/digits.py, their pixels in one random order, the same for all."""

from typing import Any

from ml_collections import ConfigDict

from configs import digits


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = digits.get_config(mixer)
    config.task.permuted = True
    return config
