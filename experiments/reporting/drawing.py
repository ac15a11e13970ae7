"""Draw a chart's lines or dots into matplotlib axes of a given size, with its axes, ticks and legend."""

import math
import textwrap
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from experiments.ablation.intervals import Interval, format_interval, mean_interval
from experiments.reporting.chart_types import (
    INK,
    MODEL_STYLES,
    MUTED,
    PLAIN_STYLE,
    Chart,
    DotChart,
    GroupedDotChart,
    LineChart,
    Series,
    Style,
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
LINE_HEIGHT = 13.5  # points, of a label's line


class _EndLabel(NamedTuple):
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
    if isinstance(chart, GroupedDotChart):
        legend = sum(_line_count(name) for name in [*series_names(chart), chart.reference_label]) * lines
        height = 0.3 + sum(0.16 + 0.13 * len(row.values) for row in chart.rows)
        return PLOT_WIDTH * 1.3, max(height, legend)
    names = [*(series.name for series in chart.series), *(label for label, _ in chart.references)]
    return PLOT_WIDTH, max(MIN_PLOT_HEIGHT, 1.02 * sum(map(_line_count, names)) * lines)


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
        transform = _shift_points(axes, step * (turn - (len(drawn) - 1) / 2))
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
    _set_ticks(axes.xaxis, every_x, log=chart.log_x and len(every_x) > 0)
    _set_ticks(axes.yaxis, np.array([]), log=chart.log_y and len(every_x) + len(references) > 0)
    axes.set_xlabel(chart.x_label)
    axes.annotate(chart.y_label, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", color=MUTED,
                  va="bottom")  # fmt: skip
    if not len(every_x):
        _mark_empty(axes)
    axes.grid(False, axis="x")

    labels = []
    for points in drawn:
        if len(points.x):
            style = styles[series_style_name(points.series)]
            labels.append(
                _EndLabel(points.series.name, float(points.y[-1]), style.color, style.marker, points.series.dashed)
            )
    labels += [_EndLabel(label, value, MUTED, "", True) for label, value in references]
    _draw_end_labels(axes, labels, plot_size(chart))


def _shift_points(axes: "Axes", points: float) -> Any:
    """Data coordinates, moved so many points to the right."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def _draw_end_labels(axes: "Axes", labels: Sequence[_EndLabel], size: tuple[float, float]) -> None:
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
        _draw_sample(axes, texts[i], at, labels[i], size[0], start=wanted[i])


def _spread_labels(wanted: Sequence[float], lines: Sequence[int], height: float) -> list[float]:
    """Move labels of so many lines apart until none touches the next, each as little as possible (least squares).

    `wanted` is sorted; heights are shares of the plot, which is `height` inches high.
    """
    tall = np.array(lines) * LINE_HEIGHT / (72 * height)
    tall *= min(1.0, 1.06 / float(tall.sum()))
    offsets = np.cumsum(tall) - tall / 2
    moved = isotonic_regression(np.array(wanted) - offsets).x
    return list(np.clip(moved, -0.03, max(-0.03, 1.03 - float(tall.sum()))) + offsets)


def _draw_sample(
    axes: "Axes", text: str, at: float, label: _EndLabel, width: float, *, start: float | None = None
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


# ---- dots -----------------------------------------------------------------------------------------------------------


def draw_dot_chart(axes: "Axes", chart: DotChart, styles: Styles) -> None:
    """Draw groups as rows, the first on top: dots, a tick at the mean, a bar for the interval, the figure beside it."""
    shown: list[float] = []
    edges: list[float] = []
    for row, (label, values) in enumerate(chart.groups):
        values = np.asarray(values, float)
        good = values[np.isfinite(values)]
        if not len(good):
            text = "diverged" if len(values) else "not run"
        else:
            style = _row_style(label, styles)
            estimate = mean_interval(good, bounds=chart.bounds)
            shown += list(good)
            edges += [edge for edge in estimate[1:3] if math.isfinite(edge)]
            text = format_interval(estimate, chart.digits)
            if len(good) < len(values):
                text += f"\n{len(values) - len(good)} diverged"
            # Dots above, the mean and its interval below; in the order of the seeds, so that equal values stay visible.
            lift = np.linspace(-0.3, -0.1, len(good)) if len(good) > 1 else np.array([-0.2])
            axes.plot(good, row + lift, style.marker, color=style.color, markersize=4.2, alpha=0.7, markeredgewidth=0)
            _draw_interval(axes, estimate, row + 0.2, style)
        axes.text(1 + 8 / (72 * PLOT_WIDTH), row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9.5)
    for floor, (label, value) in enumerate(chart.references):  # one label above the other: they may be close
        if math.isfinite(value):
            shown.append(value)
            axes.axvline(value, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
            axes.annotate(label, (value, 1), (0, 3 + 12 * floor), xycoords=("data", "axes fraction"),
                          textcoords="offset points", color=MUTED, fontsize=9.5, ha="center",
                          va="bottom")  # fmt: skip
    _set_value_axis(axes, chart.value_label, shown, edges)
    axes.set_ylim(max(1, len(chart.groups)) - 0.5, -0.5)
    labels = [wrap_label(label, 30) for label, _ in chart.groups]
    axes.set_yticks(range(len(labels)), labels, color=INK, fontsize=10.5, linespacing=0.95)
    axes.grid(False, axis="y")


def _row_style(label: str, styles: Styles) -> Style:
    """The row's style in other charts, or that of the model that its label begins with, or one for all other rows."""
    return styles.get(label) or MODEL_STYLES.get(label.split(",")[0]) or PLAIN_STYLE


def draw_grouped_dots(axes: "Axes", chart: GroupedDotChart, styles: Styles) -> None:
    """Draw rows of means with their intervals, a little below one another, and the legend to the right."""
    shown: list[float] = []
    edges: list[float] = []
    names = series_names(chart)
    for row, dots in enumerate(chart.rows):
        for place, (name, values) in enumerate(dots.values.items()):
            good = np.asarray(values, float)
            good = good[np.isfinite(good)]
            if not len(good):
                continue
            estimate = mean_interval(good, bounds=chart.bounds)
            shown.append(estimate.mean)
            edges += [edge for edge in estimate[1:3] if math.isfinite(edge)]
            y = row + 0.64 * ((place + 0.5) / len(dots.values) - 0.5)
            style = styles[name]
            axes.plot([estimate.mean], [y], style.marker, color=style.color, markersize=5, markeredgewidth=0, zorder=3)
            if math.isfinite(estimate.low):
                axes.plot([estimate.low, estimate.high], [y, y], color=style.color, linewidth=1.6)
        if dots.reference is not None and math.isfinite(dots.reference):
            shown.append(dots.reference)
            axes.plot([dots.reference] * 2, [row - 0.38, row + 0.38], color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    _set_value_axis(axes, chart.value_label, shown, edges)
    axes.set_ylim(max(1, len(chart.rows)) - 0.5, -0.5)
    axes.set_yticks(range(len(chart.rows)), [wrap_label(row.label) for row in chart.rows], color=INK, fontsize=10.5)
    axes.grid(False, axis="y")
    for edge in range(1, len(chart.rows)):
        axes.axhline(edge - 0.5, color=MUTED, linewidth=0.5, alpha=0.4)
    labels = [_EndLabel(name, 0.0, styles[name].color, styles[name].marker, False) for name in names]
    if any(row.reference is not None for row in chart.rows):
        labels.append(_EndLabel(chart.reference_label, 0.0, MUTED, "", True))
    width, height = plot_size(chart)
    at = 1.0
    for label in labels:
        text = wrap_label(label.text)
        tall = (text.count("\n") + 1) * 1.15 * LINE_HEIGHT / (72 * height)
        _draw_sample(axes, text, at - tall / 2, label, width)
        at -= tall


def _draw_interval(axes: "Axes", estimate: Interval, y: float, style: Style) -> None:
    if math.isfinite(estimate.low):
        axes.plot([estimate.low, estimate.high], [y, y], color=style.color, linewidth=2)
    axes.plot([estimate.mean] * 2, [y - 0.13, y + 0.13], color=style.color, linewidth=2)


def _set_value_axis(axes: "Axes", label: str, shown: Sequence[float], edges: Sequence[float]) -> None:
    """Set the horizontal axis of dots: its range, ticks and name."""
    if shown:
        low, high = _visible_range(np.array(shown), np.array(edges))
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
        axes.set_xlim(low - room, high + room)
    else:
        _mark_empty(axes)
    _set_ticks(axes.xaxis, np.array([]), log=False)
    axes.set_xlabel(label)


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
    low, high = _visible_range(points, edges)
    room = 0.04 * (high - low) or 0.1 * abs(high) or 0.5
    bottom = low - room
    if 0 <= low < 0.25 * high:
        bottom = -0.25 * room if low < room else 0.0
    axes.set_ylim(bottom, high + room)


def _visible_range(points: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """The range of the points and of their intervals' edges; an edge beyond half the points' range is cut off."""
    low, high = float(points.min()), float(points.max())
    room = 0.5 * (high - low) or math.inf
    edges = np.append(edges[np.isfinite(edges)], points)
    return max(float(edges.min()), low - room), min(float(edges.max()), high + room)


def _set_ticks(axis: Any, values: np.ndarray, *, log: bool) -> None:
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


def _line_count(text: str) -> int:
    return wrap_label(text).count("\n") + 1


def _mark_empty(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", va="center", color=MUTED)
