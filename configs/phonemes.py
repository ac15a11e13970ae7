"""How words are said: letters to sounds by an encoder–decoder, one to so many words at once.

`--config.model.encoder_decoder=vector` hands over one vector, which is the bottleneck.
"""

from ml_collections import ConfigDict

from configs import encoder_decoder


def get_config(mixer: str = "gru") -> ConfigDict:
    task = {"name": "parallel_text", "dataset": "phonemes", "pairs_per_row": 1, "eval_pairs_per_row": ()}
    return encoder_decoder(mixer, task, attention_heads=4)
