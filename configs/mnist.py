"""Handwritten digits of MNIST in patches of 4 × 4 pixels, 49 steps, read both ways: which digit was it?

5,000 of them; `--config.task.dataset=mnist` takes all, for those with a network, `--config.task.patch=1` single pixels.
"""

from ml_collections import ConfigDict

from configs import classification


def get_config(mixer: str = "attention") -> ConfigDict:
    return classification(mixer, {"name": "pixels", "dataset": "mnist_5k", "patch": 4, "permuted": False})
