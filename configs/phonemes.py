"""How words are said: letters to sounds by an encoder–decoder, one to so many words at once.

`--config.model.encoder_decoder=vector` hands over one vector, which is the bottleneck.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "gru") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "parallel_text", "dataset": "phonemes", "pairs_per_row": 1, "eval_pairs_per_row": ()}
    config.model.width = 64
    config.model.depth = 1
    config.model.positions = "sinusoidal" if "attention" in mixer else "none"
    config.model.encoder_decoder = "scaled" if "attention" in mixer else "additive"
    config.model.cross_attention_heads = 4 if "attention" in mixer else 1
    config.training.steps = 3000
    return config
