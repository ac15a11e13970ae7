"""Compression (Poli et al. 2024): 31 symbols, all of them read from the output at the last step."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "compression", "symbols": 16, "max_length": 32}
    return config
