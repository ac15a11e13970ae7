"""Charts of published numbers and ours, on one axis where they are of one metric."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from experiments.ablation import trial_scores
from experiments.ablation.trials import TrialRecord
from experiments.reporting.charts import PublishedChart, PublishedMark, PublishedRow
from experiments.reporting.published_numbers import (
    PublishedNumber,
    best_value,
    convert_value,
    counterpart_values,
    format_counterpart,
    format_mark,
    is_share,
    matching_setting,
    metric_name,
)

WIDE = 30  # times the smallest number: where the largest is more than this, the axis of an error is logarithmic


class _Pair(NamedTuple):
    """A published number, in our unit, with our numbers seed by seed."""

    number: PublishedNumber
    mark: PublishedMark
    values: Sequence[float]


def published_charts(numbers: Sequence[PublishedNumber], trials: Sequence[TrialRecord]) -> list[PublishedChart]:
    """Draw every published number that has a value and a counterpart in the same unit: a chart for each metric."""
    trials = trial_scores.reported_records(trials)
    by_metric: dict[str, list[_Pair]] = {}
    for number in numbers:
        if mark := convert_value(number, trials):
            values = counterpart_values(number, trials) or []
            by_metric.setdefault(metric_name(number, trials), []).append(_Pair(number, mark, values))
    return [_metric_chart(name, pairs, trials, len(by_metric) == 1) for name, pairs in by_metric.items()]


def _metric_chart(name: str, pairs: Sequence[_Pair], trials: Sequence[TrialRecord], alone: bool) -> PublishedChart:
    (condition, *others) = dict.fromkeys(pair.number.condition for pair in pairs)
    shared = condition if len(pairs) > 1 and not others else ""  # said once, in the title
    first, above_zero = pairs[0].number, [pair._replace(mark=_bound_zero(pair)) for pair in pairs]
    log = not is_share(first, trials) and _spans_decades(above_zero)
    rows = [
        PublishedRow(
            label=", ".join(filter(None, (pair.number.model, "" if shared else pair.number.condition))),
            published=pair.mark,
            values=pair.values,
            best=best_value(pair.number, trials) if pair.number.is_best else None,
            text=f"published {_format_published(pair)}\nhere {format_counterpart(pair.number, trials)}",
        )
        for pair in (above_zero if log else pairs)
    ]
    own = [trial for trial in trials if trial.labels == matching_setting(first, trials)]
    bounds = trial_scores.metric_bounds(own, first.our_metric)
    what = shared if alone or name in shared else f"{name}, {shared}".strip(", ")
    title = f"Published and here: {what}" if what else "Published and here"
    whole = (0.0, 1.0) if is_share(first, trials) and name != "error rate" else ()
    return PublishedChart(name, title, name, rows, bounds, whole, log)


def _bound_zero(pair: _Pair) -> PublishedMark:
    """Return the mark of a number that was rounded to 0.0000 as a bound: it is below 0.00005."""
    decimals = re.fullmatch(r"0\.(0+)", pair.number.value)
    return PublishedMark(0.5 * 10 ** -len(decimals[1]), bound="<", unsure=pair.mark.unsure) if decimals else pair.mark


def _spans_decades(pairs: Sequence[_Pair]) -> bool:
    """Return whether all numbers are positive, and so different that only a logarithmic axis shows them all."""
    numbers = [x for pair in pairs for x in (*pair.mark[:3], *pair.values) if math.isfinite(x)]
    return min(numbers) > 0 and max(numbers) > WIDE * min(numbers)


def _format_published(pair: _Pair) -> str:
    """Return a published number in our unit; one that was rounded to zero as the paper has it."""
    return pair.number.value if re.fullmatch(r"0\.0+", pair.number.value) else format_mark(pair.mark)
