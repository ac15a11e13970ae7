"""Verses of the New Testament, Greek to English, by an encoder–decoder whose attention people have aligned."""

from ml_collections import ConfigDict

from configs import encoder_decoder


def get_config(mixer: str = "gru") -> ConfigDict:
    return encoder_decoder(mixer, {"name": "parallel_text", "dataset": "verses"})
