"""The next character of Shakespeare's works, in windows of 64; plays held out whole."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "characters", "dataset": "shakespeare", "max_length": 64}
    config.model.positions = "alibi" if "attention" in mixer else "none"
    config.training.steps = 1200
    config.training.batch_size = 16
    config.training.eval_every = 200
    return config
