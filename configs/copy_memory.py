"""Copy memory: ten digits held through a silence of 40 steps."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "copy_memory", "delay": 40}
    config.model.width = 32
    return config
