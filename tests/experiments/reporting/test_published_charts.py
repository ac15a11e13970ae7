import math
import re
import xml.etree.ElementTree as ET

import pytest

from experiments.reporting.charts import DARK_COLORS, PublishedChart, chart_figure, render_charts
from experiments.reporting.published_charts import published_charts
from experiments.reporting.published_numbers import PublishedNumber
from tests.experiments.reporting import make_trial, study_trials

NUMBERS = [
    PublishedNumber("theirs", "n = 4", "97.0", " %", "V", "Table 1", "a, 4", "test", "1"),
    PublishedNumber("theirs", "n = 2", "> 90", " %", "M", "Fig. 1", "a, 2", "best of test", ""),
    PublishedNumber("another", "n = 4", "12", " BLEU", "V", "Table 2", "b, 4", "test", "1"),
    PublishedNumber("another", "n = 4", "7", "", "V", "Table 2", "", "", "1"),
]


def error_trials(*scores: float, n: int = 4):
    """Trials of the setting "a, n" with these squared errors."""
    return [
        make_trial({"mixer": "a", "n": n}, seed, score, metric="squared error") for seed, score in enumerate(scores)
    ]


def test_what_can_be_compared_is_a_row_with_all_seeds_on_an_axis_from_0_to_1():
    (chart,) = published_charts(NUMBERS, study_trials())
    assert (chart.title, chart.value_label, chart.bounds, list(chart.axis_values)) == (
        "Published and here",
        "accuracy",
        (0.0, 1.0),
        [0.0, 1.0],
    )
    first, second = chart.rows
    assert first.label == "theirs, n = 4"
    assert first.published.value == pytest.approx(0.97)
    assert list(first.values) == pytest.approx([0.9, 0.91, 0.92])
    assert first.best is None
    assert first.text.startswith("published 0.97\nhere 0.910 ± ")
    assert second.published.bound == ">"
    assert second.published.unsure
    assert second.best == pytest.approx(0.92)
    assert second.text == "published > 0.9\nhere best of 3 seeds 0.92"


def test_a_condition_that_all_share_is_said_once_and_metrics_have_a_chart_each():
    trials = [*error_trials(0.1, 0.2), *(t for t in study_trials() if t.labels["mixer"] == "b")]
    numbers = [
        NUMBERS[0]._replace(value="0.3", unit="", condition="adding"),
        NUMBERS[0]._replace(value="0.4", unit="", condition="adding", model="again"),
        NUMBERS[0]._replace(setting="b, 2", condition=""),
    ]
    errors, accuracies = published_charts(numbers, trials)
    assert errors.title == "Published and here: squared error, adding"
    assert [row.label for row in errors.rows] == ["theirs", "again"]
    assert accuracies.title == "Published and here: accuracy"
    assert published_charts([NUMBERS[2], NUMBERS[3]], trials) == []


def test_errors_that_span_decades_have_a_logarithmic_axis_on_which_a_rounded_zero_is_a_bound():
    number = NUMBERS[0]._replace(value="0.0000", unit=" best loss")
    (chart,) = published_charts([number], error_trials(1e-7, 0.2))
    assert chart.log
    assert chart.rows[0].published[:1] == pytest.approx((5e-5,))
    assert chart.rows[0].published.bound == "<"
    assert chart.rows[0].text.startswith("published 0.0000\n")
    (chart,) = published_charts([number], error_trials(0.0, 0.2))
    assert not chart.log, "a seed without an error has no place on it"
    (chart,) = published_charts([number._replace(value="0.1")], error_trials(0.05, 0.2))
    assert not chart.log


@pytest.mark.parametrize("log", [False, True])
def test_the_picture_has_each_seed_each_published_number_and_colors_for_dark_pages(log: bool):
    (chart,) = published_charts(NUMBERS, study_trials())
    chart = chart._replace(log=log, axis_values=())
    axes = chart_figure(chart).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [3, 3]  # pyright: ignore[reportArgumentType]
    assert sum(line.get_marker() == "D" for line in axes.lines) == 1, "a bound is a tick with an arrow"
    assert any(text.get_text() == chart.rows[0].text for text in axes.texts)
    svg = render_charts(chart, "svg").decode()
    ET.fromstring(svg)
    body = svg[svg.index("</style>") :]
    assert set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", body)) - {"#ffffff"} <= set(DARK_COLORS)
    for words in ("published", "published, unchecked", "here, each seed", "mean, 95 % interval", "best seed"):
        assert f">{words}<" in svg


def test_nothing_to_draw_and_seeds_that_all_diverged_are_drawn_without_an_error():
    diverged = [make_trial({"mixer": "a", "n": 4}, seed, math.nan, died_at=3) for seed in range(2)]
    (chart,) = published_charts(NUMBERS[:1], diverged)
    assert chart.rows[0].text == "published 0.97\nhere diverged"
    for one in (chart, PublishedChart("empty", "Empty", "value", [])):
        ET.fromstring(render_charts(one, "svg"))
