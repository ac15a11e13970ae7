"""Clothes of Fashion-MNIST in patches of 4 × 4 pixels, 49 steps, read both ways: what is it?"""

from ml_collections import ConfigDict

from configs import classification


def get_config(mixer: str = "attention") -> ConfigDict:
    task = {"name": "pixels", "dataset": "fashion_mnist", "patch": 4, "permuted": False}
    return classification(mixer, task, steps=2000, eval_every=200)
