from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

import data
from data.builder import assign_split
from data.sources import digits
from tasks.real.pixels import Pixels


def test_all_images_are_there_once_with_their_labels(load):
    from sklearn.datasets import load_digits

    loaded = load("digits")
    assert {split: len(labels) for split, labels in loaded["labels"].items()} == {
        "train": 1255,
        "validation": 168,
        "test": 374,
    }
    for split, images in loaded["inputs"].items():
        assert images.dtype == np.float32
        assert images.shape == (len(loaded["labels"][split]), 64, 1)
        assert (images.min(), images.max()) == (0, 1)
        assert loaded["labels"][split].dtype == np.int32
    ours = np.concatenate(
        [np.column_stack([loaded["inputs"][s][..., 0] * 16, loaded["labels"][s]]) for s in data.SPLITS]
    )
    bunch: Any = load_digits()
    theirs = np.column_stack([bunch.data, bunch.target])
    assert len(ours) == 1797
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_no_image_is_in_two_splits(load):
    images = {split: {row.tobytes() for row in rows} for split, rows in load("digits")["inputs"].items()}
    assert len(set.union(*images.values())) == sum(map(len, images.values()))


def test_the_split_is_a_fixed_function_of_the_pixels():
    rows = [np.zeros(64, np.uint8), np.full(64, 4, np.uint8), *(row[:64] for row in digits.read_source()[:4])]
    found = [assign_split(row.tobytes(), train=0.7) for row in rows]
    assert found == ["test", "validation", *["train"] * 3, "validation"]


def test_the_baseline_of_the_task(load):
    task = Pixels(**load("digits"))
    assert task.baseline == ("the most frequent class", pytest.approx(0.0802, abs=1e-4))
    assert (task.max_length, task.channels, task.classes) == (64, 1, 10)


def test_mock_data_have_the_same_form(tmp_path: Path):
    with tfds.testing.mock_data(num_examples=3):
        builder: Any = digits.Digits(data_dir=tmp_path, file_format="array_record")
        loaded = digits.task_arguments({"train": list(builder.as_data_source("train"))})
    assert loaded["inputs"]["train"].shape == (3, 64, 1)
    assert loaded["labels"]["train"].dtype == np.int32


def test_a_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = digits.locate_file("scikit-learn", "sklearn/datasets/data/digits.csv.gz", "").read_bytes()
    archive = tmp_path / "digits.csv.gz"
    monkeypatch.setattr(digits, "locate_file", lambda *_: archive)
    for contents in b"", b"no gzip", real[:20_000], real[:20_000] + b"overwritten" + real[20_011:]:
        archive.write_bytes(contents)
        with pytest.raises(ValueError, match=r"^scikit-learn's digits\.csv\.gz has sha256 .* reinstall it with pip"):
            digits.read_source()
