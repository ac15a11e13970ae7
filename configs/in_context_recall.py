"""Recall in a stream of pairs (Poli et al. 2024): a key's value, whenever the key has come before.

Their noisy recall: --config.task.symbols=32 --config.task.noise_symbols=16 --config.task.noise=0.2
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="alibi")
    config.task = {"name": "in_context_recall", "symbols": 16, "max_length": 127, "noise": 0.0, "noise_symbols": 0}
    return config
