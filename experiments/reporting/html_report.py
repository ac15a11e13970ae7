"""One page that answers the question: verdicts first, then the figures behind them, in one HTML file.

The file needs no network and no JavaScript, follows the reader's light or dark setting, and is the same bytes for the
same data. Everything handed in is plain data; text is escaped.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from experiments.ablation.verdicts import VERDICT_SIGNS, Verdict
from experiments.reporting.charts import (
    DARK_COLORS,
    MODEL_STYLES,
    DotChart,
    LineChart,
    assign_styles,
    inline_svg,
    save_charts,
    series_names,
)
from training import files

README = Path(__file__).parents[2] / "README.md"
_TEMPLATE = Path(__file__).with_name("report.html.jinja")


class Table(NamedTuple):
    """Cells are text as it is to be read; a column of figures is set to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown has it."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def replace_table(table: str, page: Path = README) -> None:
    """Set a Markdown table in a page in place of the one with its header. Raises ValueError where there is none."""
    text = page.read_text("utf-8")
    old = _find_table(text, table, page)
    files.write_atomically(page, f"{text[: old.start()]}{table}\n{text[old.end() :]}".encode())


def _find_table(text: str, table: str, page: Path) -> re.Match[str]:
    header = table.partition("\n")[0]
    old = re.search(rf"^{re.escape(header)}\n(\|.*\n)*", text, re.M)
    if not old:
        raise ValueError(f"{page} has no table {header}")
    return old


SECTION_PATTERN, ROW_PATTERN = (
    r"^## (?:\d+\. )?([^:\n]+)",
    r"^\| ([^|\n]+) \|",
)  # name of the first: without number and verdict


def publish_page(
    page: Path, text: str, charts: Sequence[LineChart | DotChart], columns: int, table: str, command: str
) -> None:
    """Write a page of docs/, its pictures beside it, and its table in README: all that is committed of some results.

    `command` is the command that makes a result, in which {name} stands for that. Raises ValueError, in one line and
    before anything is written, where page or table show a result that they would not any more.
    """
    old = _find_table(README.read_text("utf-8"), table, README)[0]
    pairs = (
        (page, page.read_text("utf-8") if page.exists() else "", text, SECTION_PATTERN),
        (README, old, table, ROW_PATTERN),
    )
    for where, before, after, part in pairs:
        if gone := lost_parts(before, after, part):
            more = f" and {len(gone) - 1} more" * (len(gone) > 1)
            raise ValueError(
                f"{where} shows {gone[0]}{more}, of which a record is missing: "
                f"{command.format(name=gone[0].strip('`').lower().replace(' ', '_'))} makes it; to go without, delete it "
                f"from {where.name} first"
            )
    files.write_atomically(page, text.encode())
    save_charts(charts, page.with_suffix(".svg"), columns=columns)
    replace_table(table)


def lost_parts(before: str, after: str, pattern: str) -> list[str]:
    """The SECTIONs or ROWs of a text in Markdown of which a new text for it has fewer, or with fewer sections in them,
    or more that was "not run"."""

    def parts(text: str) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for name, rest in zip(*[iter(re.split(pattern, text, flags=re.M)[1:])] * 2, strict=True):
            times, not_run = found.get(name, (0, 0))
            times += 1 + len(re.findall(r"^### ", rest, re.M))
            found[name] = times, not_run + len(re.findall(r"[|:] (?:– )?not run\b", rest))
        return found

    now = parts(after)
    return [
        name
        for name, (times, not_run) in parts(before).items()
        if now.get(name, (0, 0))[0] < times or now[name][1] > not_run
    ]


def text_table(table: Table) -> str:
    """A table for the terminal, its columns set under each other."""
    widths = [max(len(row[i]) for row in (table.header, *table.rows)) for i in range(len(table.header))]
    lines = [zip(row, widths, strict=True) for row in (table.header, *table.rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines)


class Section(NamedTuple):
    """Text (paragraphs between blank lines), charts side by side, and tables below them."""

    title: str
    text: str = ""
    charts: Sequence[LineChart | DotChart] = ()
    tables: Sequence[Table] = ()


class Report(NamedTuple):
    """What a page says. `question` is one sentence, `command` repeats the run, `provenance` says when and at what
    revision.

    `settings` maps a heading to a mapping or to preformatted text; each is folded away under its heading.
    """

    title: str
    question: str
    summary: Table | None = None
    verdicts: Sequence[Verdict] = ()
    sections: Sequence[Section] = ()
    settings: Mapping[str, Mapping[str, object] | str] = {}
    command: str = ""
    provenance: str = ""


def write_html(report: Report, path: str | Path) -> Path:
    """Write `report` as one HTML file, all or nothing. Raises ValueError for a verdict that is not in `VERDICTS`."""
    import jinja2
    from markupsafe import Markup

    for verdict in report.verdicts:
        if verdict.verdict not in VERDICT_SIGNS:
            raise ValueError(
                f"verdict {verdict.verdict!r} of {verdict.claim!r}: must be one of {', '.join(VERDICT_SIGNS)}"
            )
    charts = [chart for section in report.sections for chart in section.charts]
    looks = assign_styles(chain.from_iterable(map(series_names, charts)))
    drawn = iter([inline_svg(chart, looks, f"c{i}") for i, chart in enumerate(charts)])
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_TEMPLATE.read_text("utf-8")).render(
        report=report,
        figures=[[(chart, Markup(next(drawn))) for chart in s.charts] for s in report.sections],
        numeric=_numeric_columns,
        paragraphs=lambda text: [part for part in re.split(r"\n\s*\n", text.strip()) if part],
        looks=MODEL_STYLES | looks,
        signs=VERDICT_SIGNS,
        colours=DARK_COLORS,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, page.encode("utf-8", "replace"))
    return path


_NUMBER_PATTERN = re.compile(
    r"[<>≈~+−-]?\d[\d ,. ]*(e[+-]?\d+)?\s?[%×kMGx]?(\s?±.*|\s?\[.*\]|\s?\(.*\))?|[–—-]?|n/?a|nan", re.I
)


def _numeric_columns(table: Table) -> list[bool]:
    """For each column whether it holds figures only (or dashes), and some."""
    columns = [[row[i].strip() for row in table.rows if i < len(row)] for i in range(len(table.header))]
    return [
        all(map(_NUMBER_PATTERN.fullmatch, cells)) and any(map(re.compile(r"\d").search, cells)) for cells in columns
    ]
