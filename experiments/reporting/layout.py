"""Lay out charts in a grid: every plot has the size that its data need, every gap the width of the labels in it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.reporting.chart_types import Chart, DotChart, LineChart, PublishedChart, Styles
from experiments.reporting.dot_drawing import draw_dot_chart, draw_grouped_dots, draw_published_chart
from experiments.reporting.drawing import draw_line_chart, plot_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_WIDTH = 1400 / 96  # inches: what fits a screen; a browser takes 96 pixels for an inch
CANVAS = 20.0  # inches, of the canvas on which the labels are measured


class _Margins(NamedTuple):
    """How far labels and titles reach beyond a plot, in inches."""

    left: float
    right: float
    top: float
    bottom: float


def draw_charts(charts: Sequence[Chart], styles: Styles, columns: int, *, titles: bool = True) -> "Figure":
    """Draw charts in rows of at most `columns`, fewer where they would not fit `MAX_WIDTH`.

    Every plot has the size that its data need; columns and rows are as wide and high as the widest and highest in them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(CANVAS, CANVAS))
    canvas = FigureCanvasAgg(figure)
    sizes = [plot_size(chart) for chart in charts]
    panels = []
    pad = max([22, *(10 + 12 * len(chart.references) for chart in charts if isinstance(chart, DotChart))])
    for chart, (width, height) in zip(charts, sizes, strict=True):
        axes = figure.add_axes((0.3, 0.3, width / CANVAS, height / CANVAS), label=f"panel {len(panels)}")
        if isinstance(chart, LineChart):
            draw_line_chart(axes, chart, styles)
        elif isinstance(chart, DotChart):
            draw_dot_chart(axes, chart, styles)
        elif isinstance(chart, PublishedChart):
            draw_published_chart(axes, chart)
        else:
            draw_grouped_dots(axes, chart, styles)
        if titles:
            axes.set_title(chart.title, pad=pad)
        panels.append(axes)
    renderer = canvas.get_renderer()
    margins = [_measure_margins(axes, renderer) for axes in panels]
    _lay_out(figure, panels, sizes, margins, columns)
    return figure


def _lay_out(
    figure: "Figure", panels: Sequence["Axes"], sizes: Sequence[tuple[float, float]], margins: Sequence[_Margins],
    columns: int,
) -> None:  # fmt: skip
    """Set the plots in a grid with room for their margins, and the figure to the size of the grid."""
    gap, border = 0.3, 0.08

    def column_widths(count: int) -> list[tuple[float, float, float]]:
        """Left margin, plot and right margin of each column."""
        return [
            (
                max((m.left for m in margins[i::count]), default=0.0),
                max((width for width, _ in sizes[i::count]), default=0.0),
                max((m.right for m in margins[i::count]), default=0.0),
            )
            for i in range(count)
        ]

    def total_width(count: int) -> float:
        return sum(map(sum, column_widths(count))) + gap * (count - 1) + 2 * border

    columns = max(1, min(columns, len(panels)))
    while columns > 1 and total_width(columns) > MAX_WIDTH:
        columns -= 1
    widths = column_widths(columns)
    starts = [range(i, min(i + columns, len(panels))) for i in range(0, len(panels), columns)]
    heights = [
        (max(margins[i].top for i in row), max(sizes[i][1] for i in row), max(margins[i].bottom for i in row))
        for row in starts
    ]
    width, height = total_width(columns), sum(map(sum, heights)) + gap * (len(heights) - 1) + 2 * border
    figure.set_size_inches(width, max(height, 0.5))
    top = height - border
    for row, (above, plot, below) in zip(starts, heights, strict=True):
        left = border
        for i, (before, wide, after) in zip(row, widths, strict=False):
            (w, h), y = sizes[i], top - above - sizes[i][1]
            panels[i].set_position(((left + before) / width, y / height, w / width, h / height))
            left += before + wide + after + gap
        top -= above + plot + below + gap


def _measure_margins(axes: "Axes", renderer: Any) -> _Margins:
    _thin_ticks(axes, renderer)
    outer, inner, dpi = axes.get_tightbbox(renderer), axes.get_window_extent(), axes.figure.dpi
    assert outer
    return _Margins(
        (inner.x0 - outer.x0) / dpi,
        (outer.x1 - inner.x1) / dpi,
        (outer.y1 - inner.y1) / dpi,
        (inner.y0 - outer.y0) / dpi,
    )


def _thin_ticks(axes: "Axes", renderer: Any) -> None:
    """Remove ticks of the x axis whose labels would touch their right neighbor's."""
    from matplotlib.ticker import FixedLocator

    axes.xaxis.get_tightbbox(renderer)  # places the labels
    low, high = sorted(axes.get_xlim())
    kept: list[float] = []
    edge = math.inf
    for tick in reversed(axes.xaxis.get_major_ticks()):
        box = tick.label1.get_window_extent(renderer)
        inside = low <= tick.get_loc() <= high
        if inside and box.x1 + 5 <= edge:
            kept.append(float(tick.get_loc()))
            edge = box.x0
    axes.xaxis.set_major_locator(FixedLocator(kept[::-1]))
