"""Recall in a stream of pairs whose keys and values are one to three tokens each (Poli et al. 2024)."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="alibi")
    config.task = {"name": "fuzzy_recall", "symbols": 16, "key_tokens": 3, "value_tokens": 3, "max_length": 128}
    return config
