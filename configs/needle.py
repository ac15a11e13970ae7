"""A needle in a haystack: one fact of sixteen, up to 128 characters of Shakespeare, and the question what it was."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "gated_delta") -> ConfigDict:
    config: Any = base(mixer, attention_positions="alibi")
    config.task = {
        "name": "needle",
        "dataset": "shakespeare",
        "max_length": 131,  # 128 characters, the fact with its mark, and the question
        "facts": 16,
        "eval_distances": (256, 512),
    }
    config.training.min_length = 4  # near facts first make the far ones learnable
    return config
