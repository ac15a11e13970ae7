"""A formal language: parity of strings of 1 to 40 bits, tested on longer ones.

`--config.task.language=` even_pairs, cycle, modular, bucket_sort, reverse or duplicate (with training.min_length=3).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "lstm") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {
        "name": "formal_language",
        "language": "parity",
        "max_items": 40,
        "eval_length_multipliers": (1.5, 2, 2.5),
    }
    config.optimizer.learning_rate = 1e-3
    config.training.min_length = 2
    config.training.steps = 10_000
    config.training.batch_size = 64
    return config
