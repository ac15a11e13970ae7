"""The letters that follow a key in a string: up to twenty letters, the key before them.

`--config.task.key_first=False` puts it behind them.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "gru") -> ConfigDict:
    config: Any = base(mixer, attention_positions="rope")
    config.task = {
        "name": "key_lookup",
        "max_items": 20,
        "key_length": 2,
        "answer_length": 2,
        "key_first": True,
        "eval_length_multipliers": (1, 2),
    }
    config.training.min_length = 14
    return config
