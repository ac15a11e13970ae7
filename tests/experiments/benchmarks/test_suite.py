import json
from pathlib import Path

import pytest

import models
from experiments.benchmarks import harness, peak_rates, suite
from experiments.benchmarks.cell import LIBRARY_MIXERS, Cell
from experiments.benchmarks.harness import PlannedCell, cell_key
from experiments.benchmarks.rows import read_rows
from experiments.benchmarks.suite import SuiteOptions
from tests.experiments.benchmarks import KEPT, InProcessWorker
from training import files

SMALL = [PlannedCell("step", Cell("step", "gru", 6, width=8, batch=2), ("ours", "linen"))]
STEPS_ONLY = SuiteOptions(only=["step"], quick=True)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_a_plan_names_each_cell_once_and_only_libraries_there_are(quick: bool, gpu: bool):
    planned = suite.plan_cells(suite.SECTIONS, quick, gpu)
    keys = [cell_key(section, cell) + str(libraries) for section, cell, libraries in planned]
    assert len(set(keys)) == len(keys) > 10
    assert {library for _, _, libraries in planned for library in libraries} <= set(LIBRARY_MIXERS)
    mixers = {cell.mixer for section, cell, _ in planned if section == "step"}
    assert mixers == set(suite.QUICK_MIXERS if quick else models.MIXERS)
    assert all(libraries[0] == "ours" or section == "memory" for section, _, libraries in planned)


def test_rows_are_timed_compared_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(harness, "SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(harness, "Worker", InProcessWorker)
    monkeypatch.setattr(peak_rates, "CALLS", 1)
    monkeypatch.setattr(suite, "plan_cells", lambda *_: SMALL)
    rows = suite.run_suite(STEPS_ONLY, tmp_path / "rows.jsonl")
    rates, ours, linen = rows
    assert rates["section"] == "rates"
    assert (ours["library"], linen["library"]) == ("ours", "linen")
    for row in (ours, linen):
        assert 0 < row["low"] <= row["seconds"] <= row["high"]
        assert row["note"] == ""
    assert (ours["ratio_low"], ours["ratio"], ours["ratio_high"]) == (1, 1, 1)
    assert linen["ratio_low"] <= linen["ratio"] <= linen["ratio_high"]
    assert 0 < ours["share"] < 1

    again = suite.run_suite(STEPS_ONLY, tmp_path / "rows.jsonl")
    assert [row["section"] for row in again] == ["rates", "step", "step"]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["rows"] for line in lines] == files.to_jsonable([[rates], [ours, linen]])
    assert read_rows(tmp_path / "rows.jsonl") == files.to_jsonable(rows)


def test_a_line_that_a_kill_cut_off_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All of a cell, at any place of the cut."""
    monkeypatch.setattr(suite, "plan_cells", lambda *_: [])
    monkeypatch.setattr(suite, "measure_cells", lambda *_: iter(()))
    path = tmp_path / "rows.jsonl"
    first, second = (json.dumps(line) + "\n" for line in KEPT)
    for cut in (1, 20, len(second) // 2, len(second) - 1):
        path.write_text(first + second[:cut])
        assert suite.run_suite(STEPS_ONLY, path) == KEPT[0]["rows"]
        assert path.read_text() == first
    path.write_text(first + second)
    assert suite.run_suite(STEPS_ONLY, path) == KEPT[0]["rows"] + KEPT[1]["rows"]
    path.write_text("".join(json.dumps(row) + "\n" for line in KEPT for row in line["rows"]))  # as before
    assert suite.run_suite(STEPS_ONLY, path) == KEPT[0]["rows"] + KEPT[1]["rows"]
