"""Loggers beside metrics.jsonl, and the profile: what they write, and that none of them stops a run."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny_config
from tests.training import FOUR, SEEDS, read_rows, refusal_line
from training import builder, loggers, loop
from training.ensemble import EnsemblePlan, plan_ensemble
from training.loggers import LoggedRun, OptionalLoggers

SHORT = {"training.steps": 10, "training.eval_every": 5}


def describe(workdir: Path, step: int = 0, fields: dict[str, Any] | None = None) -> LoggedRun:
    """A run of a few members, as a logger is told of it."""
    workdir.mkdir(exist_ok=True)
    run = builder.build_run(tiny_config(fields=fields))
    return LoggedRun(run, workdir, plan_ensemble(run.config), step)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Failing:
    """A logger that fails at a call of the test's choice, and counts how often it was called."""

    at, calls = "", 0

    def __init__(self, logged: LoggedRun):
        self._fail("start")

    def _fail(self, place: str) -> None:
        type(self).calls += 1
        if self.at == place:
            raise RuntimeError("the server\nis gone")

    def write_scalars(self, *_: Any) -> None:
        self._fail("write")

    def close(self) -> None:
        self._fail("close")


def test_csv_files_hold_what_metrics_jsonl_holds(tmp_path: Path):
    workdir = tmp_path / "run"
    loop.train(tiny_config(fields={**SHORT, **FOUR}), workdir, tensorboard=False, loggers=["csv"])
    for split in ("train", "validation", "test"):
        rows = read_table(workdir / "csv" / f"{split}.csv")
        expected = read_rows(workdir, split)
        assert [int(row["step"]) for row in rows[::4]] == [row["step"] for row in expected]
        for member in range(4):
            own = [row for row in rows if row["member"] == str(member)]
            assert {row["seed"] for row in own} == {str(SEEDS[member % 2])}
            for name in {"loss", "accuracy", "gradient_norm"} & rows[0].keys():
                assert [float(row[name]) for row in own] == [row[name][member] for row in expected]
        assert ("gradient_norm" in rows[0]) == (split == "train")


def test_members_are_told_apart_by_all_that_they_have_of_their_own(tmp_path: Path):
    own = {"ensemble.weight_decays": (0.0, 0.1), "ensemble.momenta": (0.9, 0.95)}
    logged = describe(tmp_path / "run", fields={"optimizer.name": "adamw", **own})
    assert len(set(logged.member_names)) == 4
    assert [logged.member_config(member)["optimizer.weight_decay"] for member in range(4)] == list(
        logged.plan.weight_decays
    )
    loggers.CsvLogger(logged).write_scalars(5, "train", {"loss": np.ones(4)})
    rows = read_table(tmp_path / "run" / "csv" / "train.csv")
    told = {(float(row["weight_decay"]), float(row["momentum"])) for row in rows}
    assert told == {(decay, momentum) for decay in (0.0, 0.1) for momentum in (0.9, 0.95)}


def test_a_resumed_run_writes_no_row_of_a_csv_file_twice(tmp_path: Path):
    first = loggers.CsvLogger(describe(tmp_path / "run"))
    for step in (5, 10, 15):
        first.write_scalars(step, "train", {"loss": np.array([step], np.float32)})
    path = tmp_path / "run" / "csv" / "train.csv"
    path.write_text(path.read_text() + "20,0,0,0.0")  # killed in the middle of a line
    second = loggers.CsvLogger(describe(tmp_path / "run", step=10))
    second.write_scalars(15, "train", {"loss": np.array([np.nan], np.float32)})
    assert [(row["step"], row["loss"]) for row in read_table(path)] == [("5", "5"), ("10", "10"), ("15", "nan")]
    with pytest.raises(ValueError, match=r"train.csv has columns for loss, and this run logs accuracy"):
        second.write_scalars(20, "train", {"accuracy": np.array([1], np.float32)})


@pytest.mark.parametrize(("at", "calls"), [("start", 1), ("write", 2), ("close", 4)])
def test_a_logger_that_fails_says_one_line_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], at: str, calls: int
):
    monkeypatch.setitem(loggers.LOGGERS, "failing", type("Fails", (Failing,), {"at": at}))
    opened = OptionalLoggers(["failing", "csv"], describe(tmp_path / "run"))
    for step in (5, 10):
        opened.write_scalars(step, "train", {"loss": np.array([1], np.float32)})
    opened.close()
    told = capsys.readouterr().err
    assert told == "the logger failing has failed, and the run goes on without it: RuntimeError: the server is gone\n"
    assert len(read_table(tmp_path / "run" / "csv" / "train.csv")) == 2
    assert loggers.LOGGERS["failing"].calls == calls  # type: ignore[attr-defined]


def test_loggers_change_no_bit_and_a_run_finishes_without_those_that_are_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)  # as where it is not installed
    plain = loop.train(tiny_config(fields=SHORT), tmp_path / "plain", tensorboard=False)
    given = loop.train(tiny_config(fields=SHORT), tmp_path / "given", tensorboard=False, loggers=["wandb", "csv"])
    assert given["members"] == plain["members"]
    assert given["key"] == plain["key"]
    assert "it needs wandb; pip install -e '.[wandb]' installs it\n" in capsys.readouterr().err
    assert (tmp_path / "given" / "csv" / "train.csv").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"loggers": ["wandbb"]}, "--loggers=wandbb: must be one of csv, wandb, mlflow; did you mean wandb?"),
        ({"loggers": "csv"}, "loggers='csv': give a list of names, as ['csv']"),
        ({"profile_calls": -1}, "profile_calls=-1: must be a whole number, 0 or more"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict, expected: str
):
    assert refusal_line(tiny_config(), tmp_path / "run", capsys, **options) == f"error: {expected}"
    assert not (tmp_path / "run").exists()


def test_a_profile_of_calls_is_written_and_changes_no_bit(
    tmp_path: Path, finished: tuple[Path, Any], capsys: pytest.CaptureFixture[str]
):
    result = loop.train(tiny_config(fields=FOUR), tmp_path / "run", tensorboard=False, profile_calls=2)
    assert result["members"] == finished[1]["members"]
    assert "train: a profile of 2 calls is in " in capsys.readouterr().err
    assert list((tmp_path / "run" / "profile").rglob("*.trace.json.gz"))


def test_a_run_with_fewer_calls_than_are_to_be_profiled_ends_its_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    loop.train(tiny_config(fields=SHORT), tmp_path / "two", tensorboard=False, profile_calls=9)
    assert "a profile of 1 call is in " in capsys.readouterr().err
    one = {"training.steps": 5, "training.eval_every": 5}
    loop.train(tiny_config(fields=one), tmp_path / "one", tensorboard=False, profile_calls=9)
    assert "nothing was profiled, since there was no call after the first" in capsys.readouterr().err


def test_wandb_gets_a_run_for_each_member_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    logger = loggers.WandbLogger(describe(tmp_path / "run", fields={"ensemble.seeds": (0, 1)}))
    logger.write_scalars(5, "train", {"loss": np.array([1, np.nan], np.float32)})
    logger.close()
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))) == 2


def test_mlflow_gets_a_run_for_each_member_and_a_resumed_run_goes_on_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for step in (0, 5):
        logger: Any = loggers.MlflowLogger(describe(tmp_path / "run", step, {"ensemble.seeds": (0, 1)}))
        logger.write_scalars(step + 5, "train", {"loss": np.array([1, 2], np.float32)})
        logger.close()
    for member, run_id in enumerate(logger.run_ids):
        history = logger.client.get_metric_history(run_id, "train/loss")
        assert [(point.step, point.value) for point in history] == [(5, member + 1), (10, member + 1)]
        assert logger.client.get_run(run_id).data.params["seed"] == str(member)


def test_a_member_is_named_by_its_number_seed_and_rate(tmp_path: Path):
    logged = describe(tmp_path / "run")._replace(plan=EnsemblePlan("map", 1, (3, 4), (0.1, 1e-5)))
    assert logged.member_names == ["member0-seed3-rate0.1", "member1-seed4-rate1e-05"]
    assert logged.member_config(1)["seed"] == 4
    assert json.dumps(logged.member_config(0))
    assert os.listdir(tmp_path / "run") == []
