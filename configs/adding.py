"""The adding problem: the sum of two marked numbers among a hundred."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "adding", "max_length": 100}
    config.model.width = 32
    return config
