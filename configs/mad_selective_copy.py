"""Selective copying as in Poli et al. 2024: sixteen symbols out of 223 blanks, one marker, and blanks to answer at."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "selective_copy", "layout": "mad", "noise": 223, "data": 16, "symbols": 16}
    return config
