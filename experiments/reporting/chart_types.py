"""Charts as plain data: lines with intervals, dots seed by seed, published numbers; and the style that each name has.

A model has one color and one marker wherever it appears: five fixed ones (Okabe & Ito 2008, which color-blind readers
can tell apart), the rest in order of appearance.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from experiments.ablation.intervals import Interval, Values

INK, MUTED, RULE, PAPER = "#1f2328", "#646b75", "#d9dce1", "#ffffff"
DARK_COLORS = {  # what each color becomes on a dark page
    INK: "#e8eaed", MUTED: "#a0a7b1", RULE: "#393e46",
    "#0072b2": "#4fb0ea", "#d55e00": "#ff8a4c", "#009e73": "#34c79b", "#c4689b": "#e79cc4", "#4a4a4a": "#d4d4d4",
    "#b8860b": "#e0b341", "#6a51a3": "#ad9ae0", "#2f9fb5": "#6fd0e3", "#a0522d": "#d98f68", "#6b8e23": "#a9cc5d",
}  # fmt: skip
DARK_PAPER = "#15181c"


class Style(NamedTuple):
    """How a model looks in every chart: a color out of `DARK_COLORS` and a matplotlib marker."""

    color: str
    marker: str


MODEL_STYLES = {
    "attention": Style("#0072b2", "o"),
    "lstm": Style("#d55e00", "s"),
    "gru": Style("#009e73", "^"),
    "rnn": Style("#c4689b", "D"),
    "dense": Style("#4a4a4a", "X"),
}
OTHER_STYLES = [
    Style(color, marker)
    for color, marker in zip(("#b8860b", "#6a51a3", "#2f9fb5", "#a0522d", "#6b8e23"), "vP<>p", strict=True)
]
PLAIN_STYLE = Style("#6a51a3", "o")  # of dots whose row is no model
Styles = Mapping[str, Style]


class Series(NamedTuple):
    """One line: `y` at `x`, with an interval from `low` to `high` where they are given, all of one length.

    Points that are not finite (and on a logarithmic axis not positive) are left out. A dashed series named
    "attention, trained" has the style of "attention": the name up to the comma is its model.
    """

    name: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None
    dashed: bool = False


def interval_series(name: str, x: Values, intervals: Sequence[Interval]) -> Series:
    """Return the means of intervals as a line, with the intervals' ends."""
    return Series(name, x, [i.mean for i in intervals], [i.low for i in intervals], [i.high for i in intervals])


class LineChart(NamedTuple):
    """Lines over `x`. The axis labels name the units; `references` are (label, y) lines such as chance."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    references: Sequence[tuple[str, float]] = ()
    log_x: bool = False
    log_y: bool = False
    note: str = ""


class DotChart(NamedTuple):
    """Every seed as a dot, with the mean and 95 % interval of each group: (label, values) pairs, one row each.

    `value_label` names the value with its unit, `references` are (label, value) lines, `bounds` is the metric's range.
    Values that are not finite are counted as diverged and left out of the mean.
    """

    name: str
    title: str
    value_label: str
    groups: Sequence[tuple[str, Values]]
    references: Sequence[tuple[str, float]] = ()
    bounds: tuple[float, float] = (-math.inf, math.inf)
    digits: int = 3
    note: str = ""


class DotRow(NamedTuple):
    """A row of a `GroupedDotChart`: the values of each series, and a reference value such as a trivial baseline."""

    label: str
    values: Mapping[str, Values]
    reference: float | None = None


class GroupedDotChart(NamedTuple):
    """Means with 95 % intervals of several series in each row, all rows on one axis, with a legend.

    `reference_label` says what the rows' reference values are.
    """

    name: str
    title: str
    value_label: str
    rows: Sequence[DotRow]
    reference_label: str = "baseline"
    bounds: tuple[float, float] = (-math.inf, math.inf)
    note: str = ""


class PublishedMark(NamedTuple):
    """A published number: its `value`, an interval or range from `low` to `high`; each nan where there is none.

    `bound` is "<" or ">" where the value is only a bound. An `unsure` one was not found in any source.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    bound: str = ""
    unsure: bool = False


class PublishedRow(NamedTuple):
    """A row of a `PublishedChart`: a published number, and ours seed by seed.

    Compared are the number and our mean, or our `best` seed where that is given. `text` stands to the right.
    """

    label: str
    published: PublishedMark
    values: Values
    best: float | None = None
    text: str = ""


class PublishedChart(NamedTuple):
    """Published numbers and ours, all rows on one axis: the number above, our seeds as dots, our mean and its interval.

    `value_label` names the value with its unit, `bounds` is the metric's range, and `axis_values` must lie on the axis.
    Values that are not finite are left out; on a logarithmic axis everything must be positive.
    """

    name: str
    title: str
    value_label: str
    rows: Sequence[PublishedRow]
    bounds: tuple[float, float] = (-math.inf, math.inf)
    axis_values: Sequence[float] = ()
    log: bool = False
    note: str = ""


Chart = LineChart | DotChart | GroupedDotChart | PublishedChart


# ---- one style for each name ----------------------------------------------------------------------------------------


def assign_styles(names: Iterable[str]) -> dict[str, Style]:
    """Return a style for each name: the fixed one of a model in `MODEL_STYLES`, for any other the next free one."""
    wanted = list(dict.fromkeys(names))
    free = [*OTHER_STYLES, *(style for name, style in MODEL_STYLES.items() if name not in wanted)]
    styles: dict[str, Style] = {}
    others = 0
    for name in wanted:
        if name in MODEL_STYLES:
            styles[name] = MODEL_STYLES[name]
        else:
            # Round after round the colors repeat with other markers.
            color, marker = free[others % len(free)].color, free[(others + others // len(free)) % len(free)].marker
            styles[name] = Style(color, marker)
            others += 1
    return styles


def series_style_name(series: Series) -> str:
    """Return the name whose style a series has."""
    return series.name.split(",")[0] if series.dashed else series.name


def series_names(chart: Chart) -> list[str]:
    """Return the names that a chart needs a style for, in order of appearance. Rows of dots have their labels."""
    if isinstance(chart, LineChart):
        return [series_style_name(series) for series in chart.series]
    if isinstance(chart, GroupedDotChart):
        return list(dict.fromkeys(chain.from_iterable(row.values for row in chart.rows)))
    return []


def rc_params(salt: str) -> Any:
    """Return matplotlib's settings for every chart, sizes in points; `salt` makes a figure's ids reproducible."""
    return {
        "font.size": 10.5,
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same layout everywhere
        "text.color": INK,
        "text.parse_math": False,  # a "$" in a name is a dollar
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.labelsize": 10,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": salt,  # ids from the content and the name, not from chance
    }
