"""One page that answers the question: verdicts first, then the figures behind them, in one HTML file.

The file needs no network and no JavaScript, follows the reader's light or dark setting, and is the same bytes for the
same data. Everything handed in is plain data; text is escaped.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from experiments.ablation.verdicts import VERDICTS, Verdict
from experiments.reporting.charts import DARK, MODELS, Chart, Dots, inline, names, save, styles
from training import files

README = Path(__file__).parents[2] / "README.md"
TEMPLATE = Path(__file__).with_name("report.html.jinja")


class Table(NamedTuple):
    """Cells are text as it is to be read; a column of figures is set to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown has it."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def put(table: str, page: Path = README) -> None:
    """Set a Markdown table in a page in place of the one with its header. Raises ValueError where there is none."""
    text = page.read_text("utf-8")
    old = _old_table(text, table, page)
    files.write_whole(page, f"{text[: old.start()]}{table}\n{text[old.end() :]}".encode())


def _old_table(text: str, table: str, page: Path) -> re.Match[str]:
    header = table.partition("\n")[0]
    old = re.search(rf"^{re.escape(header)}\n(\|.*\n)*", text, re.M)
    if not old:
        raise ValueError(f"{page} has no table {header}")
    return old


SECTION, ROW = r"^## (?:\d+\. )?([^:\n]+)", r"^\| ([^|\n]+) \|"  # name of the first: without number and verdict


def publish(page: Path, text: str, pictures: Sequence[Chart | Dots], columns: int, table: str, again: str) -> None:
    """Write a page of docs/, its pictures beside it, and its table in README: all that is committed of some results.

    `again` is the command that makes a result, in which {name} stands for that. Raises ValueError, in one line and
    before anything is written, where page or table show a result that they would not any more.
    """
    old = _old_table(README.read_text("utf-8"), table, README)[0]
    pairs = ((page, page.read_text("utf-8") if page.exists() else "", text, SECTION), (README, old, table, ROW))
    for where, before, after, part in pairs:
        if gone := lost(before, after, part):
            more = f" and {len(gone) - 1} more" * (len(gone) > 1)
            raise ValueError(
                f"{where} shows {gone[0]}{more}, of which a record is missing: "
                f"{again.format(name=gone[0].strip('`').lower().replace(' ', '_'))} makes it; to go without, delete it "
                f"from {where.name} first"
            )
    files.write_whole(page, text.encode())
    save(pictures, page.with_suffix(".svg"), columns=columns)
    put(table)


def lost(before: str, after: str, part: str) -> list[str]:
    """The SECTIONs or ROWs of a text in Markdown of which a new text for it has fewer, or with fewer sections in them,
    or more that was "not run"."""

    def parts(text: str) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for name, rest in zip(*[iter(re.split(part, text, flags=re.M)[1:])] * 2, strict=True):
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


def columns(table: Table) -> str:
    """A table for the terminal, its columns set under each other."""
    widths = [max(len(row[i]) for row in (table.header, *table.rows)) for i in range(len(table.header))]
    lines = [zip(row, widths, strict=True) for row in (table.header, *table.rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines)


class Section(NamedTuple):
    """Text (paragraphs between blank lines), charts side by side, and tables below them."""

    title: str
    text: str = ""
    charts: Sequence[Chart | Dots] = ()
    tables: Sequence[Table] = ()


class Report(NamedTuple):
    """What a page says. `question` is one sentence, `command` repeats the run, `made` says when and at what revision.

    `settings` maps a heading to a mapping or to preformatted text; each is folded away under its heading.
    """

    title: str
    question: str
    summary: Table | None = None
    verdicts: Sequence[Verdict] = ()
    sections: Sequence[Section] = ()
    settings: Mapping[str, Mapping[str, object] | str] = {}
    command: str = ""
    made: str = ""


def write(report: Report, path: str | Path) -> Path:
    """Write `report` as one HTML file, all or nothing. Raises ValueError for a verdict that is not in `VERDICTS`."""
    import jinja2
    from markupsafe import Markup

    for verdict in report.verdicts:
        if verdict.verdict not in VERDICTS:
            raise ValueError(f"verdict {verdict.verdict!r} of {verdict.claim!r}: must be one of {', '.join(VERDICTS)}")
    charts = [chart for section in report.sections for chart in section.charts]
    looks = styles(chain.from_iterable(map(names, charts)))
    drawn = iter([inline(chart, looks, f"c{i}") for i, chart in enumerate(charts)])
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(TEMPLATE.read_text("utf-8")).render(
        report=report,
        figures=[[(chart, Markup(next(drawn))) for chart in s.charts] for s in report.sections],
        numeric=_numeric,
        paragraphs=lambda text: [part for part in re.split(r"\n\s*\n", text.strip()) if part],
        looks=MODELS | looks,
        signs=VERDICTS,
        colours=DARK,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, page.encode("utf-8", "replace"))
    return path


NUMBER = re.compile(r"[<>≈~+−-]?\d[\d ,. ]*(e[+-]?\d+)?\s?[%×kMGx]?(\s?±.*|\s?\[.*\]|\s?\(.*\))?|[–—-]?|n/?a|nan", re.I)


def _numeric(table: Table) -> list[bool]:
    """For each column whether it holds figures only (or dashes), and some."""
    columns = [[row[i].strip() for row in table.rows if i < len(row)] for i in range(len(table.header))]
    return [all(map(NUMBER.fullmatch, cells)) and any(map(re.compile(r"\d").search, cells)) for cells in columns]
