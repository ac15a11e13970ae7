"""Draw a line chart into matplotlib axes of a given size; and the axes, ticks and labels of every chart."""

import math
import textwrap
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from experiments.reporting.chart_types import (
    INK,
    MUTED,
    Chart,
    DotChart,
    GroupedDotChart,
    LineChart,
    PublishedChart,
    Series,
    Styles,
    series_names,
    series_style_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_WIDTH = 2.9  # inches, of the area that the data are drawn in
MIN_PLOT_HEIGHT = 2.1
MAX_ERROR_BARS = 8  # points of a line: with more of them its intervals are drawn as a band
LABEL_WIDTH = 24  # characters, after which a label goes on in the next line
ROW_LABEL_WIDTH = 30  # of a row of dots, to the left of it
LINE_HEIGHT = 13.5  # points, of a label's line


class EndLabel(NamedTuple):
    """A label in the column to the right of the plot: the height that it belongs to (data), and its sample's look."""

    text: str
    y: float
    color: str
    marker: str
    dashed: bool


def plot_size(chart: Chart) -> tuple[float, float]:
    """Width and height of the area that the data are drawn in, in inches."""
    if isinstance(chart, DotChart):
        return PLOT_WIDTH, 0.3 + 0.36 * max(1, len(chart.groups))
    lines = LINE_HEIGHT / 72
    if isinstance(chart, PublishedChart):
        tallest = max((count_lines(row.label, ROW_LABEL_WIDTH) for row in chart.rows), default=1)
        return PLOT_WIDTH * 1.15, 0.2 + max(0.46, 0.1 + 0.9 * lines * tallest) * max(1, len(chart.rows))
    if isinstance(chart, GroupedDotChart):
        legend = sum(count_lines(name) for name in [*series_names(chart), chart.reference_label]) * lines
        height = 0.3 + sum(0.16 + 0.13 * len(row.values) for row in chart.rows)
        return PLOT_WIDTH * 1.3, max(height, legend)
    names = [*(series.name for series in chart.series), *(label for label, _ in chart.references)]
    return PLOT_WIDTH, max(MIN_PLOT_HEIGHT, 1.02 * sum(map(count_lines, names)) * lines)


# ---- line charts ----------------------------------------------------------------------------------------------------


class _Points(NamedTuple):
    """The finite points of a series."""

    series: Series
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _finite_points(series: Series, chart: LineChart) -> _Points:
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    good = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not chart.log_x)) & ((y > 0) | (not chart.log_y))
    low, high = (np.asarray(y if edge is None else edge, float)[good] for edge in (series.low, series.high))
    return _Points(series, x[good], y[good], low, high)


def draw_line_chart(axes: "Axes", chart: LineChart, styles: Styles) -> None:
    drawn = [_finite_points(series, chart) for series in chart.series]
    references = [(label, y) for label, y in chart.references if math.isfinite(y) and (y > 0 or not chart.log_y)]
    every_x = np.unique(np.concatenate([np.array([]), *(points.x for points in drawn)]))
    with_bars = len(every_x) <= MAX_ERROR_BARS
    has_bars = any(points.series.low is not None and np.isfinite(points.low).any() for points in drawn)
    step = min(2.2, 14 / len(drawn)) if with_bars and has_bars and drawn else 0.0  # points, so that bars don't overlap
    for turn, points in enumerate(drawn):
        style = styles[series_style_name(points.series)]
        every = max(1, len(points.x) // 7)
        transform = shift_points(axes, step * (turn - (len(drawn) - 1) / 2))
        axes.plot(
            points.x, points.y, color=style.color, marker=style.marker, markersize=4.2 if len(points.x) > 1 else 6,
            linewidth=1.6, markeredgewidth=0, linestyle=(0, (4, 2)) if points.series.dashed else "-",
            markevery=(0, 1) if with_bars else (turn * every // max(1, len(drawn)), every), zorder=3 + (turn == 0),
            transform=transform,
        )  # fmt: skip
        if points.series.low is None and points.series.high is None:
            continue
        if with_bars:
            axes.vlines(points.x, points.low, points.high, color=style.color, linewidth=1.1, alpha=0.75, zorder=2,
                        transform=transform)  # fmt: skip
        else:
            axes.fill_between(points.x, points.low, points.high, color=style.color, alpha=0.16, linewidth=0, zorder=2)
    for _, value in references:
        axes.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1)

    _set_y_limits(axes, drawn, [value for _, value in references], log=chart.log_y)
    _set_x_limits(axes, every_x, log=chart.log_x)
    set_ticks(axes.xaxis, every_x, log=chart.log_x and len(every_x) > 0)
    set_ticks(axes.yaxis, np.array([]), log=chart.log_y and len(every_x) + len(references) > 0)
    axes.set_xlabel(chart.x_label)
    axes.annotate(chart.y_label, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", color=MUTED,
                  va="bottom")  # fmt: skip
    if not len(every_x):
        mark_empty(axes)
    axes.grid(False, axis="x")

    labels = []
    for points in drawn:
        if len(points.x):
            style = styles[series_style_name(points.series)]
            labels.append(
                EndLabel(points.series.name, float(points.y[-1]), style.color, style.marker, points.series.dashed)
            )
    labels += [EndLabel(label, value, MUTED, "", True) for label, value in references]
    _draw_end_labels(axes, labels, plot_size(chart))


def shift_points(axes: "Axes", points: float) -> Any:
    """Data coordinates, moved so many points to the right."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def _draw_end_labels(axes: "Axes", labels: Sequence[EndLabel], size: tuple[float, float]) -> None:
    """Draw labels in a column to the right of the plot, each as near as possible to the height that it belongs to."""
    if not labels:
        return
    wanted = []
    for label in labels:
        display = axes.transData.transform((axes.get_xlim()[1], label.y))
        wanted.append(min(max(float(axes.transAxes.inverted().transform(display)[1]), 0.0), 1.0))
    texts = [wrap_label(label.text) for label in labels]
    order = sorted(range(len(labels)), key=lambda i: wanted[i])
    placed = _spread_labels([wanted[i] for i in order], [texts[i].count("\n") + 1 for i in order], size[1])
    for i, at in zip(order, placed, strict=True):
        draw_sample(axes, texts[i], at, labels[i], size[0], start=wanted[i])


def _spread_labels(wanted: Sequence[float], lines: Sequence[int], height: float) -> list[float]:
    """Move labels of so many lines apart until none touches the next, each as little as possible (least squares).

    `wanted` is sorted; heights are shares of the plot, which is `height` inches high.
    """
    tall = np.array(lines) * LINE_HEIGHT / (72 * height)
    tall *= min(1.0, 1.06 / float(tall.sum()))
    offsets = np.cumsum(tall) - tall / 2
    moved = isotonic_regression(np.array(wanted) - offsets).x
    return list(np.clip(moved, -0.03, max(-0.03, 1.03 - float(tall.sum()))) + offsets)


def draw_sample(
    axes: "Axes", text: str, at: float, label: EndLabel, width: float, *, start: float | None = None
) -> None:
    """Draw a legend entry at a height (share of the plot): a leader from `start`, a sample of the line, the text."""

    def right(points: float) -> float:
        return 1 + points / (72 * width)

    common: dict[str, Any] = {"color": label.color, "transform": axes.transAxes, "clip_on": False}
    if start is not None:
        axes.plot([right(2), right(9)], [start, at], linewidth=0.7, alpha=0.7, **common)
    line = (0, (2, 1) if label.marker else (1, 2)) if label.dashed else "-"
    axes.plot([right(10), right(18), right(26)], [at] * 3, marker=label.marker, markersize=4.2, markevery=(1, 2),
              markeredgewidth=0, linewidth=1.6 if label.marker else 1, linestyle=line, **common)  # fmt: skip
    color = INK if label.marker else MUTED
    axes.text(right(31), at, text, color=color, va="center", linespacing=1.0, transform=axes.transAxes)


# ---- axes -----------------------------------------------------------------------------------------------------------


def _set_x_limits(axes: "Axes", every_x: np.ndarray, *, log: bool) -> None:
    """Leave room for the markers at both ends, and for the bars that are moved apart."""
    if len(every_x) < 2:
        return
    if log:
        axes.set_xscale("log")
        room = (every_x[-1] / every_x[0]) ** 0.06
        axes.set_xlim(every_x[0] / room, every_x[-1] * room)
    else:
        room = 0.05 * (every_x[-1] - every_x[0])
        axes.set_xlim(every_x[0] - room, every_x[-1] + room)


def _set_y_limits(axes: "Axes", drawn: Sequence[_Points], references: Sequence[float], *, log: bool) -> None:
    """Show every point, and zero where the points come near it, so that heights can be read as amounts."""
    points = np.concatenate([*(one.y for one in drawn), references])
    if not len(points):
        return
    if log:
        axes.set_yscale("log")
        axes.set_ylim(points.min() / 1.4, points.max() * 1.4)
        return
    edges = np.concatenate([np.array([]), *chain.from_iterable((one.low, one.high) for one in drawn)])
    low, high = visible_range(points, edges)
    room = 0.04 * (high - low) or 0.1 * abs(high) or 0.5
    bottom = low - room
    if 0 <= low < 0.25 * high:
        bottom = -0.25 * room if low < room else 0.0
    axes.set_ylim(bottom, high + room)


def visible_range(points: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """The range of the points and of their intervals' edges; an edge beyond half the points' range is cut off."""
    low, high = float(points.min()), float(points.max())
    room = 0.5 * (high - low) or math.inf
    edges = np.append(edges[np.isfinite(edges)], points)
    return max(float(edges.min()), low - room), min(float(edges.max()), high + room)


def set_ticks(axis: Any, values: np.ndarray, *, log: bool) -> None:
    """Set ticks with plain numbers; on a logarithmic axis at the measured `values` where there are a few of them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if log:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        low, high = sorted(axis.get_view_interval())
        if 0 < len(values) <= 12:
            axis.set_major_locator(FixedLocator(values.tolist()))
        else:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 200 else (1,), numticks=8))
        axis.set_minor_locator(NullLocator())
    elif 0 < len(values) <= 6 and axis.axis_name == "x":
        axis.set_major_locator(FixedLocator(values.tolist()))
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))


def format_tick(value: float) -> str:
    """A number as an axis shows it: "0.25", "−3", "20k", "1.5M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:.4g}".replace("-", "−")


def wrap_label(text: str, width: int = LABEL_WIDTH) -> str:
    """Break a long label into lines of about `width` characters."""
    return "\n".join(textwrap.wrap(text, width, break_long_words=False)) or text


def count_lines(text: str, width: int = LABEL_WIDTH) -> int:
    return wrap_label(text, width).count("\n") + 1


def mark_empty(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", va="center", color=MUTED)
