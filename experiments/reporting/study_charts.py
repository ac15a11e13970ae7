"""The charts of a study: its main metric, its learning curves, and its score against the size of the state."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.ablation import trial_scores
from experiments.ablation.groups import read_group_file
from experiments.ablation.intervals import mean_interval
from experiments.ablation.study import SCORE_METRICS, Labels, Study, format_labels
from experiments.ablation.trials import TrialRecord
from experiments.reporting.charts import (
    Chart,
    DotChart,
    DotRow,
    GroupedDotChart,
    LineChart,
    Series,
    interval_series,
)
from training import files, metrics

MAX_SERIES = 12  # lines in one chart: more can't be told apart
MAX_DOT_ROWS = 22  # rows of dots that fit a screen
AXIS_LABELS = {"reach": "steps back", "stream time": "context", "state": "context"}  # of curves; "length" if not here


def study_title(name: str) -> str:
    """Return the name of a study as a title."""
    return name.replace("_", " ").capitalize()


def varying_labels(labels: Labels, settings: Sequence[Labels]) -> Labels:
    """Return a setting's labels on the axes along which the settings differ (all of them if none differs)."""
    return {axis: label for axis, label in labels.items() if any(other[axis] != label for other in settings)} or labels


def setting_label(labels: Labels, settings: Sequence[Labels]) -> str:
    """Return a short label of a setting: the axes that vary; a single one by its value alone, if that is text."""
    varying = varying_labels(labels, settings)
    (first, *others) = varying.values()
    return first if isinstance(first, str) and not others else format_labels(varying)


def metric_label(metric: str, trials: Sequence[TrialRecord]) -> str:
    """Return a metric in words: of a test or validation score its own name ("accuracy", "accuracy at 12")."""
    base, at, point = metric.partition("@")
    if base not in SCORE_METRICS:
        return metric
    names = {trial.result["metric"] for trial in trials}
    name = names.pop() if len(names) == 1 else "score"
    return f"{name} at {point}" if at else name


def numeric_axis(trials: Sequence[TrialRecord]) -> str | None:
    """Return an axis along which a line can be drawn: its labels are three or more numbers."""
    for axis in trials[0].labels:
        labels = {trial.labels[axis] for trial in trials}
        if len(labels) > 2 and all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels):
            return axis
    return None


def is_log_spaced(x: Sequence[float]) -> bool:
    """Whether a logarithmic axis suits these values: they are positive and span a factor of four or more."""
    return min(x) > 0 and max(x) / min(x) >= 4


def main_chart(study: Study, trials: Sequence[TrialRecord], title: str) -> Chart:
    """Draw the study's `plot_metric`: as curves over their own x, along an axis of numbers, or seed by seed."""
    trials, metric = trial_scores.reported_records(trials), study.plot_metric
    if metric in SCORE_METRICS:  # a chart shows one score: the one that most trials have
        ((score, _),) = Counter(trial.result["metric"] for trial in trials).most_common(1)
        trials = [trial for trial in trials if trial.result["metric"] == score]
    settings, references = trial_scores.distinct_settings(trials), _reference_lines(trials, metric)
    xs = sorted({x for trial in trials for x in trial.get_curve(metric)})
    if xs and len(settings) <= MAX_SERIES:
        series = [_curve(trials, setting, settings, metric, xs) for setting in settings]
        values = [y for one in series for y in one.y if math.isfinite(y)]
        wide = bool(values) and min(values) > 0 and max(values) / min(values) > 30
        x_label, y_label = AXIS_LABELS.get(metric, "length"), metric_label(metric, trials)
        return LineChart(
            "main", title, x_label, y_label, series, references, log_x=is_log_spaced(xs), log_y=wide
        )  # fmt: skip
    if not xs and (chart := _chart_along_axis(trials, metric, title, references)):
        return chart
    value_label = metric_label(metric, trials)
    if xs:  # too many curves: only their ends
        metric, value_label = f"{metric}@{xs[-1]:g}", f"{value_label} at {xs[-1]:g}"
    if len(settings) > MAX_DOT_ROWS and (rows := _grouped_rows(trials, metric)):
        bounds = trial_scores.metric_bounds(trials, metric)
        return GroupedDotChart("main", title, value_label, rows, "trivial rule", bounds)
    return DotChart(
        "main", title, value_label, _seed_groups(trials, metric), references,
        bounds=trial_scores.metric_bounds(trials, metric),
    )  # fmt: skip


def _reference_lines(trials: Sequence[TrialRecord], metric: str) -> list[tuple[str, float]]:
    """Chance, for an accuracy, or else the trivial rule, where all trials share it."""
    if metric != "test" or len({(trial.result["metric"], trial.result["chance"]) for trial in trials}) > 1:
        return []
    result = trials[0].result
    if result["metric"] == "accuracy":
        return [("chance", result["chance"])]
    rule, score = result["baseline"]
    return [(rule, score)]


def _curve(
    trials: Sequence[TrialRecord], setting: Labels, settings: Sequence[Labels], metric: str, xs: Sequence[float]
) -> Series:
    estimates = [trial_scores.estimate_metric(trials, setting, f"{metric}@{x:g}") for x in xs]
    return interval_series(setting_label(setting, settings), xs, estimates)


def _chart_along_axis(
    trials: Sequence[TrialRecord], metric: str, title: str, references: Sequence[tuple[str, float]]
) -> LineChart | None:
    """Draw a metric along the study's axis of numbers, one line for each combination of the other labels."""
    axis = numeric_axis(trials)
    if axis is None:
        return None
    settings, x = trial_scores.distinct_settings(trials), sorted({trial.labels[axis] for trial in trials})
    others = [{name: label for name, label in labels.items() if name != axis} for labels in settings]
    others = [labels for place, labels in enumerate(others) if labels not in others[:place]]
    if len(others) > MAX_SERIES:
        return None
    series = []
    for labels in others:
        places = [value for value in x if {**labels, axis: value} in settings]
        estimates = [trial_scores.estimate_metric(trials, {**labels, axis: value}, metric) for value in places]
        name = setting_label(labels, others) if labels else metric_label(metric, trials)
        series.append(interval_series(name, places, estimates))
    x_label = axis.split(".")[-1].replace("_", " ")
    return LineChart(
        "main", title, x_label, metric_label(metric, trials), series, references, log_x=is_log_spaced(x)
    )  # fmt: skip


def _grouped_rows(trials: Sequence[TrialRecord], metric: str) -> list[DotRow]:
    """Rows by the first axis of a study of two axes, with a series for each label of the second."""
    settings = trial_scores.distinct_settings(trials)
    if any(len(labels) != 2 for labels in settings):
        return []
    rows: dict[str, dict[str, list[float]]] = {}
    rules: dict[str, float] = {}
    for labels in settings:
        first, second = (str(label) for label in labels.values())
        first = first.replace("_", " ")
        rows.setdefault(first, {})[second] = list(trial_scores.values_by_seed(trials, labels, metric).values())
        if metric == "test":
            rules[first] = float(next(trial.result["baseline"][1] for trial in trials if trial.labels == labels))
    return [DotRow(label, values, rules.get(label)) for label, values in rows.items()]


def _seed_groups(trials: Sequence[TrialRecord], metric: str) -> list[tuple[str, list[float]]]:
    settings = trial_scores.distinct_settings(trials)
    return [
        (setting_label(s, settings), list(trial_scores.values_by_seed(trials, s, metric).values())) for s in settings
    ]


def seeds_chart(trials: Sequence[TrialRecord]) -> DotChart:
    """Draw the test scores seed by seed."""
    trials = trial_scores.reported_records(trials)
    return DotChart("seeds", "Seed by seed", metric_label("test", trials), _seed_groups(trials, "test"))


def learning_chart(trials: Sequence[TrialRecord], folder: Path) -> LineChart | None:
    """Draw the test score against the training step; None where the groups' logs are missing or settings are too many.

    Raises ValueError where a log in `folder` is damaged.
    """
    trials = trial_scores.reported_records(trials)
    settings, series = trial_scores.distinct_settings(trials), []
    if len(settings) > MAX_SERIES:
        return None
    for setting in settings:
        scores: dict[int, list[float]] = {}
        for trial in (trial for trial in trials if trial.labels == setting and trial.result["died_at"] is None):
            run = folder / "groups" / str(trial.result.get("group", ""))
            if not (run / "group.json").exists():
                return None
            for step, score in _logged_scores(run, trial):
                scores.setdefault(step, []).append(score)
        steps = sorted(scores)
        estimates = [mean_interval(scores[step]) for step in steps]
        series.append(interval_series(setting_label(setting, settings), steps, estimates))
    return LineChart("learning", "Learning", "training step", trials[0].result["metric"], series)


def _logged_scores(run: Path, trial: TrialRecord) -> list[tuple[int, float]]:
    """The test scores of one member of a group, by step, from the group's own log."""
    group = read_group_file(run, "group.json", files.GROUP_SCHEMA)
    try:
        members = list(zip(group["seeds"], group["learning_rates"], strict=True))
        member = members.index((trial.seed, files.to_jsonable(trial.learning_rate)))
        rows = [row for row in metrics.read_metrics(run / "metrics.jsonl") if row["split"] == "test"]
        scores = [(row["step"], row[trial.result["metric"]][member]) for row in rows]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError):
        raise ValueError(
            f"{run}: group.json or metrics.jsonl is damaged; delete {run}, and the curves are left out"
        ) from None
    return [(step, score) for step, score in scores if score is not None]


def state_size_charts(trials: Sequence[TrialRecord]) -> list[LineChart]:
    """Draw the score against the number of floats in a model's state; none where the settings have the same.

    Settings that differ along an axis of numbers alone are one line; none is drawn if the state does not change along
    it. More lines than can be told apart are spread over several charts.
    """
    trials = trial_scores.reported_records(trials)
    settings, axis = trial_scores.distinct_settings(trials), numeric_axis(trials)
    floats = {repr(trial.labels): trial.result["state_floats"] for trial in trials}
    lines: dict[str, list[Labels]] = {}
    for labels in settings:
        others = {name: label for name, label in labels.items() if name != axis}
        lines.setdefault(setting_label(others, settings) if others else study_title(str(axis)), []).append(labels)
    if axis:
        is_drawn = any(len({floats[repr(labels)] for labels in members}) > 1 for members in lines.values())
    else:
        is_drawn = len(lines) <= MAX_SERIES and len(set(floats.values())) > 1
    if not is_drawn or min(floats.values()) <= 0:
        return []
    series = []
    for name, members in lines.items():
        members = sorted(members, key=lambda labels: floats[repr(labels)])
        estimates = [trial_scores.estimate_metric(trials, labels, "test") for labels in members]
        series.append(interval_series(name, [floats[repr(labels)] for labels in members], estimates))
    parts = [series[start : start + MAX_SERIES] for start in range(0, len(series), MAX_SERIES)]
    metric = trials[0].result["metric"]
    return [
        LineChart(
            f"state {number}" if number else "state",
            "Score against state size",
            "state, floats",
            metric,
            part,
            log_x=True,
        )
        for number, part in enumerate(parts)
    ]


def score_charts(
    trials: Sequence[TrialRecord], row_axis: str, titles: Mapping[str, str] | None = None
) -> list[GroupedDotChart]:
    """Draw the mixers' scores: a chart for each metric, largest first, with a row for each label of an axis.

    The study's other axis is "mixer". A mark in each row is the trivial rule of its task.
    """
    trials = trial_scores.reported_records(trials)
    rows: dict[str, list[DotRow]] = {}
    for label in dict.fromkeys(trial.labels[row_axis] for trial in trials):
        own = [trial for trial in trials if trial.labels[row_axis] == label]
        values = {
            labels["mixer"]: list(trial_scores.values_by_seed(own, labels, "test").values())
            for labels in trial_scores.distinct_settings(own)
        }
        rule = float(own[0].result["baseline"][1])
        title = titles[label] if titles and label in titles else label.replace("_", " ")
        rows.setdefault(own[0].result["metric"], []).append(DotRow(title, values, rule))
    charts = []
    for metric in sorted(rows, key=lambda metric: -len(rows[metric])):
        bounds = (0.0, 1.0) if metric in trial_scores.SHARE_METRICS else (0.0, math.inf)
        charts.append(GroupedDotChart(metric, metric.capitalize(), metric, rows[metric], "trivial rule", bounds))
    return charts


def best_setting(trials: Sequence[TrialRecord], settings: Sequence[Labels]) -> Labels | None:
    """Return which of these settings of one task has the best mean test score; of equal ones the first."""
    means = [trial_scores.estimate_metric(trials, setting, "test").mean for setting in settings]
    scored = [(mean, setting) for mean, setting in zip(means, settings, strict=True) if math.isfinite(mean)]
    if not scored:
        return None
    result = next(trial.result for trial in trials if trial.labels == scored[0][1])
    return trial_scores.max_or_min(result)(scored, key=lambda pair: pair[0])[1]
