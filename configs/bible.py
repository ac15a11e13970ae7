"""The next word of the Berean Standard Bible, 4,000 words known, in windows of 32; chapters held out whole."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "words", "dataset": "bible", "max_length": 32}
    config.model.positions = "alibi" if "attention" in mixer else "none"
    config.training.steps = 1000
    config.training.batch_size = 16
    config.training.eval_every = 200
    return config
