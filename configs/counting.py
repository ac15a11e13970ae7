"""Counting: as many b's as a's, fewer than a hundred, tested with more."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "lstm") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "counting", "letters": 2, "count_limit": 100, "eval_lengths": (100, 150, 250)}
    config.optimizer.learning_rate = 1e-3
    return config
