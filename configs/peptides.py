"""Is a peptide antimicrobial? By its amino acids, up to 64 of them, read both ways. Near copies are in one split."""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer)
    config.task = {"name": "classification", "dataset": "peptides"}
    config.model.width = 32
    config.model.positions = "sinusoidal" if "attention" in mixer else "none"
    config.model.causal = False
    config.model.pool = "mean"
    config.training.steps = 1000
    config.training.eval_every = 100
    return config
