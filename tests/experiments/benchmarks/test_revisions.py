"""Two revisions side by side: each runs its own code, what is kept is not measured again, and who is refused."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks import harness, revisions
from experiments.benchmarks.cell import Cell
from experiments.benchmarks.processes import ROOT, Worker
from experiments.benchmarks.revisions import Comparison
from experiments.benchmarks.rows import format_fields
from tests.experiments.benchmarks import InProcessWorker

OTHER_WORKER = """
import json, os, sys
import models
for line in sys.stdin:
    print(json.dumps({"from": os.path.dirname(models.__file__), "asked": json.loads(line)}), flush=True)
"""


@pytest.fixture
def other_code(tmp_path: Path) -> Path:
    """Another copy of the repository, whose worker says where its code is."""
    root = tmp_path / "other"
    for name in ("models/__init__.py", "experiments/__init__.py", "experiments/benchmarks/__init__.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "experiments/benchmarks/worker.py").write_text(OTHER_WORKER)
    return root


def test_a_worker_runs_the_code_of_its_root(other_code: Path):
    worker = Worker("ours", other_code)
    try:
        assert worker.ask(calls=1) == {"from": str(other_code / "models"), "asked": {"calls": 1}}
        worker.send(calls=2)
        assert worker.receive()["asked"] == {"calls": 2}
    finally:
        worker.close()


def test_a_folder_is_taken_as_it_is_and_a_revision_is_checked_out(other_code: Path):
    with revisions.earlier_code(str(other_code)) as code:
        assert code == (other_code, "unknown")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    if not head:
        pytest.skip("not in a git repository")
    with revisions.earlier_code("HEAD") as code:
        assert code.revision == head[:12]
        assert (code.root / "experiments" / "benchmarks" / "worker.py").exists()
    assert not code.root.exists()


def test_what_is_no_code_of_this_repository_is_refused(tmp_path: Path):
    for against, message in (
        ("no-such-revision", "--against=no-such-revision: neither a revision of this repository nor a folder"),
        (str(tmp_path), "it has no experiments/benchmarks/worker.py"),
    ):
        with pytest.raises(ValueError, match=message), revisions.earlier_code(against):
            pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, other_code: Path) -> list[dict[str, Any]]:
    """A small plan, whose workers answer in this process; every cell that one of them builds."""
    questions: list[dict[str, Any]] = []

    class Recorder(InProcessWorker):
        def __init__(self, library: str, root: Path = ROOT):
            super().__init__(library)
            self.root = root

        def send(self, **question: Any) -> None:
            questions.append({"root": self.root, **question})
            self.answer = self.ask(**question)

        def receive(self) -> dict[str, Any]:
            return self.answer

    def plan(mixer: str, gpu: bool = False) -> list[Cell]:
        return [Cell("step", mixer, 6, width=8, batch=2), Cell("step", mixer, revisions.MEMORY_LENGTH, 2, batch=1)]

    rates = {"section": "rates", "key": "", "dtype": "float32", "note": "a machine", "products": 1.0, "bytes": 1.0}
    monkeypatch.setattr(harness, "SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(harness.progress, "_SECONDS_BETWEEN_LINES", math.inf)
    monkeypatch.setattr(revisions, "plan_cells", plan)
    monkeypatch.setattr(revisions, "Worker", Recorder)
    monkeypatch.setattr(revisions, "measure_rates", lambda dtype: dict(rates))
    return questions


def test_a_comparison_goes_on_where_it_was(asked: list[dict[str, Any]], other_code: Path, tmp_path: Path):
    path, comparison = tmp_path / "before.jsonl", Comparison(str(other_code), ("mingru",), processes=2)
    rows = revisions.compare_revisions(comparison, path)
    assert [question["root"] for question in asked] == [ROOT, other_code] * 3, "two timed, and memory once"
    rates, *measured = rows
    assert rates["note"] == "a machine; before: revision unknown"
    assert [(row["library"], row["length"]) for row in measured] == [
        (library, length) for length in (6, revisions.MEMORY_LENGTH) for library in ("ours", "before")
    ]
    assert all(0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in measured[:2])
    assert all("seconds" not in row and row["temporary_bytes"] > 0 for row in measured[2:])

    again = revisions.compare_revisions(comparison, path)
    assert list(map(format_fields, again)) == list(map(format_fields, rows))
    assert len(asked) == 6, "nothing is built again"
    lines = path.read_text().splitlines()
    assert [len(json.loads(line)["rows"]) for line in lines] == [1, 4]
    path.write_text(path.read_text().replace("before: unknown", "before: another"))
    revisions.compare_revisions(comparison, path)
    assert len(asked) == 12, "of another revision nothing counts"


def test_the_default_comparison_takes_minutes():
    seconds = revisions.estimate_seconds(revisions.MIXERS, 3)
    assert seconds is not None
    assert 60 < seconds < 1200


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dry_run"], "error: --dry_run has no effect without --against; leave it out"),
        (["--against=HEAD", "--quick"], "error: --quick has no effect with --against; leave it out"),
        (["--against=HEAD", "--mixers=lsmt"], "error: --mixers=lsmt: must be one of"),
    ],
)
def test_the_command_refuses_flags_that_do_nothing(flags: list[str], message: str):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmark", *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(message)
