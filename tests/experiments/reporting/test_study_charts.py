from pathlib import Path

import pytest

from experiments.reporting import study_charts
from experiments.reporting.charts import DotChart, GroupedDotChart, LineChart
from tests.experiments.reporting import STUDY, make_trial, study_trials, task_trials


def test_an_axis_of_numbers_is_drawn_along_and_chance_with_it():
    chart = study_charts.main_chart(STUDY, study_trials(), "Title")
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
    some = [x for x in study_trials(**{"bits@8": 2.0, "bits@64": 1.0}) if x.labels["n"] == 1]
    chart = study_charts.main_chart(STUDY._replace(plot_metric="bits"), some, "Title")
    assert isinstance(chart, LineChart)
    assert (list(chart.series[0].x), list(chart.series[0].y), chart.y_label) == ([8, 64], [2, 1], "bits")


def test_what_has_no_axis_of_numbers_is_shown_seed_by_seed():
    some = [x._replace(labels={"mixer": x.labels["mixer"]}) for x in study_trials() if x.labels["n"] == 1]
    chart = study_charts.main_chart(STUDY, some, "Title")
    assert isinstance(chart, DotChart)
    assert dict(chart.groups)["b"] == [0.5, 0.51, 0.52]


def test_of_too_many_curves_the_ends_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study_charts, "MAX_SERIES", 1)
    chart = study_charts.main_chart(
        STUDY._replace(plot_metric="bits"), study_trials(**{"bits@8": 2.0, "bits@64": 1.0}), "Title"
    )
    assert isinstance(chart, DotChart)
    assert chart.value_label == "bits at 64"
    assert dict(chart.groups)["b, 4"] == [1, 1, 1]


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
        study_charts.learning_chart(study_trials(), tmp_path)
    assert "\n" not in str(caught.value)


def test_many_settings_of_two_axes_are_grouped_on_one_axis(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study_charts, "MAX_DOT_ROWS", 3)
    trials = task_trials()
    trials += [make_trial({"task": "copy", "mixer": mixer}, 0, 0.7) for mixer in ("lstm", "attention")]
    chart = study_charts.main_chart(STUDY._replace(grid={"task": (), "mixer": ()}), trials, "Title")
    assert isinstance(chart, GroupedDotChart)
    assert [(row.label, list(row.values), row.reference) for row in chart.rows] == [
        ("recall", ["lstm", "attention"], 0.2), ("copy", ["lstm", "attention"], 0.2)
    ]  # fmt: skip
    assert (chart.value_label, chart.bounds) == ("accuracy", (0, 1))


def test_a_point_of_the_score_has_the_score_s_name():
    trials = study_trials()
    assert study_charts.metric_label("test@98", trials) == "accuracy at 98"
    assert study_charts.metric_label("validation", [*trials, *task_trials()]) == "score"
    assert study_charts.metric_label("step time@98", trials) == "step time@98"


def test_scores_against_the_state_are_a_line_for_each_mixer_and_many_lines_several_charts():
    (chart,) = study_charts.state_size_charts(study_trials())
    assert [(one.name, list(one.x)) for one in chart.series] == [(m, [64, 128, 256]) for m in ("a", "b")]
    many = [
        make_trial({"mixer": f"m{i}", "n": n}, seed, 0.5, state_floats=n * (i + 1))
        for i in range(13)
        for n in (16, 32, 64)
        for seed in range(2)
    ]
    assert [len(chart.series) for chart in study_charts.state_size_charts(many)] == [12, 1]
    assert study_charts.state_size_charts([trial for trial in many if trial.labels["n"] == 16]) == []
    same = [trial._replace(result={**trial.result, "state_floats": 8}) for trial in many]
    assert study_charts.state_size_charts(same) == []
    fixed = [
        trial._replace(result={**trial.result, "state_floats": int(trial.labels["mixer"][1:]) + 1}) for trial in many
    ]
    assert study_charts.state_size_charts(fixed) == []  # mixers differ in their state, which does not change along n
