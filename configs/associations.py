"""Twenty pairs of key and value and one query, as in Schlag, Irie and Schmidhuber 2021 (arXiv 2102.11174), §6.1.

--config.model.associative_memory=softmax, linear, dpfp1 … trains one of their memories in place of a stack of mixers,
and --config.task.with_replacement=True --config.model.update_rule=delta is their second setting. Rate, batch and
Adam's betas are theirs, and nothing is clipped or decayed; but here the rate falls to 0 with the last step, and no run
stops early.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="alibi")
    config.task = {"name": "associations", "pairs": 20, "with_replacement": False}
    config.optimizer.update(learning_rate=1e-3, warmup_steps=0, weight_decay=0.0, grad_clip_norm=1e9, b1=0.9, b2=0.999)
    config.training.update(steps=2500, batch_size=32, steps_per_call=100, eval_every=100)
    return config
