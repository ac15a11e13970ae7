"""Flip-flop language: one bit written, ignored and read in 128 tokens."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {"name": "flip_flop", "max_length": 128, "ignores": 0.8, "examples": 512}
    return config
