from typing import Any

from experiments import applications
from experiments.ablation.record_table import OUTDATED_MARK
from experiments.ablation.trials import TrialRecord


def line(data: str, mixer: str, seed: int, value: float, metric: str = "accuracy") -> TrialRecord:
    cell: dict[str, Any] = {
        "metric": metric, "chance": 0.1, "baseline": ("a rule", 0.25), "metrics": {"test": value}, "died_at": None,
        "steps": 600,
    }  # fmt: skip
    return TrialRecord({"data": data, "mixer": mixer}, "report", seed, 0.003, cell)


LINES = [
    *(line("digits", "lstm", seed, 0.8 + seed / 100) for seed in range(3)),
    *(line("digits", "attention", seed, 0.9) for seed in range(3)),
    *(line("irish_tunes", "lstm", seed, 2.0, "bits per character") for seed in range(3)),
    *(line("irish_tunes", "attention", seed, 2.5, "bits per character") for seed in range(3)),
]


def test_a_row_a_data_set_with_its_baseline_and_the_best_in_bold():
    found = applications.applications_table(LINES)
    assert list(found.header) == ["data", "measured", "baseline", "lstm", "attention"]
    digits, tunes = found.rows
    assert digits[:3] == ["digits", "accuracy", "0.25 (a rule)"]
    assert digits[4].startswith("**0.900")
    assert not digits[3].startswith("**")
    assert tunes[:2] == ["irish tunes", "bits per character ↓"]
    assert tunes[3].startswith("**2.0")
    assert "over 3 seeds" in found.note


def test_what_is_of_older_code_is_marked():
    found = applications.applications_table(LINES, [line for line in LINES if line.labels["mixer"] == "lstm"][:1])
    assert [OUTDATED_MARK in cell for cell in found.rows[0]] == [False, False, False, True, False]
    assert not any(OUTDATED_MARK in cell for cell in found.rows[1])
    assert f"{OUTDATED_MARK}: 1 of 12 cells are of older code" in found.note
    assert OUTDATED_MARK not in applications.applications_table(LINES).note


def test_a_chart_a_data_set():
    charts = applications.applications_charts(LINES)
    assert [chart.title for chart in charts] == ["Digits", "Irish tunes"]


def test_the_page_and_readme_say_what_the_record_says():
    lines, old = applications.read_applications()
    assert applications.APPLICATIONS_PAGE.read_text("utf-8") == applications.applications_page(lines, old)
    found = applications.applications_table(lines, old)
    readme = (applications.APPLICATIONS_PAGE.parents[1] / "README.md").read_text("utf-8")
    assert applications.markdown_table(found.header, found.rows) in readme
