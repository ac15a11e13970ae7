"""Runs that begin with the parameters of another: what they begin with, what is recorded, and what is refused."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests import ForkedProgram, assert_same, read_checkpoint, tiny_config, tiny_flags
from tests.training import FOUR, refusal_line
from tests.training.test_stream import make_run
from training import builder, checkpoint, export, files, loop, warm_start
from training.ensemble import init_ensemble, make_mesh, plan_ensemble
from training.result import RunResult
from training.warm_start import InitSource

SHORT = {"training.steps": 10, "optimizer.learning_rate": 1e-3, "optimizer.warmup_steps": 0}


def first_states(config: Any, source: InitSource) -> Any:
    """The states of a run before its first step, as numpy arrays in nested dicts."""
    run, parent = warm_start.resolve_parent(builder.build_run(config), source)
    plan = plan_ensemble(run.config)
    return jax.device_get(warm_start.replace_params(init_ensemble(run, plan, make_mesh(plan)), parent))


def file_stamps(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Times and contents of all files below."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def test_each_member_begins_where_that_of_its_number_was(finished: tuple[Path, RunResult]):
    workdir, _ = finished
    saved = read_checkpoint(workdir)
    last = first_states(tiny_config(fields=FOUR), InitSource(workdir, "last", optimizer=True))
    assert_same(last.params, saved["params"])
    assert_same(last.best_params, saved["params"])
    assert_same(jax.tree.leaves(last.optimizer), jax.tree.leaves(saved["optimizer"]))
    assert last.step.tolist() == [0, 0, 0, 0]
    best = first_states(tiny_config(fields=FOUR), InitSource(workdir))
    assert_same(best.params, saved["best_params"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(best.optimizer))


def test_all_members_can_begin_from_one_and_from_an_export(finished: tuple[Path, RunResult], tmp_path: Path):
    workdir, _ = finished
    expected = jax.tree.map(lambda leaf: np.stack([leaf[2]] * 2), read_checkpoint(workdir)["best_params"])
    config = tiny_config(fields={"ensemble.seeds": (5, 6)})
    assert_same(first_states(config, InitSource(workdir, member=2)).params, expected)
    export.export_member(workdir, tmp_path / "export", 2, "best")
    assert_same(first_states(config, InitSource(tmp_path / "export")).params, expected)


def test_the_key_of_a_run_tells_its_parent_and_only_a_parent_changes_it(finished: tuple[Path, RunResult], tmp_path):
    workdir, result = finished
    for which in ("best", "last"):
        export.export_member(workdir, tmp_path / which, 0, which)
    run = builder.build_run(tiny_config(fields=SHORT))
    sources = [
        *(InitSource(workdir, which, member=member) for which in ("best", "last") for member in (0, 1)),
        InitSource(workdir, "last", optimizer=True, member=0),
        InitSource(tmp_path / "best"),
        InitSource(tmp_path / "last"),
    ]
    children = [warm_start.resolve_parent(run, source)[0] for source in sources]
    keys = [builder.run_fingerprint(child.config) for child in [run, *children]]
    assert len(set(keys)) == len(keys) - (children[0].config["parent"]["steps"] == [0])
    again, _ = warm_start.resolve_parent(run, sources[0])
    assert builder.run_fingerprint(again.config) == keys[1]
    assert children[0].config["parent"]["run"] == result["key"]
    assert children[0].config["parent"]["steps"] == [result["members"][0]["best_step"]]


def test_a_run_that_has_begun_needs_its_parent_no_more_and_never_touches_it(
    finished: tuple[Path, RunResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    parent, child = tmp_path / "parent", tmp_path / "child"
    shutil.copytree(finished[0], parent)
    before = file_stamps(parent)
    options: dict[str, Any] = {"init_from": parent, "init_member": 1, "tensorboard": False}
    config = tiny_config(fields=SHORT)
    result = loop.train(config, child, **options)
    assert file_stamps(parent) == before
    assert "train: begins with the best parameters (step " in capsys.readouterr().err
    assert files.read_json(child / "parent.json")["path"] == str(parent)
    assert files.read_json(child / "config.json")["parent"]["run"] == finished[1]["key"]
    assert result["key"] != builder.run_fingerprint(builder.build_run(config).config)

    run, params = export.load(child)  # as any run is
    assert run.config["parent"]["members"] == [1]
    assert_same(jax.device_get(params), jax.tree.map(lambda leaf: leaf[0], read_checkpoint(child)["best_params"]))
    shutil.rmtree(parent)
    (child / "result.json").unlink()
    again = loop.train(config, child, **options)
    assert again["members"] == result["members"]
    assert "began with the parameters of another; to resume it, give --init_from" in refusal_line(config, child, capsys)
    assert "no run is there" in refusal_line(config, child, capsys, init_from=parent, init_member=0)


@pytest.mark.parametrize(
    ("fields", "source", "expected"),
    [
        ({}, {}, "has 4 members and this run 1; give --member=0 to 3, the one that all begin from"),
        ({}, {"member": 4}, "--member=4: .* has members 0 to 3"),
        (
            {},
            {"member": 0, "optimizer": True},
            "only the optimizer state of the last step is kept; give --init_which=l",
        ),
        ({"task.symbols": 20}, {"member": 0}, r"embed.embedding is float32\[16, 8\], and this run's float32\[20, 8\]"),
        ({"model.depth": 2}, {"member": 0}, "this run has .*1.*, which it has not"),
        ({"model.feedforward": 0.0}, {"member": 0}, "it has feedforward_0.down.bias, which this run has not"),
        ({}, {"member": 0, "directory": "nowhere"}, "--init_from=nowhere: no run is there"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    finished: tuple[Path, RunResult], tmp_path: Path, fields: dict, source: dict, expected: str
):
    options = {f"init_{name}": value for name, value in source.items() if name != "directory"}
    with pytest.raises(ValueError, match=expected) as error:
        loop.train(
            tiny_config(fields=fields), tmp_path / "run", init_from=source.get("directory", finished[0]), **options
        )
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_export_has_no_optimizer_state_and_a_run_is_not_its_own_parent(
    finished: tuple[Path, RunResult], tmp_path: Path
):
    export.export_member(finished[0], tmp_path / "export", 0, "last")
    source = InitSource(tmp_path / "export", "last", optimizer=True)
    with pytest.raises(ValueError, match="has no optimizer state; give --init_from the workdir"):
        warm_start.resolve_parent(builder.build_run(tiny_config()), source)
    with pytest.raises(ValueError, match="is the --workdir too"):
        loop.train(tiny_config(), tmp_path / "export", init_from=tmp_path / "export")
    with pytest.raises(ValueError, match="--init_which=newest"):
        loop.train(tiny_config(), tmp_path / "run", init_from=finished[0], init_which="newest")


def test_a_parent_that_is_being_trained_is_refused(finished: tuple[Path, RunResult]):
    run = builder.build_run(tiny_config())
    with files.lock_directory(finished[0]), pytest.raises(ValueError, match="is in use by another process"):
        warm_start.resolve_parent(run, InitSource(finished[0], member=0))
    with files.lock_directory(finished[0], shared=True):
        warm_start.resolve_parent(run, InitSource(finished[0], member=0))


def test_the_config_of_a_child_is_not_trained_without_its_parent(tmp_path: Path):
    config = {**tiny_config().to_dict(), "parent": {"run": "abc"}}
    with pytest.raises(ValueError, match="began from run abc; give init_from=DIR"):
        loop.train(config, tmp_path / "run")


def test_other_fields_of_the_same_shapes_and_other_symbols_are_named(finished: tuple[Path, RunResult]):
    run = builder.build_run(tiny_config(fields={"model.activation": "relu", "model.dropout": 0.1}))
    _, parent = warm_start.resolve_parent(run, InitSource(finished[0], member=0))
    assert parent.notes == ["model.activation was 'gelu' in the parent and is 'relu' here"]


def test_the_flags_give_what_train_gives_and_a_flag_that_needs_another_says_so(
    finished: tuple[Path, RunResult], program: ForkedProgram, tmp_path: Path
):
    flags = [*tiny_flags(), f"--init_from={finished[0]}", "--member=3"]
    code, out, err = program(*flags, "--dry_run")
    assert code == 0, err
    step = finished[1]["members"][3]["best_step"]
    assert f"begins with the best parameters (step {step}; member 3)\n" in out
    for flag in ("--init_which=last", "--init_optimizer"):
        _, _, err = program(*tiny_flags(), f"--workdir={tmp_path / 'run'}", flag)
        assert err == f"error: {flag.split('=')[0]}: give --init_from=RUN too, the run to begin from\n"
    _, _, err = program(*flags, "--init_optimizer", f"--workdir={tmp_path / 'run'}")
    assert err == "error: --init_optimizer: only the optimizer state of the last step is kept; give --init_which=last\n"
    assert not list(tmp_path.iterdir())


def test_help_names_the_flags_that_other_files_define(program: ForkedProgram):
    _, out, _ = program("--help")
    for name in ("workdir", "data_dir", "export", "init_from", "loggers", "profile"):
        assert f"\n  --{name}:" in out


@pytest.mark.parametrize("name", ["sgd", "lion", "adafactor", "muon"])
def test_the_state_of_any_optimizer_is_found_in_a_checkpoint(name: str, tmp_path: Path):
    """Saved and read as nested dicts, its leaves have the names that they have in a new run."""
    run = builder.build_run(tiny_config(fields={"optimizer.name": name, "optimizer.ema_decay": 0.9}))
    plan = plan_ensemble(run.config)
    states = init_ensemble(run, plan, make_mesh(plan))
    kept = checkpoint.Checkpoints(tmp_path)
    kept.save(1, states)
    kept.wait_until_written()
    saved = kept.restore_numpy()
    arrays, params = (warm_start._named_leaves(saved[part]) for part in ("optimizer", "params"))
    placed = warm_start.replace_params(states, warm_start.Parent({}, params, arrays, []))
    assert_same(jax.device_get(placed), jax.device_get(states))


def test_a_vocabulary_of_the_same_size_with_other_symbols_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    run = make_run(streamed=False)
    names = list(run.task.names)
    names[3], names[4] = names[4], names[3]
    monkeypatch.setattr(warm_start, "_read_task", lambda *_: dataclasses.replace(run.task, names=tuple(names)))
    (note,) = warm_start._describe_differences(tmp_path, run.config, run)
    place = f"the first {run.task.names[3]!r} in place of {names[3]!r}"
    assert note == f"2 of {len(names)} symbols are others than the parent's, {place}"
