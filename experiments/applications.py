"""RNN against attention on real data, at equal parameters and in equal steps: a table, a page and its pictures.

  python -m experiments.run --study=applications --record     train it all again: half an hour on two cores
  python -m experiments.applications                          the table, from the record
  python -m experiments.applications --write                  docs/applications.md, its picture, README's table

Language (characters of Shakespeare, of tunes and of Python's library, words of a Bible), biology (peptides, splice
sites), vision (digits pixel by pixel, in order and permuted, and in patches) and translation (words to sounds, Greek
to English). Each is a config and a data set by that name, which says where it is from and what gives it away.
"""

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.ablation import study
from experiments.ablation import verdicts as judge
from experiments.ablation.intervals import format_interval
from experiments.ablation.record_table import OUTDATED_MARK, outdated_note, outdated_records
from experiments.ablation.trials import TrialRecord
from experiments.reporting import html_report, study_report
from experiments.reporting.charts import DotChart
from experiments.reporting.html_report import Table, markdown_table
from training import cli

APPLICATIONS_PAGE = Path(__file__).parents[1] / "docs" / "applications.md"
NAME, SCALE = "applications", "quick"


def applications_table(trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> Table:
    """A row a data set: what is measured, the trivial baseline, and every mixer's mean and interval over seeds; the
    best mean in bold; with a mark where cells are `outdated`."""
    marked, older = [line.labels for line in outdated], outdated_note(len(outdated), len(trials))
    trials = judge.reported_records(trials)
    mixers = list(dict.fromkeys(line.labels["mixer"] for line in trials))
    rows = []
    for data in dict.fromkeys(line.labels["data"] for line in trials):
        cell = next(line.result for line in trials if line.labels["data"] == data)
        found = {mixer: judge.estimate_metric(trials, {"data": data, "mixer": mixer}, "test") for mixer in mixers}
        means = {mixer: one.mean for mixer, one in found.items() if math.isfinite(one.mean)}
        better = judge.max_or_min(cell)
        best = better(means, key=lambda mixer: means[mixer]) if means else ""
        told = [format_interval(one) if one.n else "–" for one in found.values()]
        told = [f"**{word}**" if mixer == best else word for mixer, word in zip(mixers, told, strict=True)]
        told = [word + f" {OUTDATED_MARK}" * ({"data": data, "mixer": mixer} in marked)
                for mixer, word in zip(mixers, told, strict=True)]  # fmt: skip
        rule, score = cell["baseline"]
        rows.append([data.replace("_", " "), cell["metric"] + " ↓" * (better is min), f"{score:.3g} ({rule})", *told])
    seeds = len({line.seed for line in trials})
    steps = ", ".join(sorted({f"{int(line.result['steps']):,}" for line in trials}))
    note = (
        f"Test scores, mean and 95 % interval over {seeds} seeds, {steps} steps, rates chosen among three on another "
    )
    note += "seed; ↓: less is better. The best mean is in bold, which is no claim: intervals overlap."
    note += f" {older}" * bool(older)
    return Table("Real data", ["data", "measured", "baseline", *mixers], rows, note)


def applications_charts(trials: Sequence[TrialRecord]) -> list[DotChart]:
    """A chart a data set, seed by seed."""
    made = []
    for data in dict.fromkeys(line.labels["data"] for line in trials):
        mine = [line for line in judge.reported_records(trials) if line.labels["data"] == data]
        groups = [
            (labels["mixer"], list(judge.values_by_seed(mine, labels, "test").values()))
            for labels in judge.distinct_settings(mine)
        ]
        cell = mine[0].result
        rule = [("baseline", float(cell["baseline"][1]))]
        made.append(DotChart(data, data.replace("_", " ").capitalize(), cell["metric"], groups, rule))
    return made


def applications_page(trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> str:
    """All of it in Markdown: the table, the claims, and what each data set is."""
    found, one = applications_table(trials, outdated), study.load_study(NAME)
    parts = ["# Real data", "Made by `python -m experiments.applications --write` from "
             "`experiments/records/studies/applications-quick.csv`.", one.question,
             markdown_table(found.header, found.rows), found.note, "![One chart a data set](applications.svg)",
             "## Claims"]  # fmt: skip
    verdicts = judge.judge_claims(one, trials, SCALE)
    parts.append(
        markdown_table(["verdict", "claim, written before the run", "evidence"],
                 [[v.verdict, v.claim, v.evidence] for v in verdicts])
    )  # fmt: skip
    parts.append("## The data sets")
    for data in dict.fromkeys(line.labels["data"] for line in trials):
        config = importlib.import_module(f"configs.{data}")
        parts += [f"### {data.replace('_', ' ').capitalize()}", (config.__doc__ or "").strip()]
        source = config.get_config("lstm").task.dataset
        parts.append((importlib.import_module(f"data.sources.{source}").__doc__ or "").strip())
    return "\n\n".join(parts) + "\n"


def read_applications() -> tuple[list[TrialRecord], list[TrialRecord]]:
    """The lines of the record, and those of them that are of older code."""
    one = study.load_study(NAME)
    lines = study_report.read_study_record(NAME, one, SCALE)
    return lines, outdated_records(lines, one, one.scales[SCALE])


def main() -> None:
    args: Any = flags.FLAGS
    if not study_report.record_path(NAME, SCALE).exists():
        raise ValueError("there is no record yet: python -m experiments.run --study=applications --record")
    lines, old = read_applications()
    found = applications_table(lines, old)
    if args.write:
        html_report.publish_page(APPLICATIONS_PAGE, applications_page(lines, old), applications_charts(lines), 3, markdown_table(found.header, found.rows),
                       "python -m experiments.run --study=applications --record")  # fmt: skip
        print(
            f"wrote {APPLICATIONS_PAGE}, {APPLICATIONS_PAGE.with_suffix('.svg')}, and the table in {html_report.README}"
        )
        return
    print(f"{markdown_table(found.header, found.rows)}\n\n{found.note}")


if __name__ == "__main__":
    flags.DEFINE_bool("write", False, "Write docs/applications.md and its picture, and run nothing.")
    cli.run_command(main)
