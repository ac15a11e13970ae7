"""The command: what it refuses before it runs anything, and which record it writes."""

from pathlib import Path

import pytest

from experiments import benchmark
from experiments.ablation.record_files import RECORDS_DIR
from experiments.benchmarks import suite, tables
from experiments.benchmarks.cell import LIBRARY_MIXERS
from experiments.benchmarks.suite import SuiteOptions
from training import files


def test_a_record_is_not_written_with_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither without a library that it has, said before anything is run, nor with a row less or one that failed."""
    record, workdir = tmp_path / "record.csv", tmp_path / "rows"
    record.write_bytes((RECORDS_DIR / "benchmark.csv").read_bytes())
    whole = files.read_csv(record)
    monkeypatch.setattr(tables, "write_benchmark_report", lambda rows, path, command: path)
    monkeypatch.setattr(tables, "format_tables", lambda rows: "")
    monkeypatch.setattr(suite, "installed_libraries", lambda: ("ours", "ours-shared", "ours-loop", "linen", "nnx"))
    monkeypatch.setattr(suite, "run_suite", lambda *_: pytest.fail("run"))
    with pytest.raises(ValueError, match=r"^torch, torch-compile can't be imported .*record.csv holds its lines; give"):
        benchmark.run_benchmark(SuiteOptions(), workdir, record)
    monkeypatch.setattr(suite, "installed_libraries", lambda: tuple(LIBRARY_MIXERS))
    at = next(i for i, row in enumerate(whole) if row["library"] == "torch" and row["seconds"])
    for rows in (
        whole[:at] + whole[at + 1 :],
        [row | {"seconds": ""} if i == at else row for i, row in enumerate(whole)],
    ):
        monkeypatch.setattr(suite, "run_suite", lambda *_, rows=rows: rows)
        with pytest.raises(ValueError, match=r"record\.csv holds more than .*: section=step, .* library=torch, "):
            benchmark.run_benchmark(SuiteOptions(), workdir, record)
        assert files.read_csv(record) == whole
    monkeypatch.setattr(suite, "run_suite", lambda *_: whole)
    benchmark.run_benchmark(SuiteOptions(), workdir, record)
    assert files.read_csv(record) == whole
