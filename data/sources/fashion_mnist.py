"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 70,000 images of clothes, 28 × 28, where Debian's package of it is.

    apt install dataset-fashion-mnist

or, without being root, `apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb DIR` and
`FASHION_MNIST=DIR/usr/share/datasets/fashion-mnist`. Expat licence. The test images are its own; of the training
images a hash takes one in ten for validation; whether several pictures show one piece of clothing is not said.
"""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data import images
from data.builder import RecordBuilder, assign_split

INSTALL = "apt install dataset-fashion-mnist, or set FASHION_MNIST to the directory of its files"
_DEFAULT_FOLDER = "/usr/share/datasets/fashion-mnist"
FINGERPRINT = "1dcbc39b63d179788e54aa5f7b9d1ca06e2ca7a11b69a026e172c0f870a57ee6"  # of what is loaded


class FashionMnist(RecordBuilder):
    """One record per image: its number (training images first), its pixels and its label."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = images.image_features(28)

    @staticmethod
    def generate_records() -> Iterator[tuple[str, int, dict[str, Any]]]:
        row = 0
        for part, pairs in read_source().items():
            for image, label in zip(*pairs, strict=True):
                split = "test" if part == "t10k" else assign_split(image.tobytes(), train=0.9)  # the rest is validation
                yield split, row, {"row": row, "image": image, "label": int(label)}
                row += 1


BUILDER = FashionMnist
task_arguments = images.image_arguments


def read_source() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of the parts "train" and "t10k". Raises FileNotFoundError, or ValueError for other contents."""
    folder = Path(os.environ.get("FASHION_MNIST", _DEFAULT_FOLDER))
    found = {}
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        read = []
        for what, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            path = folder / f"{part}-{what}-ubyte.gz"
            if not path.exists():
                raise FileNotFoundError(f"{path} is not there: {INSTALL}")
            values = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[4 + 4 * len(shape) :]
            if values.size != np.prod(shape):
                raise ValueError(f"{path} holds {values.size} numbers and not {np.prod(shape)}: {INSTALL}")
            read.append(values.reshape(shape))
        found[part] = (read[0], read[1])
    return found
