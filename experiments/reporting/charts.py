"""Charts as pictures: one or several as SVG, PDF or PNG, or one as an element of an HTML page.

The same data give the same bytes. What a chart holds is in `chart_types`; `layout` and `drawing` draw it.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.reporting.chart_types import (
    DARK_COLORS,
    DARK_PAPER,
    MODEL_STYLES,
    OTHER_STYLES,
    PAPER,
    Chart,
    DotChart,
    DotRow,
    GroupedDotChart,
    LineChart,
    PublishedChart,
    PublishedMark,
    PublishedRow,
    Series,
    Style,
    Styles,
    assign_styles,
    interval_series,
    rc_params,
    series_names,
)
from experiments.reporting.layout import draw_charts
from training import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DARK_COLORS", "MODEL_STYLES", "OTHER_STYLES", "Chart", "DotChart", "DotRow", "GroupedDotChart", "LineChart",
    "PublishedChart", "PublishedMark", "PublishedRow", "Series", "Style", "assign_styles", "chart_figure", "inline_svg",
    "interval_series", "render_charts", "save_charts", "save_figure", "series_names",
]  # fmt: skip


def render_charts(charts: Chart | Sequence[Chart], kind: str, *, columns: int = 2, name: str = "charts") -> bytes:
    """Return a picture of one chart, or of several in rows of at most `columns`; `kind` is svg, pdf or png."""
    charts = [charts] if isinstance(charts, Chart) else list(charts)
    styles = assign_styles(chain.from_iterable(map(series_names, charts)))
    return render_figure(lambda: draw_charts(charts, styles, columns), kind, name)


def save_charts(charts: Chart | Sequence[Chart], path: str | Path, *, columns: int = 2) -> Path:
    """Write the picture of `render_charts` in the format of the path's suffix."""
    path = Path(path)
    return _write_picture(path, render_charts(charts, path.suffix[1:].lower(), columns=columns, name=path.stem))


def render_figure(draw: Callable[[], "Figure"], kind: str, name: str) -> bytes:
    """Return the figure that `draw` makes, in the charts' style; an SVG follows the reader's light or dark setting."""
    import matplotlib as mpl

    undated: dict[str, Any] = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    buffer = io.BytesIO()
    with mpl.rc_context(rc_params(name)):
        draw().savefig(buffer, format=kind, dpi=200, bbox_inches="tight", metadata=undated)
    data = buffer.getvalue()
    return _add_dark_colors(_round_paths(_use_page_fonts(data.decode()))).encode() if kind == "svg" else data


def save_figure(draw: Callable[[], "Figure"], path: str | Path) -> Path:
    """Write the picture of `render_figure` in the format of the path's suffix."""
    path = Path(path)
    return _write_picture(path, render_figure(draw, path.suffix[1:].lower(), path.stem))


def chart_figure(chart: Chart, styles: Styles | None = None) -> "Figure":
    """Return one chart as a matplotlib figure with its title; give `styles` so that several charts agree."""
    import matplotlib as mpl

    with mpl.rc_context(rc_params(chart.name)):
        return draw_charts([chart], styles or assign_styles(series_names(chart)), 1)


def inline_svg(chart: Chart, styles: Styles, prefix: str) -> str:
    """Return a chart as an `<svg>` element for a page: ids under `prefix`, colors and fonts left to the page's CSS."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(rc_params(chart.name)):
        figure = draw_charts([chart], styles, 1, titles=False)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg, xlink = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
    root = ET.fromstring(_round_paths(_use_page_fonts(buffer.getvalue())))
    used_ids = set(re.findall(r"(?:url\(|href=\")#([^\")]+)", buffer.getvalue()))  # by a clip path or a marker's <use>
    for parent in list(root.iter()):
        for child in list(parent):
            # The style sheet inside would apply to the whole page; its one rule is in the page's own.
            if child.tag == f"{svg}metadata" or child.find(f"{svg}style") is not None:
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(svg)
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None
        values = element.attrib
        if f"{xlink}href" in values:
            values["href"] = "#" + prefix + values.pop(f"{xlink}href")[1:]
        if "id" in values:
            values["id"] = prefix + values["id"]
            if values["id"].removeprefix(prefix) not in used_ids:
                del values["id"]
        if "clip-path" in values:
            values["clip-path"] = values["clip-path"].replace("#", f"#{prefix}")
        if "style" in values:
            values["style"] = re.sub(r"#[0-9a-f]{6}", lambda m: f"var(--{m[0][1:]}, {m[0]})", values["style"])
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": ": ".join(filter(None, (chart.title, chart.note)))}
    title = ET.Element("title")
    title.text = chart.title
    root.insert(0, title)
    return ET.tostring(root, encoding="unicode")


def _write_picture(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, data)
    return path


def _use_page_fonts(svg: str) -> str:
    """Use the reader's own font: the layout is made with one that is wider than most."""
    svg = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", svg)
    return re.sub(r' transform="rotate\(-0 [^)]*\)"', "", svg)


def _round_paths(svg: str) -> str:
    """Round coordinates to hundredths of a point: smaller files, and the same ones on every processor."""

    def round_attribute(match: re.Match[str]) -> str:
        numbers = re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", match[2])
        return f'{match[1]}="{" ".join(numbers.split())}"'

    return re.sub(r'\b(d|x|y|x1|x2|y1|y2|width|height|points)="([^"]*\.\d{3,}[^"]*)"', round_attribute, svg)


def _add_dark_colors(svg: str) -> str:
    """Add a style sheet that replaces each color where the reader prefers a dark page."""
    rules = "".join(
        f'[style*="{attribute}: {light}"]{{{attribute}:{dark}!important}}'
        for light, dark in (DARK_COLORS | {PAPER: DARK_PAPER}).items()
        for attribute in ("fill", "stroke")
        if f"{attribute}: {light}" in svg
    )
    return svg.replace("</style>", f"@media (prefers-color-scheme: dark){{{rules}}}</style>", 1)
