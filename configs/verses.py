"""Verses of the New Testament, Greek to English, by an encoder–decoder whose attention people have aligned."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "gru") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "parallel_text", "dataset": "verses"}
    config.model.width = 64
    config.model.depth = 1
    config.model.positions = "sinusoidal" if "attention" in mixer else "none"
    config.model.encoder_decoder = "scaled" if "attention" in mixer else "additive"
    config.model.cross_attention_heads = 1
    config.training.steps = 3000
    return config
