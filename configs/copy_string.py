"""A string, and the same once more: five to fifteen letters."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "copy_string", "longest": 15, "times": ()}
    config.training.shortest = 12
    config.model.positions = "rope" if "attention" in mixer else "none"
    return config
