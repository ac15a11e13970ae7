"""The comparisons that a claim rests on: two settings, or one and a number, with one-sided p-values."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.ablation import exact_tests, intervals
from experiments.ablation.intervals import Interval, difference_interval
from experiments.ablation.study import SLOPE_PREFIX, Claim, Labels, compared_pairs, is_score
from experiments.ablation.trial_scores import (
    RELATIVE_TOLERANCE,
    distinct_settings,
    max_or_min,
    metric_bounds,
    positive_points,
    reported_records,
    score_step,
    task_identity,
    values_by_seed,
)
from experiments.ablation.trials import TrialRecord
from experiments.measures import registry

Side = Literal["greater", "less"]  # which differences speak against a margin

MIN_ANSWERS = 10  # right or wrong answers below which a share of them is not close enough to normal for a t-test


class Comparison(NamedTuple):
    """A setting compared with another setting or a number, by the inequality `claim`.

    `difference` is left − right with its interval. The p-values are one-sided: `p_holds` is small if the margin is
    surely there, `p_fails` if it is surely missed, and `p_direction` if the difference surely has the claimed sign (nan
    for a claim that has no size: one without a margin, or about a number). `spread` is the standard deviation of the
    difference of two seeds, no smaller than the step between scores allows.
    """

    claim: Claim
    left: Labels
    right: Labels | float
    difference: Interval
    p_holds: float
    p_fails: float
    p_direction: float
    effect_size: float
    lost_seeds: int  # seeds that diverged or have no such number
    means: tuple[float, float]
    spread: float

    @property
    def headroom(self) -> float:
        """How far the mean lies inside what is claimed; negative outside."""
        claim, mean = self.claim, self.difference.mean
        if claim.within is not None:
            return claim.within - abs(mean)
        return (-mean if claim.at_most else mean) - claim.margin


def compare_settings(claim: Claim, trials: Sequence[TrialRecord]) -> list[Comparison]:
    """Every comparison that a claim rests on.

    Two settings are compared by Welch's test. Their seeds share the data, but over the pairs of settings on record the
    scores of one seed do not go together (aa_test.py prints by how much), so pairs would only lose degrees of freedom.
    """
    identities = {repr(trial.labels): repr(task_identity(trial)) for trial in trials}  # repr: nan is not nan
    comparisons = []
    for part in claim.inequalities:
        steps = {
            identity: score_step([trial for trial in trials if identities[repr(trial.labels)] == identity], part.metric)
            for identity in set(identities.values())
        }
        for left, right in _choose_best(part, trials):
            step = max(steps[identities[repr(side)]] for side in (left, right) if isinstance(side, dict))
            comparisons.append(_compare_pair(part, trials, left, right, step))
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
    claim: Claim, trials: Sequence[TrialRecord], left: Labels, right: Labels | float, step: float
) -> Comparison:
    """Compare two settings, or one and a number; `step` is the step between possible scores."""
    metric = claim.metric
    a = _claimed_values(claim, trials, left)
    b = _claimed_values(claim, trials, right) if isinstance(right, dict) else dict.fromkeys(a, float(right))
    step = step if claim.seeds_reach is None else 1.0
    seeds = [seed for seed in a if seed in b and math.isfinite(a[seed]) and math.isfinite(b[seed])]
    lost, unknown = len(a.keys() | b.keys()) - len(seeds), (math.nan, math.nan, math.nan)
    if not seeds:
        nothing = Interval(*unknown, 0, "no seed left")
        return Comparison(claim, left, right, nothing, *unknown, math.nan, lost, (math.nan, math.nan), math.nan)
    x, y = np.array([a[seed] for seed in seeds]), np.array([b[seed] for seed in seeds])
    means = float(x.mean()), float(y.mean())
    certain = is_counted(metric) or (not is_score(metric) and not step and len(seeds) > 1)
    if metric.startswith(SLOPE_PREFIX) and len(seeds) == 1 and not certain:
        curves: list[Any] = [
            positive_points(trial, metric)
            for side in (left, right)
            for trial in reported_records(trials)
            if trial.labels == side and trial.seed == seeds[0]
        ]
        curves += [] if isinstance(right, dict) else [float(right)]
        gap, spread = intervals.exponent_difference(*curves), math.nan

        def test_margin(margin: float, side: Side) -> float:
            return intervals.exponent_p_value(*curves, margin=margin, alternative=side)

    elif isinstance(right, dict):
        gap = difference_interval(x, y, paired=False, step=step)
        spread = _join_spreads((x, y), step)
        are_coins = step >= 1 and (is_score(metric) or claim.seeds_reach is not None)
        are_coins &= len(seeds) > 1 and bool(np.isin([*x, *y], (0, 1)).all())

        def test_margin(margin: float, side: Side) -> float:
            if are_coins and abs(margin) <= 1:
                return exact_tests.coin_p_value(x, y, margin, side)
            return intervals.p_value(x, y, step=step, margin=margin, alternative=side)

    else:
        gap = difference_interval(x, float(right), paired=False, step=step)
        spread = _join_spreads((x,), step)
        is_share = metric_bounds([trial for trial in trials if trial.labels == left], metric) == (0, 1)

        def test_margin(margin: float, side: Side) -> float:
            bound = right + margin
            if claim.seeds_reach is not None:
                return exact_tests.share_p_value(x, min(max(bound, 0.0), 1.0), 1.0, side)
            p = intervals.p_value(x, float(right), step=step, margin=margin, alternative=side)
            if is_share and len(seeds) > 1 and 0 <= bound <= 1 and min(bound, 1 - bound) < MIN_ANSWERS * step:
                return max(p, exact_tests.share_p_value(x, bound, step, side))
            return p

    if certain:
        tolerance = RELATIVE_TOLERANCE * max(map(abs, means))
        p_values = _certain_p_values(claim, gap.mean, tolerance)
    else:
        p_values = _claim_p_values(claim, gap.mean, test_margin)
    return Comparison(claim, left, right, gap, *p_values, intervals.hedges_g(x, y), lost, means, spread)


def _claimed_values(claim: Claim, trials: Sequence[TrialRecord], labels: Labels) -> dict[int, float]:
    """What a claim compares of a setting, by seed: its metric, or whether that is as high as the claim asks."""
    values = values_by_seed(trials, labels, claim.metric)
    if claim.seeds_reach is None:
        return values
    return {seed: float(value >= claim.seeds_reach) if value == value else value for seed, value in values.items()}


def is_counted(metric: str) -> bool:
    """Whether chance has no part in a measure, whatever the seed."""
    return metric.removeprefix(SLOPE_PREFIX).split("@")[0] in registry.COUNTED_MEASURES


def _join_spreads(sides: Sequence[np.ndarray], step: float) -> float:
    """The standard deviation of a seed's score, or of the difference of two; nan for one seed."""
    if len(sides[0]) < 2:
        return math.nan
    return math.sqrt(sum(max(float(side.var(ddof=1)), step**2 / 6 / len(sides)) for side in sides))


def _claim_p_values(
    claim: Claim, mean: float, test_margin: Callable[[float, Side], float]
) -> tuple[float, float, float]:
    """The p-values that a claim holds, fails and has its direction, by one-sided tests of a margin of left − right."""
    if claim.within is not None:
        within = claim.within
        inside = max(test_margin(-within, "greater"), test_margin(within, "less"))  # two tests (Schuirmann 1987)
        side = "greater" if mean >= 0 else "less"
        return inside, min(1.0, test_margin(within, side) + test_margin(-within, side)), math.nan
    ahead, behind = ("less", "greater") if claim.at_most else ("greater", "less")
    margin = -claim.margin if claim.at_most else claim.margin
    direction = test_margin(0.0, ahead) if _has_size(claim) else math.nan
    return test_margin(margin, ahead), test_margin(margin, behind), direction


def _has_size(claim: Claim) -> bool:
    """Whether a claim can be right in its direction and wrong in its size."""
    return claim.margin > 0 and isinstance(claim.right, Mapping)


def _certain_p_values(claim: Claim, mean: float, tolerance: float) -> tuple[float, float, float]:
    """The same where chance has no part in the difference `mean`; what is closer than `tolerance` is equal.

    To reach a number is to be as good as it; a setting that is higher than another is not equal to it.
    """
    ahead = -mean if claim.at_most else mean
    if claim.within is not None:
        holds = abs(mean) <= claim.within + tolerance
    elif claim.margin or not isinstance(claim.right, Mapping):
        holds = ahead >= claim.margin - tolerance
    else:
        holds = ahead > tolerance
    direction = float(ahead <= tolerance) if _has_size(claim) else math.nan
    return float(not holds), float(holds), direction
