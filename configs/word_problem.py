"""The word problem of A5: the product so far of 2 to 12 even permutations of five letters.

`--config.task.group=` z2 (parity), z5, s3, s4, a4xz5 and the like.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "lstm") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "word_problem", "group": "a5", "max_items": 12, "eval_lengths": ()}
    config.optimizer.learning_rate = 1e-3
    config.training.min_length = 3  # two elements; shorter sequences first make the longer ones learnable
    config.training.steps = 5000
    config.training.batch_size = 64
    return config
