"""The next character of the source of Python's standard library, in windows of 64; modules held out whole."""

from ml_collections import ConfigDict

from configs import text_model


def get_config(mixer: str = "attention") -> ConfigDict:
    return text_model(mixer, {"name": "characters", "dataset": "python", "max_length": 64})
