"""Exports and runs as they are loaded, with and without the data that they were trained on."""

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import data
import tasks
from configs import text as text_config
from tests import (
    assert_same,
    read_checkpoint,
    tiny_config,
)
from tests.training import score_split
from training import builder, export, files, loop, trainer
from training.result import RunResult


def test_what_is_exported_from_four_devices_is_read_on_one(on_four_devices: Path, tmp_path: Path):
    export.export_member(on_four_devices, tmp_path / "best", 1, "best")
    run, params = export.load_exported(tmp_path / "best")
    outputs, _ = run.model.apply({"params": params}, jnp.zeros((1, 8), jnp.int32))
    assert np.isfinite(outputs).all()


@pytest.mark.parametrize("index", [0, 3])
def test_an_exported_member_scores_what_was_logged(finished: tuple[Path, RunResult], tmp_path: Path, index: int):
    workdir, result = finished
    member = result["members"][index]
    export.export_member(workdir, tmp_path / "best", index, "best")
    run, params = export.load_exported(tmp_path / "best")
    state = trainer.init_train_state(run, member["seed"], member["learning_rate"])._replace(params=params)
    for split in ("validation", "test"):
        scored = score_split(run, state, split)
        assert float(scored["score"]) == pytest.approx(member[split], abs=1e-6)
    assert run.config["ensemble"]["seeds"] == [member["seed"]]
    assert run.config["ensemble"]["learning_rates"] == [member["learning_rate"]]


def test_a_run_is_loaded_where_it_lies_as_it_would_be_exported(finished: tuple[Path, RunResult], tmp_path: Path):
    export.export_member(finished[0], tmp_path / "best", 2, "best")
    (ours, params), (theirs, exported) = export.load(finished[0], member=2), export.load(tmp_path / "best")
    assert_same(jax.device_get(params), jax.device_get(exported))
    assert files.to_jsonable(ours.config) == files.to_jsonable(theirs.config)


def test_an_export_is_not_trained_on(finished: tuple[Path, RunResult], tmp_path: Path):
    export.export_member(finished[0], tmp_path / "best", 0, "best")
    before = sorted(path.name for path in (tmp_path / "best").iterdir())
    with pytest.raises(
        ValueError, match="best is an exported model, which can't be trained on; give another --workdir"
    ):
        loop.train(tiny_config(), tmp_path / "best", tensorboard=False)
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == before


def test_an_export_leaves_a_half_written_checkpoint_alone(finished: tuple[Path, RunResult], tmp_path: Path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    half = workdir / "checkpoints" / "99.orbax-checkpoint-tmp"
    half.mkdir()
    export.export_member(workdir, tmp_path / "best", 0, "best")
    assert half.exists()


def test_an_export_of_another_version_is_refused(finished: tuple[Path, RunResult], tmp_path: Path, monkeypatch: Any):
    export.export_member(finished[0], tmp_path / "best", 0, "best")
    monkeypatch.setattr(builder, "VERSION", builder.VERSION + 1)
    with pytest.raises(ValueError, match=r"was made by versions .*; check out the revision"):
        export.load_exported(tmp_path / "best")


def test_an_export_of_the_last_parameters_is_read_by_orbax_itself(finished: tuple[Path, RunResult], tmp_path: Path):
    workdir, _ = finished
    export.export_member(workdir, tmp_path / "last", 2, "last")
    with ocp.StandardCheckpointer() as checkpointer:
        params = checkpointer.restore((tmp_path / "last" / "params").absolute())
    assert_same(params, jax.tree.map(lambda leaf: leaf[2], read_checkpoint(workdir)["params"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"workdir": "nowhere"}, "nowhere holds no run"),
        ({"index": 4}, "--member=4: .* has members 0 to 3"),
        ({"index": -1}, "--member=-1: .* has members 0 to 3"),
    ],
)
def test_an_export_that_cannot_be(finished: tuple[Path, RunResult], tmp_path: Path, flags: dict, message: str):
    workdir = tmp_path / flags["workdir"] if "workdir" in flags else finished[0]
    with pytest.raises(ValueError, match=message):
        export.export_member(workdir, tmp_path / "to", flags.get("index", 0), "best")
    assert not (tmp_path / "to").exists()


def test_an_export_never_overwrites(finished: tuple[Path, RunResult], tmp_path: Path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="exists already"):
        export.export_member(finished[0], tmp_path, 0, "best")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture(scope="module")
def wrote(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[Path, Path, dict]:
    """A run on characters, what was exported of it, and where its data lie; none of it to be written to."""
    from configs.shakespeare import get_config

    root = tmp_path_factory.mktemp("wrote")
    (root / "data").symlink_to(data_dir)
    config: Any = get_config("rnn")
    shrink = {"model.width": 8, "model.depth": 1, "training.steps": 4, "training.batch_size": 4, "task.max_length": 16}
    config.update_from_flattened_dict({**shrink, "training.steps_per_call": 2, "training.eval_every": 2})
    loop.train(config, root / "run", data_dir=root / "data", tensorboard=False)
    export.export_member(root / "run", root / "best", 0, "best")
    return root, root / "best", config.to_dict()


def test_the_data_are_in_the_key_and_a_run_does_not_go_on_with_others(wrote: tuple[Path, Path, dict], monkeypatch: Any):
    root, _, config = wrote
    mine = files.read_json(root / "run" / "result.json")["key"]
    assert files.read_json(root / "run" / "config.json")["versions"]["data"] == data.data_fingerprint(
        "shakespeare", root / "data"
    )
    monkeypatch.setattr(data, "data_fingerprint", lambda *_: "0123456789abcdef")
    other = builder.build_run(config, root / "data").config
    assert files.fingerprint(builder.fingerprint_fields(other)) != mine
    with pytest.raises(
        ValueError, match=r"holds another config's run \(versions.data is '\w+', not '0123456789abcdef'\)"
    ):
        loop.train(config, root / "run", data_dir=root / "data", tensorboard=False)


def test_an_export_stands_alone(wrote: tuple[Path, Path, dict], monkeypatch: Any, tmp_path: Path):
    """Without the data, and without the package that they are from, it is the same model of the same letters."""
    root, best, _ = wrote
    whole, params = export.load(root / "run", root / "data")
    monkeypatch.setattr(data, "load_dataset", None)
    monkeypatch.setattr(data, "data_fingerprint", None)
    run, exported = export.load_exported(best)
    assert run.task.names == whole.task.names
    assert (run.task.vocabulary, run.task.max_length) == (whole.task.vocabulary, 16)
    assert run.task.encode("ROMEO") == whole.task.encode("ROMEO")
    tokens = jnp.array([run.task.encode("ROMEO")])
    assert_same(*(one.model.apply({"params": p}, tokens) for one, p in ((run, exported), (whole, params))))
    assert files.to_jsonable(run.config) == files.to_jsonable(whole.config)
    with pytest.raises(TypeError):  # no sequence is made up
        run.task.sample(tasks.random_key(0), 1, 16, 16)


def test_an_export_has_its_data_where_they_are_the_same_and_its_own_letters_everywhere(
    wrote: tuple[Path, Path, dict], monkeypatch: Any
):
    root, best, _ = wrote
    run, _ = export.load(best, root / "data")
    assert len(run.task.text["train"]) > 10_000
    load, alphabet = data.load_dataset, run.task.alphabet

    def missing(name: str, data_dir: Any) -> str:
        raise FileNotFoundError(f"{name} is not installed")

    def other(name: str, data_dir: Any) -> dict[str, Any]:
        return {**load(name, data_dir), "alphabet": alphabet[::-1]}

    monkeypatch.setattr(data, "load_dataset", other)
    monkeypatch.setattr(data, "data_fingerprint", lambda *_: "0123456789abcdef")
    run, _ = export.load(best, root / "data")
    assert run.task.alphabet == alphabet
    assert not hasattr(run.task.text["train"], "tobytes")
    with pytest.raises(ValueError, match=r"was made by versions .*; check out the revision"):
        export.load_exported(best, root / "data")
    monkeypatch.setattr(data, "data_fingerprint", missing)
    assert export.load(best, root / "data")[0].task.alphabet == alphabet


def test_a_run_is_loaded_without_its_files_where_they_are_gone_or_have_changed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    source = train_on_notes(tmp_path)
    text = source.read_text()
    capfd.readouterr()
    run, params = export.load(tmp_path / "run", tmp_path / "data")
    assert len(run.task.text["train"]) > 100
    assert capfd.readouterr().err == ""
    for fate in ("have changed", "are gone"):
        source.write_text(text[:-40]) if fate == "have changed" else source.unlink()
        loaded, same = export.load(tmp_path / "run", tmp_path / "data")
        assert capfd.readouterr().err == (
            f"{tmp_path / 'run'}: the files that it was trained on {fate}, so the model is loaded without data\n"
        )
        assert loaded.task.encode("true") == run.task.encode("true")
        assert_same(jax.device_get(same), jax.device_get(params))
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):  # training needs them
        loop.train({**run.config, "training": {**run.config["training"], "steps": 8}}, tmp_path / "other")


def test_a_loaded_export_prepares_no_files_of_a_user(tmp_path: Path):
    source = train_on_notes(tmp_path)
    export.export_member(tmp_path / "run", tmp_path / "export", 0, "best")
    run, _ = export.load(tmp_path / "export", tmp_path / "elsewhere")
    assert isinstance(run.task.text["train"], jax.ShapeDtypeStruct)
    assert run.task.decode(run.task.encode("true")) == "true"
    assert not list((tmp_path / "elsewhere").rglob("manifest.json"))
    run, _ = export.load(tmp_path / "export", tmp_path / "data")
    assert len(run.task.text["train"]) > 100, "what is prepared is there"
    source.unlink()
    run, _ = export.load(tmp_path / "export", tmp_path / "data")
    assert run.task.encode("true"), "and without the files an export stands alone"


def train_on_notes(folder: Path) -> Path:
    """A run in `folder`/run on a text of its own; the text's path."""
    source = folder / "notes.txt"
    source.write_text("\n\n".join(f"{i}: as true as {i * i}. " * 20 for i in range(40)))
    config: Any = text_config.get_config("rnn")
    config.task.update(path=str(source), max_length=8)
    config.model.update(width=8, depth=1)
    config.training.update(steps=4, steps_per_call=2, eval_every=4, batch_size=2)
    loop.train(config, folder / "run", data_dir=folder / "data", tensorboard=False)
    return source
