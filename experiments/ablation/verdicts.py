"""Whether the claims of a study hold, from its lines: verdicts with intervals, corrected for how many there are."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.ablation import intervals
from experiments.ablation.intervals import Interval, difference_interval, format_interval, mean_interval
from experiments.ablation.runner import TrialRecord
from experiments.ablation.study import (
    SCORE_METRICS,
    SLOPE_PREFIX,
    Claim,
    Labels,
    Study,
    base_metric,
    compared_pairs,
    format_labels,
    grid_labels,
)

VERDICT_SIGNS = {"reproduced": "✓", "trend only": "≈", "not reproduced": "✗", "proxy": "◇", "not run": "–"}


class Verdict(NamedTuple):
    """A claim, one of `VERDICT_SIGNS`, the measured evidence for it, and the scale and number of seeds behind it."""

    claim: str
    verdict: str
    evidence: str = ""
    scale: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.claim} ({self.evidence}; {self.scale})"


SIGNIFICANCE_LEVEL = 0.05  # the largest p, corrected, at which a difference counts as seen
SHARE_METRICS = ("accuracy", "error rate")  # scores that are shares of answers
MIN_ANSWERS = (
    10  # right or wrong answers, of a score, below which no share of them is near enough to normal for a t-test
)
_RELATIVE_TOLERANCE = 2e-5  # numbers that differ by no more of their size are one: a record keeps six digits


class Comparison(NamedTuple):
    """Two settings, or one and a number, on a metric: `difference` is left − right, `p` how often chance does as much.

    `t_interval` are those of its interval by Student's t, which decide where an interval does; `difference` has the
    bootstrap's from ten seeds on. `spread` is the standard deviation of the gaps, and no less than that of the grid
    they lie on; `is_certain`: chance has no part in it.
    """

    left: Labels
    right: Labels | float
    difference: Interval
    p: float
    effect_size: float
    lost_seeds: int  # seeds that diverged or have no such number
    means: tuple[float, float]
    spread: float
    t_interval: tuple[float, float] = (math.nan, math.nan)
    is_certain: bool = False


def metric_value(trial: TrialRecord, metric: str) -> float:
    """A number of a line, or the exponent of one of its curves."""
    if not metric.startswith(SLOPE_PREFIX):
        return trial.get_metric(metric)
    points = {x: y for x, y in trial.get_curve(metric.removeprefix(SLOPE_PREFIX)).items() if y > 0}
    return intervals.fit_exponent(list(points), list(points.values())).mean if len(points) > 1 else math.nan


def reported_records(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [line for line in trials if line.phase == "report"]


def distinct_settings(trials: Sequence[TrialRecord]) -> list[Labels]:
    """The settings in the order of the grid."""
    found: list[Labels] = []
    for line in trials:
        if line.labels not in found:
            found.append(line.labels)
    return found


def values_by_seed(trials: Sequence[TrialRecord], labels: Labels, metric: str) -> dict[int, float]:
    """The reported numbers of a setting by seed."""
    return {line.seed: metric_value(line, metric) for line in reported_records(trials) if line.labels == labels}


def task_identity(trial: TrialRecord) -> tuple[Any, ...]:
    """What tells the data of one line from those of another."""
    return trial.result["metric"], trial.result["chance"], *trial.result.get("baseline", ())


def score_step(trials: Sequence[TrialRecord], metric: str) -> float:
    """A bound above the step of the grid on which a metric of these lines lies: the smallest difference between two of
    its values, the ends of its range among them. 0 of a measure that no seed changes: it is counted, or follows from
    the setting.
    """
    if base_metric(metric) not in SCORE_METRICS:
        by_setting = [
            values_by_seed(trials, labels, metric).values() for labels in distinct_settings(reported_records(trials))
        ]
        if all(len(set(filter(math.isfinite, some))) < 2 for some in by_setting):
            return 0.0
    known = np.unique([*metric_bounds(trials, metric), *(metric_value(line, metric) for line in trials)])
    known = known[np.isfinite(known)]
    gaps = np.diff(known)
    return float(min(gaps[gaps > _RELATIVE_TOLERANCE * np.abs(known[1:])], default=0.0))


def compare_settings(claim: Claim, trials: Sequence[TrialRecord], use_bootstrap: bool = True) -> list[Comparison]:
    """Every comparison that a claim stands on. Seeds are paired where both sides have them: they share their data.

    Without `use_bootstrap`, which no verdict needs, `gap` has the same interval as `edges`.
    """
    tasks = {repr(line.labels): task_identity(line) for line in trials}
    steps = {
        task: score_step([line for line in trials if task_identity(line) == task], claim.metric)
        for task in set(tasks.values())
    }
    found = []
    for left, right in compared_pairs(claim, distinct_settings(trials)):
        step = max(steps[tasks[repr(side)]] for side in (left, right) if isinstance(side, dict))
        found.append(compare_pair(claim, trials, left, right, step, use_bootstrap))
    return found


def compare_pair(
    claim: Claim, trials: Sequence[TrialRecord], left: Labels, right: Labels | float, step: float, use_bootstrap: bool
) -> Comparison:
    """Two settings, or one and a number, on scores with such a step."""
    a = values_by_seed(trials, left, claim.metric)
    b = values_by_seed(trials, right, claim.metric) if isinstance(right, dict) else dict.fromkeys(a, float(right))
    seeds = [seed for seed in a if seed in b and math.isfinite(a[seed]) and math.isfinite(b[seed])]
    lost = len(a) - len(seeds)
    if not seeds:
        nan = Interval(math.nan, math.nan, math.nan, 0, "no seed left")
        return Comparison(left, right, nan, math.nan, math.nan, lost, (math.nan, math.nan), math.nan)
    x, y = np.array([a[seed] for seed in seeds]), np.array([b[seed] for seed in seeds])
    other = y if isinstance(right, dict) else float(right)
    gap = difference_interval(x, other, paired=True, step=step, use_bootstrap=use_bootstrap)
    edges = difference_interval(x, other, paired=True, step=step, use_bootstrap=False)[1:3]
    p = intervals.p_value(x, other, paired=True, step=step)
    certain = base_metric(claim.metric) not in SCORE_METRICS and (not step or len(seeds) == 1)
    if not isinstance(right, dict) and len(seeds) > 1:
        ends = metric_bounds([line for line in trials if line.labels == left], claim.metric)
        if ends == (0, 1) and 0 <= right <= 1 and min(right, 1 - right) < MIN_ANSWERS * step:
            p = max(p, intervals.share_p_value(x, right, step))
        certain |= right in ends and all(x == right)
    spread = max(float(np.std(x - y, ddof=1)), step / math.sqrt(6)) if len(seeds) > 1 else math.nan
    means = x.mean(), y.mean()
    return Comparison(left, right, gap, p, intervals.hedges_g(x, y), lost, means, spread, edges, certain)


def judge_claims(study: Study, trials: Sequence[TrialRecord], scale: str) -> list[Verdict]:
    """A verdict on each claim.

    "reproduced": every comparison has the margin, and its direction is sure: p ≤ 0.05 after Holm's correction for all
    comparisons of the study. "trend only": all point the right way, but not so far or not so surely. Where two things
    are claimed to be near, or one to be no worse than another but for a margin, the interval must lie inside, or for a
    trend the mean. Of one seed nothing is sure, but what is counted or fitted in a model, which has no spread. Seeds
    that tie are no surer than the step between scores lets them be; and where a number leaves room for few right
    answers, or few wrong ones, the exact test of so many answers must be sure as well.

    A claim that lost a seed to divergence, or some of whose settings were not run, carries no verdict: what is lost is
    no sample left out at random.
    """
    corrected = correct_p_values([compare_settings(claim, trials) for claim in study.claims])
    asked = sum(map(len, corrected))
    seeds = len({line.seed for line in reported_records(trials)})
    where = f"{scale} scale, {seeds} seed{'s' * (seeds != 1)}"
    grid = grid_labels(study, study.scales[scale])
    verdicts = []
    for claim, some in zip(study.claims, corrected, strict=True):
        wanted = len(list(compared_pairs(claim, grid)))
        if len(some) < wanted:
            verdicts.append(Verdict(claim.text, "not run", f"{len(some)} of its {wanted} comparisons were run", where))
            continue
        told_of = format_evidence(claim, some, asked, metric_bounds(trials, claim.metric))
        verdicts.append(Verdict(claim.text, decide_verdict(study, claim, some), told_of, where))
    return verdicts


def correct_p_values(comparisons: Sequence[Sequence[Comparison]]) -> list[list[tuple[Comparison, float]]]:
    """Of each claim of a study its comparisons, each with its p as Holm's correction for all of them has it."""
    flat = [one for some in comparisons for one in some]
    p = iter(intervals.adjust_p_values([one.p for one in flat])) if flat else iter(())
    return [[(one, next(p)) for one in some] for some in comparisons]


def decide_verdict(study: Study, claim: Claim, comparisons: Sequence[tuple[Comparison, float]]) -> str:
    if not comparisons or any(one.lost_seeds for one, _ in comparisons):
        return "not run"
    if all(margin_is_met(claim, one, p) for one, p in comparisons):
        return "proxy" if study.proxy else "reproduced"
    return "trend only" if all(direction_agrees(claim, one) for one, _ in comparisons) else "not reproduced"


def margin_is_met(claim: Claim, comparison: Comparison, p: float) -> bool:
    """Whether a comparison has what is claimed, for sure."""
    low, high = comparison.t_interval
    if comparison.is_certain:  # what is held against a number has its margin in the number, and may lie on it
        low = high = comparison.difference.mean
        p = 0.0 if comparison.difference.mean or not isinstance(claim.right, Mapping) else 1.0
    if claim.within is not None:
        return max(-low, high) <= claim.within
    ahead, behind = (-comparison.difference.mean, -high) if claim.at_most else (comparison.difference.mean, low)
    if claim.margin < 0:
        return behind >= claim.margin
    return ahead >= claim.margin and p <= SIGNIFICANCE_LEVEL


def direction_agrees(claim: Claim, comparison: Comparison) -> bool:
    """Whether a comparison points the way that is claimed; of one with a number, whether its interval reaches it."""
    if claim.within is not None:
        return abs(comparison.difference.mean) <= claim.within
    ahead, best = (
        (-comparison.difference.mean, -comparison.t_interval[0])
        if claim.at_most
        else (comparison.difference.mean, comparison.t_interval[1])
    )
    if isinstance(claim.right, int | float):
        return ahead >= 0 or best >= 0
    return ahead >= claim.margin if claim.margin < 0 else ahead > 0


def format_evidence(
    claim: Claim,
    compared: Sequence[tuple[Comparison, float]],
    comparison_count: int = 1,
    bounds: tuple[float, float] = intervals.UNBOUNDED,
) -> str:
    """The comparison that supports the claim least, in figures, and how many there are.

    `comparison_count` is how many the study makes in all, which its p values are corrected for.
    """
    if not compared:
        return "none of its settings was run"
    if lost := [one for one, _ in compared if one.lost_seeds]:
        sides = format_labels(lost[0].left) + (
            f" against {format_labels(lost[0].right)}" if isinstance(lost[0].right, dict) else ""
        )
        return f"{sides}: {lost[0].lost_seeds} seeds diverged or have no {claim.metric}"
    sign = -1 if claim.at_most else 1

    def support(pair: tuple[Comparison, float]) -> tuple[bool, bool, float]:
        """Whether a comparison holds, whether it points the right way, and how far."""
        one, p = pair
        if claim.within is not None:
            far = max(
                (abs(edge) for edge in (*one.t_interval, one.difference.mean) if math.isfinite(edge)), default=math.inf
            )
            return margin_is_met(claim, one, p), direction_agrees(claim, one), -far
        return margin_is_met(claim, one, p), direction_agrees(claim, one), sign * one.difference.mean

    one, p = min(compared, key=support)
    name = "" if claim.metric == "test" else f"{claim.metric} "
    parts = [f"{name}{format_labels(one.left)} {format_number(one.means[0])}"]
    if isinstance(one.right, dict):
        parts = [f"{parts[0]} against {format_labels(one.right)} {format_number(one.means[1])}"]
        parts += [f"difference {format_interval(one.difference)}", f"p {format_number(p)}"]
        parts += [f"g {format_number(one.effect_size)}"] if math.isfinite(one.effect_size) else []
    elif math.isfinite(one.difference.low) and one.difference.low < one.difference.high:
        low, high = max(one.difference.low + one.right, bounds[0]), min(one.difference.high + one.right, bounds[1])
        parts[0] += (
            f" [{format_number(low)}, {format_number(high)}]" if format_number(low) != format_number(high) else ""
        )
        parts += [f"p {format_number(p)}"] if p > SIGNIFICANCE_LEVEL else []
    if len(compared) > 1:
        parts.append(f"the weakest of {len(compared)}")
    if (
        claim.margin > 0
        and isinstance(one.right, dict)
        and one.spread > 0
        and p > SIGNIFICANCE_LEVEL
        and direction_agrees(claim, one)
    ):
        level = 1 - SIGNIFICANCE_LEVEL / max(comparison_count, 1)
        parts.append(f"the margin would need {intervals.required_seeds(one.spread, claim.margin, level=level)} seeds")
    return ", ".join(parts)


def format_number(number: float) -> str:
    return f"{number:.3g}" if math.isfinite(number) else str(number)


def estimate_metric(trials: Sequence[TrialRecord], labels: Labels, metric: str) -> Interval:
    """Mean and interval of a setting over the seeds that lived; nan where none did."""
    found = [v for v in values_by_seed(trials, labels, metric).values() if math.isfinite(v)]
    inside = metric_bounds([line for line in trials if line.labels == labels], metric)
    return mean_interval(found, bounds=inside) if found else Interval(math.nan, math.nan, math.nan, 0, "none")


def max_or_min(result: Mapping[str, Any]) -> Callable[..., Any]:
    """`max` or `min`: which of a cell's scores is wanted. Of accuracies the highest, of all others the lowest."""
    return max if result["metric"] == "accuracy" else min


def metric_bounds(trials: Sequence[TrialRecord], metric: str) -> tuple[float, float]:
    """The range of a metric: of a share 0 to 1, of another score from 0, of a measure unknown."""
    if metric.split("@")[0] not in SCORE_METRICS:
        return intervals.UNBOUNDED
    return (0.0, 1.0) if {line.result["metric"] for line in trials} <= set(SHARE_METRICS) else (0.0, math.inf)
