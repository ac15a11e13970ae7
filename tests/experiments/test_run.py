import sys
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from experiments import run
from experiments.ablation import dry_run, record_files, runner, study, trials
from experiments.ablation.study import claim_above, claim_below
from experiments.reporting import study_report
from training import cli

STUDY = study.load_study("lines")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["model.depth=1", "2", "model.activation=relu"], {"model.depth": ["1", "2"], "model.activation": ["relu"]}),
        (["depth=4"], {"model.depth": ["4"]}),
        ([], {}),
    ],
)
def test_filters(words: list[str], found: dict[str, list[str]]):
    assert study.parse_filter(words, STUDY) == found


def test_a_label_may_have_an_equals_sign_in_it():
    projections = study.load_study("projections")
    for words in (["projections=Q=K", "Q=K=V"], ["projections=Q=K", "projections=Q=K=V"]):
        assert study.parse_filter(words, projections) == {"projections": ["Q=K", "Q=K=V"]}


def test_bad_filters(tmp_path: Path):
    with pytest.raises(ValueError, match=r"--filter=relu: write AXIS=LABEL,LABEL with AXIS one of model\.activation"):
        study.parse_filter(["relu"], STUDY)
    for words, message in ((["deph=1"], r"--filter=deph: must be one of"), (["depth=3"], r"depth=3: must be one of 1")):
        selected = study.parse_filter(words, STUDY)
        with pytest.raises(ValueError, match=message):
            dry_run.describe_plan("lines", STUDY, STUDY.scales["smoke"], tmp_path, "data", selected)


def test_the_list_has_every_study_once_with_its_row():
    told = run.list_studies().splitlines()
    assert sorted(line[8:].split()[0] for line in told) == study.study_names()
    assert told[0].startswith("row 1   lines ")


def test_a_dry_run_trains_nothing_and_says_how_much_there_is(tmp_path: Path):
    told = dry_run.describe_plan("lines", STUDY, STUDY.scales["quick"], tmp_path, "data", {"model.depth": ["1"]})
    assert "lines: 24 cells to run in 8 programs" in told  # four activations: three rates, then three seeds
    assert "MiB at once" in told
    assert not (tmp_path / "groups").exists()


def test_a_study_that_was_edited_since_its_record_tells_a_dry_run_no_times(monkeypatch: pytest.MonkeyPatch):
    load = run.load_study
    whole = run.read_all_records()
    monkeypatch.setattr(run, "load_study", lambda name: STUDY if name == "shape" else load(name))
    others = run.read_all_records()
    assert 0 < len(others) < len(whole)


def call(*words: str) -> None:
    """What `python -m experiments.run` does with these words."""
    values = flags.FlagValues()
    before, run.flags.FLAGS = run.flags.FLAGS, values
    try:
        run.define_flags(values)
        values(["run", *words])
        run.main()
    finally:
        run.flags.FLAGS = before


def test_the_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Some settings, trained, judged and written; what the filter left out is told as such by the claims."""
    affine = claim_below("With identity a network is affine", {"model.activation": "identity"}, 1e-4, metric="affine")
    bent = claim_above("With relu it is not", {"model.activation": "relu"}, 0.1, metric="affine")
    small = STUDY._replace(
        fixed={**STUDY.fixed, "model.depth": 1},
        grid={"model.activation": ("identity", "relu")},
        claims=(affine, bent),
    )
    monkeypatch.setattr(run, "load_study", lambda name: small)
    words = ["--study=lines", "--scale=smoke", f"--workdir={tmp_path}", "--filter=activation=identity"]
    call(*words)
    out = capsys.readouterr().out
    assert "identity" in out
    assert "reproduced: With identity a network is affine" in out
    assert "not run: With relu it is not" in out
    assert (tmp_path / "lines-smoke-some" / "report.html").exists()
    call(*words)
    again = capsys.readouterr().out
    assert again.strip().splitlines()[-1] == out.strip().splitlines()[-1]
    assert " s\n" not in again.split("setting")[0]  # nothing was run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--study=lnes"], r"--study=lnes: must be one of .*did you mean lines\?"),
        (["--study=lines", "--scale=quik"], r"--scale=quik: must be one of .*did you mean quick\?"),
        ([], r"give --study=NAME, with NAME one of alignment"),
        (
            ["--study=lines", "--scale=full", "--table"],
            r"there is no record of lines at scale full; run it with --record",
        ),
        (["--study=lines", "--scale=smoke", "--record", "--filter=depth=1"], r"--record: there is no record yet"),
    ],
)
def test_bad_words(words: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        call(*words)


def test_some_settings_of_a_record_are_renewed_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """To the byte, but for the last line, which answers for all; the new rows have their own revision."""
    path = study_report.record_path("lines", "quick")
    (tmp_path / "studies").mkdir()
    copy = tmp_path / "studies" / path.name
    copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(study_report, "RECORDS_DIR", tmp_path)
    before = study_report.read_study_record("lines", STUDY, "quick")
    labels = {"model.activation": "relu", "model.depth": 1}

    def renewed(*_: Any, selected: Any, **__: Any) -> list[trials.TrialRecord]:
        assert selected == {"model.activation": ["relu"], "model.depth": ["1"]}
        return [
            line._replace(
                result={**line.result, "revision": "f" * 40, "measured": {"affine": 1}, "baseline": ("x", 0.5)}
            )
            for line in before
            if line.labels == labels
        ]

    monkeypatch.setattr(runner, "run_study", renewed)
    call("--study=lines", "--record", "--filter=activation=relu,depth=1", f"--workdir={tmp_path / 'work'}")
    rows, old = record_files.read_record(copy), record_files.read_record(path)
    assert len(rows) == len(old)
    mine = 0
    for row, was in zip(rows, old, strict=True):
        if {axis: row[axis] for axis in labels} == {"model.activation": "relu", "model.depth": "1"}:
            assert (row["revision"], row["measures"]) == ("f" * 12, "affine:1")
            assert len(row["claims"].split(";")) == len(STUDY.claims)
            mine += 1
        else:
            assert row == was | {"measures": "", "looks": "", "claims": ""}
        assert row["test"] == was["test"]
    assert 0 < mine < len(rows)
    assert [line[:4] for line in study_report.read_study_record("lines", STUDY, "quick")] == [
        line[:4] for line in before
    ]
    again = copy.read_bytes()
    call("--study=lines", "--record", "--filter=activation=relu,depth=1", f"--workdir={tmp_path / 'work'}")
    assert copy.read_bytes() == again
    lost = [line for line in renewed(selected={"model.activation": ["relu"], "model.depth": ["1"]}) if line.seed]
    with pytest.raises(ValueError, match=r"lines-quick\.csv: the record lacks activation relu, depth 1, seed 0"):
        study_report.write_study_record("lines", STUDY, "quick", lost)
    assert copy.read_bytes() == again


def test_the_table_says_what_is_of_older_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(run, "outdated_records", lambda lines, *_: [])
    call("--study=lines", "--table")
    assert "older code" not in capsys.readouterr().out
    monkeypatch.setattr(run, "outdated_records", lambda lines, *_: lines[:1])
    call("--study=lines", "--table")
    out = capsys.readouterr().out
    assert "†: 1 of " in out
    assert "cells are of older code" in out
    assert "identity, depth 1 †" in out or "identity, 1 †" in out


def test_a_record_that_is_cut_at_the_end_of_a_line_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = study_report.record_path("lines", "quick")
    (tmp_path / "studies").mkdir()
    copy = tmp_path / "studies" / path.name
    monkeypatch.setattr(study_report, "RECORDS_DIR", tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (0, 1, 2, len(lines) // 2, len(lines) - 1):
        copy.write_bytes(b"".join(lines[:kept]))
        with pytest.raises(ValueError, match=rf"{copy} is (cut|damaged)") as caught:
            call("--study=lines", "--table")
        assert "\n" not in str(caught.value)
    rows = record_files.read_record(path)[:-1]  # whole by its checksums
    record_files.write_record(copy, list(rows[0]), [list(row.values()) for row in rows])
    with pytest.raises(ValueError, match=rf"{copy}: the record lacks .*, seed 2 \(report\)"):
        call("--study=lines", "--table")


def test_command_told_gives_one_line(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.report_errors(lambda: call("--study=lnes"))
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sys.exc_info()[0] is None
