import gzip
from pathlib import Path

import numpy as np
import pytest

from data.sources import fashion_mnist


def write(folder: Path, counts: dict[str, int]) -> None:
    """Files of the same form, with random pixels."""
    random = np.random.default_rng(0)
    for part, count in counts.items():
        images, labels = random.integers(0, 256, (count, 28, 28), np.uint8), random.integers(0, 10, count, np.uint8)
        for what, head, values in (("images-idx3", 16, images), ("labels-idx1", 8, labels)):
            (folder / f"{part}-{what}-ubyte.gz").write_bytes(gzip.compress(bytes(head) + values.tobytes(), 0))


def test_splits_of_files_as_debian_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    write(tmp_path, {"train": 60_000, "t10k": 10_000})
    splits = [split for split, *_ in fashion_mnist.FashionMnist.generate_records()]
    assert splits.count("test") == 10_000
    assert 5_500 < splits.count("validation") < 6_500


def test_files_that_are_not_there_or_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"train-images-idx3-ubyte.gz is not there: apt install dataset-fashion"
    ):
        fashion_mnist.read_source()
    write(tmp_path, {"train": 3, "t10k": 3})
    with pytest.raises(ValueError, match=r"holds 2352 numbers and not 47040000: apt install dataset-fashion-mnist"):
        fashion_mnist.read_source()
