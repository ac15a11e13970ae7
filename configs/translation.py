"""Translation of sentences of 3 to 12 words by an encoder–decoder.

`--config.model.encoder_decoder=vector` hands over one vector, `--config.model.encoder_decoder=` reads source and
target as one sequence.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import encoder_decoder


def get_config(mixer: str = "gru") -> ConfigDict:
    task = {"name": "translation", "words": 20, "max_items": 12, "eval_lengths": ()}
    config: Any = encoder_decoder(mixer, task, attention_heads=4)
    config.training.min_length = 7
    return config
