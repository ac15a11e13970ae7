"""A report as one HTML file: verdicts first, then the tables and charts behind them.

The file needs no network and no JavaScript, follows the reader's light or dark setting, and has the same bytes for the
same data. All text is escaped.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.ablation.verdicts import VERDICT_SIGNS, Verdict
from experiments.reporting.charts import (
    DARK_COLORS,
    MODEL_STYLES,
    Chart,
    assign_styles,
    inline_svg,
    series_names,
)
from training import files

if TYPE_CHECKING:
    import jinja2

_TEMPLATE = Path(__file__).with_name("report.html.jinja")


class Table(NamedTuple):
    """A table of text as it is to be read. In a page, columns of numbers are aligned to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def text_table(table: Table) -> str:
    """Return a table for the terminal, with aligned columns."""
    widths = [max(len(row[i]) for row in (table.header, *table.rows)) for i in range(len(table.header))]
    lines = [zip(row, widths, strict=True) for row in (table.header, *table.rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines)


class Section(NamedTuple):
    """Text (paragraphs separated by blank lines), charts side by side, and tables below them."""

    title: str
    text: str = ""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()


class Report(NamedTuple):
    """The content of a page.

    `question` is one sentence, and `remark` says below it how far the answer goes; `command` repeats the run,
    `provenance` is the date and the revision. `settings` maps a heading to a mapping or to preformatted text, which the
    page folds away under its heading.
    """

    title: str
    question: str
    summary: Table | None = None
    verdicts: Sequence[Verdict] = ()
    sections: Sequence[Section] = ()
    settings: Mapping[str, Mapping[str, object] | str] = {}
    command: str = ""
    provenance: str = ""
    remark: str = ""


def write_html(report: Report, path: str | Path) -> Path:
    """Write `report` as one HTML file, all or nothing.

    Raises ValueError for a verdict that is not in `VERDICT_SIGNS`.
    """
    from markupsafe import Markup

    for verdict in report.verdicts:
        if verdict.verdict not in VERDICT_SIGNS:
            raise ValueError(
                f"verdict {verdict.verdict!r} of {verdict.claim!r}: must be one of {', '.join(VERDICT_SIGNS)}"
            )
    charts = [chart for section in report.sections for chart in section.charts]
    styles = assign_styles(chain.from_iterable(map(series_names, charts)))
    drawings = iter([inline_svg(chart, styles, f"c{i}") for i, chart in enumerate(charts)])
    page = (
        make_environment(_TEMPLATE.parent)
        .get_template(_TEMPLATE.name)
        .render(
            report=report,
            figures=[[(chart, Markup(next(drawings))) for chart in section.charts] for section in report.sections],
            numeric=_numeric_columns,
            paragraphs=lambda text: [part for part in re.split(r"\n\s*\n", text.strip()) if part],
            styles=MODEL_STYLES | styles,
            signs=VERDICT_SIGNS,
            colors=DARK_COLORS,
        )
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, page.encode("utf-8", "replace"))
    return path


def make_environment(folder: Path) -> "jinja2.Environment":
    """What renders the templates of a folder: everything is escaped, and a name that is not there is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_NUMBER_PATTERN = re.compile(
    r"[<>≈~+−-]?\d[\d ,. ]*(e[+-]?\d+)?\s?[%×kMGx]?(\s?±.*|\s?\[.*\]|\s?\(.*\))?|[–—-]?|n/?a|nan", re.I
)


def _numeric_columns(table: Table) -> list[bool]:
    """Return for each column whether all its cells are numbers or dashes, and at least one is a number."""
    columns = [[row[i].strip() for row in table.rows if i < len(row)] for i in range(len(table.header))]
    return [
        all(map(_NUMBER_PATTERN.fullmatch, cells)) and any(map(re.compile(r"\d").search, cells)) for cells in columns
    ]
