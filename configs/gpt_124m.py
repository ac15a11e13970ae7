"""A language model of 124 M parameters on a text of your own, in the sizes of GPT-2 small, on byte pairs.

--config.task.path=corpus/*.txt    (a few gigabytes: 4800 batches of half a million tokens are 20 tokens per parameter)

Sizes: Radford et al. 2019. Recipe: Brown et al. 2020 (arXiv 2005.14165), table 2.1 and appendix B; length of training:
Hoffmann et al. 2022 (arXiv 2203.15556). `--dry_run` says what it needs; not measured here.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import text


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = text.get_config(mixer)
    config.task.update(tokenizer="bpe", vocab_size=50257, max_length=1024)
    config.model.update(width=768, depth=12, feedforward=4.0, tie_embeddings=True, dtype="bfloat16")
    if "attention" in config.model:
        config.model.positions = "learned"
        config.model.attention.heads = 12
    config.optimizer.update(learning_rate=6e-4, warmup_steps=715, weight_decay=0.1, b2=0.95)
    config.training.update(batch_size=512, steps=4800, steps_per_call=10, eval_every=200, accumulate_steps=32)
    return config
