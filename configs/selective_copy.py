"""Selective copying: eight symbols out of sixty-four blanks."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "selective_copy", "noise": 64, "data": 8, "symbols": 16}
    return config
