"""The comparisons that a claim rests on: two settings, or one and a number, with one-sided p-values."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.ablation import intervals
from experiments.ablation.intervals import Interval, difference_interval
from experiments.ablation.study import SLOPE_PREFIX, Claim, Labels, compared_pairs, is_score
from experiments.ablation.trial_scores import (
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

MIN_ANSWERS = 10  # right or wrong answers below which a share of them is not close enough to normal for a t-test


class Comparison(NamedTuple):
    """A setting compared with another setting or a number, by the inequality `claim`.

    `difference` is left − right with its interval. The p-values are one-sided: `p_holds` is small if the margin is
    surely there, `p_fails` if it is surely missed, and `p_reversed` if the difference surely has the other sign (for a
    claim without a margin the same). `spread` is the standard deviation of the difference of two seeds, no smaller than
    the step between scores allows.
    """

    claim: Claim
    left: Labels
    right: Labels | float
    difference: Interval
    p_holds: float
    p_fails: float
    p_reversed: float
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
    identities = {repr(trial.labels): task_identity(trial) for trial in trials}
    comparisons = []
    for part in claim.inequalities:
        steps = {
            identity: score_step([trial for trial in trials if task_identity(trial) == identity], part.metric)
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
    a = values_by_seed(trials, left, metric)
    b = values_by_seed(trials, right, metric) if isinstance(right, dict) else dict.fromkeys(a, float(right))
    seeds = [seed for seed in a if seed in b and math.isfinite(a[seed]) and math.isfinite(b[seed])]
    lost, unknown = len(a) - len(seeds), (math.nan, math.nan, math.nan)
    if not seeds:
        nothing = Interval(*unknown, 0, "no seed left")
        return Comparison(claim, left, right, nothing, *unknown, math.nan, lost, (math.nan, math.nan), math.nan)
    x, y = np.array([a[seed] for seed in seeds]), np.array([b[seed] for seed in seeds])
    means = x.mean(), y.mean()
    if metric.startswith(SLOPE_PREFIX) and isinstance(right, dict) and len(seeds) == 1:
        curves = [
            positive_points(trial, metric)
            for side in (left, right)
            for trial in reported_records(trials)
            if trial.labels == side and trial.seed == seeds[0]
        ]
        p_values = _claim_p_values(
            claim, lambda margin, side: intervals.exponent_p_value(*curves, margin=margin, alternative=side)
        )
        gap = intervals.exponent_difference(*curves)
        return Comparison(claim, left, right, gap, *p_values, math.nan, lost, means, math.nan)
    other = y if isinstance(right, dict) else float(right)
    gap = difference_interval(x, other, paired=False, step=step)
    certain = not is_score(metric) and (not step or len(seeds) == 1)
    few_answers = False
    if not isinstance(right, dict) and len(seeds) > 1:
        ends = metric_bounds([trial for trial in trials if trial.labels == left], metric)
        few_answers = ends == (0, 1) and 0 <= right <= 1 and min(right, 1 - right) < MIN_ANSWERS * step
        certain |= right in ends and all(x == right)

    def test_margin(margin: float, side: intervals.Alternative) -> float:
        p = intervals.p_value(x, other, step=step, margin=margin, alternative=side)
        return max(p, intervals.share_p_value(x, float(other), step, side)) if few_answers and not margin else p

    p_values = _certain_p_values(claim, gap.mean) if certain else _claim_p_values(claim, test_margin)
    spread = math.nan
    if len(seeds) > 1:
        sides = (x, y) if isinstance(right, dict) else (x,)
        spread = math.sqrt(sum(max(float(side.var(ddof=1)), step**2 / 6 / len(sides)) for side in sides))
    return Comparison(claim, left, right, gap, *p_values, intervals.hedges_g(x, y), lost, means, spread)


def _claim_p_values(
    claim: Claim, test_margin: Callable[[float, intervals.Alternative], float]
) -> tuple[float, float, float]:
    """The p-values that a claim holds, fails and is reversed, by one-sided tests of a margin of left − right."""
    if claim.within is not None:  # two one-sided tests (Schuirmann 1987)
        outside = min(test_margin(claim.within, "greater"), test_margin(-claim.within, "less"))
        return max(test_margin(-claim.within, "greater"), test_margin(claim.within, "less")), outside, outside
    ahead, behind = ("less", "greater") if claim.at_most else ("greater", "less")
    margin = -claim.margin if claim.at_most else claim.margin
    fails = test_margin(margin, behind)
    return test_margin(margin, ahead), fails, test_margin(0.0, behind) if _has_direction(claim) else fails


def _has_direction(claim: Claim) -> bool:
    """Whether a claim can be right in its direction and wrong in its size."""
    return claim.margin > 0 and isinstance(claim.right, Mapping)


def _certain_p_values(claim: Claim, mean: float) -> tuple[float, float, float]:
    """The same where chance has no part in the difference `mean`. To be as good as a number is to reach it."""
    if claim.within is not None:
        holds, is_reversed = abs(mean) <= claim.within, True
    else:
        ahead = -mean if claim.at_most else mean
        holds = ahead >= claim.margin and (bool(ahead) or not isinstance(claim.right, Mapping))
        is_reversed = ahead < 0 or not _has_direction(claim)
    return (0.0, 1.0, 1.0) if holds else (1.0, 0.0, float(not is_reversed))
