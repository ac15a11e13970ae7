"""Handwritten digits: 1,797 images of 8 × 8 pixels in 16 greys, as scikit-learn ships them.

They are the test part of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI, 1998).
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from datasets import locate, verify
from datasets.builder import Records, split_of

INSTALL = "pip install 'scikit-learn>=1.7,<2'"
SOURCE = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"  # sha256 of the unpacked csv
PREPARED = "a4f4f2e1ab826864f1137860800095cea57a260b852ddb57bccd6633831e6207"  # `fingerprint` of what `load` returns


class Digits(Records):
    """One record an image: its `row` in scikit-learn's file, 8 × 8 pixels from 0 to 16, and its label."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "row": np.int32,
        "image": tfds.features.Tensor(shape=(8, 8), dtype=np.uint8),
        "label": tfds.features.ClassLabel(num_classes=10),
    }

    @staticmethod
    def records() -> Iterator[tuple[str, int, dict[str, Any]]]:
        for row, values in enumerate(source()):
            pixels, label = values[:64], int(values[64])
            split = split_of(pixels.tobytes(), train=0.7)
            yield split, row, {"row": row, "image": pixels.reshape(8, 8), "label": label}


BUILDER = Digits


def source() -> UInt8[np.ndarray, "1797 65"]:
    """scikit-learn's table: 64 pixels and the label a row. Raises as `locate` and `verify` do."""
    path = locate("scikit-learn", "sklearn/datasets/data/digits.csv.gz", INSTALL)
    try:
        text = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error):
        text = b""
    verify(text, SOURCE, "scikit-learn's digits.csv.gz", f"{INSTALL} --force-reinstall")
    return np.loadtxt(text.decode().splitlines(), delimiter=",", dtype=np.uint8)


def arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What `tasks.pixels.Pixels` takes: pixels as 64 steps of one number in 0 … 1, int32 labels; in the file's order.

    Rows and labels may be Python integers, as files give them, or arrays of no dimension, as tfds' mock data do.
    """
    inputs, labels = {}, {}
    for split, unordered in records.items():
        rows = sorted(unordered, key=lambda record: int(record["row"]))
        inputs[split] = np.array([row["image"] for row in rows], np.float32).reshape(-1, 64, 1) / 16
        labels[split] = np.array([int(row["label"]) for row in rows], np.int32)
    return {"inputs": inputs, "labels": labels, "classes": 10}
