"""Whether the claims of a study hold, from its trials: verdicts with evidence, corrected for multiple comparisons."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.ablation import intervals
from experiments.ablation.intervals import Interval, difference_interval, format_interval, mean_interval
from experiments.ablation.study import (
    EXTRA_METRICS,
    SLOPE_PREFIX,
    Claim,
    Labels,
    Study,
    base_metric,
    compared_pairs,
    format_labels,
    grid_labels,
    is_score,
)
from experiments.ablation.trials import TrialRecord

VERDICT_SIGNS = {"reproduced": "✓", "trend only": "≈", "not reproduced": "✗", "proxy": "◇", "not run": "–"}


class Verdict(NamedTuple):
    """A claim, one of `VERDICT_SIGNS`, the measured evidence for it, and the scale and number of seeds behind it."""

    claim: str
    verdict: str
    evidence: str = ""
    scale: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.claim} ({self.evidence}; {self.scale})"


SIGNIFICANCE_LEVEL = 0.05  # the largest corrected p-value at which a difference counts as seen
SHARE_METRICS = ("accuracy", "error rate", "balanced accuracy", "macro F1", "AUROC")  # scores between 0 and 1
MIN_ANSWERS = 10  # right or wrong answers below which a share of them is not close enough to normal for a t-test
_RELATIVE_TOLERANCE = 2e-5  # numbers closer than this are equal: a record keeps six digits


class Comparison(NamedTuple):
    """A setting compared with another setting or a number, by the inequality `claim`.

    `difference` is left − right with its interval, a bootstrap's from ten seeds on; `t_interval` holds the ends of the
    interval by Student's t, which verdicts go by. `p` is the p-value of no difference. `spread` is the standard
    deviation of the paired differences, no smaller than the step between scores allows. `is_certain`: chance has no
    part in it.
    """

    claim: Claim
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
    """A number of a trial, or the exponent of one of its curves."""
    if not metric.startswith(SLOPE_PREFIX):
        return trial.get_metric(metric)
    points = _positive_points(trial, metric)
    return intervals.fit_exponent(list(points), list(points.values())).mean if len(points) > 1 else math.nan


def _positive_points(trial: TrialRecord, metric: str) -> dict[float, float]:
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
    return float(min(gaps[gaps > _RELATIVE_TOLERANCE * np.abs(known[1:])], default=0.0))


def compare_settings(claim: Claim, trials: Sequence[TrialRecord], use_bootstrap: bool = True) -> list[Comparison]:
    """Every comparison that a claim rests on. Seeds that both sides have are paired, since they share their data.

    Without `use_bootstrap`, which no verdict needs, `difference` has the ends of `t_interval`.
    """
    identities = {repr(trial.labels): task_identity(trial) for trial in trials}
    comparisons = []
    for part in claim.inequalities:
        steps = {
            identity: score_step([trial for trial in trials if task_identity(trial) == identity], part.metric)
            for identity in set(identities.values())
        }
        for left, right in _choose_best(part, trials):
            step = max(steps[identities[repr(side)]] for side in (left, right) if isinstance(side, dict))
            comparisons.append(_compare_pair(part, trials, left, right, step, use_bootstrap))
    return comparisons


def _choose_best(claim: Claim, trials: Sequence[TrialRecord]) -> list[tuple[Labels, Labels | float]]:
    """The pairs that a claim compares; with `best_of`, of left settings the one with the best mean validation score.

    Where a candidate lost a seed to divergence, its pair is kept instead: then the claim carries no verdict.
    """
    pairs = list(compared_pairs(claim, distinct_settings(trials)))
    if not claim.best_of:
        return pairs
    candidates: dict[str, list[tuple[Labels, Labels | float]]] = {}
    for left, right in pairs:
        rest = {axis: label for axis, label in left.items() if axis != claim.best_of}
        candidates.setdefault(repr((rest, right)), []).append((left, right))

    def rank(pair: tuple[Labels, Labels | float]) -> float:
        scores = list(values_by_seed(trials, pair[0], "validation").values())
        lost = any(math.isnan(value) for value in values_by_seed(trials, pair[0], claim.metric).values())
        sign = 1 if max_or_min(next(trial.result for trial in trials if trial.labels == pair[0])) is max else -1
        return math.inf if lost else sign * sum(scores) / max(len(scores), 1)

    return [max(group, key=rank) for group in candidates.values()]


def _compare_pair(
    claim: Claim, trials: Sequence[TrialRecord], left: Labels, right: Labels | float, step: float, use_bootstrap: bool
) -> Comparison:
    """Compare two settings, or one and a number; `step` is the step between possible scores."""
    metric = claim.metric
    a = values_by_seed(trials, left, metric)
    b = values_by_seed(trials, right, metric) if isinstance(right, dict) else dict.fromkeys(a, float(right))
    seeds = [seed for seed in a if seed in b and math.isfinite(a[seed]) and math.isfinite(b[seed])]
    lost = len(a) - len(seeds)
    if not seeds:
        nothing = Interval(math.nan, math.nan, math.nan, 0, "no seed left")
        return Comparison(claim, left, right, nothing, math.nan, math.nan, lost, (math.nan, math.nan), math.nan)
    x, y = np.array([a[seed] for seed in seeds]), np.array([b[seed] for seed in seeds])
    means = x.mean(), y.mean()
    if metric.startswith(SLOPE_PREFIX) and isinstance(right, dict) and len(seeds) == 1:
        curves = [
            _positive_points(trial, metric)
            for side in (left, right)
            for trial in reported_records(trials)
            if trial.labels == side and trial.seed == seeds[0]
        ]
        gap, p = intervals.exponent_difference(*curves)
        return Comparison(claim, left, right, gap, p, math.nan, lost, means, math.nan, gap[1:3])
    other = y if isinstance(right, dict) else float(right)
    gap = difference_interval(x, other, paired=True, step=step, use_bootstrap=use_bootstrap)
    ends_by_t = difference_interval(x, other, paired=True, step=step, use_bootstrap=False)[1:3]
    p = intervals.p_value(x, other, paired=True, step=step)
    certain = not is_score(metric) and (not step or len(seeds) == 1)
    if not isinstance(right, dict) and len(seeds) > 1:
        ends = metric_bounds([trial for trial in trials if trial.labels == left], metric)
        if ends == (0, 1) and 0 <= right <= 1 and min(right, 1 - right) < MIN_ANSWERS * step:
            p = max(p, intervals.share_p_value(x, right, step))
        certain |= right in ends and all(x == right)
    spread = max(float(np.std(x - y, ddof=1)), step / math.sqrt(6)) if len(seeds) > 1 else math.nan
    return Comparison(claim, left, right, gap, p, intervals.hedges_g(x, y), lost, means, spread, ends_by_t, certain)


def judge_claims(study: Study, trials: Sequence[TrialRecord], scale: str) -> list[Verdict]:
    """A verdict on each claim that speaks of settings of this scale.

    "reproduced": every comparison has the margin, and its direction is sure: p ≤ 0.05 after Holm's correction for all
    comparisons of the study. "trend only": every comparison points the right way, but not all so far or so surely. If
    two things are claimed to be near, or one to be no worse than another by more than a margin, the interval must lie
    inside, or for a trend the mean. With one seed nothing is sure but what is counted, and fitted exponents, whose
    interval is that of the fit. Seeds that tie are no surer than the step between scores allows; and where a number
    leaves room for only a few right or wrong answers, an exact test of as many answers must be sure as well.

    A claim that lost a seed to divergence, or some of whose settings were not run, carries no verdict: the lost seeds
    are not a random sample.
    """
    labels, grid = distinct_settings(trials), grid_labels(study, study.scales[scale])
    if axis := study.registry_axis:  # of what was registered since, nothing is claimed yet
        grid = [setting for setting in grid if setting[axis] in {one[axis] for one in labels}]
    asked = [claim for claim in study.claims if _count_pairs(claim, grid)]
    corrected = correct_p_values([compare_settings(claim, trials) for claim in asked])
    total = sum(map(len, corrected))
    seeds = len({trial.seed for trial in reported_records(trials)})
    where = f"{scale} scale, {seeds} seed{'' if seeds == 1 else 's'}"
    verdicts = []
    for claim, comparisons in zip(asked, corrected, strict=True):
        wanted, present = _count_pairs(claim, grid), _count_pairs(claim, labels)
        if present < wanted:
            verdicts.append(Verdict(claim.text, "not run", f"{present} of its {wanted} comparisons were run", where))
            continue
        evidence = format_evidence(comparisons, total, metric_bounds(trials, claim.metric))
        verdicts.append(Verdict(claim.text, decide_verdict(study, comparisons), evidence, where))
    return verdicts


def _count_pairs(claim: Claim, settings: Sequence[Labels]) -> int:
    return sum(len(list(compared_pairs(part, settings))) for part in claim.inequalities)


def correct_p_values(comparisons: Sequence[Sequence[Comparison]]) -> list[list[tuple[Comparison, float]]]:
    """The comparisons of each claim, each with its p-value after Holm's correction for all of them together."""
    flat = [comparison for group in comparisons for comparison in group]
    p = iter(intervals.adjust_p_values([comparison.p for comparison in flat])) if flat else iter(())
    return [[(comparison, next(p)) for comparison in group] for group in comparisons]


def decide_verdict(study: Study, comparisons: Sequence[tuple[Comparison, float]]) -> str:
    """The verdict on a claim from its comparisons, each with its corrected p-value."""
    if not comparisons or any(comparison.lost_seeds for comparison, _ in comparisons):
        return "not run"
    if all(margin_is_met(comparison, p) for comparison, p in comparisons):
        return "proxy" if study.proxy else "reproduced"
    return "trend only" if all(direction_agrees(comparison) for comparison, _ in comparisons) else "not reproduced"


def margin_is_met(comparison: Comparison, p: float) -> bool:
    """Whether a comparison surely has the margin that is claimed; `p` is its corrected p-value."""
    claim, mean = comparison.claim, comparison.difference.mean
    low, high = comparison.t_interval
    if comparison.is_certain:  # a comparison with a number has its margin in the number, and may lie on it
        low = high = mean
        p = 0.0 if mean or not isinstance(claim.right, Mapping) else 1.0
    if claim.within is not None:
        return max(-low, high) <= claim.within
    ahead, at_least = (-mean, -high) if claim.at_most else (mean, low)
    if claim.margin < 0:
        return at_least >= claim.margin
    return ahead >= claim.margin and p <= SIGNIFICANCE_LEVEL


def direction_agrees(comparison: Comparison) -> bool:
    """Whether a comparison points the claimed way; for one with a number, whether its interval reaches the number."""
    claim, mean = comparison.claim, comparison.difference.mean
    if claim.within is not None:
        return abs(mean) <= claim.within
    ahead, at_most = (-mean, -comparison.t_interval[0]) if claim.at_most else (mean, comparison.t_interval[1])
    if isinstance(claim.right, int | float):
        return ahead >= 0 or at_most >= 0
    return ahead >= claim.margin if claim.margin < 0 else ahead > 0


def _support(comparison: Comparison, p: float) -> tuple[bool, bool, float]:
    """How well a comparison supports its claim: has it the margin, does it point the right way, and how far."""
    claim, mean = comparison.claim, comparison.difference.mean
    if claim.within is not None:
        far = max((abs(end) for end in (*comparison.t_interval, mean) if math.isfinite(end)), default=math.inf)
        return margin_is_met(comparison, p), direction_agrees(comparison), -far
    return margin_is_met(comparison, p), direction_agrees(comparison), -mean if claim.at_most else mean


def format_evidence(
    compared: Sequence[tuple[Comparison, float]],
    comparison_count: int = 1,
    bounds: tuple[float, float] = intervals.UNBOUNDED,
) -> str:
    """In figures, the comparison that supports the claim least, and how many comparisons there are.

    `comparison_count` is how many the study makes in all, which the p-values are corrected for.
    """
    if not compared:
        return "none of its settings was run"
    if lost := [comparison for comparison, _ in compared if comparison.lost_seeds]:
        right = lost[0].right
        sides = format_labels(lost[0].left) + (f" against {format_labels(right)}" if isinstance(right, dict) else "")
        return f"{sides}: {lost[0].lost_seeds} seeds diverged or have no {lost[0].claim.metric}"
    weakest, p = min(compared, key=lambda pair: _support(*pair))
    claim, gap = weakest.claim, weakest.difference
    name = "" if claim.metric == "test" else f"{claim.metric} "
    parts = [f"{name}{format_labels(weakest.left)} {format_number(weakest.means[0])}"]
    if isinstance(weakest.right, dict):
        parts = [f"{parts[0]} against {format_labels(weakest.right)} {format_number(weakest.means[1])}"]
        parts += [f"difference {format_interval(gap)}", f"p {format_number(p)}"]
        parts += [f"g {format_number(weakest.effect_size)}"] if math.isfinite(weakest.effect_size) else []
    elif math.isfinite(gap.low) and gap.low < gap.high:
        low = format_number(max(gap.low + weakest.right, bounds[0]))
        high = format_number(min(gap.high + weakest.right, bounds[1]))
        parts[0] += f" [{low}, {high}]" if low != high else ""
        parts += [f"p {format_number(p)}"] if p > SIGNIFICANCE_LEVEL else []
    if len(compared) > 1:
        parts.append(f"the weakest of {len(compared)}")
    is_unsure = p > SIGNIFICANCE_LEVEL and direction_agrees(weakest)
    if claim.margin > 0 and isinstance(weakest.right, dict) and weakest.spread > 0 and is_unsure:
        level = 1 - SIGNIFICANCE_LEVEL / max(comparison_count, 1)
        needed = intervals.required_seeds(weakest.spread, claim.margin, level=level)
        parts.append(f"the margin would need {needed} seeds")
    return ", ".join(parts)


def format_number(number: float) -> str:
    """Three digits; inf and nan by name."""
    return f"{number:.3g}" if math.isfinite(number) else str(number)


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
