from pathlib import Path

import pytest

from experiments.ablation.record_files import read_record
from experiments.benchmarks import parallel_newton


def test_the_record_holds_the_claim():
    """Both cells, both widths, at initial and trained weights: in chunks all converge, and outputs are the same."""
    lines = read_record(parallel_newton.RECORD)
    cells = {(line["cell"], int(line["width"]), line["solver"], line["weights"], line["chunk"]) for line in lines}
    assert cells == {
        (cell, width, solver, weights, str(chunk or parallel_newton.LENGTH))
        for cell in ("lstm", "gru")
        for solver, width in parallel_newton.SOLVER_WIDTHS.items()
        for weights in ("initial", f"after {parallel_newton.STEPS} steps")
        for chunk, _ in parallel_newton.SCHEDULES
    }
    assert {(int(line["length"]), int(line["of"])) for line in lines} == {
        (parallel_newton.LENGTH, parallel_newton.BATCH)
    }
    for line in lines:
        if int(line["chunk"]) < parallel_newton.LENGTH:
            assert line["converged"] == line["of"]
        assert float(line["difference"]) <= parallel_newton.TOLERANCE, (
            "where it did not converge the scan ran, to the same"
        )
    assert parallel_newton.format_verdict(lines).startswith("reproduced")


def test_what_did_not_converge_or_is_too_far_is_told():
    line = {"converged": "4", "of": "4", "difference": "1e-6"}
    assert parallel_newton.format_verdict([line]).startswith("reproduced")
    assert parallel_newton.format_verdict([line, line | {"difference": "1e-4"}]).startswith("contradicted")
    told = parallel_newton.format_verdict([line, line | {"converged": "3", "difference": "1e-4"}])
    assert told.startswith("reproduced")
    assert "1 of 2 lines converged" in told


def test_a_small_one_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Trained, solved and timed; its lines are those of the record."""
    monkeypatch.setattr(parallel_newton, "SOLVER_WIDTHS", {"quasi": 4})
    monkeypatch.setattr(parallel_newton, "SCHEDULES", ((8, "sequential"),))
    lines = list(parallel_newton.measure_rows(["gru"], tmp_path, length=20, steps=2))
    assert [line["weights"] for line in lines] == ["initial", "after 2 steps"]
    assert list(lines[0]) == list(read_record(parallel_newton.RECORD)[0])
    for line in lines:
        assert line["converged"] == line["of"] == parallel_newton.BATCH
        assert float(line["difference"]) < 1e-5
        assert 0 < float(line["rounding"]) < 1e-5
        assert len(parallel_newton.format_row(line).split()) >= len(parallel_newton.COLUMNS)
