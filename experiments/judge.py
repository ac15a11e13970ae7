"""Whether the claims of a study hold, from its lines: verdicts with intervals, corrected for how many there are."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments import statistics
from experiments.report import Verdict
from experiments.runner import Line
from experiments.statistics import Interval, difference, format_interval, interval
from experiments.study import SLOPE, TRAINED, Claim, Labels, Study, pairs, told

SURE = 0.05  # the largest p, corrected, at which a difference counts as seen


class Comparison(NamedTuple):
    """Two settings, or one and a number, on a metric: `gap` is left − right, `p` how often chance does as much."""

    left: Labels
    right: Labels | float
    gap: Interval
    p: float
    effect: float
    lost: int  # seeds that diverged or have no such number
    means: tuple[float, float]
    spread: float


def value(line: Line, metric: str) -> float:
    """A number of a line, or the exponent of one of its curves."""
    if not metric.startswith(SLOPE):
        return line.value(metric)
    points = {x: y for x, y in line.curve(metric.removeprefix(SLOPE)).items() if y > 0}
    return statistics.slope(list(points), list(points.values())).mean if len(points) > 1 else math.nan


def reported(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.part == "report"]


def each(lines: Sequence[Line]) -> list[Labels]:
    """The settings in the order of the grid."""
    found: list[Labels] = []
    for line in lines:
        if line.labels not in found:
            found.append(line.labels)
    return found


def values(lines: Sequence[Line], labels: Labels, metric: str) -> dict[int, float]:
    """The reported numbers of a setting by seed."""
    return {line.seed: value(line, metric) for line in reported(lines) if line.labels == labels}


def compare(claim: Claim, lines: Sequence[Line]) -> list[Comparison]:
    """Every comparison that a claim stands on. Seeds are paired where both sides have them: they share their data."""
    found = []
    for left, right in pairs(claim, each(lines)):
        a = values(lines, left, claim.metric)
        b = values(lines, right, claim.metric) if isinstance(right, dict) else dict.fromkeys(a, float(right))
        seeds = [seed for seed in a if seed in b and math.isfinite(a[seed]) and math.isfinite(b[seed])]
        lost = len(a) - len(seeds)
        if not seeds:
            nan = Interval(math.nan, math.nan, math.nan, 0, "no seed left")
            found.append(Comparison(left, right, nan, math.nan, math.nan, lost, (math.nan, math.nan), math.nan))
            continue
        x, y = np.array([a[seed] for seed in seeds]), np.array([b[seed] for seed in seeds])
        gap = difference(x, y, paired=True)
        p = statistics.p_value(x, y, paired=True)
        spread = float(np.std(x - y, ddof=1)) if len(seeds) > 1 else math.nan
        found.append(Comparison(left, right, gap, p, statistics.effect(x, y), lost, (x.mean(), y.mean()), spread))
    return found


def judge(study: Study, lines: Sequence[Line], scale: str) -> list[Verdict]:
    """A verdict on each claim.

    "reproduced": every comparison has the margin, and its direction is sure: p ≤ 0.05 after Holm's correction for all
    comparisons of the study (of one seed nothing is sure; a measure of it against a number is taken as it is, for what
    is counted or fitted has no spread). "trend only": all point the right way, but not so far or not so surely. Where two things
    are claimed to be near, the interval must lie inside the margin, or for a trend the mean. A comparison that lost a
    seed to divergence carries no verdict: what is lost is no sample left out at random.
    """
    compared = [compare(claim, lines) for claim in study.claims]
    flat = [one for some in compared for one in some]
    corrected = iter(statistics.holm([one.p for one in flat])) if flat else iter(())
    seeds = len({line.seed for line in reported(lines)})
    where = f"{scale} scale, {seeds} seed{'s' * (seeds != 1)}"
    verdicts = []
    for claim, some in zip(study.claims, compared, strict=True):
        judged = [(one, next(corrected)) for one in some]
        told_of = evidence(claim, judged, bounds(lines, claim.metric))
        verdicts.append(Verdict(claim.text, decided(study, claim, judged), told_of, where))
    return verdicts


def decided(study: Study, claim: Claim, some: Sequence[tuple[Comparison, float]]) -> str:
    if not some or any(one.lost for one, _ in some):
        return "not run"
    if claim.within is not None:
        inside = [max(abs(edge) for edge in one.gap[:3]) <= claim.within for one, _ in some]
        trend = [abs(one.gap.mean) <= claim.within for one, _ in some]
    else:
        sign = -1 if claim.at_most else 1
        # What is held against a number has its margin in the number: it may lie on it.
        ahead = [sign * one.gap.mean for one, _ in some]
        alone = isinstance(claim.right, int | float)
        inside = [gap >= claim.margin and sure(p, alone) for gap, (_, p) in zip(ahead, some, strict=True)]
        trend = [gap > 0 for gap in ahead]
        if alone:
            edges = [one.gap.low if claim.at_most else one.gap.high for one, _ in some]
            trend = [gap >= 0 or sign * edge >= 0 for gap, edge in zip(ahead, edges, strict=True)]
    if all(inside):
        return "proxy" if study.proxy else "reproduced"
    return "trend only" if all(trend) else "not reproduced"


def sure(p: float, alone: bool) -> bool:
    """Whether a direction is, by a corrected p; `alone` is what is held against a number, and may be of one seed."""
    return p <= SURE or (alone and math.isnan(p))


def evidence(
    claim: Claim, some: Sequence[tuple[Comparison, float]], inside: tuple[float, float] = statistics.ANYTHING
) -> str:
    """The comparison that supports the claim least, in figures, and how many there are."""
    if not some:
        return "none of its settings was run"
    if lost := [one for one, _ in some if one.lost]:
        return f"{told(lost[0].left)}: {lost[0].lost} seeds diverged or have no {claim.metric}"
    sign = -1 if claim.at_most else 1
    alone = isinstance(claim.right, int | float)

    def holding(pair: tuple[Comparison, float]) -> tuple[bool, bool, float]:
        """What holds of a comparison: its margin, that it is sure, and how far it is ahead."""
        one, p = pair
        if claim.within is not None:
            return False, False, -abs(one.gap.mean)
        ahead = sign * one.gap.mean
        return ahead >= claim.margin, sure(p, alone), ahead

    one, p = min(some, key=holding)
    name = "" if claim.metric == "test" else f"{claim.metric} "
    parts = [f"{name}{told(one.left)} {short(one.means[0])}"]
    if isinstance(one.right, dict):
        parts = [f"{parts[0]} against {told(one.right)} {short(one.means[1])}"]
        parts += [f"difference {format_interval(one.gap)}", f"p {short(p)}"]
        parts += [f"g {short(one.effect)}"] if math.isfinite(one.effect) else []
    elif math.isfinite(one.gap.low) and one.gap.low < one.gap.high:
        low, high = max(one.gap.low + one.right, inside[0]), min(one.gap.high + one.right, inside[1])
        parts[0] += f" [{short(low)}, {short(high)}]"
        parts += [f"p {short(p)}"] if p > SURE else []
    if len(some) > 1:
        parts.append(f"the weakest of {len(some)}")
    if claim.margin and one.spread and math.isfinite(one.spread) and isinstance(one.right, dict) and p > SURE:
        parts.append(f"the margin would need {statistics.seeds_needed(one.spread, claim.margin)} seeds")
    return ", ".join(parts)


def short(number: float) -> str:
    return f"{number:.3g}" if math.isfinite(number) else str(number)


def estimate(lines: Sequence[Line], labels: Labels, metric: str) -> Interval:
    """Mean and interval of a setting over the seeds that lived; nan where none did."""
    found = [v for v in values(lines, labels, metric).values() if math.isfinite(v)]
    inside = bounds(lines, metric)
    return interval(found, bounds=inside) if found else Interval(math.nan, math.nan, math.nan, 0, "none")


def bounds(lines: Sequence[Line], metric: str) -> tuple[float, float]:
    """The range of a metric: of an accuracy 0 to 1, of another score from 0, of a measure unknown."""
    if metric.split("@")[0] not in TRAINED:
        return statistics.ANYTHING
    return (0.0, 1.0) if {line.cell["metric"] for line in lines} == {"accuracy"} else (0.0, math.inf)
