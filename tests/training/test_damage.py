"""Files of a run that are not as they were written: a line that names them, and never another result."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_config
from training import builder, cli, ensemble, export, files, loop, metrics
from training.result import RunResult

SCHEMAS = {
    "config.json": files.CONFIG_SCHEMA,
    "group.json": files.GROUP_SCHEMA,
    "result.json": files.RESULT_SCHEMA,
    "environment.json": files.ENVIRONMENTS_SCHEMA,
}
FIELDS: dict[str, Any] = {"ensemble.seeds": (0, 1), "ensemble.mode": "map"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, RunResult]:
    """A finished run and one stopped at step 20, neither to be written to, and how both end."""
    root = tmp_path_factory.mktemp("runs")
    result = loop.train(tiny_config(fields=FIELDS), root / "whole", tensorboard=False)

    class Display(loop.ProgressBar):
        def update(self, done: int, **values: float) -> None:
            if done == 20:
                signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "ProgressBar", Display)
        with pytest.raises(cli.Preempted):
            loop.train(tiny_config(fields=FIELDS), root / "half", tensorboard=False, save_seconds=0)
    return root / "whole", root / "half", result


def damages(value: Any) -> Iterator[tuple[str, bytes]]:
    """JSON that is something else than `value`: of another type, without a field, with another type or number in it,
    nested too deep for anyone, or with what is no number of JSON."""
    for other in ({}, [], None, 3, "x", [value], True):
        yield f"all {other!r:.20}", json.dumps(other).encode()
    yield "deep", b"[" * 100_000 + b"]" * 100_000
    yield "deep field", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "nan", b'{"checksum": NaN}'
    yield "text", b"\xff\xfe"
    if not isinstance(value, dict):
        return
    for path, part in walk_fields(value):
        *parents, last = path
        for name, change in {
            "gone": None, "null": lambda _: None, "list": lambda old: [old], "text": lambda old: f"{old}?",
            "digit": lambda old: old + 1 if isinstance(old, (int, float)) else [old, old],
        }.items():  # fmt: skip
            copy = json.loads(json.dumps(value))
            at = copy
            for step in parents:
                at = at[step]
            if change is None:
                del at[last]
            else:
                at[last] = change(part)
            if copy != value:
                yield f"{'.'.join(map(str, path))} {name}", json.dumps(copy).encode()


def walk_fields(value: dict[str, Any]) -> Iterator[tuple[list[Any], Any]]:
    """The paths of an object's fields, and of theirs, and what is there."""
    for name, part in value.items():
        yield [name], part
        if isinstance(part, dict):
            yield from (([name, *path], hidden_size) for path, hidden_size in walk_fields(part))


@pytest.mark.parametrize("name", SCHEMAS)
def test_any_other_json_is_damaged_in_one_line(runs: tuple[Path, Path, RunResult], tmp_path: Path, name: str):
    path, written = tmp_path / name, json.loads((runs[0] / name).read_text())
    path.write_bytes((runs[0] / name).read_bytes())
    whole, count = files.read_json(path, SCHEMAS[name]), 0
    for damage, contents in damages(written):
        path.write_bytes(contents)
        if damage == "checksum gone":  # as in a file of older code
            assert files.read_json(path, SCHEMAS[name]) == whole
            continue
        with pytest.raises(ValueError, match=r"^[^\n]{,400}$") as error:
            files.read_json(path, SCHEMAS[name])
        assert str(error.value).startswith(f"{path} is damaged ("), damage
        count += 1
    assert count >= 8


@pytest.mark.parametrize("name", ["config.json", "group.json", "result.json"])
def test_a_run_with_another_number_in_a_file_is_refused(runs: tuple[Path, Path, RunResult], tmp_path: Path, name: str):
    """Even where the checksum is right, as it is of a file that was copied from elsewhere."""
    workdir = shutil.copytree(runs[0] if name == "result.json" else runs[1], tmp_path / "run")
    value = files.read_json(workdir / name)
    if name == "config.json":
        value["optimizer"]["grad_clip_norm"] = 2.0
    elif name == "group.json":
        value["seeds"] = [0, 2]
    else:
        value["key"] = "0" * 16
    files.write_json(workdir / name, value)
    with pytest.raises(ValueError, match=r"holds another config's run|not of the same seeds|is of another run"):
        loop.train(tiny_config(fields=FIELDS), workdir, tensorboard=False)


def as_another_run(workdir: Path, config: Any) -> None:
    """Give a finished run the config.json and group.json of `config`, and take its result.json away."""
    files.write_json(workdir / "config.json", builder.build_run(config).config)
    files.write_json(workdir / "group.json", ensemble.plan_ensemble(config)._asdict())
    (workdir / "result.json").unlink()


def test_a_checkpoint_of_other_seeds_than_the_group_is_refused(runs: tuple[Path, Path, RunResult], tmp_path: Path):
    """As when the files of one run are put beside the checkpoints of another."""
    workdir, config = (
        shutil.copytree(runs[0], tmp_path / "run"),
        tiny_config(fields={**FIELDS, "ensemble.seeds": (0, 3)}),
    )
    as_another_run(workdir, config)
    with pytest.raises(ValueError, match=r"checkpoints/40 is of another run than config\.json describes"):
        loop.train(config, workdir, tensorboard=False)
    with pytest.raises(ValueError, match=r"checkpoints/40 is of another run than config\.json describes"):
        export.export_member(workdir, tmp_path / "best", 0, "best")
    assert not (tmp_path / "best").exists()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose_a_row(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"step": 10, "split": "validation"' not in line))


def change_a_digit(path: Path) -> None:
    text = path.read_text()
    at = text.index('"accuracy": [0.') + len('"accuracy": [0.')
    path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])


def other_json(path: Path) -> None:
    path.write_text("[]\n" + path.read_text())


@pytest.mark.parametrize("damage", [Path.unlink, empty, lose_a_row, change_a_digit, other_json])
def test_a_log_that_is_not_whole_is_refused_and_left_alone(
    runs: tuple[Path, Path, RunResult], tmp_path: Path, damage: Callable[[Path], None]
):
    workdir = shutil.copytree(runs[1], tmp_path / "run")
    path = workdir / "metrics.jsonl"
    damage(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(ValueError, match=r"there is no row of \w+ at step \d+, though the run was saved") as error:
        loop.train(tiny_config(fields=FIELDS), workdir, tensorboard=False)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_log_that_is_damaged_behind_the_checkpoint_is_written_again(
    runs: tuple[Path, Path, RunResult], tmp_path: Path
):
    """As a power failure may leave it: everything up to the checkpoint was on the disk, what came behind was not."""
    workdir = shutil.copytree(runs[1], tmp_path / "run")
    with (workdir / "metrics.jsonl").open("ab") as file:
        file.write(b"\0" * 50 + b"\n" + b'{"step": 3')
    result = loop.train(tiny_config(fields=FIELDS), workdir, tensorboard=False)
    assert result["members"] == runs[2]["members"]
    assert len(metrics.read_metrics(workdir / "metrics.jsonl")) == 8 + 2 * 4


def test_scores_are_those_of_the_checkpoint_whatever_the_log_says(runs: tuple[Path, Path, RunResult], tmp_path: Path):
    workdir = shutil.copytree(runs[0], tmp_path / "run")
    (workdir / "result.json").unlink()
    rows = metrics.read_metrics(workdir / "metrics.jsonl")
    (workdir / "metrics.jsonl").unlink()
    log = metrics.MetricWriter(workdir / "metrics.jsonl")
    for row in rows:
        log.write_row(**{**row, "accuracy": [0.123, 0.456]})
    log.close()
    assert loop.train(tiny_config(fields=FIELDS), workdir, tensorboard=False) == runs[2]


def test_a_run_of_older_code_is_named_so(runs: tuple[Path, Path, RunResult], tmp_path: Path):
    """Its files have no checksums."""
    workdir = shutil.copytree(runs[1], tmp_path / "run")
    for name in ("config.json", "group.json"):
        value = files.read_json(workdir / name)
        if name == "config.json":
            value["versions"]["loop"] -= 1
        (workdir / name).write_text(json.dumps(value))
    with pytest.raises(ValueError, match=r"holds another config's run \(versions.loop is \d+, not \d+\)"):
        loop.train(tiny_config(fields=FIELDS), workdir, tensorboard=False)
    with pytest.raises(ValueError, match=r"was made by versions .*; check out the revision"):
        export.load(workdir)


def test_a_rate_that_only_rises_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any):
    monkeypatch.setattr(loop, "MetricLogger", lambda *_, **__: 1 / 0)  # nothing need be trained for it
    for warmup, said in ((40, True), (39, False)):
        with pytest.raises(ZeroDivisionError):
            loop.train(tiny_config(fields={"optimizer.warmup_steps": warmup}), tmp_path / str(warmup))
        line = (
            "train: the learning rate rises in all of the 40 steps and never falls, since optimizer.warmup_steps=40\n"
        )
        assert (line in capsys.readouterr().err) == said


def test_a_checkpoint_of_another_run_of_the_same_shapes_is_refused(runs: tuple[Path, Path, RunResult], tmp_path: Path):
    """As when checkpoints/ was copied from a run of another config: nothing but its key tells it apart."""
    other, config = (
        shutil.copytree(runs[0], tmp_path / "other"),
        tiny_config(fields={**FIELDS, "optimizer.grad_clip_norm": 2.0}),
    )
    as_another_run(other, config)
    for read in (export.load, export.load_members):
        with pytest.raises(ValueError, match=r"checkpoints/\d+ is of another run than config\.json describes"):
            read(other)
    with pytest.raises(ValueError, match=r"checkpoints/\d+ is of another run than config\.json describes"):
        loop.train(config, other, tensorboard=False)


@pytest.mark.parametrize("name", ["15", "37"])
def test_a_renamed_checkpoint_is_refused(runs: tuple[Path, Path, RunResult], tmp_path: Path, name: str):
    workdir = shutil.copytree(runs[1], tmp_path / "run")
    for path in (workdir / "checkpoints").iterdir():
        if path.name != "20":
            shutil.rmtree(path)
    (workdir / "checkpoints" / "20").rename(workdir / "checkpoints" / name)
    with pytest.raises(ValueError, match=rf"checkpoints/{name} is the checkpoint of step 20; give it its own name"):
        loop.train(tiny_config(fields=FIELDS), workdir, tensorboard=False)


def test_an_older_checkpoint_than_the_result_is_not_taken_for_the_newest(
    runs: tuple[Path, Path, RunResult], tmp_path: Path
):
    workdir = shutil.copytree(runs[1], tmp_path / "run")
    shutil.copy(runs[0] / "result.json", workdir)
    with pytest.raises(ValueError, match=r"result\.json is of step 40 and the newest checkpoint of step 20; delete"):
        export.export_member(workdir, tmp_path / "best", 0, "best")
    assert not (tmp_path / "best").exists()


def test_an_export_with_the_parameters_of_another_is_refused(runs: tuple[Path, Path, RunResult], tmp_path: Path):
    for index in (0, 1):
        export.export_member(runs[0], tmp_path / str(index), index, "best")
    shutil.rmtree(tmp_path / "0" / "params")
    shutil.copytree(tmp_path / "1" / "params", tmp_path / "0" / "params")
    for read in (export.load, export.load_exported):
        with pytest.raises(ValueError, match=r"params is of another run than the config\.json beside it"):
            read(tmp_path / "0")


# ---- runs and exports of a revision from before the config fields were renamed ---------------------------------------


def as_of_the_older_revision(directory: Path) -> None:
    """Give config.json the names of fields that it had at revision f72bc2c."""
    config = files.read_json(directory / "config.json")
    config["replicas"] = config.pop("ensemble")
    config["replicas"]["how"] = config["replicas"].pop("mode")
    config["optimizer"]["clip"] = config["optimizer"].pop("grad_clip_norm")
    config["model"]["inner"] = config["model"].pop("hidden_size")
    files.write_json(directory / "config.json", config)


OLDER = r"^\S+ was written by an older revision .*; check out f72bc2c to go on with it, or train anew in another dir"


def test_an_older_run_is_refused_in_one_line_that_names_the_revision(
    runs: tuple[Path, Path, RunResult], tmp_path: Path
):
    workdir = shutil.copytree(runs[1], tmp_path / "run")
    as_of_the_older_revision(workdir)
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    for use in (
        lambda: loop.train(tiny_config(fields=FIELDS), workdir, tensorboard=False),
        lambda: export.load(workdir),
        lambda: export.load_members(workdir),
        lambda: export.export_member(workdir, tmp_path / "best", 0, "best"),
    ):
        with pytest.raises(ValueError, match=OLDER) as error:
            use()
        assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


def test_an_older_export_is_refused_in_one_line_that_names_the_revision(
    runs: tuple[Path, Path, RunResult], tmp_path: Path
):
    export.export_member(runs[0], tmp_path / "best", 0, "best")
    as_of_the_older_revision(tmp_path / "best")
    for read in (export.load, export.load_exported):
        with pytest.raises(ValueError, match=OLDER):
            read(tmp_path / "best")
