"""Exports as safetensors: the same parameters bit for bit, and one line for a file that is not the model's."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import assert_same, tiny_config
from training import export, loop, safetensors_files
from training.result import RunResult

numpy_files: Any = pytest.importorskip("safetensors.numpy")

NAME = safetensors_files.FILE_NAME


@pytest.fixture
def exported(finished: tuple[Path, RunResult], tmp_path: Path) -> Path:
    """Member 1 of a run, exported as safetensors alone."""
    export.export_member(finished[0], tmp_path / "best", 1, "best", ["safetensors"])
    return tmp_path / "best"


def test_the_parameters_come_back_bit_for_bit(finished: tuple[Path, RunResult], exported: Path):
    assert sorted(path.name for path in exported.iterdir()) == ["config.json", NAME]
    run, params = export.load_exported(exported)
    assert_same(params, export.read_member_params(finished[0], 1, "best"))
    assert run.config["ensemble"]["seeds"] == export.load(exported)[0].config["ensemble"]["seeds"] == [1]


def test_other_programs_read_it_by_names_that_are_paths(exported: Path):
    arrays = numpy_files.load_file(exported / NAME)
    _, params = export.load_exported(exported)
    np.testing.assert_array_equal(arrays["mixer_0/input/kernel"], params["mixer_0"]["input"]["kernel"])
    assert {array.dtype.name for array in arrays.values()} == {"float32"}


def test_one_export_may_hold_both_formats(finished: tuple[Path, RunResult], tmp_path: Path):
    export.export_member(finished[0], tmp_path / "both", 1, "last", ["orbax", "safetensors"])
    _, of_orbax = export.load_exported(tmp_path / "both")
    shutil.rmtree(tmp_path / "both" / "params")
    _, of_safetensors = export.load_exported(tmp_path / "both")
    assert_same(of_orbax, of_safetensors)


@pytest.mark.parametrize("order", ["transposed", "strided", "scalar"])
def test_arrays_are_saved_by_value_however_they_lie_in_memory(tmp_path: Path, order: str):
    """safetensors 0.8.0 writes the memory of an array as if it were in C order."""
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    array = {"transposed": whole.T, "strided": whole[:, ::2], "scalar": whole[1, 1]}[order]
    safetensors_files.save_params(tmp_path / NAME, {"a": array})
    loaded = safetensors_files.load_params(tmp_path / NAME, {"a": array})
    np.testing.assert_array_equal(loaded["a"], array)
    assert loaded["a"].shape == np.shape(array)


def test_who_may_read_the_config_may_read_the_parameters(exported: Path):
    """safetensors 0.8.0 leaves a file to its owner alone."""
    assert (exported / NAME).stat().st_mode == (exported / "config.json").stat().st_mode


def change_arrays(path: Path, change: Callable[[dict[str, np.ndarray]], Any], run: str = "") -> None:
    """Write the file anew with other arrays, as the run with the key `run`."""
    arrays = {name: np.array(array) for name, array in numpy_files.load_file(path).items()}
    change(arrays)
    numpy_files.save_file(arrays, path, {"run": run})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("head/bias"), "of another model: it lacks head/bias$"),
        (lambda a: a.clear(), "it lacks embed/embedding, .* and 15 more$"),
        (lambda a: a.update(b=np.zeros(3)), "of another model: that has no b$"),
        (
            lambda a: a.update({"head/bias": np.zeros(3, np.float32)}),
            r"head/bias is float32\[3\], not float32\[16\]$",
        ),
        (
            lambda a: a.update({"head/bias": np.zeros(16, np.float16)}),
            r"head/bias is float16\[16\], not float32\[16\]$",
        ),
    ],
)
def test_other_names_shapes_or_dtypes_are_refused(exported: Path, change: Callable, message: str):
    change_arrays(exported / NAME, change)
    with pytest.raises(ValueError, match=message) as error:
        export.load(exported)
    assert "\n" not in str(error.value)
    assert str(exported / NAME) in str(error.value)


def test_the_file_of_another_run_is_refused_though_it_fits(exported: Path):
    change_arrays(exported / NAME, lambda arrays: None, run="0123456789abcdef")
    with pytest.raises(ValueError, match=r"is of another run than the config.json beside it; export that run again"):
        export.load(exported)
    change_arrays(exported / NAME, lambda arrays: None)  # by a program that knows of no runs
    export.load(exported)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-5], lambda data: b"\xff" * 8 + data])
def test_a_damaged_file_is_refused_in_one_line(exported: Path, damage: Callable[[bytes], bytes]):
    path = exported / NAME
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"model.safetensors can't be read \(.*\); export the run again") as error:
        export.load(exported)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("directory", ["nothing", "empty", "of_config_alone"])
def test_loading_what_is_no_export_is_one_line(exported: Path, tmp_path: Path, directory: str):
    if directory != "nothing":
        (tmp_path / directory).mkdir()
    if directory == "of_config_alone":
        shutil.copy(exported / "config.json", tmp_path / directory)
    with pytest.raises(ValueError, match=r"is no export: it must hold config.json, and params/ or model.safetensors"):
        export.load_exported(tmp_path / directory)


def test_a_run_is_no_export_but_can_be_loaded(finished: tuple[Path, RunResult]):
    with pytest.raises(ValueError, match=r"is no export: .*; train.load reads a run where it lies$"):
        export.load_exported(finished[0])


def test_it_is_not_trained_on(exported: Path):
    with pytest.raises(ValueError, match="is an exported model, which can't be trained on; give another --workdir"):
        loop.train(tiny_config(), exported, tensorboard=False)


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["safetensor"], "--export_format=safetensor: must be one of .*; did you mean safetensors?"),
        ([], "--export_format=: must be one of orbax, safetensors, program"),
    ],
)
def test_an_unknown_format_is_refused_before_anything_is_written(
    finished: tuple[Path, RunResult], tmp_path: Path, formats: list[str], message: str
):
    with pytest.raises(ValueError, match=message):
        export.export_member(finished[0], tmp_path / "new" / "best", 0, "best", formats)
    assert not (tmp_path / "new").exists()


def test_without_the_package_it_says_how_to_get_it(finished: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ValueError, match=r"needs the package safetensors: pip install -e '.\[export\]'"):
        export.export_member(finished[0], tmp_path / "best", 0, "best", ["safetensors"])
    assert not (tmp_path / "best").exists()


def test_an_export_that_fails_leaves_nothing(finished: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(safetensors_files, "save_params", fail)
    with pytest.raises(OSError, match="the disk is full"):
        export.export_member(finished[0], tmp_path / "best", 0, "best", ["orbax", "safetensors"])
    assert not list(tmp_path.iterdir())
