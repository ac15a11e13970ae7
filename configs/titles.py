"""Which of Shakespeare's works is a passage from? By its words alone, without blocks: what a search for titles does."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "classification", "dataset": "titles"}
    config.model.depth = 0
    config.model.width = 24
    config.model.pool = "mean"
    config.optimizer.learning_rate = 1e-2
    config.optimizer.weight_decay = 1.0  # without, it is far too sure of what it finds
    config.training.batch_size = 128
    config.training.steps = 1500
    config.training.eval_every = 250
    return config
