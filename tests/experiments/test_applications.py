from typing import Any

import pytest

from experiments import applications, findings, study
from experiments.runner import Line


def line(data: str, mixer: str, seed: int, value: float, metric: str = "accuracy") -> Line:
    cell: dict[str, Any] = {
        "metric": metric, "chance": 0.1, "baseline": ("a rule", 0.25), "metrics": {"test": value}, "died_at": None,
        "steps": 600,
    }  # fmt: skip
    return Line({"data": data, "mixer": mixer}, "report", seed, 0.003, cell)


LINES = [
    *(line("digits", "lstm", seed, 0.8 + seed / 100) for seed in range(3)),
    *(line("digits", "attention", seed, 0.9) for seed in range(3)),
    *(line("irish_tunes", "lstm", seed, 2.0, "bits per character") for seed in range(3)),
    *(line("irish_tunes", "attention", seed, 2.5, "bits per character") for seed in range(3)),
]


def test_a_row_a_data_set_with_its_baseline_and_the_best_in_bold():
    found = applications.table(LINES)
    assert list(found.header) == ["data", "measured", "baseline", "lstm", "attention"]
    digits, tunes = found.rows
    assert digits[:3] == ["digits", "accuracy", "0.25 (a rule)"]
    assert digits[4].startswith("**0.900")
    assert not digits[3].startswith("**")
    assert tunes[:2] == ["irish tunes", "bits per character ↓"]
    assert tunes[3].startswith("**2.0")
    assert "over 3 seeds" in found.note


def test_a_chart_a_data_set():
    charts = applications.pictures(LINES)
    assert [chart.title for chart in charts] == ["Digits", "Irish tunes"]


def test_the_page_and_readme_say_what_the_record_says():
    if not findings.record(applications.NAME, applications.SCALE).exists():
        pytest.skip("no record yet")
    lines = findings.recorded(applications.NAME, study.load(applications.NAME), applications.SCALE)
    assert applications.DOCUMENT.read_text("utf-8") == applications.document(lines)
    found = applications.table(lines)
    readme = (applications.DOCUMENT.parents[1] / "README.md").read_text("utf-8")
    assert applications.markdown(found.header, found.rows) in readme
