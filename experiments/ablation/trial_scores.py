"""What a setting of a study scored: its trials, seed by seed, and the range and the steps of the metric."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.ablation import intervals
from experiments.ablation.intervals import Interval, mean_interval
from experiments.ablation.study import EXTRA_METRICS, SLOPE_PREFIX, Labels, base_metric, is_score
from experiments.ablation.trials import TrialRecord

SHARE_METRICS = ("accuracy", "error rate", "balanced accuracy", "macro F1", "AUROC")  # scores between 0 and 1
RELATIVE_TOLERANCE = 2e-5  # numbers closer than this are equal: a record keeps six digits


def metric_value(trial: TrialRecord, metric: str) -> float:
    """A number of a trial, or the exponent of one of its curves."""
    if not metric.startswith(SLOPE_PREFIX):
        return trial.get_metric(metric)
    points = positive_points(trial, metric)
    return intervals.fit_exponent(list(points), list(points.values())).mean if len(points) > 1 else math.nan


def positive_points(trial: TrialRecord, metric: str) -> dict[float, float]:
    """The points of the curve of a slope that a power law can be fitted to."""
    return {x: y for x, y in trial.get_curve(metric.removeprefix(SLOPE_PREFIX)).items() if y > 0}


def reported_records(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that are reported, without those that chose the learning rates."""
    return [trial for trial in trials if trial.phase == "report"]


def distinct_settings(trials: Sequence[TrialRecord]) -> list[Labels]:
    """The settings in the order of the grid."""
    settings: list[Labels] = []
    for trial in trials:
        if trial.labels not in settings:
            settings.append(trial.labels)
    return settings


def values_by_seed(trials: Sequence[TrialRecord], labels: Labels, metric: str) -> dict[int, float]:
    """The reported numbers of a setting by seed."""
    return {trial.seed: metric_value(trial, metric) for trial in reported_records(trials) if trial.labels == labels}


def task_identity(trial: TrialRecord) -> tuple[Any, ...]:
    """What distinguishes the task of one trial from that of another."""
    return trial.result["metric"], trial.result["chance"], *trial.result.get("baseline", ())


def score_step(trials: Sequence[TrialRecord], metric: str) -> float:
    """An upper bound for the step between possible values of a metric: the smallest difference of two observed values.

    The ends of the metric's range count as observed. 0 for a measure that is the same for all seeds of each setting.
    """
    if not is_score(metric):
        by_setting = [
            values_by_seed(trials, labels, metric).values() for labels in distinct_settings(reported_records(trials))
        ]
        if all(len(set(filter(math.isfinite, values))) < 2 for values in by_setting):
            return 0.0
    known = np.unique([*metric_bounds(trials, metric), *(metric_value(trial, metric) for trial in trials)])
    known = known[np.isfinite(known)]
    gaps = np.diff(known)
    return float(min(gaps[gaps > RELATIVE_TOLERANCE * np.abs(known[1:])], default=0.0))


def estimate_metric(trials: Sequence[TrialRecord], labels: Labels, metric: str) -> Interval:
    """Mean and interval of a setting over the seeds that lived; nan where none did."""
    values = [value for value in values_by_seed(trials, labels, metric).values() if math.isfinite(value)]
    bounds = metric_bounds([trial for trial in trials if trial.labels == labels], metric)
    return mean_interval(values, bounds=bounds) if values else Interval(math.nan, math.nan, math.nan, 0, "none")


def max_or_min(result: Mapping[str, Any]) -> Callable[..., Any]:
    """`max` or `min`: which of a trial's scores is the better one. Shares are maximized, but no error rate."""
    return max if result["metric"] in SHARE_METRICS and result["metric"] != "error rate" else min


def metric_bounds(trials: Sequence[TrialRecord], metric: str) -> tuple[float, float]:
    """The range of a metric: 0 to 1 for a share, 0 to infinity for other scores, unknown for a measure."""
    if not is_score(metric) or metric.startswith(SLOPE_PREFIX):
        return intervals.UNBOUNDED
    name = base_metric(metric)
    names = {name} if name in EXTRA_METRICS else {trial.result["metric"] for trial in trials}
    return (0.0, 1.0) if names <= set(SHARE_METRICS) else (0.0, math.inf)
