"""The next character of Shakespeare's works, in windows of 64; plays held out whole."""

from ml_collections import ConfigDict

from configs import text_model


def get_config(mixer: str = "attention") -> ConfigDict:
    return text_model(mixer, {"name": "characters", "dataset": "shakespeare", "max_length": 64})
