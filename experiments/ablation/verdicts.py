"""Whether the claims of a study hold, from its lines: verdicts with intervals, corrected for how many there are."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.ablation import intervals
from experiments.ablation.intervals import Interval, difference, format_interval, interval
from experiments.ablation.runner import Line
from experiments.ablation.study import SLOPE, TRAINED, Claim, Labels, Study, every, pairs, source, told

VERDICTS = {"reproduced": "✓", "trend only": "≈", "not reproduced": "✗", "proxy": "◇", "not run": "–"}


class Verdict(NamedTuple):
    """A claim, one of `VERDICTS`, the measured evidence for it, and the scale and number of seeds behind it."""

    claim: str
    verdict: str
    evidence: str = ""
    scale: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.claim} ({self.evidence}; {self.scale})"


SURE = 0.05  # the largest p, corrected, at which a difference counts as seen
SHARES = ("accuracy", "error rate")  # scores that are shares of answers
FEW = 10  # right or wrong answers, of a score, below which no share of them is near enough to normal for a t-test
ALIKE = 2e-5  # numbers that differ by no more of their size are one: a record keeps six digits


class Comparison(NamedTuple):
    """Two settings, or one and a number, on a metric: `gap` is left − right, `p` how often chance does as much.

    `edges` are those of its interval by Student's t, which decide where an interval does; `gap` has the bootstrap's
    from ten seeds on. `spread` is the standard deviation of the gaps, and no less than that of the grid they lie on;
    `certain`: chance has no part in it.
    """

    left: Labels
    right: Labels | float
    gap: Interval
    p: float
    effect: float
    lost: int  # seeds that diverged or have no such number
    means: tuple[float, float]
    spread: float
    edges: tuple[float, float] = (math.nan, math.nan)
    certain: bool = False


def value(line: Line, metric: str) -> float:
    """A number of a line, or the exponent of one of its curves."""
    if not metric.startswith(SLOPE):
        return line.value(metric)
    points = {x: y for x, y in line.curve(metric.removeprefix(SLOPE)).items() if y > 0}
    return intervals.slope(list(points), list(points.values())).mean if len(points) > 1 else math.nan


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


def task_of(line: Line) -> tuple[Any, ...]:
    """What tells the data of one line from those of another."""
    return line.cell["metric"], line.cell["chance"], *line.cell.get("baseline", ())


def step_of(lines: Sequence[Line], metric: str) -> float:
    """A bound above the step of the grid on which a metric of these lines lies: the smallest difference between two of
    its values, the ends of its range among them. 0 of a measure that no seed changes: it is counted, or follows from
    the setting.
    """
    if source(metric) not in TRAINED:
        by_setting = [values(lines, labels, metric).values() for labels in each(reported(lines))]
        if all(len(set(filter(math.isfinite, some))) < 2 for some in by_setting):
            return 0.0
    known = np.unique([*bounds(lines, metric), *(value(line, metric) for line in lines)])
    known = known[np.isfinite(known)]
    gaps = np.diff(known)
    return float(min(gaps[gaps > ALIKE * np.abs(known[1:])], default=0.0))


def compare(claim: Claim, lines: Sequence[Line], bootstrapped: bool = True) -> list[Comparison]:
    """Every comparison that a claim stands on. Seeds are paired where both sides have them: they share their data.

    Without `bootstrapped`, which no verdict needs, `gap` has the same interval as `edges`.
    """
    tasks = {repr(line.labels): task_of(line) for line in lines}
    steps = {
        task: step_of([line for line in lines if task_of(line) == task], claim.metric) for task in set(tasks.values())
    }
    found = []
    for left, right in pairs(claim, each(lines)):
        step = max(steps[tasks[repr(side)]] for side in (left, right) if isinstance(side, dict))
        found.append(compared(claim, lines, left, right, step, bootstrapped))
    return found


def compared(
    claim: Claim, lines: Sequence[Line], left: Labels, right: Labels | float, step: float, bootstrapped: bool
) -> Comparison:
    """Two settings, or one and a number, on scores with such a step."""
    a = values(lines, left, claim.metric)
    b = values(lines, right, claim.metric) if isinstance(right, dict) else dict.fromkeys(a, float(right))
    seeds = [seed for seed in a if seed in b and math.isfinite(a[seed]) and math.isfinite(b[seed])]
    lost = len(a) - len(seeds)
    if not seeds:
        nan = Interval(math.nan, math.nan, math.nan, 0, "no seed left")
        return Comparison(left, right, nan, math.nan, math.nan, lost, (math.nan, math.nan), math.nan)
    x, y = np.array([a[seed] for seed in seeds]), np.array([b[seed] for seed in seeds])
    other = y if isinstance(right, dict) else float(right)
    gap = difference(x, other, paired=True, step=step, bootstrapped=bootstrapped)
    edges = difference(x, other, paired=True, step=step, bootstrapped=False)[1:3]
    p = intervals.p_value(x, other, paired=True, step=step)
    certain = source(claim.metric) not in TRAINED and (not step or len(seeds) == 1)
    if not isinstance(right, dict) and len(seeds) > 1:
        ends = bounds([line for line in lines if line.labels == left], claim.metric)
        if ends == (0, 1) and 0 <= right <= 1 and min(right, 1 - right) < FEW * step:
            p = max(p, intervals.p_of_share(x, right, step))
        certain |= right in ends and all(x == right)
    spread = max(float(np.std(x - y, ddof=1)), step / math.sqrt(6)) if len(seeds) > 1 else math.nan
    means = x.mean(), y.mean()
    return Comparison(left, right, gap, p, intervals.effect(x, y), lost, means, spread, edges, certain)


def judge(study: Study, lines: Sequence[Line], scale: str) -> list[Verdict]:
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
    corrected = correct([compare(claim, lines) for claim in study.claims])
    asked = sum(map(len, corrected))
    seeds = len({line.seed for line in reported(lines)})
    where = f"{scale} scale, {seeds} seed{'s' * (seeds != 1)}"
    grid = every(study, study.scales[scale])
    verdicts = []
    for claim, some in zip(study.claims, corrected, strict=True):
        wanted = len(list(pairs(claim, grid)))
        if len(some) < wanted:
            verdicts.append(Verdict(claim.text, "not run", f"{len(some)} of its {wanted} comparisons were run", where))
            continue
        told_of = evidence(claim, some, asked, bounds(lines, claim.metric))
        verdicts.append(Verdict(claim.text, decided(study, claim, some), told_of, where))
    return verdicts


def correct(compared: Sequence[Sequence[Comparison]]) -> list[list[tuple[Comparison, float]]]:
    """Of each claim of a study its comparisons, each with its p as Holm's correction for all of them has it."""
    flat = [one for some in compared for one in some]
    p = iter(intervals.holm([one.p for one in flat])) if flat else iter(())
    return [[(one, next(p)) for one in some] for some in compared]


def decided(study: Study, claim: Claim, some: Sequence[tuple[Comparison, float]]) -> str:
    if not some or any(one.lost for one, _ in some):
        return "not run"
    if all(holds(claim, one, p) for one, p in some):
        return "proxy" if study.proxy else "reproduced"
    return "trend only" if all(points(claim, one) for one, _ in some) else "not reproduced"


def holds(claim: Claim, one: Comparison, p: float) -> bool:
    """Whether a comparison has what is claimed, for sure."""
    low, high = one.edges
    if one.certain:  # what is held against a number has its margin in the number, and may lie on it
        low = high = one.gap.mean
        p = 0.0 if one.gap.mean or not isinstance(claim.right, Mapping) else 1.0
    if claim.within is not None:
        return max(-low, high) <= claim.within
    ahead, behind = (-one.gap.mean, -high) if claim.at_most else (one.gap.mean, low)
    if claim.margin < 0:
        return behind >= claim.margin
    return ahead >= claim.margin and p <= SURE


def points(claim: Claim, one: Comparison) -> bool:
    """Whether a comparison points the way that is claimed; of one with a number, whether its interval reaches it."""
    if claim.within is not None:
        return abs(one.gap.mean) <= claim.within
    ahead, best = (-one.gap.mean, -one.edges[0]) if claim.at_most else (one.gap.mean, one.edges[1])
    if isinstance(claim.right, int | float):
        return ahead >= 0 or best >= 0
    return ahead >= claim.margin if claim.margin < 0 else ahead > 0


def evidence(
    claim: Claim,
    some: Sequence[tuple[Comparison, float]],
    comparisons: int = 1,
    inside: tuple[float, float] = intervals.ANYTHING,
) -> str:
    """The comparison that supports the claim least, in figures, and how many there are.

    `comparisons` is how many the study makes in all, which its p values are corrected for.
    """
    if not some:
        return "none of its settings was run"
    if lost := [one for one, _ in some if one.lost]:
        sides = told(lost[0].left) + (f" against {told(lost[0].right)}" if isinstance(lost[0].right, dict) else "")
        return f"{sides}: {lost[0].lost} seeds diverged or have no {claim.metric}"
    sign = -1 if claim.at_most else 1

    def support(pair: tuple[Comparison, float]) -> tuple[bool, bool, float]:
        """Whether a comparison holds, whether it points the right way, and how far."""
        one, p = pair
        if claim.within is not None:
            far = max((abs(edge) for edge in (*one.edges, one.gap.mean) if math.isfinite(edge)), default=math.inf)
            return holds(claim, one, p), points(claim, one), -far
        return holds(claim, one, p), points(claim, one), sign * one.gap.mean

    one, p = min(some, key=support)
    name = "" if claim.metric == "test" else f"{claim.metric} "
    parts = [f"{name}{told(one.left)} {short(one.means[0])}"]
    if isinstance(one.right, dict):
        parts = [f"{parts[0]} against {told(one.right)} {short(one.means[1])}"]
        parts += [f"difference {format_interval(one.gap)}", f"p {short(p)}"]
        parts += [f"g {short(one.effect)}"] if math.isfinite(one.effect) else []
    elif math.isfinite(one.gap.low) and one.gap.low < one.gap.high:
        low, high = max(one.gap.low + one.right, inside[0]), min(one.gap.high + one.right, inside[1])
        parts[0] += f" [{short(low)}, {short(high)}]" if short(low) != short(high) else ""
        parts += [f"p {short(p)}"] if p > SURE else []
    if len(some) > 1:
        parts.append(f"the weakest of {len(some)}")
    if claim.margin > 0 and isinstance(one.right, dict) and one.spread > 0 and p > SURE and points(claim, one):
        level = 1 - SURE / max(comparisons, 1)
        parts.append(f"the margin would need {intervals.seeds_needed(one.spread, claim.margin, level=level)} seeds")
    return ", ".join(parts)


def short(number: float) -> str:
    return f"{number:.3g}" if math.isfinite(number) else str(number)


def estimate(lines: Sequence[Line], labels: Labels, metric: str) -> Interval:
    """Mean and interval of a setting over the seeds that lived; nan where none did."""
    found = [v for v in values(lines, labels, metric).values() if math.isfinite(v)]
    inside = bounds([line for line in lines if line.labels == labels], metric)
    return interval(found, bounds=inside) if found else Interval(math.nan, math.nan, math.nan, 0, "none")


def best(cell: Mapping[str, Any]) -> Callable[..., Any]:
    """`max` or `min`: which of a cell's scores is wanted. Of accuracies the highest, of all others the lowest."""
    return max if cell["metric"] == "accuracy" else min


def bounds(lines: Sequence[Line], metric: str) -> tuple[float, float]:
    """The range of a metric: of a share 0 to 1, of another score from 0, of a measure unknown."""
    if metric.split("@")[0] not in TRAINED:
        return intervals.ANYTHING
    return (0.0, 1.0) if {line.cell["metric"] for line in lines} <= set(SHARES) else (0.0, math.inf)
