"""Square gray images with one of ten labels."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from data.builder import assign_split


def image_features(side: int) -> dict[str, Any]:
    """Features of a record: its `row` in the source, `side` × `side` pixels, and one of ten labels."""
    return {
        "row": np.int32,
        "image": tfds.features.Tensor(shape=(side, side), dtype=np.uint8),
        "label": tfds.features.ClassLabel(num_classes=10),
    }


def image_records(table: UInt8[np.ndarray, "N P"]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Records of the rows of a table whose last column is the label, split 70/10/20 % by a hash of the pixels."""
    side = math.isqrt(table.shape[1] - 1)
    for row, values in enumerate(table):
        pixels, label = values[:-1], int(values[-1])
        split = assign_split(pixels.tobytes(), train=0.7)
        yield split, row, {"row": row, "image": pixels.reshape(side, side), "label": label}


def image_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.Pixels`: one pixel in 0 … 255 per step, int32 labels; in the source's order.

    Rows and labels may be Python integers, as files give them, or arrays of no dimension, as tfds' mock data do.
    """
    inputs, labels = {}, {}
    for split, unordered in records.items():
        rows = sorted(unordered, key=lambda record: int(record["row"]))
        images = np.array([row["image"] for row in rows], np.uint8)
        inputs[split] = images.reshape(len(images), -1, 1)
        labels[split] = np.array([int(row["label"]) for row in rows], np.int32)
    return {"inputs": inputs, "labels": labels, "classes": 10}
