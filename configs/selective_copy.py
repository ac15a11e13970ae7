"""Selective copying: eight symbols out of sixty-four blanks."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "selective_copy", "noise": 64, "data": 8, "symbols": 16}
    config.model.positions = "sinusoidal" if "attention" in mixer else "none"
    return config
