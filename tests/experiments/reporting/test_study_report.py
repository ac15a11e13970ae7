import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from experiments.ablation import record_table, study
from experiments.ablation.record_table import OUTDATED_MARK
from experiments.ablation.study import Scale, Study, claim_above
from experiments.ablation.trials import TrialRecord
from experiments.reporting import study_report
from experiments.reporting.charts import DotChart, LineChart
from training import files as files_module

CELL: dict[str, Any] = {
    "died_at": None, "metric": "accuracy", "chance": 0.1, "baseline": ["a rule", 0.2], "best_step": 5, "steps": 10,
    "parameters": 1000, "mixer_parameters": 100, "state_floats": 64, "step_flops": 5000, "seconds": 1.5,
    "training_seconds": 1.0, "how": "map on 1", "device": "cpu", "revision": "abc", "group": "none",
}  # fmt: skip
STUDY = Study("Is it so?", {}, {"mixer": ("a", "b"), "n": (1, 2, 4)}, {"quick": Scale((0, 1, 2))},
              (claim_above("a is better", {"mixer": "a"}, {"mixer": "b"}),), measures=("bits",))  # fmt: skip


def lines(**more: float) -> list[TrialRecord]:
    found = []
    for mixer, level in (("a", 0.9), ("b", 0.5)):
        for n in (1, 2, 4):
            for seed in (0, 1, 2):
                metrics = {"test": level + seed / 100, "validation": level, "bits": n + level, **more}
                cell = {**CELL, "metrics": metrics, "key": f"{mixer}{n}{seed}", "state_floats": 64 * n}
                found.append(TrialRecord({"mixer": mixer, "n": n}, "report", seed, 1e-3, cell))
    return found


def test_an_axis_of_numbers_is_drawn_along_and_chance_with_it():
    chart = study_report.main_chart(STUDY, lines(), "Title")
    assert isinstance(chart, LineChart)
    assert (chart.x_label, chart.y_label, chart.log_x, list(chart.references)) == (
        "n",
        "accuracy",
        True,
        [("chance", 0.1)],
    )
    assert [(one.name, list(one.x)) for one in chart.series] == [("a", [1, 2, 4]), ("b", [1, 2, 4])]
    assert chart.series[0].y == pytest.approx([0.91] * 3)
    assert chart.series[0].low[0] < 0.91 < chart.series[0].high[0]  # pyright: ignore[reportOptionalSubscript]


def test_a_curve_is_drawn_over_its_own_x():
    some = [x for x in lines(**{"bits@8": 2.0, "bits@64": 1.0}) if x.labels["n"] == 1]
    chart = study_report.main_chart(STUDY._replace(plot_metric="bits"), some, "Title")
    assert isinstance(chart, LineChart)
    assert (list(chart.series[0].x), list(chart.series[0].y), chart.y_label) == ([8, 64], [2, 1], "bits")


def test_what_has_no_axis_of_numbers_is_shown_seed_by_seed():
    some = [x._replace(labels={"mixer": x.labels["mixer"]}) for x in lines() if x.labels["n"] == 1]
    chart = study_report.main_chart(STUDY, some, "Title")
    assert isinstance(chart, DotChart)
    assert dict(chart.groups)["b"] == [0.5, 0.51, 0.52]


def test_of_too_many_curves_the_ends_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study_report, "MAX_SERIES", 1)
    chart = study_report.main_chart(
        STUDY._replace(plot_metric="bits"), lines(**{"bits@8": 2.0, "bits@64": 1.0}), "Title"
    )
    assert isinstance(chart, DotChart)
    assert chart.value_label == "bits at 64"
    assert dict(chart.groups)["b, 4"] == [1, 1, 1]


def test_the_table_names_what_diverged():
    some = lines()
    some[0] = some[0]._replace(result={**some[0].result, "died_at": 3})
    table = study_report.settings_table(STUDY, some)
    assert table.rows[0][:2] == ["a, 1", "0.915 ± 0.064"]
    assert table.rows[0][-1] == "1 of 3"
    assert table.rows[1][-1] == "–"
    assert table.header == [
        "setting",
        "accuracy",
        "middle half",
        "bits",
        "parameters",
        "state, floats",
        "rate",
        "diverged",
    ]


def test_the_table_marks_what_is_of_older_code():
    table = study_report.settings_table(STUDY, lines(), lines()[:1])
    assert [row[0] for row in table.rows[:2]] == [f"a, 1 {OUTDATED_MARK}", "a, 2"]
    assert f"{OUTDATED_MARK}: 1 of 18 cells are of older code" in table.note
    assert OUTDATED_MARK not in study_report.settings_table(STUDY, lines()).note


@pytest.mark.parametrize(
    ("group", "log"),
    [("{}", ""), ("3", ""), ('{"how": "map", "devices": 1, "seeds": [7], "learning_rates": [0.001]}', ""),
     ('{"how": "map", "devices": 1, "seeds": [0], "learning_rates": [0.001]}', '{"step": 1, "split": "test"}\n'),
     ('{"how": "map", "devices": 1, "seeds": [0], "learning_rates": [0.001]}', '[1]\n')],
)  # fmt: skip
def test_a_damaged_log_of_a_group_is_one_line(tmp_path: Path, group: str, log: str):
    (tmp_path / "groups" / "none").mkdir(parents=True)
    (tmp_path / "groups" / "none" / "group.json").write_text(group)
    (tmp_path / "groups" / "none" / "metrics.jsonl").write_text(log)
    with pytest.raises(ValueError, match=r"groups/none.* is damaged") as caught:
        study_report.learning_chart(lines(), tmp_path)
    assert "\n" not in str(caught.value)


def test_page_tables_and_pictures_are_written(tmp_path: Path):
    """Verdicts before figures; CSV and Parquet with the same numbers; nothing that a page would have to fetch."""
    files = study_report.write_report("some_name", STUDY, "quick", lines(), tmp_path)
    assert [path.name for path in files] == [
        "report.html", "cells.csv", "cells.parquet", "picture.svg", "picture.pdf", "picture.png"
    ]  # fmt: skip
    page = files[0].read_text()
    assert page.index("a is better") < page.index("<svg")
    assert "python -m experiments.run --study=some_name --scale=quick" in page
    assert not re.findall(r"(?:src|href)=.?https?:|@import|<script", page)
    rows, columns = files_module.read_csv(files[1]), pq.read_table(files[2]).to_pydict()
    assert [float(row["test"]) for row in rows] == columns["test"]
    assert [row["mixer"] for row in rows] == columns["mixer"]
    assert set(columns) == set(rows[0])


@pytest.mark.parametrize("name", [name for name in study.study_names() if study.load_study(name).notes_row])
def test_the_record_of_every_claim_of_the_notes_is_of_its_study(name: str):
    """At quick scale: every seed of every setting, each metric that a claim is about, and a verdict on every claim."""
    from experiments.ablation import verdicts as judge

    one = study.load_study(name)
    found = study_report.read_study_record(name, one, "quick")
    assert found, "python -m experiments.run --study=NAME --record makes it"
    scale = one.scales["quick"]
    there = {(repr(x.labels), x.seed) for x in judge.reported_records(found)}
    assert there == {(repr(s.labels), seed) for s in study.resolve_settings(one, scale) for seed in scale.seeds}
    keys = {x.result["key"] for x in judge.reported_records(found)}
    assert len(keys) == len(there)
    verdicts = judge.judge_claims(one, found, "quick")
    assert len(verdicts) == len(one.claims)
    assert isinstance(study_report.main_chart(one, found, name), (LineChart, DotChart))
    old = len(record_table.outdated_records(found, one, scale))
    said = f"{old} of {len(found)} cells are of older code." if old else "repeats it.\n"
    document = (Path(study_report.__file__).parents[2] / "docs" / "claims.md").read_text()
    assert said in document[document.index(f"--study={name}`") :].split("\n\n")[0] + "\n", "what is older is said so"
