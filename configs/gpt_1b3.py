"""A language model of 1.3 billion parameters on a text of your own, in the sizes of GPT-3 XL, on byte pairs.

--config.task.path=corpus/*.txt --config.mesh.params=8    (26 billion tokens; parameters spread over eight devices)

Sizes and recipe: Brown et al. 2020 (arXiv 2005.14165), table 2.1 and appendix B, with 16 heads of 128, since its 24
don't divide the width; length of training: Hoffmann et al. 2022 (arXiv 2203.15556). `--dry_run` says what it needs; not
measured here.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import gpt_124m


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = gpt_124m.get_config(mixer)
    config.task.max_length = 2048
    config.model.update(width=2048, depth=24, remat=True)
    if "attention" in config.model:
        config.model.attention.heads = 16
    config.optimizer.update(learning_rate=2e-4, warmup_steps=358)
    config.training.update(steps=25000, eval_every=500, accumulate_steps=64)
    return config
