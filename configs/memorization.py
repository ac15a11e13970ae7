"""Memorization (Poli et al. 2024): 127 keys, each with a value that is the same in every row."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="alibi")
    config.task = {"name": "memorization", "symbols": 256, "max_length": 32, "map_seed": 12345}
    return config
