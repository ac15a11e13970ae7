"""The pages of the published results: an overview, a page with two pictures for each, and the README's sentence."""

import re
import textwrap
from collections import Counter
from collections.abc import Sequence

from experiments.ablation.verdicts import VERDICT_SIGNS
from experiments.reporting.charts import render_charts
from experiments.reporting.html_report import Table, markdown_table
from experiments.reporting.published_charts import published_charts
from experiments.reporting.published_results import (
    ReproducedResult,
    cost_sentence,
    outdated_trials_note,
    overview_table,
    published_table,
    read_result,
    repeat_commands,
    result_claims_table,
    study_docstring,
    verdict_sentence,
    weakest_verdict,
)
from experiments.reporting.publishing import Publication
from experiments.reporting.result_studies import RESULT_NAMES
from experiments.reporting.study_charts import main_chart, study_title
from experiments.reporting.study_report import settings_table

STUDIES_FOLDER = "docs/results/studies"  # of the studies' own charts
FOLDER = "docs/results/reproduced"  # of the pages, and of the pictures of published numbers


def link_papers(text: str) -> str:
    """Return a paper's place with its arXiv number as a link."""
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def overview_block(results: Sequence[ReproducedResult]) -> str:
    """Return the table of all results, each with a link to its page, in Markdown."""
    table, with_page = overview_table(results), [result.name for result in results]
    rows = [[f"[{row[0]}](reproduced/{row[0]}.md)" if row[0] in with_page else row[0], *row[1:]] for row in table.rows]
    return markdown_table(table.header, rows)


def result_page(result: ReproducedResult) -> str:
    """Return the page of a result, in Markdown: verdict and reason, pictures, tables, and how to repeat it."""
    title, name = study_title(result.name), result.name
    settings = settings_table(result.study, result.trials, result.outdated, keep_empty=True)
    commands = "\n".join(f"    {command}" for command in repeat_commands(result))
    if published_charts(result.published, result.trials):
        picture = f"![{title}: published numbers beside ours]({name}.svg)"
    else:
        picture = "No published number has a counterpart here that is in the same unit, so there is no picture of them."
    parts = [
        f"# {title}",
        result.study.question,
        f"*{link_papers(result.study.paper)}*",
        verdict_sentence(result),
        picture,
        "## What was done",
        study_docstring(name),
        f"![{title}: what was measured](../studies/{name}.svg)",
        *_table_section(published_table(result)),
        *_table_section(result_claims_table(result)),
        *_table_section(settings),
        "## To repeat it",
        commands,
        f"{cost_sentence(result)} {outdated_trials_note(result)}".rstrip(),
        "What the verdicts say, and how sure we are of a published number: "
        "[methodology](../../methodology.md#claims-and-verdicts). All results: [overview](../reproduce.md).",
    ]
    return "\n\n".join(parts) + "\n"


def _table_section(table: Table) -> list[str]:
    return [f"## {table.title}", markdown_table(table.header, table.rows), *([table.note] if table.note else [])]


def readme_sentence(results: Sequence[ReproducedResult]) -> str:
    """Return what the README says of published results: how many there are, and how many of them have which verdict."""
    counts = Counter(weakest_verdict(result.verdicts) for result in results)
    counts["not run"] += len(RESULT_NAMES) - len(results)
    order = ("reproduced", *(verdict for verdict in VERDICT_SIGNS if verdict != "reproduced"))
    clauses = [
        f"{counts[verdict]} {'are' if counts[verdict] > 1 else 'is'} {verdict}" for verdict in order if counts[verdict]
    ]
    *first, last = clauses
    listed = f"{', '.join(first)} and {last}" if first else last
    sentence = f"- **Of [{len(RESULT_NAMES)} published results](docs/results/reproduce.md)** {listed} "
    sentence += "([how](docs/methodology.md#claims-and-verdicts))."
    return textwrap.fill(sentence, 118, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def build_results() -> Publication:
    """Return the overview, the README's sentence, and the page and the pictures of each published result."""
    results = [result for name in RESULT_NAMES if (result := read_result(name))]
    publication: dict[str, str | bytes] = {
        "reproduce": overview_block(results),
        "reproduce_sentence": readme_sentence(results),
    }
    for result in results:
        publication[f"{FOLDER}/{result.name}.md"] = result_page(result)
        publication[f"{STUDIES_FOLDER}/{result.name}.svg"] = render_charts(
            main_chart(result.study, result.trials, study_title(result.name)), "svg", name=result.name
        )
        if charts := published_charts(result.published, result.trials):
            publication[f"{FOLDER}/{result.name}.svg"] = render_charts(charts, "svg", columns=1, name=result.name)
    return publication
