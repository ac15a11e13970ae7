"""Induction heads: what followed the special token, the last time, among sixty-four."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "induction", "symbols": 16, "max_length": 64, "eval_length_multipliers": ()}
    config.optimizer.weight_decay = 0.0
    return config
