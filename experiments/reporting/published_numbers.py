"""Numbers that papers state, from experiments/published/: how sure we are of them, and our counterparts of them."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import models
from experiments.ablation import record_files, study, trial_scores
from experiments.ablation.intervals import format_interval
from experiments.ablation.study import Labels, format_labels
from experiments.ablation.trials import TrialRecord
from experiments.reporting.chart_types import PublishedMark

PUBLISHED_DIR = Path(__file__).parents[1] / "published"
CONFIDENCE_NOTES = {  # mark → what stands behind the number
    "V": "",
    "V2": " (quoted)",
    "R": " (read off a figure)",
    "H": " (read off a figure, hidden there)",
    "A": " (the axis of a figure)",
    "M": " (from memory, unchecked)",
    "U": " (unverifiable)",
}
UNSURE, READ_OFF = ("M", "U"), ("R", "H")
READING_ERROR = 0.03  # of a share that was read off a figure
SCALED_UNIT = "scaled"  # of an accuracy that is 0 at chance
BEST_OF = "best of "  # before the metric of a number that is of the paper's best run

_NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?(?:e[−-]?\d+)?"
_VALUE_PATTERN = re.compile(
    rf"(?P<sign>[<>≤≥≈~]?)\s*(?P<first>{_NUMBER})(?:\s*(?P<joint>±|to|–)\s*(?P<second>{_NUMBER}))?"
)


class PublishedNumber(NamedTuple):
    """A published number of a `model` under a `condition` such as a size, with its `source` in the paper.

    `confidence` is one of `CONFIDENCE_NOTES`. `setting` and `metric` name our counterpart, and are empty where there is
    none; "best of test" is the test score of our best seed. `shown` is not empty for what the overview shows.
    """

    model: str
    condition: str
    value: str
    unit: str
    confidence: str
    source: str
    setting: str
    metric: str
    shown: str

    def __str__(self) -> str:
        return f"{self.value}{self.unit}{CONFIDENCE_NOTES[self.confidence]}"

    @property
    def our_metric(self) -> str:
        """The metric of our counterpart, of the mean and of the best seed alike."""
        return self.metric.removeprefix(BEST_OF)

    @property
    def is_best(self) -> bool:
        """Whether it is of the paper's best run, so that our best seed is its counterpart."""
        return self.metric.startswith(BEST_OF)


def read_published(name: str, folder: Path = PUBLISHED_DIR) -> list[PublishedNumber]:
    """Return a result's published numbers.

    Raises ValueError, naming file and line, for columns that are not the fields of `PublishedNumber`, for an unknown
    mark of confidence, and for a number without a source that is not marked "U".
    """
    path = folder / f"{name}.csv"
    rows = record_files.read_unsigned_table(path)
    if tuple(rows[0]) != PublishedNumber._fields:
        raise ValueError(f"{path}: has the columns {', '.join(rows[0])}, not {', '.join(PublishedNumber._fields)}")
    numbers = [PublishedNumber(**row) for row in rows]
    for line, number in enumerate(numbers, 2):
        models.validate_choice(f"{path}, line {line}: confidence", number.confidence, CONFIDENCE_NOTES)
        if not number.source and number.confidence != "U":
            raise ValueError(f"{path}, line {line}: has no source, and is not marked U (unverifiable)")
    return numbers


# ---- our counterparts -----------------------------------------------------------------------------------------------


def matching_setting(number: PublishedNumber, trials: Sequence[TrialRecord]) -> Labels | None:
    """Return the setting that is our counterpart of a published number."""
    settings = trial_scores.distinct_settings(trials)
    return next((labels for labels in settings if format_labels(labels) == number.setting), None)


def counterpart_values(number: PublishedNumber, trials: Sequence[TrialRecord]) -> list[float] | None:
    """Return our numbers, one for each seed that lived; None where a published number has no counterpart."""
    labels = matching_setting(number, trials)
    if labels is None or not number.metric:
        return None
    return [v for v in trial_scores.values_by_seed(trials, labels, number.our_metric).values() if math.isfinite(v)]


def metric_name(number: PublishedNumber, trials: Sequence[TrialRecord]) -> str:
    """Return the name of our counterpart's metric without its point: "accuracy" of "test@4"; "slope of step time"."""
    name = number.our_metric.split("@")[0]
    if name not in study.SCORE_METRICS:
        return name
    return next(trial.result["metric"] for trial in trials if format_labels(trial.labels) == number.setting)


def is_share(number: PublishedNumber, trials: Sequence[TrialRecord]) -> bool:
    """Return whether our counterpart lies between 0 and 1: by its name, or, of a measure, by all of its values."""
    name = metric_name(number, trials)
    if study.is_score(number.our_metric):
        return name in trial_scores.SHARE_METRICS
    values = counterpart_values(number, trials) or []
    return bool(values) and all(0 <= value <= 1 for value in values)


def best_value(number: PublishedNumber, trials: Sequence[TrialRecord]) -> float | None:
    """Return our best seed's number: the highest share, if it is none of errors, and the lowest other score.

    None where there is no counterpart, where every seed diverged, and of a measure that is no share.
    """
    values = counterpart_values(number, trials)
    if not values or not (study.is_score(number.our_metric) or is_share(number, trials)):
        return None
    is_highest = is_share(number, trials) and metric_name(number, trials) != "error rate"
    return max(values) if is_highest else min(values)


def measured_values(number: PublishedNumber, trials: Sequence[TrialRecord]) -> tuple[str, str]:
    """Return our counterpart of a published number: mean with interval over seeds, and the best seed."""
    values, best = counterpart_values(number, trials), best_value(number, trials)
    if values is None:
        return "–", "–"
    if not values:
        return "diverged", "–"
    labels = matching_setting(number, trials)
    assert labels is not None
    estimate = trial_scores.estimate_metric(trials, labels, number.our_metric)
    if 0 < abs(estimate.mean) < 0.01:
        mean = f"{estimate.mean:.2g} [{estimate.low:.2g}, {estimate.high:.2g}]"
    else:
        mean = format_interval(estimate)
    return mean, "–" if best is None else f"{best:.3g}"


def format_counterpart(number: PublishedNumber, trials: Sequence[TrialRecord]) -> str:
    """Return what stands beside a published number: our mean, or "best of 5 seeds 0.92" beside the paper's best run."""
    mean, best = measured_values(number, trials)
    if not number.is_best or best == "–":
        return mean
    return f"best of {len(counterpart_values(number, trials) or ())} seeds {best}"


# ---- in our unit ----------------------------------------------------------------------------------------------------


def parse_value(number: PublishedNumber) -> PublishedMark | None:
    """Return a published number as it is in its own unit: a value, a bound, a value with ±, a range; None of words."""
    match = _VALUE_PATTERN.fullmatch(number.value.strip())
    if not match:
        return None
    first, second = (
        float(t.replace("−", "-").replace(",", "")) if t else math.nan for t in match.group("first", "second")
    )
    unsure = number.confidence in UNSURE
    if match["joint"] == "±":
        return PublishedMark(first, first - second, first + second, unsure=unsure)
    if match["joint"]:
        return PublishedMark(math.nan, first, second, unsure=unsure)
    bound = {"<": "<", "≤": "<", ">": ">", "≥": ">"}.get(match["sign"], "")
    return PublishedMark(first, bound=bound, unsure=unsure)


def convert_value(number: PublishedNumber, trials: Sequence[TrialRecord]) -> PublishedMark | None:
    """Return a published number in the unit of our counterpart; None where the two can't be compared.

    Per cents become shares, those of wrong answers shares of right ones where we count these; accuracies that are
    scaled to 0 at chance become plain ones; nats become bits. Beside a share stands nothing else, and beside another
    score only what has no unit or shares a word with it. A share that was read off a figure has the error of the
    reading.
    """
    mark, unit = parse_value(number), number.unit.strip()
    if mark is None or counterpart_values(number, trials) is None:
        return None
    name = metric_name(number, trials)
    if unit.startswith("%"):
        is_wrong = bool(re.search(r"\b(wrong|errors?)\b", unit))
        if not is_share(number, trials) or (name == "error rate" and not is_wrong):
            return None
        mark = _scale_mark(mark, 0.01)
        mark = _complement_mark(mark) if is_wrong and name != "error rate" else mark
    elif unit == SCALED_UNIT and is_share(number, trials):
        chance = float(next(t.result["chance"] for t in trials if format_labels(t.labels) == number.setting))
        mark = _shift_mark(_scale_mark(mark, 1 - chance), chance)
    elif is_share(number, trials) and study.is_score(number.our_metric):
        if unit not in ("", "share", name) or not all(0 <= x <= 1 for x in mark[:3] if math.isfinite(x)):
            return None
    elif study.is_score(number.our_metric) and unit:
        if "nats" in unit and "bits" in name:
            mark = _scale_mark(mark, 1 / math.log(2))
        elif not set(unit.split()) & {*name.split(), "loss"}:
            return None
    if number.confidence in READ_OFF and is_share(number, trials) and not (mark.bound or math.isfinite(mark.low)):
        mark = mark._replace(low=max(0.0, mark.value - READING_ERROR), high=min(1.0, mark.value + READING_ERROR))
    return mark


def _scale_mark(mark: PublishedMark, factor: float) -> PublishedMark:
    return mark._replace(value=mark.value * factor, low=mark.low * factor, high=mark.high * factor)


def _shift_mark(mark: PublishedMark, by: float) -> PublishedMark:
    return mark._replace(value=mark.value + by, low=mark.low + by, high=mark.high + by)


def _complement_mark(mark: PublishedMark) -> PublishedMark:
    """Return the share of right answers for that of wrong ones."""
    bound = {"<": ">", ">": "<"}.get(mark.bound, "")
    return mark._replace(value=1 - mark.value, low=1 - mark.high, high=1 - mark.low, bound=bound)


def format_mark(mark: PublishedMark) -> str:
    """Return a published number in few characters: "0.52", "< 0.2", "0.97 ± 0.01", "0.0001 to 0.1"."""
    if not math.isfinite(mark.value):
        return f"{mark.low:.4g} to {mark.high:.4g}"
    text = f"{mark.bound} {mark.value:.4g}".strip()
    if not math.isfinite(mark.low):
        return text
    return f"{text} ± {max(mark.high - mark.value, mark.value - mark.low):.2g}"  # one side may end at the range's
