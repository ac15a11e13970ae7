"""The next word of the Berean Standard Bible, 4,000 words known, in windows of 32; chapters held out whole."""

from ml_collections import ConfigDict

from configs import text_model


def get_config(mixer: str = "attention") -> ConfigDict:
    return text_model(mixer, {"name": "words", "dataset": "bible", "max_length": 32}, steps=1000)
