"""Charts in matplotlib: lines with bands, and dots seed by seed, for the page and for pictures.

A model has one colour and one marker wherever it appears: five fixed ones (Okabe & Ito 2008, told apart by
colour-blind readers), the rest in order of appearance. The same data give the same bytes.
"""

import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from experiments.ablation.intervals import Interval, Values, format_interval, mean_interval
from training import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, MUTED, RULE = "#1f2328", "#646b75", "#d9dce1"
DARK_COLORS = {  # what each colour becomes on a dark page
    INK: "#e8eaed", MUTED: "#a0a7b1", RULE: "#393e46",
    "#0072b2": "#4fb0ea", "#d55e00": "#ff8a4c", "#009e73": "#34c79b", "#c4689b": "#e79cc4", "#4a4a4a": "#d4d4d4",
    "#b8860b": "#e0b341", "#6a51a3": "#ad9ae0", "#2f9fb5": "#6fd0e3", "#a0522d": "#d98f68", "#6b8e23": "#a9cc5d",
}  # fmt: skip


class Style(NamedTuple):
    """How a model looks in every chart: a colour out of `DARK_COLORS` and a matplotlib marker."""

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
    Style(colour, marker)
    for colour, marker in zip(("#b8860b", "#6a51a3", "#2f9fb5", "#a0522d", "#6b8e23"), "vP<>p", strict=True)
]
Styles = Mapping[str, Style]


class Series(NamedTuple):
    """One line: `y` at `x`, with a band from `low` to `high` where they are given, all of one length.

    Points that are not finite (and on a logarithmic axis not positive) are left out. A dashed series named
    "attention, trained" looks like "attention": the name up to the comma is its model.
    """

    name: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None
    dashed: bool = False


def interval_series(name: str, x: Values, intervals: Sequence[Interval]) -> Series:
    """The means of intervals, and the band between their ends."""
    return Series(
        name, x, [one.mean for one in intervals], [one.low for one in intervals], [one.high for one in intervals]
    )


class LineChart(NamedTuple):
    """Lines over `x_label`. `x_label` and `y_label` name the axes with their units; `references` are (label, y)
    references such as chance."""

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
    """Every seed as a dot, with the mean and 95 % interval of each group: (model, values) pairs.

    `value_label` names the value with its unit, `references` are (label, value) references, `bounds` is the range of
    the metric. Values that are not finite are counted as diverged and left out of the mean.
    """

    name: str
    title: str
    value_label: str
    groups: Sequence[tuple[str, Values]]
    references: Sequence[tuple[str, float]] = ()
    bounds: tuple[float, float] = (-math.inf, math.inf)
    digits: int = 3
    note: str = ""


def save_charts(
    charts: LineChart | DotChart | Sequence[LineChart | DotChart], path: str | Path, *, columns: int = 3
) -> Path:
    """Draw one chart, or several in rows of `columns`, as a picture in the format of the suffix, on white."""
    charts = [charts] if isinstance(charts, LineChart | DotChart) else list(charts)
    looks = assign_styles(chain.from_iterable(map(series_names, charts)))
    return save_figure(lambda: _draw_charts(charts, looks, columns, titles=True), path)


def save_figure(draw: Callable[[], "Figure"], path: str | Path) -> Path:
    """What `draw` makes, in the style of the charts, as a picture in the format of the suffix, on white."""
    import matplotlib as mpl

    kind = Path(path).suffix[1:].lower()
    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    file = io.BytesIO()
    with mpl.rc_context(_rc_params(Path(path).stem)):
        draw().savefig(file, format=kind, dpi=200, bbox_inches="tight", metadata=undated)  # labels stick out
    data = file.getvalue()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(Path(path), _use_page_fonts(data.decode()).encode() if kind == "svg" else data)
    return Path(path)


def chart_figure(chart: LineChart | DotChart, looks: Styles | None = None) -> "Figure":
    """One chart as a matplotlib figure with its title; `looks` are those of `assign_styles`, so that charts agree."""
    import matplotlib as mpl

    with mpl.rc_context(_rc_params(chart.name)):
        return _draw_charts([chart], looks or assign_styles(series_names(chart)), 1, titles=True)


def assign_styles(names: Iterable[str]) -> dict[str, Style]:
    """A style for each name: the fixed one of a model in `MODEL_STYLES`, for any other the next that is free."""
    wanted = list(dict.fromkeys(names))
    free = [*OTHER_STYLES, *(look for name, look in MODEL_STYLES.items() if name not in wanted)]
    found: dict[str, Style] = {}
    others = 0
    for name in wanted:
        if name in MODEL_STYLES:
            found[name] = MODEL_STYLES[name]
        else:
            # Round after round the colours repeat with other markers.
            colour, marker = free[others % len(free)].color, free[(others + others // len(free)) % len(free)]
            found[name] = Style(colour, marker.marker)
            others += 1
    return found


def _style_name(series: Series) -> str:
    return series.name.split(",")[0] if series.dashed else series.name


def series_names(chart: LineChart | DotChart) -> list[str]:
    return (
        [name for name, _ in chart.groups]
        if isinstance(chart, DotChart)
        else [_style_name(one) for one in chart.series]
    )


def _rc_params(salt: str) -> Any:
    """matplotlib's settings for every chart; sizes in points, and a chart of 324 points is about a phone's width."""
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
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": salt,  # ids from the content and the name, not from chance
    }


def _draw_charts(charts: Sequence[LineChart | DotChart], looks: Styles, columns: int, *, titles: bool) -> "Figure":
    from matplotlib.figure import Figure

    columns = max(1, min(columns, len(charts)))
    rows = max(1, math.ceil(len(charts) / columns))
    heights = [_chart_height(chart) + 0.3 * titles for chart in charts] or [1.0]
    height = [max(heights[row * columns : (row + 1) * columns]) for row in range(rows)]
    drawing = Figure(figsize=(4.5 * columns, sum(height)), layout="constrained")
    grid = drawing.subplots(rows, columns, squeeze=False, height_ratios=height).ravel()
    for axes in grid[len(charts) :]:
        axes.set_axis_off()
    pad = max(
        [22, *(10 + 12 * len(chart.references) for chart in charts if isinstance(chart, DotChart))]
    )  # titles stand level
    later = []
    for axes, chart in zip(grid, charts, strict=False):
        marks = (
            _draw_dot_chart(axes, chart, looks) if isinstance(chart, DotChart) else _draw_line_chart(axes, chart, looks)
        )
        if titles:
            axes.set_title(chart.title, pad=pad)
        later.append((axes, marks))
    # Labels at the line ends are set apart by their height in points, known only after the layout.
    drawing.draw_without_rendering()
    for axes, marks in later:
        _spread_labels(axes, marks)
    return drawing


def _chart_height(chart: LineChart | DotChart) -> float:
    """Height of a chart in inches, without a title."""
    if isinstance(chart, DotChart):
        return 0.75 + 0.16 * len(chart.references) + 0.42 * max(1, len(chart.groups))
    return max(3.0, 0.8 + 0.2 * (len(chart.series) + len(chart.references)))


class _EndLabel(NamedTuple):
    """A label beside the axes: its wanted height as a share of the axes, and what moves with it."""

    at: float
    text: Any
    sample: Any
    leader: Any


def _draw_line_chart(axes: "Axes", chart: LineChart, looks: Styles) -> list[_EndLabel]:
    """Draw a chart; returns the labels of its lines, to be set apart."""
    kept = []
    for series in chart.series:
        x, y = np.asarray(series.x, float), np.asarray(series.y, float)
        good = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not chart.log_x)) & ((y > 0) | (not chart.log_y))
        low, high = (np.asarray(y if edge is None else edge, float)[good] for edge in (series.low, series.high))
        kept.append((series, x[good], y[good], low, high))
    lines = [
        (label, value) for label, value in chart.references if math.isfinite(value) and (value > 0 or not chart.log_y)
    ]

    for (series, x, y, low, high), turn in zip(kept, range(len(kept)), strict=True):
        look = looks[_style_name(series)]
        every = max(1, len(x) // 7)
        axes.plot(
            x, y, color=look.color, marker=look.marker, markersize=4.2 if len(x) > 1 else 6, linewidth=1.7,
            markeredgewidth=0,
            linestyle=(0, (4, 2)) if series.dashed else "-", markevery=(turn * every // max(1, len(kept)), every),
            zorder=3 + (turn == 0),
        )  # fmt: skip
        if series.low is not None or series.high is not None:
            axes.fill_between(x, low, high, color=look.color, alpha=0.16, linewidth=0, zorder=2)
    for _, value in lines:
        axes.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1)

    every_x = np.unique(np.concatenate([x for _, x, *_ in kept])) if kept else np.array([])
    _set_y_limits(axes, kept, [value for _, value in lines], log=chart.log_y)
    _set_ticks(axes.xaxis, every_x, log=chart.log_x and len(every_x) > 0)
    _set_ticks(axes.yaxis, np.array([]), log=chart.log_y and len(every_x) + len(lines) > 0)
    axes.set_xlabel(chart.x_label)
    _set_y_label(axes, chart.y_label)
    if not len(every_x):
        _mark_empty(axes)
    axes.grid(False, axis="x")

    marks = []
    for series, x, y, *_ in kept:
        if len(x):
            look = looks[_style_name(series)]
            marks.append(_add_end_label(axes, series.name, float(y[-1]), look.color, look.marker, dashed=series.dashed))
    return marks + [_add_end_label(axes, label, value, MUTED, "", dashed=True) for label, value in lines]


def _add_end_label(axes: "Axes", label: str, y: float, color: str, marker: str, *, dashed: bool) -> _EndLabel:
    at = float(axes.transAxes.inverted().transform(axes.transData.transform((axes.get_xlim()[1], y)))[1])
    at = min(max(at, 0.0), 1.0)
    (leader,) = axes.plot([1.0, 1.03], [at, at], color=color, linewidth=0.7, alpha=0.7, transform=axes.transAxes,
                          clip_on=False)  # fmt: skip
    line = (0, (2, 1) if marker else (1, 2)) if dashed else "-"
    (sample,) = axes.plot([1.035, 1.085], [at, at], color=color, marker=marker, markersize=4.2, markeredgewidth=0,
                          linewidth=1.7 if marker else 1, linestyle=line, transform=axes.transAxes,
                          clip_on=False)  # fmt: skip
    text = axes.text(1.11, at, label, color=INK if marker else MUTED, va="center", transform=axes.transAxes)
    return _EndLabel(at, text, sample, leader)


def _spread_labels(axes: "Axes", marks: Sequence[_EndLabel]) -> None:
    """Move the labels apart so that none covers another, and each as little as possible (least squares)."""
    if not marks:
        return
    tall = axes.get_window_extent().height * 72 / axes.figure.dpi  # points
    gap = min(13.5 / tall, 1.04 / max(1, len(marks) - 1))
    order = sorted(range(len(marks)), key=lambda i: marks[i].at)
    steps = gap * np.arange(len(marks))
    moved = isotonic_regression(np.array([marks[i].at for i in order]) - steps).x
    moved = np.clip(moved, -0.02, 1.02 - steps[-1]) + steps
    for i, at in zip(order, moved, strict=True):
        marks[i].text.set_y(at)
        marks[i].sample.set_ydata([at, at])
        marks[i].leader.set_ydata([marks[i].at, at])


def _draw_dot_chart(axes: "Axes", chart: DotChart, looks: Styles) -> list[_EndLabel]:
    """Draw groups as rows, the first on top: dots, a tick at the mean, a bar for the interval, the figure beside it."""
    shown, edges = [], []
    for row, (name, values) in enumerate(chart.groups):
        values = np.asarray(values, float)
        good = values[np.isfinite(values)]
        lost = f"\n{len(values) - len(good)} diverged" if len(good) < len(values) else ""
        look = looks[name]
        if not len(good):
            text = "diverged" if len(values) else "not run"
        else:
            found = mean_interval(good, bounds=chart.bounds)
            shown += list(good)
            edges += [edge for edge in found[1:3] if math.isfinite(edge)]
            text = format_interval(found, chart.digits) + lost
            # Dots above, the mean and its interval below; in the order of the seeds, so that equal values stay visible.
            lift = np.linspace(-0.3, -0.1, len(good)) if len(good) > 1 else np.array([-0.2])
            axes.plot(good, row + lift, look.marker, color=look.color, markersize=4.6, alpha=0.7, markeredgewidth=0)
            if math.isfinite(found.low):
                axes.plot([found.low, found.high], [row + 0.2] * 2, color=look.color, linewidth=2)
            axes.plot([found.mean] * 2, [row + 0.07, row + 0.33], color=look.color, linewidth=2)
        axes.text(1.03, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9.5)
    for floor, (label, value) in enumerate(chart.references):  # one label above the other: they may be close
        if math.isfinite(value):
            shown.append(value)
            axes.axvline(value, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
            axes.annotate(label, (value, 1), (0, 3 + 12 * floor), xycoords=("data", "axes fraction"),
                          textcoords="offset points", color=MUTED, fontsize=9.5, ha="center",
                          va="bottom")  # fmt: skip
    if shown:
        low, high = _visible_range(np.array(shown), np.array(edges))
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
        axes.set_xlim(low - room, high + room)
    else:
        _mark_empty(axes)
    _set_ticks(axes.xaxis, np.array([]), log=False)
    axes.set_ylim(max(1, len(chart.groups)) - 0.5, -0.5)
    axes.set_yticks(range(len(chart.groups)), [name for name, _ in chart.groups], color=INK, fontsize=10.5)
    axes.set_xlabel(chart.value_label)
    axes.grid(False, axis="y")
    return []


def _set_y_limits(axes: "Axes", kept: Sequence[tuple], lines: Sequence[float], *, log: bool) -> None:
    """Limits that show every point, and zero where the points come near it: heights are then read as amounts."""
    points = np.concatenate([*(y for _, _, y, _, _ in kept), lines])
    if not len(points):
        return
    if log:
        axes.set_yscale("log")
        axes.set_ylim(points.min() / 1.4, points.max() * 1.4)
        return
    edges = np.concatenate([np.array([]), *chain.from_iterable((low, high) for *_, low, high in kept)])
    low, high = _visible_range(points, edges)
    room = 0.04 * (high - low) or 0.1 * abs(high) or 0.5
    bottom = low - room
    if 0 <= low < 0.25 * high:
        bottom = -0.25 * room if low < room else 0.0
    axes.set_ylim(bottom, high + room)


def _visible_range(points: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """The range of the points and of their intervals' edges; an edge beyond half the points' range runs out of it."""
    low, high = float(points.min()), float(points.max())
    room = 0.5 * (high - low) or math.inf
    edges = np.append(edges[np.isfinite(edges)], points)
    return max(float(edges.min()), low - room), min(float(edges.max()), high + room)


def _set_ticks(axis: Any, values: np.ndarray, *, log: bool) -> None:
    """Ticks with plain numbers; on a logarithmic axis at the measured `values` where there are a few of them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if log:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        low, high = sorted(axis.get_view_interval())
        if 0 < len(values) <= 12:
            axis.set_major_locator(FixedLocator(values[:: -max(1, math.ceil(len(values) / 6))].tolist()))
        else:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 200 else (1,), numticks=8))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _format_tick(value)))


def _format_tick(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:.4g}".replace("-", "−")


def _set_y_label(axes: "Axes", name: str) -> None:
    """The name of the vertical axis lies flat above it, where it is read without turning the head."""
    axes.annotate(name, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", color=MUTED, va="bottom")


def _mark_empty(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", va="center", color=MUTED)


def inline_svg(chart: LineChart | DotChart, looks: Styles, prefix: str) -> str:
    """A chart as an `<svg>` element for the page: ids under `prefix`, colours and fonts left to the page's CSS."""
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context(_rc_params(chart.name)):
        drawing = _draw_charts([chart], looks, 1, titles=False)
        drawing.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg, xlink = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
    root = ET.fromstring(_use_page_fonts(file.getvalue()))
    used = set(re.findall(r"(?:url\(|href=\")#([^\")]+)", file.getvalue()))  # by a clip-path or a marker's <use>
    for parent in list(root.iter()):
        for child in list(parent):
            # The style sheet inside would reach the whole page; its one rule is in the page's own.
            if child.tag == f"{svg}metadata" or child.find(f"{svg}style") is not None:
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(svg)
        element.tail = None
        if element.tag != "text":
            element.text = None
        values = element.attrib
        if f"{xlink}href" in values:
            values["href"] = "#" + prefix + values.pop(f"{xlink}href")[1:]
        if "id" in values:
            values["id"] = prefix + values["id"]
            if values["id"].removeprefix(prefix) not in used:
                del values["id"]
        if "clip-path" in values:
            values["clip-path"] = values["clip-path"].replace("#", f"#{prefix}")
        if "d" in values:
            values["d"] = " ".join(re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", values["d"]).split())
        for key in ("x", "y"):
            if key in values:
                values[key] = f"{float(values[key]):.2f}"
        if "style" in values:
            values["style"] = re.sub(r"#[0-9a-f]{6}", lambda m: f"var(--{m[0][1:]}, {m[0]})", values["style"])
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": ": ".join(filter(None, (chart.title, chart.note)))}
    title = ET.Element("title")
    title.text = chart.title
    root.insert(0, title)
    return ET.tostring(root, encoding="unicode")


def _use_page_fonts(svg: str) -> str:
    """Text in the reader's own font: the layout is made with one that is wider than most."""
    svg = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", svg)
    return re.sub(r' transform="rotate\(-0 [^)]*\)"', "", svg)
