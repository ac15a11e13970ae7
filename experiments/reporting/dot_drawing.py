"""Draw charts of dots into matplotlib axes of a given size: rows below one another, all on one axis of values."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.ablation.intervals import Interval, format_interval, mean_interval
from experiments.reporting.chart_types import (
    INK,
    MODEL_STYLES,
    MUTED,
    PLAIN_STYLE,
    DotChart,
    GroupedDotChart,
    PublishedChart,
    PublishedMark,
    Style,
    Styles,
    series_names,
)
from experiments.reporting.drawing import (
    LINE_HEIGHT,
    PLOT_WIDTH,
    ROW_LABEL_WIDTH,
    EndLabel,
    draw_sample,
    mark_empty,
    plot_size,
    set_ticks,
    shift_points,
    visible_range,
    wrap_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
            _draw_seeds(axes, good, row - 0.2, style)  # above, the mean and its interval below
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
    labels = [wrap_label(label, ROW_LABEL_WIDTH) for label, _ in chart.groups]
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
    labels = [EndLabel(name, 0.0, styles[name].color, styles[name].marker, False) for name in names]
    if any(row.reference is not None for row in chart.rows):
        labels.append(EndLabel(chart.reference_label, 0.0, MUTED, "", True))
    width, height = plot_size(chart)
    at = 1.0
    for label in labels:
        text = wrap_label(label.text)
        tall = (text.count("\n") + 1) * 1.15 * LINE_HEIGHT / (72 * height)
        draw_sample(axes, text, at - tall / 2, label, width)
        at -= tall


def draw_published_chart(axes: "Axes", chart: PublishedChart) -> None:
    """Draw rows from above: the published number, our seeds, our mean with its interval or our best seed."""
    shown: list[float] = [*chart.axis_values]
    edges: list[float] = []
    for y, row in enumerate(chart.rows):
        values = np.asarray(row.values, float)
        good = values[np.isfinite(values)]
        mark = row.published
        parts = [number for number in mark[:3] if math.isfinite(number)]
        shown += [*parts, *good]
        _draw_published(axes, mark, y - 0.3)
        if len(good):
            _draw_seeds(axes, good, y - 0.02, PLAIN_STYLE)
            if row.best is not None:
                axes.plot([row.best] * 2, [y + 0.17, y + 0.43], color=PLAIN_STYLE.color, linewidth=2)
            else:
                estimate = mean_interval(good, bounds=chart.bounds)
                shown.append(estimate.mean)
                edges += [edge for edge in estimate[1:3] if math.isfinite(edge)]
                _draw_interval(axes, estimate, y + 0.3, PLAIN_STYLE)
        axes.text(1 + 8 / (72 * plot_size(chart)[0]), y, row.text, transform=axes.get_yaxis_transform(), va="center",
                  fontsize=9.5, linespacing=1.15)  # fmt: skip
        if y:
            axes.axhline(y - 0.5, color=MUTED, linewidth=0.5, alpha=0.4)
    _set_value_axis(axes, chart.value_label, shown, edges, log=chart.log)
    axes.set_ylim(max(1, len(chart.rows)) - 0.5, -0.5)
    labels = [wrap_label(row.label, ROW_LABEL_WIDTH) for row in chart.rows]
    axes.set_yticks(range(len(labels)), labels, color=INK, fontsize=10.5, linespacing=0.95)
    axes.grid(False, axis="y")
    _draw_published_legend(axes, chart)


def _draw_published(axes: "Axes", mark: PublishedMark, y: float) -> None:
    """Draw a published number: a diamond with its interval, or a tick and an arrow where it is only a bound."""
    color = MUTED if mark.unsure else INK
    if math.isfinite(mark.low):
        axes.plot([mark.low, mark.high], [y, y], color=color, linewidth=2, zorder=3)
    if not math.isfinite(mark.value):
        return
    if not mark.bound:
        axes.plot([mark.value], [y], "D", color=color, markersize=5, markeredgewidth=0, zorder=4)
        return
    axes.plot([mark.value] * 2, [y - 0.13, y + 0.13], color=color, linewidth=2, zorder=4)
    arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    points = -16 if mark.bound == "<" else 16
    axes.annotate("", (mark.value, y), (mark.value, y), xycoords=shift_points(axes, points), textcoords="data",
                  arrowprops=arrow, annotation_clip=False)  # fmt: skip


def _draw_published_legend(axes: "Axes", chart: PublishedChart) -> None:
    """Draw what is what between the title and the plot."""
    from matplotlib.lines import Line2D

    marks = [row.published for row in chart.rows]
    ours = PLAIN_STYLE
    entries = [
        Line2D([], [], color=color, marker="D", markersize=5, markeredgewidth=0, linestyle="", label=label)
        for color, label, unsure in ((INK, "published", False), (MUTED, "published, unchecked", True))
        if any(mark.unsure == unsure for mark in marks)
    ]
    entries.append(
        Line2D([], [], color=ours.color, marker=ours.marker, markersize=4.2, linestyle="", label="here, each seed")
    )
    if any(row.best is None for row in chart.rows):
        entries.append(Line2D([], [], color=ours.color, linewidth=2, label="mean, 95 % interval"))
    if any(row.best is not None for row in chart.rows):
        entries.append(
            Line2D(
                [], [], color=ours.color, marker="|", markersize=9, markeredgewidth=2, linestyle="", label="best seed"
            )
        )
    axes.legend(handles=entries, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, borderpad=0.3, frameon=False,
                ncols=len(entries), fontsize=9.5, handlelength=1.1, handletextpad=0.4, columnspacing=1.2)  # fmt: skip


def _draw_seeds(axes: "Axes", values: np.ndarray, y: float, style: Style) -> None:
    """Draw dots at about one height, in the order of the seeds, so that equal values stay visible."""
    heights = y + (np.linspace(-0.1, 0.1, len(values)) if len(values) > 1 else np.zeros(1))
    axes.plot(values, heights, style.marker, color=style.color, markersize=4.2, alpha=0.7, markeredgewidth=0)


def _draw_interval(axes: "Axes", estimate: Interval, y: float, style: Style) -> None:
    if math.isfinite(estimate.low):
        axes.plot([estimate.low, estimate.high], [y, y], color=style.color, linewidth=2)
    axes.plot([estimate.mean] * 2, [y - 0.13, y + 0.13], color=style.color, linewidth=2)


def _set_value_axis(
    axes: "Axes", label: str, shown: Sequence[float], edges: Sequence[float], *, log: bool = False
) -> None:
    """Set the horizontal axis of dots: its range, ticks and name."""
    if shown and log:
        reach = (max(shown) / min(shown)) ** 0.06
        axes.set_xscale("log")
        axes.set_xlim(min(shown) / reach, max(shown) * reach)
    elif shown:
        low, high = visible_range(np.array(shown), np.array(edges))
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
        axes.set_xlim(low - room, high + room)
    else:
        mark_empty(axes)
    set_ticks(axes.xaxis, np.array([]), log=log and bool(shown))
    axes.set_xlabel(label)
