"""Data sets of tensorflow-datasets by name, with mock data of the types that files have."""

import difflib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

import data
from data import tfds_catalog
from tasks import TASKS

WORDS = np.array(["the", "a", "dog", "saw", "um", "gato", "good", "bad", "film"])
TASK_OF = {
    "tiny_shakespeare": ("characters", {"max_length": 16}),
    "mnist": ("pixels", {"patch": 4}),
    "imdb_reviews": ("classification", {}),
    "lm1b": ("words", {"max_length": 8}),
    "ted_hrlr_translate": ("parallel_text", {}),
}


def as_in_files(builder: Any, rows: int) -> list[dict[str, Any]]:
    """Records with the types of files: text as bytes, labels as Python's integers, images as arrays."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(rows):
        record: dict[str, Any] = {}
        for name, feature in builder.info.features.items():
            if isinstance(feature, tfds.features.Text):
                record[name] = " ".join(random.choice(WORDS, 12)).encode()
            elif isinstance(feature, tfds.features.ClassLabel):
                record[name] = int(random.integers(feature.num_classes or 2))
            else:
                record[name] = random.integers(0, 256, feature.shape, np.uint8)
        made.append(record)
    return made


@pytest.mark.parametrize("name", TASK_OF)
def test_each_becomes_a_task(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with tfds.testing.mock_data(num_examples=40):
        builder: Any = tfds.builder(tfds_catalog.CATALOG[name].name, data_dir=tmp_path, file_format="array_record")
        monkeypatch.setattr(type(builder), "as_data_source", lambda self, part: as_in_files(self, 40))
        Path(builder.data_dir).mkdir(parents=True, exist_ok=True)
        loaded = data.load_dataset(name, tmp_path)
    kind, fields = TASK_OF[name]
    task: Any = TASKS[kind](**loaded, **fields)
    for subset in data.SPLITS:
        batch = task.sample(jax.random.key(0), 2, task.max_length, task.max_length, subset)
        assert np.isfinite(batch.inputs).all()
    assert np.isfinite(task.baseline[1])


@pytest.mark.parametrize("name", TASK_OF)
def test_mock_data_of_tensorflow_datasets_will_do_too(name: str, tmp_path: Path):
    """Whose text is a string and whose labels are arrays of no dimension."""
    with tfds.testing.mock_data(num_examples=60, policy=tfds.testing.MockPolicy.USE_CODE):
        builder: Any = tfds.builder(tfds_catalog.CATALOG[name].name, data_dir=tmp_path, file_format="array_record")
        rows: list[dict[str, Any]] = list(builder.as_data_source("train"))
    made = tfds_catalog.CATALOG[name].task_arguments(dict.fromkeys(data.SPLITS, rows))
    assert set(made) >= {"inputs"} or set(made) >= {"text"} or set(made) >= {"sources"}


def test_what_can_not_be_had_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", unreachable)
    with pytest.raises(ValueError, match=r"^mnist is not in .* and can't be prepared: pip install -e '.\[tfds-full\]'"):
        data.load_dataset("mnist", tmp_path)
    assert difflib.get_close_matches("mnist_", data.DATASETS)[0] == "mnist"
