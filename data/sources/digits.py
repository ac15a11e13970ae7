"""Handwritten digits: 1,797 images of 8 × 8 pixels in 16 greys, as scikit-learn ships them.

They are the test part of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI, 1998).

The file does not say who wrote which. All splits have the same few writers, 13 by UCI's description, and so measure
how well new digits of known hands are read, and not those of new hands. No image is there twice; the nearest training
image (by pixels) to one in the test has the right label in 98 of 100.
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from data import images, locate_file, verify_checksum
from data.builder import RecordBuilder

INSTALL = "pip install 'scikit-learn>=1.7,<2'"
SOURCE_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"  # sha256 of the unpacked csv
FINGERPRINT = "a4f4f2e1ab826864f1137860800095cea57a260b852ddb57bccd6633831e6207"  # of what is loaded


class Digits(RecordBuilder):
    """One record per image: its `row` in scikit-learn's file, 8 × 8 pixels from 0 to 16, and its label."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = images.image_features(8)

    @staticmethod
    def generate_records() -> Iterator[tuple[str, int, dict[str, Any]]]:
        return images.image_records(read_source())


BUILDER = Digits


def read_source() -> UInt8[np.ndarray, "1797 65"]:
    """scikit-learn's table: 64 pixels and the label in each row. Raises as `locate_file` and `verify_checksum`."""
    path = locate_file("scikit-learn", "sklearn/datasets/data/digits.csv.gz", INSTALL)
    try:
        text = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error):
        text = b""
    verify_checksum(text, SOURCE_SHA256, "scikit-learn's digits.csv.gz", f"{INSTALL} --force-reinstall")
    return np.loadtxt(text.decode().splitlines(), delimiter=",", dtype=np.uint8)


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.Pixels`: images as 64 steps of one number in 0 … 1, and labels, in the file's order."""
    found = images.image_arguments(records)
    return {**found, "inputs": {split: pixels.astype(np.float32) / 16 for split, pixels in found["inputs"].items()}}
