import math
import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest

from experiments.reporting.charts import (
    DARK_COLORS,
    MODEL_STYLES,
    OTHER_STYLES,
    DotChart,
    DotRow,
    GroupedDotChart,
    LineChart,
    Series,
    assign_styles,
    chart_figure,
    render_charts,
    save_charts,
)
from experiments.reporting.drawing import format_tick, plot_size, wrap_label
from experiments.reporting.layout import MAX_WIDTH, draw_charts
from tests.experiments.reporting import NAMES, curves

LONG = "the commonest value of all that were seen in the sequence so far"


def test_one_style_per_model():
    styles = assign_styles(["mamba", "lstm", "mamba", "s4"])
    assert styles["lstm"] == MODEL_STYLES["lstm"]
    assert list(styles) == ["mamba", "lstm", "s4"]
    many = assign_styles([*MODEL_STYLES, *(f"model {i}" for i in range(len(OTHER_STYLES) ** 2))])
    assert len(set(many.values())) == len(many)
    assert {style.color for style in many.values()} <= set(DARK_COLORS)


def test_labels_at_the_line_ends_do_not_touch():
    chart = LineChart("x", "x", "x", "y", [Series(name, [1, 2], [0.5, 0.5 + i / 1e3]) for i, name in enumerate(NAMES)])
    drawing = chart_figure(chart)
    drawing.draw_without_rendering()
    boxes = [text.get_window_extent() for text in drawing.axes[0].texts if text.get_text() in NAMES]
    assert len(boxes) == len(NAMES)
    ordered = sorted(boxes, key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(ordered))
    inside = drawing.axes[0].get_window_extent()
    assert all(box.x0 > inside.x1 and box.x1 <= drawing.bbox.x1 for box in boxes), "beside the data, in the picture"


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_save(kind, tmp_path):
    charts = [curves("a", points=3), curves("b", log_y=True), DotChart("c", "C", "y", [("lstm", [1.0, 2.0])])]
    one = save_charts(charts, tmp_path / f"one.{kind}").read_bytes()
    save_charts(charts, tmp_path / "more" / f"one.{kind}")
    assert (tmp_path / "more" / f"one.{kind}").read_bytes() == one
    start = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert one.startswith(start[kind])
    assert save_charts(charts[2], tmp_path / f"alone.{kind}").exists()


CHARTS = [
    curves("lines", points=6),
    LineChart("long", "Long", "x", "y", [Series(LONG, [2, 4, 6, 8, 10, 12], [1] * 6), Series("gru", [2, 12], [0, 1])],
              [(LONG + ", or less", 0.5)], log_x=True),
    DotChart("dots", "A title that is longer than its plot is wide", "value", [(LONG, [1e-4, 3e-4]), ("b", [2e-4])],
             [("chance", 1e-4)]),
    GroupedDotChart("grouped", "Grouped", "value", [DotRow(f"row {i}", {n: [0.1, 0.2] for n in NAMES}, 0.1)
                                                    for i in range(2)], LONG),
]  # fmt: skip


@pytest.mark.parametrize("columns", [1, 3])
def test_labels_never_narrow_a_plot_and_stay_in_the_picture(columns):
    """Every plot has the size that its data need; panels do not overlap; nothing is cut off."""
    figure = draw_charts(CHARTS, assign_styles([*NAMES, LONG]), columns)
    figure.draw_without_rendering()
    assert figure.get_figwidth() <= MAX_WIDTH
    boxes = []
    for axes, chart in zip(figure.axes, CHARTS, strict=True):
        plot, box = axes.get_window_extent(), axes.get_tightbbox()
        assert box
        assert (plot.width / figure.dpi, plot.height / figure.dpi) == pytest.approx(plot_size(chart), rel=1e-3)
        assert min(box.x0, box.y0) >= -1
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y1 <= figure.bbox.y1 + 1
        boxes.append(box)
    assert not any(a.shrunk(0.99, 0.99).overlaps(b.shrunk(0.99, 0.99)) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_ticks_do_not_overlap(chart):
    figure = chart_figure(chart)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert len(boxes) > 1
    assert all(left.x1 < right.x0 for left, right in pairwise(sorted(boxes, key=lambda box: box.x0)))


def test_few_points_have_bars_and_many_a_band():
    from matplotlib.collections import FillBetweenPolyCollection, LineCollection

    def count(points: int) -> tuple[int, int]:
        drawn = chart_figure(curves("c", points=points)).axes[0].collections
        bars = sum(isinstance(one, LineCollection) for one in drawn)
        return bars, sum(isinstance(one, FillBetweenPolyCollection) for one in drawn)

    assert count(8) == (len(NAMES), 0)
    assert count(9) == (0, len(NAMES))


def test_an_svg_follows_the_reader_s_dark_setting():
    """Each color that is drawn has its counterpart, in a rule for dark pages only."""
    svg = render_charts(curves("c", points=4), "svg", name="c").decode()
    ET.fromstring(svg)
    (rules,) = re.findall(r"@media \(prefers-color-scheme: dark\)\{(.*)\}</style>", svg)
    body = svg[svg.index("</style>") :]
    drawn = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", body))
    assert drawn - {"#ffffff"} <= set(DARK_COLORS)
    for color in drawn:
        assert color in rules
    assert "Date" not in svg
    assert "Matplotlib" not in svg, "another version of matplotlib would make every picture stale"


def test_numbers_and_labels_as_an_axis_shows_them():
    assert [format_tick(value) for value in (0.25, -3, 2e4, 1.5e6, 2e9, 1e4)] == [
        "0.25",
        "−3",
        "20k",
        "1.5M",
        "2G",
        "10k",
    ]
    assert wrap_label("short") == "short"
    assert max(map(len, wrap_label(LONG).split("\n"))) <= 24
    assert wrap_label("") == ""
    assert math.isclose(plot_size(CHARTS[2])[0], plot_size(CHARTS[0])[0])
