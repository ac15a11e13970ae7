"""The order of mixers for a reader's choice: scores first, cost among those that tie. which_one.js has the same rule.

A score stands at the measured length that is nearest (on a log scale). Costs and states at a length that was not
measured are taken from the nearest one that was, by the fitted power of length.
"""

import decimal
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MARGIN = 0.05  # scores further apart are no tie, in the unit of the score
_THREE_DIGITS = decimal.Context(prec=3, rounding=decimal.ROUND_HALF_UP)  # as a browser rounds
CONSTANT = 1e-3  # the largest exponent of length of what has one size


class Point(NamedTuple):
    """A value measured at a length. `low` and `high` are None where it was measured once."""

    length: int
    value: float
    low: float | None = None
    high: float | None = None


class Exponent(NamedTuple):
    """The fitted power of length that a value grows with, and its 95 % interval: None with two points."""

    value: float
    low: float | None
    high: float | None
    text: str


class Curve(NamedTuple):
    """What was measured of a mixer against length, in seconds, bytes or floats.

    `remark` says how it was measured, where not as the others; at `memory_limit`, if there is one, memory ran out.
    """

    points: Sequence[Point]
    exponent: Exponent | None
    remark: str = ""
    memory_limit: int | None = None


class Figure(NamedTuple):
    """A value with its range, and in words where it comes from; `value` is None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    source: str


class Score(NamedTuple):
    """Mean and 95 % interval over seeds at a length, and both as text; no mean where every seed diverged."""

    length: int
    mean: float | None
    low: float | None
    high: float | None
    text: str

    @property
    def interval(self) -> tuple[float, float, float]:
        """Mean, low and high; the mean for an end that is not known."""
        assert self.mean is not None, "every seed diverged"
        low, high = (self.mean if end is None else end for end in (self.low, self.high))
        return self.mean, low, high


class Row(NamedTuple):
    """A setting of a study: what it scored, and the state of its network, in floats.

    `mixer` is the one whose costs are shown, `plain` whether the setting is that mixer as it is by default, and
    `state` has no exponent where it is not measured how the state grows.
    """

    label: str
    mixer: str
    plain: bool
    outdated: bool
    scores: Sequence[Score]
    state: Curve


class Choice(NamedTuple):
    """What a reader asks for: `budget` is the largest state, in floats (None: any); `fixed`, that it does not grow."""

    length: int
    budget: float | None = None
    fixed: bool = False
    streaming: bool = False


class Rank(NamedTuple):
    """A row with its rank, "3" or "1–4" of those that tie, and its figures at the length of the choice.

    `unsettled` says that its interval reaches the best score although the two are no tie.
    """

    rank: str
    row: Row
    score: Score
    unsettled: bool
    state: Figure
    costs: Mapping[str, Figure]


class Ranking(NamedTuple):
    """The rows that meet the choice, and the labels of the others by the reason why they don't."""

    ranks: Sequence[Rank]
    left_out: Mapping[str, Sequence[str]]


NOT_MEASURED = Figure(None, None, None, "not measured")
COSTS = ("step", "token", "memory")

Costs = Mapping[str, Mapping[str, Curve]]  # one of COSTS → mixer → curve


def nearest(points: Sequence[Any], length: float) -> Any:
    """Return the point or score whose length is nearest, as a ratio; of two, the longer."""
    return min(points, key=lambda point: (max(point.length / length, length / point.length), -point.length))


def find_figure(curve: Curve | None, length: int) -> Figure:
    """Return the value at a length, measured or by the power of length from the nearest one that was.

    Its range is that of the measured point times that of the power: low ends together, and high ends.
    """
    if curve is None or not curve.points:
        return NOT_MEASURED
    remark = f"; {curve.remark}" if curve.remark else ""
    if curve.memory_limit and length >= curve.memory_limit:
        return NOT_MEASURED._replace(source=f"not measured: memory ran out at {curve.memory_limit:,}")
    point, power = nearest(curve.points, length), curve.exponent
    if point.length == length:
        return Figure(point.value, point.low, point.high, f"measured{remark}")
    if power is None:
        return NOT_MEASURED._replace(source=f"measured at {point.length:,} only")
    if power.low == power.high and is_constant(power):
        return Figure(point.value, point.low, point.high, f"measured at {point.length:,}, of one size{remark}")
    lengths = [one.length for one in curve.points]
    how = "interpolated" if min(lengths) < length < max(lengths) else "extrapolated"
    source = f"{how} from {point.length:,} by length^{power.text}{remark}"
    ratio = length / point.length
    value = point.value * ratio**power.value
    if power.low is None or power.high is None:
        return Figure(value, None, None, source)
    factors = sorted((ratio**power.low, ratio**power.high))
    low, high = (point.value if end is None else end for end in (point.low, point.high))
    return Figure(value, low * factors[0], high * factors[1], source)


def rank_mixers(rows: Sequence[Row], costs: Costs, choice: Choice, *, less_is_better: bool = False) -> Ranking:
    """Return the rows that the choice allows in their order, and the others.

    The best mean comes first. Those within MARGIN of it whose intervals meet its own tie with it; they stand in the
    order of their cost, a streamed token's time or a training step's. The same again with what remains.
    """
    allowed: list[Rank] = []
    left_out: dict[str, list[str]] = {}
    for row in rows:
        score, state = nearest(row.scores, choice.length), find_figure(row.state, choice.length)
        if reason := find_obstacle(row, score, state, choice):
            left_out.setdefault(reason, []).append(row.label)
            continue
        figures = {name: find_figure(costs[name].get(row.mixer), choice.length) for name in COSTS}
        allowed.append(Rank("", row, score, False, state, figures))
    sign = 1 if less_is_better else -1
    rest = sorted(allowed, key=lambda one: sign * one.score.interval[0])
    ranks: list[Rank] = []
    best = rest[:1]
    while rest:
        leader = rest[0].score
        tied = sorted((one for one in rest if tie(one.score, leader)), key=lambda one: tie_cost(one, choice))
        rest = [one for one in rest if not tie(one.score, leader)]
        first, last = len(ranks) + 1, len(ranks) + len(tied)
        label = f"{first}–{last}" if last > first else f"{first}"
        for one in tied:
            reaches_best = first > 1 and intervals_meet(one.score, best[0].score)
            ranks.append(one._replace(rank=label, unsettled=reaches_best))
    return Ranking(ranks, left_out)


def find_obstacle(row: Row, score: Score, state: Figure, choice: Choice) -> str:
    """Return why a row does not meet the choice; empty where it does."""
    if score.mean is None:
        return "every seed diverged"
    power = row.state.exponent
    if choice.fixed and power is None:
        return "it is not measured whether the state grows"
    if choice.fixed and power and not is_constant(power):
        return "the state grows"
    if choice.budget is None:
        return ""
    if state.value is None:
        return f"the state at {choice.length:,} is not measured"
    return "the state is larger" if state.value > choice.budget else ""


def is_constant(power: Exponent) -> bool:
    """Whether a value with this power of length has one size."""
    return abs(power.value) < CONSTANT


def intervals_meet(a: Score, b: Score) -> bool:
    """Whether two 95 % intervals overlap or touch; without an interval, the mean stands for it."""
    (_, a_low, a_high), (_, b_low, b_high) = a.interval, b.interval
    return a_low <= b_high and b_low <= a_high


def tie(a: Score, b: Score) -> bool:
    """Whether two scores tie: their intervals meet, and their means are at most MARGIN apart."""
    return abs(a.interval[0] - b.interval[0]) <= MARGIN and intervals_meet(a, b)


def tie_cost(one: Rank, choice: Choice) -> float:
    """Return what decides among those that tie; infinite where it is not measured."""
    value = one.costs["token" if choice.streaming else "step"].value
    return math.inf if value is None else value


def format_quantity(value: float) -> str:
    """Return a whole number as it is, and of any other three significant digits: "12,345", "0.0123"."""
    if value == int(value):
        return f"{value:,.0f}"
    return f"{_THREE_DIGITS.create_decimal_from_float(value).normalize():,f}"
