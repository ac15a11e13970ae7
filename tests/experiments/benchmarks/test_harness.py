import math
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.benchmarks import harness
from experiments.benchmarks.cell import Cell
from experiments.benchmarks.harness import PlannedCell

SMALL = Cell("step", "gru", 6, width=8, batch=2)
RATES = {"section": "rates", "key": "", "dtype": "float32", "products": 1.0, "bytes": 1.0}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(harness.progress, "_SECONDS_BETWEEN_LINES", math.inf)


def test_a_cell_of_a_library_that_is_missing_is_left_out():
    cells = [PlannedCell("memory", Cell("step", "attention", 6, width=8, batch=1), ("torch",))]
    assert list(harness.measure_cells(cells, [RATES], True, ("ours", "linen"))) == []


def test_what_stands_beside_others():
    """Not what others have no such mixer for, nor another library alone."""
    assert harness.has_peer(Cell("step", "lstm", 6), ("ours", "torch"))
    assert not harness.has_peer(Cell("step", "mingru", 6), ("ours", "torch"))
    assert not harness.has_peer(Cell("step", "lstm", 6), ("ours", "ours-shared"))
    assert not harness.has_peer(Cell("step", "lstm", 6), ("torch",))


class Answers(SimpleNamespace):
    """A worker whose outcome and times are given."""

    outcome, seconds = (1.0, 0.9), 0.2

    def ask(self, **question: Any) -> dict[str, Any]:
        return {"outcome": self.outcome, "per_call": 1} if "cell" in question else {"seconds": self.seconds}


@pytest.mark.parametrize(("quick", "each"), [(True, 1), (False, 2)])
def test_a_process_starts_only_where_it_is_timed(quick: bool, each: int, monkeypatch: pytest.MonkeyPatch):
    """One that starts beside the others takes their time: one for all cells if quick, else one for each cell."""
    made, closed = [], []

    class Worker(Answers):
        def __init__(self, library: str):
            super().__init__()
            made.append(library)

        def close(self) -> None:
            closed.append(self)

    monkeypatch.setattr(harness, "Worker", Worker)
    cells = [PlannedCell("step", Cell("step", "lstm", length), ("ours", "linen")) for length in (6, 7)]
    found = list(harness.measure_cells(cells, [RATES], quick, ("ours", "linen")))
    assert [len(rows) for rows in found] == [2, 2]
    assert sorted(made) == sorted(["ours", "linen"] * each)
    assert len(closed) == len(made)


def test_a_library_that_gives_something_else_is_not_timed():
    answers = {"ours": [1.0, 0.9], "torch": [1.0, 0.91], "linen": [1.01, 0.91], "nnx": [1.0002, 0.9001]}
    workers: Any = {name: Answers(outcome=outcome) for name, outcome in answers.items()}
    ours, torch, linen, nnx = harness.time_cell(SMALL, tuple(answers), [workers], 3)
    assert torch["note"] == linen["note"] == "gives 0.91 where ours gives 0.9"
    assert "seconds" not in torch
    assert ours["seconds"] == nnx["seconds"] == 0.2
    token = SMALL._replace(what="token")
    assert [row["note"] for row in harness.time_cell(token, ("ours", "nnx"), [workers], 3)] == ["", ""]
    assert harness.time_cell(token, ("ours", "torch"), [workers], 3)[1]["note"]


def test_another_model_is_timed_and_no_ratio_to_it_is_given():
    workers: Any = {"ours": Answers(), "mingru-pytorch": Answers(outcome=(2.0, 1.5), seconds=0.4)}
    ours, other = harness.time_cell(SMALL, tuple(workers), [workers], 3)
    assert (ours["ratio"], other["seconds"]) == (1, 0.4)
    assert other["note"].startswith("another model")
    assert "ratio" not in other


def test_a_median_is_over_all_processes():
    """Of three sets one runs ours in twice the time: the median does not see it."""
    sets: Any = [{"ours": Answers(seconds=ours), "linen": Answers(seconds=0.3)} for ours in (0.1, 0.2, 0.1)]
    ours, linen = harness.time_cell(SMALL, ("ours", "linen"), sets, 3)
    assert (ours["seconds"], linen["seconds"]) == (0.1, 0.3)
    assert (linen["ratio_low"], linen["ratio"], linen["ratio_high"]) == pytest.approx((1.5, 3, 3))
