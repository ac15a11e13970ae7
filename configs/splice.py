"""Where does an exon end or begin? 60 nucleotides, read both ways: three classes. Near copies are in one split."""

from ml_collections import ConfigDict

from configs import classification


def get_config(mixer: str = "attention") -> ConfigDict:
    return classification(mixer, {"name": "classification", "dataset": "splice"})
