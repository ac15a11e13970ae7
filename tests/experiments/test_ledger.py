"""The ledger: what it runs and when, how it is stopped and goes on, what it says in the end."""

import os
import runpy
import signal
import sys
from pathlib import Path

import pytest
from absl import flags

from experiments import ledger
from experiments.ablation import study
from experiments.ablation.study import Scale, Study, claim_below
from experiments.measures import registry
from experiments.reporting import ledger_runs, study_report
from experiments.reporting.ledger_runs import is_done, list_runs, schedule_seconds
from training import cli, files
from training.cli import Preempted

SMALL = Study(
    question="How wide is it?",
    paper="Nobody 2000",
    fixed={"config": "recall", "mixer": "attention", "model.depth": 1, "task.max_length": 8, "task.pairs": 2},
    grid={"model.width": (8, 16)},
    trained=False,
    measures=("state",),
    plot_metric="state",
    scales={"smoke": Scale(seeds=(0, 1))},
    claims=(claim_below("Less than 10", {"model.width": 8}, 10, metric="state"),),
)


def run_stand_in() -> None:
    """What is run in place of a command, whose module is named first: the same with a small study, and records in a
    folder of its own.

    The first time, it has the ledger stopped when one setting is measured and the other is not.
    """
    module, folder = sys.argv.pop(1), Path(sys.argv.pop(1))
    study_report.RECORDS_DIR, study.load_study = folder, lambda name: SMALL
    groups_measured = []

    def measure_or_stop(run, names, members):
        groups_measured.append(run)
        if len(groups_measured) == 2 and not (stopped := folder / "stopped").exists():
            stopped.touch()
            os.kill(os.getppid(), signal.SIGTERM)
            signal.pause()
        return [{"state": float(run.config["model"]["width"])} for _ in members]

    registry.evaluate_measures = measure_or_stop
    runpy.run_module(module, run_name="__main__")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a place for records, in a world where every result is `SMALL`."""
    (tmp_path / "records" / "studies").mkdir(parents=True)
    monkeypatch.setattr(study, "load_study", lambda name: SMALL)
    monkeypatch.setattr(study_report, "RECORDS_DIR", tmp_path / "records")
    code = "from tests.experiments.test_ledger import run_stand_in; run_stand_in()"
    for command, module in (("REPRODUCE", "experiments.reproduce"), ("RUN", "experiments.run")):
        monkeypatch.setattr(ledger, command, (sys.executable, "-c", code, module, str(tmp_path / "records")))
    return tmp_path


def call(folder: Path, *words: str) -> None:
    """What `python -m experiments.ledger` does with these words."""
    values = flags.FlagValues()
    before, ledger.flags.FLAGS = ledger.flags.FLAGS, values
    try:
        ledger.define_flags(values)
        values(["ledger", "--scale=smoke", f"--workdir={folder / 'work'}", *words])
        ledger.main()
    finally:
        ledger.flags.FLAGS = before


def test_a_ledger_that_was_stopped_goes_on_and_ends_with_a_table(folder: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--only=slots", "--jobs=2"]
    with pytest.raises(Preempted, match="the same command goes on"):
        call(folder, *words)
    assert "slots-smoke: stopped after" in capsys.readouterr().out
    call(folder, *words)
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("slots")]
    assert [line.split()[:2] for line in lines[:4]] == [
        ["slots-smoke:", "started;"],
        ["slots-smoke:", "done"],
        ["slots-smoke-again:", "started;"],
        ["slots-smoke-again:", "done"],
    ]
    assert lines[4].split()[:5] == ["slots", "✓", "reproduced", "✓", "reproduced"]
    assert "from nothing, with --jobs=2, about 0." in out
    log = (folder / "work" / "slots-smoke.log").read_text()
    assert log.count("width 8  ") == log.count("width 16  ")  # what was measured before the stop was found again

    capsys.readouterr()
    call(folder, *words)
    again = capsys.readouterr().out
    assert again.startswith("0 of 2 to run")
    assert again.splitlines()[-2:] == out.splitlines()[-2:]
    assert log == (folder / "work" / "slots-smoke.log").read_text()

    first, other = list_runs(["slots"], "smoke")
    record = study_report.record_path("slots", "smoke-again")
    record.write_text(record.read_text() + "\n")
    edited = first.study._replace(claims=[SMALL.claims[0]._replace(right=20)])
    longer = first.study._replace(fixed={**SMALL.fixed, "model.depth": 2})
    for run, done in ((first, True), (other, False), *((first._replace(study=one), False) for one in (edited, longer))):
        assert is_done(run, folder / "work", "data") == done


def test_a_run_that_fails_is_told_with_its_last_line_and_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """And the others are run all the same; a record must be there of what is done."""
    code = (
        "import sys; print('working', flush=True)\n"
        "sys.exit('error: out of luck' if '--result=slots' in sys.argv else 0)"
    )
    monkeypatch.setattr(ledger, "REPRODUCE", (sys.executable, "-S", "-c", code))
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"^2 of 2 runs failed: slots-smoke, queries-smoke; the same command tries"
        ):
            call(folder, "--only=slots,queries", "--no_other_seeds", "--jobs=1")
        out = capsys.readouterr().out
        assert "with status 1: error: out of luck\n" in out
        assert "queries-smoke: failed after 0:00 with status 0: working\n" in out
        assert "slots    – not run  – not run         0" in out


def test_a_study_of_the_notes_is_run_once_and_its_claims_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    noted = SMALL._replace(notes_row=12)
    monkeypatch.setattr(study, "load_study", lambda name: noted if name == "heads" else SMALL)
    (folder / "records" / "stopped").touch()
    runs = list_runs(["heads", "slots"], "smoke")
    assert [(run.study_name, run.other_seeds) for run in runs] == [("heads", False), ("slots", False), ("slots", True)]
    assert [run.study_name for run in list_runs([], "smoke", with_other_seeds=False)][-2:] == ["shakespeare", "heads"]
    call(folder, "--only=heads", "--jobs=1")
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("heads "))
    assert row.split()[1:3] == ["1", "reproduced"]
    assert is_done(runs[0], folder / "work", "data")


def test_a_dry_run_runs_nothing_and_says_what_there_is(folder: Path, capsys: pytest.CaptureFixture[str]):
    call(folder, "--only=slots,queries", "--dry_run", "--jobs=2")
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:5]] == [
        "slots-smoke",
        "queries-smoke",
        "slots-smoke-again",
        "queries-smoke-again",
    ]
    assert out.splitlines()[-1] == "4 of 4 to run, 2 at once"  # how long is not known without a record
    assert not (folder / "work").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only=slots,slot"], "--only=slot: must be one of slots, .* did you mean slots?"),
        (["--only=slots", "--scale=smok"], "--scale=smok: must be one of smoke; did you mean smoke?"),
    ],
)
def test_bad_words(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str):
    with pytest.raises(SystemExit) as stopped:
        cli.report_errors(lambda: call(folder, *words))
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: " + message.split(" .* ")[0])
    assert line.endswith(message.split(" .* ")[-1].split("; ")[-1])


def test_what_can_not_be_gone_on_with_is_one_line(folder: Path):
    work = folder / "work"
    (work / "slots").mkdir(parents=True)
    with files.lock_directory(work / "slots"), pytest.raises(ValueError, match=r"slots is in use by another process"):
        call(folder, "--only=slots")
    with files.lock_directory(work), pytest.raises(ValueError, match=r"work is in use by another process"):
        call(folder, "--only=slots")
    (work / "slots-smoke.json").write_text("{}")
    with pytest.raises(ValueError, match=r"slots-smoke\.json is damaged \('record' is a required property\); delete"):
        call(folder, "--only=slots")


def test_first_runs_come_first_and_clocks_last(monkeypatch: pytest.MonkeyPatch):
    timed = SMALL._replace(measures=("state", "step time"))
    monkeypatch.setattr(study, "load_study", lambda name: timed if name == "parallel" else SMALL)
    runs = list_runs(["queries", "parallel", "slots", "queries"], "smoke")
    assert [(run.study_name, run.other_seeds) for run in runs] == [
        *(("queries", False), ("slots", False), ("queries", True), ("slots", True)),
        *(("parallel", False), ("parallel", True)),
    ]
    jobs = [ledger.make_job(run, Path("work"), "data") for run in runs]
    assert [job.alone for job in jobs] == [False] * 4 + [True] * 2
    assert [job.folder.name for job in jobs] == [run.study_name for run in runs]
    assert not any(run.other_seeds for run in list_runs(["parallel", "slots"], "smoke", with_other_seeds=False))
    seconds = {run.name: number for run, number in zip(runs, (4.0, 1, 2, 1, 5, 7), strict=True)}
    assert schedule_seconds(runs, seconds, 2) == 4 + 5 + 7  # 4 beside 1 + 2 + 1
    assert schedule_seconds(runs, seconds, 1) == sum(seconds.values())


def test_times_are_those_of_the_records_and_otherwise_their_mean():
    loaded = study.load_study("memory")
    first = ledger_runs.LedgerRun("memory", loaded, "quick")
    seconds = [ledger_runs.expected_seconds(run) or 0 for run in (first, first._replace(other_seeds=True))]
    assert 0 < seconds[1] < seconds[0]  # the rates are chosen already
    assert ledger_runs.expected_seconds(first._replace(base_scale="full")) is None
    assert ledger_runs.fill_unknown({"a": 1.0, "b": None, "c": 3.0}) == {"a": 1, "b": 2, "c": 3}
    assert ledger_runs.fill_unknown({"a": None}) == {}
