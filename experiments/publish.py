"""Put the tables and pictures that are made from records into README.md and docs/, or say which of them are stale.

  python -m experiments.publish                         write everything that has changed
  python -m experiments.publish --only=claims,mixers    some of it
  python -m experiments.publish --check                 write nothing; one line for each stale part, and exit status 1

A table stands between the comments `<!-- begin NAME -->` and `<!-- end NAME -->`; move them where you want it. Pages of
published results are written whole. What a page shows is never replaced by less: where a record is missing, a line says
so and nothing of that part is written.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

import models
from experiments.ablation.record_files import RECORDS_DIR, read_record
from experiments.benchmarks import newton_lengths, operation_profile, speed_tables, tables
from experiments.reporting.applications import build_applications
from experiments.reporting.charts import render_charts
from experiments.reporting.claims import build_claims
from experiments.reporting.further_studies import build_further_studies
from experiments.reporting.html_report import markdown_table
from experiments.reporting.measurement_tables import build_sharding, build_streaming
from experiments.reporting.mixer_tables import build_compare, build_learning_rates, build_mixers
from experiments.reporting.model_table import build_models
from experiments.reporting.publishing import (
    COMMAND,
    Builder,
    Publication,
    compare_publication,
    find_blocks,
    unmade_parts,
    write_changes,
)
from experiments.reporting.result_pages import build_results
from experiments.reporting.scorecard import build_scorecard
from experiments.reporting.which_one import build_which_one
from training import cli

ROOT = Path(__file__).parents[1]


def build_benchmark() -> Publication:
    """Return the benchmark's tables and curves, from its records."""
    paths = sorted(RECORDS_DIR.glob("benchmark*.csv"), key=lambda path: path.stem)
    records = {path.stem: read_record(path) for path in paths}
    if "benchmark" not in records:
        raise ValueError(f"{RECORDS_DIR / 'benchmark.csv'} is missing; python -m experiments.benchmark makes it")
    benchmark = records["benchmark"]
    speed, speed_again, peers = (read_record(RECORDS_DIR / f"{name}.csv") for name in ("speed", "speed-again", "peers"))
    document = tables.format_document(records)
    renewed = speed_tables.renew_rows(benchmark, peers)
    mixers = speed_tables.mixer_table(renewed, speed)
    summary = tables.summary_table(renewed)
    newton = read_record(newton_lengths.RECORD)
    operations = operation_profile.operation_table(read_record(operation_profile.RECORD))
    charts = list(tables.scaling_charts(benchmark))
    pictures = {
        f"docs/results/benchmark-{axis}.svg": render_charts(
            [chart for chart in charts if chart.name.startswith(axis)], "svg", name=f"benchmark-{axis}"
        )
        for axis in ("length", "width")
    }
    images = "\n\n".join(
        f"![A training step against {axis}, for every mixer](benchmark-{axis}.svg)" for axis in ("length", "width")
    )
    return {
        "benchmark_table": markdown_table(summary.header, summary.rows),
        "benchmark_mixers": f"{markdown_table(mixers.header, mixers.rows)}\n\n{mixers.note}",
        "benchmark_operations": f"{markdown_table(operations.header, operations.rows)}\n\n{operations.note}",
        "benchmark_newton": "\n".join(f"- {line}" for line in newton_lengths.format_crossings(newton)),
        "benchmark_sentence": speed_tables.readme_sentence(renewed, records.get("benchmark-cuda", [])),
        "benchmark": "\n\n".join(
            filter(None, (images, document.strip(), speed_tables.format_document(speed, speed_again, peers)))
        ),
        **pictures,
    }


BUILDERS: dict[str, Builder] = {  # name → what makes its parts: {block, or path of a page or picture: content}
    "models": build_models,
    "compare": build_compare,
    "mixers": build_mixers,
    "learning_rates": build_learning_rates,
    "claims": build_claims,
    "further_studies": build_further_studies,
    "scorecard": build_scorecard,
    "applications": build_applications,
    "reproduce": build_results,
    "benchmark": build_benchmark,
    "streaming": build_streaming,
    "sharding": build_sharding,
    "which_one": build_which_one,
}


def publish_parts(names: list[str], root: Path, *, check: bool) -> list[str]:
    """Write what these builders make (unless `check`), and return a line for each problem or stale part."""
    blocks = find_blocks(root)
    lines: list[str] = []
    publications: list[Publication] = []
    for name in names:
        try:
            publication = BUILDERS[name]()
        except ValueError as error:  # a record is missing or damaged
            lines.append(f"{name}: {error}")
            continue
        publications.append(publication)
        changes, problems = compare_publication(publication, root, blocks)
        lines += [f"{name}: {problem}" for problem in problems]
        for change in changes:
            path = change.path.relative_to(root)
            if check:
                lines.append(f"{path}: {change.what} is stale; {COMMAND} --only={name} makes it anew")
            elif not problems:
                print(f"wrote {path}: {change.what}")
        if not check and not problems:
            write_changes(changes)
    if len(publications) == len(BUILDERS):
        lines += unmade_parts(publications, root, blocks)
    return lines


def main() -> None:
    args: Any = flags.FLAGS
    for name in args.only:
        models.validate_choice("--only", name, BUILDERS)
    names = [name for name in BUILDERS if not args.only or name in args.only]
    if lines := publish_parts(names, ROOT, check=args.check):
        print("\n".join(lines), file=sys.stderr)
        raise SystemExit(1)
    print("README.md and docs/ say what the records say")


if __name__ == "__main__":
    flags.DEFINE_bool("check", False, "Write nothing, and say what is stale.")
    flags.DEFINE_list("only", [], f"Some of {', '.join(BUILDERS)}.")
    cli.run_command(main)
