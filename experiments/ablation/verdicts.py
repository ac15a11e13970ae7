"""Whether the claims of a study hold, from its trials: verdicts with evidence, corrected for multiple comparisons."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.ablation import intervals
from experiments.ablation.comparisons import Comparison, compare_settings
from experiments.ablation.intervals import format_interval
from experiments.ablation.looks import LOOK_LEVEL, parse_looks
from experiments.ablation.study import (
    Claim,
    Labels,
    Study,
    compared_pairs,
    format_labels,
    grid_labels,
)
from experiments.ablation.trial_scores import distinct_settings, metric_bounds, reported_records
from experiments.ablation.trials import TrialRecord
from training import files

VERDICT_SIGNS = {
    "reproduced": "✓",
    "smaller than claimed": "≈",
    "contradicted": "✗",
    "undecided": "?",
    "proxy": "◇",
    "not run": "–",
}


class Verdict(NamedTuple):
    """A claim, one of `VERDICT_SIGNS`, the measured evidence for it, and the scale and number of seeds behind it."""

    claim: str
    verdict: str
    evidence: str = ""
    scale: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.claim} ({self.evidence}; {self.scale})"


SIGNIFICANCE_LEVEL = 0.05  # how often, at most, a study may decide a claim wrongly: one half for, the other against it
EDITED_NOTE = "the claim was edited after its record"
MANY_SEEDS = 100  # more than this, and their number is no longer said


class JudgedClaim(NamedTuple):
    """A claim's comparisons and its p-values, those of `Comparison` after all corrections."""

    comparisons: Sequence[Comparison]
    p_holds: float
    p_fails: float
    p_direction: float


def judge_claims(study: Study, trials: Sequence[TrialRecord], scale: str) -> list[Verdict]:
    """A verdict on each claim that speaks of settings of this scale.

    "reproduced": every comparison surely has the margin. "smaller than claimed": one surely misses it, and all surely
    have the claimed sign. "contradicted": one surely misses it, and that is all that is sure. "undecided": the seeds do
    not say. What is sure has p ≤ 0.025, one-sided, or p ≤ 0.0075 where the study was run look by look until it was
    decided (looks.py).

    A claim holds if all of its comparisons do, so the largest p counts (an intersection–union test: Berger 1982); it
    fails if any of them does, so the smallest p counts, times their number. Both are then corrected for the number of
    the study's claims (Holm 1979). If two things are claimed to be near, both ends of the margin are tested. With one
    seed nothing is sure but what is counted, and fitted exponents, whose error is that of the fit. Seeds that tie are
    no surer than the step between scores allows; where a number leaves room for only a few right or wrong answers, an
    exact test of as many answers must be sure as well; and seeds that are right or wrong as a whole are compared by an
    exact test of coins.

    A claim that lost a seed to divergence, or some of whose settings were not run, carries no verdict: the lost seeds
    are not a random sample.
    """
    looks = parse_looks(trial.result.get("looks", "") for trial in trials)
    level = LOOK_LEVEL if looks else SIGNIFICANCE_LEVEL
    labels, grid = distinct_settings(reported_records(trials)), grid_labels(study, study.scales[scale])
    if axis := study.registry_axis:  # of what was registered since, nothing is claimed yet
        grid = [setting for setting in grid if setting[axis] in {one[axis] for one in labels}]
    asked = [claim for claim in study.claims if _count_pairs(claim, grid)]
    judged = correct_p_values([compare_settings(claim, trials) for claim in asked])
    seeds = len({trial.seed for trial in reported_records(trials)})
    where = f"{scale} scale, {seeds} seed{'' if seeds == 1 else 's'}{' until decided' if looks else ''}"
    if gone := count_removed_claims(study, trials):
        where += f", {gone} recorded claim{'s' * (gone > 1)} removed since"
    verdicts = []
    for claim, one in zip(asked, judged, strict=True):
        wanted, present = _count_pairs(claim, grid), _count_pairs(claim, labels)
        if present < wanted:
            verdicts.append(Verdict(claim.text, "not run", f"{present} of its {wanted} comparisons were run", where))
            continue
        verdict = decide_verdict(one, level)
        evidence = format_evidence(one, verdict, level / len(asked), metric_bounds(trials, claim.metric))
        if is_edited(claim, trials):
            evidence += f", {EDITED_NOTE}"
        verdict = "proxy" if verdict == "reproduced" and study.proxy else verdict
        verdicts.append(Verdict(claim.text, verdict, evidence, where))
    return verdicts


def _count_pairs(claim: Claim, settings: Sequence[Labels]) -> int:
    return sum(len(list(compared_pairs(part, settings))) for part in claim.inequalities)


def correct_p_values(comparisons: Sequence[Sequence[Comparison]]) -> list[JudgedClaim]:
    """The p-values of each claim from those of its comparisons, corrected for the number of claims. nan is unknown."""

    def largest(p_values: Iterable[float]) -> float:
        return float(np.max(list(p_values), initial=0.0))  # nan if any is

    def smallest(p_values: Sequence[float]) -> float:
        known = [p for p in p_values if math.isfinite(p)]
        return min(1.0, len(p_values) * min(known)) if known else math.nan

    groups = [list(group) for group in comparisons if group]
    holds = intervals.adjust_p_values([largest(one.p_holds for one in group) for group in groups])
    fails = intervals.adjust_p_values([smallest([one.p_fails for one in group]) for group in groups])
    sized = [[one.p_direction for one in group if math.isfinite(one.p_direction)] for group in groups]
    direction = intervals.adjust_p_values([largest(some) if some else math.nan for some in sized])
    judged = iter([JudgedClaim(*one) for one in zip(groups, holds, fails, direction, strict=True)])
    return [next(judged) if group else JudgedClaim((), math.nan, math.nan, math.nan) for group in comparisons]


def claim_fingerprint(claim: Claim) -> str:
    """Eight digits that change with the claim."""
    fields = {name: value for name, value in claim._asdict().items() if value != Claim._field_defaults.get(name)}
    also = [claim_fingerprint(one) for one in claim.also]
    return files.fingerprint({**{name: str(value) for name, value in fields.items()}, "also": also})[:8]


def is_edited(claim: Claim, trials: Sequence[TrialRecord]) -> bool:
    """Whether a record was made before the claim was as it is. Records that do not say what was claimed are trusted."""
    recorded = {claims for trial in trials if (claims := trial.result.get("claims"))}
    return any(claim_fingerprint(claim) not in claims.split(";") for claims in recorded)


def count_removed_claims(study: Study, trials: Sequence[TrialRecord]) -> int:
    """How many claims were made when the record was, and are no longer there as they were. Edited ones count once."""
    recorded = {one for trial in trials for one in trial.result.get("claims", "").split(";") if one}
    edited = sum(is_edited(claim, trials) for claim in study.claims)
    return max(0, len(recorded - set(map(claim_fingerprint, study.claims))) - edited)


def decide_verdict(judged: JudgedClaim, level: float = SIGNIFICANCE_LEVEL) -> str:
    """The verdict on a claim from its corrected p-values, each of which must be at most half of `level`."""
    if not judged.comparisons or any(comparison.lost_seeds for comparison in judged.comparisons):
        return "not run"
    if judged.p_holds <= level / 2:
        return "reproduced"
    if not judged.p_fails <= level / 2:
        return "undecided"
    return "smaller than claimed" if judged.p_direction <= level / 2 else "contradicted"


def _weakest(judged: JudgedClaim) -> Comparison:
    """The comparison that supports a claim least: of those that surely miss their margin, the furthest off."""

    def support(comparison: Comparison) -> tuple[bool, float, float, float]:
        surely_fails = comparison.p_fails <= SIGNIFICANCE_LEVEL / 2
        p_holds = comparison.p_holds if math.isfinite(comparison.p_holds) else 1.0
        return not surely_fails, comparison.headroom if surely_fails else 0.0, -p_holds, comparison.headroom

    return min(judged.comparisons, key=support)


def seeds_to_go(judged: JudgedClaim, level: float = SIGNIFICANCE_LEVEL) -> int | None:
    """About how many more seeds an undecided claim needs until p ≤ `level` / 2 in four of five studies.

    By Student's t, if spreads and means stay: for all comparisons to hold, or, where a mean lies on the wrong side, for
    one of them to fail. None where the spread is not known yet, and where a mean lies on the margin.
    """

    def seeds_needed(comparison: Comparison) -> int:
        own = level / (len(judged.comparisons) if comparison.headroom < 0 else 1)
        return intervals.required_seeds(
            comparison.spread, abs(comparison.headroom), level=1 - own, max_seeds=10 * MANY_SEEDS
        )

    if any(not one.spread > 0 or not one.headroom for one in judged.comparisons):
        return None
    failing = [one for one in judged.comparisons if one.headroom < 0]
    total = min(map(seeds_needed, failing)) if failing else max(map(seeds_needed, judged.comparisons))
    return max(1, total - min(one.difference.n for one in judged.comparisons))


def format_evidence(
    judged: JudgedClaim,
    verdict: str,
    level: float = SIGNIFICANCE_LEVEL,
    bounds: tuple[float, float] = intervals.UNBOUNDED,
) -> str:
    """In figures, the comparison that supports the claim least, and how many comparisons there are.

    `level` is that of one claim, by which the number of seeds to go is reckoned.
    """
    if not judged.comparisons:
        return "none of its settings was run"
    if lost := [comparison for comparison in judged.comparisons if comparison.lost_seeds]:
        right = lost[0].right
        sides = format_labels(lost[0].left) + (f" against {format_labels(right)}" if isinstance(right, dict) else "")
        return f"{sides}: {lost[0].lost_seeds} seeds diverged or have no {lost[0].claim.metric}"
    weakest = _weakest(judged)
    claim, gap = weakest.claim, weakest.difference
    p = judged.p_fails if verdict != "reproduced" and weakest.headroom < 0 else judged.p_holds
    name = "" if claim.metric == "test" else f"{claim.metric} "
    parts = [f"{name}{format_labels(weakest.left)} {format_number(weakest.means[0])}"]
    if claim.seeds_reach is not None:
        parts = [_format_counts(weakest)]
    elif isinstance(weakest.right, dict):
        parts = [f"{parts[0]} against {format_labels(weakest.right)} {format_number(weakest.means[1])}"]
        parts += [f"difference {format_interval(gap)}"]
        parts += [f"g {format_number(weakest.effect_size)}"] if math.isfinite(weakest.effect_size) else []
    elif math.isfinite(gap.low) and gap.low < gap.high:
        low = format_number(max(gap.low + weakest.right, bounds[0]))
        high = format_number(min(gap.high + weakest.right, bounds[1]))
        parts[0] += f" [{low}, {high}]" if low != high else ""
    parts += [f"p {format_number(p)}"] if 0 < p < 1 else []
    if len(judged.comparisons) > 1:
        parts.append(f"the weakest of {len(judged.comparisons)}")
    if verdict == "undecided" and (more := seeds_to_go(judged, level)):
        about = f"about {more} more seed{'s' * (more > 1)}"
        parts.append(about if more <= MANY_SEEDS else f"more than {MANY_SEEDS} more seeds")
    return ", ".join(parts)


def _format_counts(comparison: Comparison) -> str:
    """How many seeds reach what a claim of shares of seeds asks: "seeds with test ≥ 0.9: lstm 5 of 8 against gru 0"."""
    claim, seeds = comparison.claim, comparison.difference.n
    left, right = (round(mean * seeds) for mean in comparison.means)
    text = f"seeds with {claim.metric} ≥ {format_number(claim.seeds_reach or 0.0)}: "
    text += f"{format_labels(comparison.left)} {left} of {seeds}"
    if isinstance(comparison.right, dict):
        return f"{text} against {format_labels(comparison.right)} {right}"
    return f"{text} against a share of {format_number(comparison.right)}"


def format_number(number: float) -> str:
    """Three digits; inf and nan by name."""
    return f"{number:.3g}" if math.isfinite(number) else str(number)
