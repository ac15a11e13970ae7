import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import models
from experiments import benchmark
from experiments.ablation.record_files import RECORDS_DIR, read_record
from experiments.benchmarks import tables
from experiments.benchmarks.worker import Cell
from experiments.reporting.html_report import markdown_table
from training import files

SMALL = [("step", Cell("step", "gru", 6, width=8, batch=2), ("ours", "linen"))]


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_a_plan_names_each_cell_once_and_only_libraries_there_are(quick: bool, gpu: bool):
    made = benchmark.plan_cells(benchmark.SECTIONS, quick, gpu)
    keys = [benchmark.cell_key(section, cell) + str(libraries) for section, cell, libraries in made]
    assert len(set(keys)) == len(keys) > 10
    assert {library for _, _, libraries in made for library in libraries} <= set(benchmark.LIBRARY_MIXERS)
    mixers = {cell.mixer for section, cell, _ in made if section == "step"}
    assert mixers == set(benchmark.QUICK_MIXERS if quick else models.MIXERS)
    assert all(libraries[0] == "ours" or section == "memory" for section, _, libraries in made)


@pytest.mark.timeout(120)
def test_rows_are_timed_held_together_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmark, "SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(benchmark, "plan_cells", lambda *_: SMALL)
    monkeypatch.setattr(benchmark.progress, "_SECONDS_BETWEEN_LINES", math.inf)
    args: Any = SimpleNamespace(only=["step"], quick=True, gpu=False, beside=False, processes=1)
    rows = benchmark.run_suite(args, tmp_path / "rows.jsonl")
    rates, ours, linen = rows
    assert rates["section"] == "rates"
    assert (ours["library"], linen["library"]) == ("ours", "linen")
    for row in (ours, linen):
        assert 0 < row["low"] <= row["seconds"] <= row["high"]
        assert row["note"] == ""
    assert (ours["ratio_low"], ours["ratio"], ours["ratio_high"]) == (1, 1, 1)
    assert linen["ratio_low"] <= linen["ratio"] <= linen["ratio_high"]
    assert 0 < ours["share"] < 1

    again = benchmark.run_suite(args, tmp_path / "rows.jsonl")
    assert [row["section"] for row in again] == ["rates", "step", "step"]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["rows"] for line in lines] == files.to_jsonable([[rates], [ours, linen]])
    assert benchmark.read_rows(tmp_path / "rows.jsonl") == files.to_jsonable(rows)


KEPT = [
    {"rows": [{"section": "rates", "key": "", "dtype": "float32", "note": "", "products": 1.0, "bytes": 1.0}]},
    {"rows": [{"section": "step", "key": "a cell", "library": name, "seconds": 0.5} for name in ("ours", "torch")]},
]


def test_a_line_that_a_kill_cut_off_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All of a cell, at any place of the cut."""
    monkeypatch.setattr(benchmark, "plan_cells", lambda *_: [])
    monkeypatch.setattr(benchmark, "measure_cells", lambda cells, kept, *_: iter(()))
    args: Any = SimpleNamespace(only=["step"], quick=True, gpu=False, beside=False, processes=1)
    path = tmp_path / "rows.jsonl"
    first, second = (json.dumps(line) + "\n" for line in KEPT)
    for cut in (1, 20, len(second) // 2, len(second) - 1):
        path.write_text(first + second[:cut])
        assert benchmark.run_suite(args, path) == KEPT[0]["rows"]
        assert path.read_text() == first
    path.write_text(first + second)
    assert benchmark.run_suite(args, path) == KEPT[0]["rows"] + KEPT[1]["rows"]
    path.write_text("".join(json.dumps(row) + "\n" for line in KEPT for row in line["rows"]))  # as before
    assert benchmark.run_suite(args, path) == KEPT[0]["rows"] + KEPT[1]["rows"]


@pytest.mark.parametrize(
    "line",
    ["{}", "[]", "null", "3", '"rows"', '{"rows": 3}', '{"rows": [3]}', '{"rows": [{}]}', "{" * 9, "[" * 100_000,
     '{"section": 3, "key": "x"}', '{"section": "step", "key": "x", "seconds": "0.5"}', "", "\xff",
     '{"section": "step", "key": "x", "secnds": 0.5}'],
)  # fmt: skip
def test_a_damaged_line_is_named(line: str, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    first, second = (json.dumps(line).encode() for line in KEPT)
    path.write_bytes(b"\n".join([first, line.encode("latin-1"), second, b""]))
    with pytest.raises(ValueError, match=r"rows\.jsonl: line 2 is damaged; delete that line, and") as caught:
        benchmark.read_rows(path)
    assert "\n" not in str(caught.value)


def test_a_record_is_not_written_with_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither without PyTorch, which is said before anything is run, nor with a row less, nor with one that failed."""
    record = tmp_path / "record.csv"
    record.write_bytes((RECORDS_DIR / "benchmark.csv").read_bytes())
    whole = files.read_csv(record)
    words = {"only": [], "quick": False, "gpu": False, "beside": False, "record": str(record), "table": False}
    args = SimpleNamespace(**words, write=False, workdir=str(tmp_path / "rows"))
    monkeypatch.setattr(benchmark, "flags", SimpleNamespace(FLAGS=args))
    monkeypatch.setattr(benchmark, "installed_libraries", lambda: ("ours", "linen", "nnx"))
    monkeypatch.setattr(benchmark, "run_suite", lambda *_: pytest.fail("run"))
    with pytest.raises(ValueError, match=r"^PyTorch is not installed .*record.csv holds its lines; give another"):
        benchmark.main()
    monkeypatch.setattr(benchmark, "installed_libraries", lambda: tuple(benchmark.LIBRARY_MIXERS))
    at = next(i for i, row in enumerate(whole) if row["library"] == "torch" and row["seconds"])
    for rows in (
        whole[:at] + whole[at + 1 :],
        [row | {"seconds": ""} if i == at else row for i, row in enumerate(whole)],
    ):
        monkeypatch.setattr(benchmark, "run_suite", lambda *_, rows=rows: rows)
        with pytest.raises(ValueError, match=r"record\.csv holds more than .*: section=step, .* library=torch, "):
            benchmark.main()
        assert files.read_csv(record) == whole
    monkeypatch.setattr(benchmark, "run_suite", lambda *_: whole)
    benchmark.main()
    assert files.read_csv(record) == whole


@pytest.mark.timeout(120)
def test_a_cell_of_a_library_that_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmark.progress, "_SECONDS_BETWEEN_LINES", math.inf)
    cell = Cell("step", "attention", 6, width=8, batch=1)
    kept = [{"section": "rates", "key": "", "dtype": "float32", "products": 1.0, "bytes": 1.0}]
    assert list(benchmark.measure_cells([("memory", cell, ("torch",))], kept, True, ("ours", "linen"))) == []


def test_what_stands_beside_others():
    """Not what others have no such mixer for, nor another library alone."""
    assert benchmark.has_peer(Cell("step", "lstm", 6), ("ours", "torch"))
    assert not benchmark.has_peer(Cell("step", "mingru", 6), ("ours", "torch"))
    assert not benchmark.has_peer(Cell("step", "lstm", 6), ("ours", "ours-shared"))
    assert not benchmark.has_peer(Cell("step", "lstm", 6), ("torch",))


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

    monkeypatch.setattr(benchmark, "Worker", Worker)
    monkeypatch.setattr(benchmark.progress, "_SECONDS_BETWEEN_LINES", math.inf)
    cells = [("step", Cell("step", "lstm", length), ("ours", "linen")) for length in (6, 7)]
    kept = [{"section": "rates", "key": "", "dtype": "float32", "products": 1.0, "bytes": 1.0}]
    found = list(benchmark.measure_cells(cells, kept, quick, ("ours", "linen")))
    assert [len(rows) for rows in found] == [2, 2]
    assert sorted(made) == sorted(["ours", "linen"] * each)
    assert len(closed) == len(made)


def test_a_library_that_gives_something_else_is_not_timed():
    answers = {"ours": [1.0, 0.9], "torch": [1.0, 0.91], "linen": [1.01, 0.91], "nnx": [1.0002, 0.9001]}
    workers: Any = {name: Answers(outcome=outcome) for name, outcome in answers.items()}
    ours, torch, linen, nnx = benchmark.time_cell(SMALL[0][1], tuple(answers), [workers], 3)
    assert torch["note"] == linen["note"] == "gives 0.91 where ours gives 0.9"
    assert "seconds" not in torch
    assert ours["seconds"] == nnx["seconds"] == 0.2
    token = SMALL[0][1]._replace(what="token")
    assert [row["note"] for row in benchmark.time_cell(token, ("ours", "nnx"), [workers], 3)] == ["", ""]
    assert benchmark.time_cell(token, ("ours", "torch"), [workers], 3)[1]["note"]


def test_a_median_is_over_all_processes():
    """Of three sets one runs ours in twice the time: the median does not see it."""
    sets: Any = [{"ours": Answers(seconds=ours), "linen": Answers(seconds=0.3)} for ours in (0.1, 0.2, 0.1)]
    ours, linen = benchmark.time_cell(SMALL[0][1], ("ours", "linen"), sets, 3)
    assert (ours["seconds"], linen["seconds"]) == (0.1, 0.3)
    assert (linen["ratio_low"], linen["ratio"], linen["ratio_high"]) == pytest.approx((1.5, 3, 3))


def row(mixer: str, length: int, seconds: float, **more: Any) -> dict[str, str]:
    filled = {"section": "step", "mixer": mixer, "library": "ours", "length": length, "width": 128, "batch": 32}
    filled |= {"seconds": seconds, "temporary_bytes": 1000 * length, "share": 0.5, "products": 1e9, "others": 0}
    return {name: str((filled | more).get(name, "")) for name in benchmark.COLUMNS}


def test_every_mixer_is_in_a_family():
    assert {mixer for family in tables.MIXER_FAMILIES.values() for mixer in family} == set(models.MIXERS)


def test_laws_and_crossings_are_those_of_the_times():
    lengths = (64, 256, 1024, 4096)
    rows = [row("lstm", n, 1e-4 * n) for n in lengths] + [row("attention", n, 1e-7 * n**2) for n in lengths]
    rows += [row("mingru", n, 1e-6 * n) for n in lengths] + [row("dense", n, 1e-2 * n) for n in lengths]
    table = {line[0]: line for line in tables.scaling_table(rows).rows}
    assert table["lstm"][1].startswith("1.00")
    assert table["attention"][1].startswith("2.00")
    assert table["attention"][3] == "–"
    crossed = {line[0]: line[1] for line in tables.crossover_table(rows).rows}
    assert crossed == {"lstm": "1000", "mingru": "faster at all", "dense": "slower at all"}


def test_a_page_is_written_from_rows_that_lack_some(tmp_path: Path):
    rows = [row("gru", n, 1e-4 * n) for n in (64, 256)]
    rows += [row("gru", n, 2e-4 * n, library="torch", ratio=2.0, ratio_low=1.9, ratio_high=2.1) for n in (64, 256)]
    rows += [row("lstm", 64, 0, library="torch", note="ValueError: no room") | {"seconds": ""}]
    rows += [row("lstm", 64, 1e-3)]
    page = tables.write_benchmark_report(rows, tmp_path / "page.html", "python -m experiments.benchmark").read_text()
    assert "2.00 × (1.90–2.10)" in page
    assert "ValueError: no room" in page
    assert "<svg" in page
    assert "2.00 ×" in tables.format_tables(rows)


def test_two_runs_are_held_against_each_other():
    def run(*ratios: float) -> list[dict[str, str]]:
        found = [row("gru", 64 * 2**n, 1e-3, library="torch", ratio=ratio) for n, ratio in enumerate(ratios)]
        return [row("gru", 64, 1e-3, ratio=1.0), *found]

    table = tables.agreement_table(run(2.0, 2.0, 2.0, 2.0), run(2.1, 1.9, 1.7, 2.5))
    assert [line[-1] for line in table.rows] == ["-15 %", "+25 %"]
    assert "Of 4 ratios to other libraries, 2 (50 %)" in table.note
    assert "Of 0 ratios" in tables.agreement_table(run(), run(2.0)).note


def test_the_readme_and_the_document_say_what_the_records_say():
    found = {
        path.stem: read_record(path) for path in sorted(RECORDS_DIR.glob("benchmark*.csv"), key=lambda path: path.stem)
    }
    assert sorted(found) == ["benchmark", "benchmark-again", "benchmark-cuda"]
    summary = tables.summary_table(found["benchmark"])
    assert markdown_table(summary.header, summary.rows) in (benchmark.ROOT / "README.md").read_text()
    assert benchmark.DOCUMENT.read_text() == tables.format_document(found)
