"""Is a peptide antimicrobial? By its amino acids, up to 64 of them, read both ways. Near copies are in one split."""

from ml_collections import ConfigDict

from configs import classification


def get_config(mixer: str = "attention") -> ConfigDict:
    return classification(mixer, {"name": "classification", "dataset": "peptides"})
