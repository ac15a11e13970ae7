"""A string, and the same once more: five to fifteen letters."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="rope")
    config.task = {"name": "copy_string", "max_items": 15, "eval_length_multipliers": ()}
    config.training.min_length = 12
    return config
