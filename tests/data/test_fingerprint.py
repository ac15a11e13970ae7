"""The fingerprint of a data set: what of it is known without loading, and that it follows the source."""

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

import data
from data import tfds_catalog
from data.sources import python
from tests.data.test_tfds_catalog import as_in_files


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    data._expected_fingerprint.cache_clear()
    yield
    data._expected_fingerprint.cache_clear()


@pytest.mark.parametrize("name", [name for name, module in data.DATASETS.items() if module != "data.tfds_catalog"])
def test_it_is_that_of_what_is_loaded(name: str, load: Callable[[str], dict[str, Any]], data_dir: Path):
    assert data.data_fingerprint(name, data_dir) == data.fingerprint_arguments(load(name))[:16]


def test_it_is_known_before_anything_is_prepared(tmp_path: Path):
    assert (
        data.data_fingerprint("digits", tmp_path / "none")
        == importlib.import_module("data.sources.digits").FINGERPRINT[:16]
    )
    assert len(data.data_fingerprint("python", tmp_path / "none")) == 16
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"^no data set is called 'digit': did you mean digits\?"):
        data.data_fingerprint("digit", tmp_path)


def test_another_library_is_prepared_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A library with the same version and another text: as of another build of Python, or an updated one."""
    modules = {f"m{i}.py": f"x = {i}" for i in range(40)}
    monkeypatch.setattr(python, "read_source", lambda: modules)
    first = data.load_dataset("python", tmp_path)
    told = data.data_fingerprint("python", tmp_path)
    modules["m0.py"] = "y = 1"
    data._expected_fingerprint.cache_clear()  # as a new process
    second = data.load_dataset("python", tmp_path)
    assert data.fingerprint_arguments(first) != data.fingerprint_arguments(second)
    assert "y" in second["alphabet"]
    assert told == data.fingerprint_arguments(first)[:16] != data.data_fingerprint("python", tmp_path)
    modules["m0.py"] = "x = 0"
    data._expected_fingerprint.cache_clear()
    assert data.fingerprint_arguments(data.load_dataset("python", tmp_path)) == data.fingerprint_arguments(first)


def test_a_builder_with_another_text_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its data are prepared anew, whatever lies there of the old version, and have another fingerprint."""
    from data.sources import digits

    data.load_dataset("digits", tmp_path)
    before, source = data.data_fingerprint("digits", tmp_path), digits.read_source()[:, :]
    changed = np.concatenate([source[:, ::-1][:, 1:], source[:, -1:]], axis=1)
    monkeypatch.setattr(digits, "read_source", lambda: changed)
    monkeypatch.setattr(digits.Digits, "VERSION", tfds.core.Version("9.0.0"))
    monkeypatch.setattr(digits, "FINGERPRINT", None)
    data._expected_fingerprint.cache_clear()
    monkeypatch.setattr(digits, "FINGERPRINT", data._expected_fingerprint("digits"))
    data._expected_fingerprint.cache_clear()
    loaded = data.load_dataset("digits", tmp_path)
    assert before != data.data_fingerprint("digits", tmp_path) == data.fingerprint_arguments(loaded)[:16]


def test_a_standard_one_is_loaded_once_and_again_when_its_files_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loads = []

    def load(name: str, root: Path) -> dict[str, Any]:
        loads.append(name)
        return {"text": (root / "mnist" / "3.0.1" / "file").read_text()}

    monkeypatch.setattr(tfds_catalog, "load_catalog_entry", load)
    file = tmp_path / "mnist" / "3.0.1" / "file"
    file.parent.mkdir(parents=True)
    file.write_text("a")
    first = data.data_fingerprint("mnist", tmp_path)
    assert data.data_fingerprint("mnist", tmp_path) == first == data.fingerprint_arguments({"text": "a"})[:16]
    assert len(loads) == 1
    time.sleep(0.01)
    file.write_text("b")
    assert data.data_fingerprint("mnist", str(tmp_path)) == data.fingerprint_arguments({"text": "b"})[:16]
    assert len(loads) == 2


def test_standard_ones_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with tfds.testing.mock_data(num_examples=40):
        builder: Any = tfds.builder("mnist", data_dir=tmp_path, file_format="array_record")
        monkeypatch.setattr(type(builder), "as_data_source", lambda self, part: as_in_files(self, 40))
        Path(builder.data_dir).mkdir(parents=True, exist_ok=True)
        loaded = data.load_dataset("mnist", tmp_path)
        assert data.data_fingerprint("mnist", tmp_path) == data.fingerprint_arguments(loaded)[:16]
