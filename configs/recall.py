"""Multi-query associative recall: eight key–value pairs, then eight queries."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="alibi")
    config.task = {"name": "recall", "pairs": 8, "symbols": 32, "max_length": 32}
    config.model.width = 32
    config.training.steps = 3000
    config.training.eval_every = 250
    return config
