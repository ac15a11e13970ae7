from pathlib import Path
from typing import Any

import models
from experiments.ablation.record_files import RECORDS_DIR, read_record
from experiments.benchmarks import tables
from experiments.benchmarks.rows import COLUMNS


def row(mixer: str, length: int, seconds: Any, **more: Any) -> dict[str, str]:
    filled = {"section": "step", "mixer": mixer, "library": "ours", "length": length, "width": 128, "batch": 32}
    filled |= {"seconds": seconds, "temporary_bytes": 1000 * length, "share": 0.5, "products": 1e9, "others": 0}
    return {name: str((filled | more).get(name, "")) for name in COLUMNS}


def test_a_mixer_of_no_family_is_among_the_others():
    rows = read_record(RECORDS_DIR / "benchmark.csv")
    known = {mixer for family in tables.MIXER_FAMILIES.values() for mixer in family}
    assert known <= set(models.MIXERS)
    renamed = [{**row, "mixer": "mine"} if row["mixer"] == "tcn" else row for row in rows]
    charts = [chart for chart in tables.scaling_charts(renamed) if chart.title.startswith("Others")]
    assert [chart.series[0].name for chart in charts] == ["mine", "mine"]


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
    assert "Of 4 ratios, 2 (50 %)" in table.note
    assert "Of 0 ratios" in tables.agreement_table(run(), run(2.0)).note
