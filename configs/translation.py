"""Translation of sentences of 3 to 12 words by an encoder–decoder.

`--config.model.encoder_decoder=vector` hands over one vector, `--config.model.encoder_decoder=` reads source and
target as one sequence.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "gru") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "translation", "words": 20, "max_items": 12, "eval_lengths": ()}
    config.model.width = 64
    config.model.depth = 1
    config.training.min_length = 7
    config.training.steps = 3000
    attention = "attention" in mixer
    config.model.encoder_decoder = "scaled" if attention else "additive"
    config.model.cross_attention_heads = 4 if attention else 1
    config.model.positions = "sinusoidal" if attention else "none"
    return config
