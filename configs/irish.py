"""The next character of Irish tunes in ABC notation, in windows of 64; tunes held out whole."""

from ml_collections import ConfigDict

from configs import text_model


def get_config(mixer: str = "attention") -> ConfigDict:
    return text_model(mixer, {"name": "characters", "dataset": "irish", "max_length": 64})
