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

from experiments.ablation import runner, study
from experiments.ablation import verdicts as judge
from experiments.ablation.intervals import format_interval
from experiments.ablation.runner import Line
from experiments.comparison import OLDER, older_note
from experiments.reporting import html_report, study_report
from experiments.reporting.charts import Dots
from experiments.reporting.html_report import Table, markdown
from training import cli

DOCUMENT = Path(__file__).parents[1] / "docs" / "applications.md"
NAME, SCALE = "applications", "quick"


def table(lines: Sequence[Line], old: Sequence[Line] = ()) -> Table:
    """A row a data set: what is measured, the trivial baseline, and every mixer's mean and interval over seeds; the
    best mean in bold; with a mark where cells are `old`."""
    marked, older = [line.labels for line in old], older_note(len(old), len(lines))
    lines = judge.reported(lines)
    mixers = list(dict.fromkeys(line.labels["mixer"] for line in lines))
    rows = []
    for data in dict.fromkeys(line.labels["data"] for line in lines):
        cell = next(line.cell for line in lines if line.labels["data"] == data)
        found = {mixer: judge.estimate(lines, {"data": data, "mixer": mixer}, "test") for mixer in mixers}
        means = {mixer: one.mean for mixer, one in found.items() if math.isfinite(one.mean)}
        better = judge.best(cell)
        best = better(means, key=lambda mixer: means[mixer]) if means else ""
        told = [format_interval(one) if one.n else "–" for one in found.values()]
        told = [f"**{word}**" if mixer == best else word for mixer, word in zip(mixers, told, strict=True)]
        told = [word + f" {OLDER}" * ({"data": data, "mixer": mixer} in marked)
                for mixer, word in zip(mixers, told, strict=True)]  # fmt: skip
        rule, score = cell["baseline"]
        rows.append([data.replace("_", " "), cell["metric"] + " ↓" * (better is min), f"{score:.3g} ({rule})", *told])
    seeds = len({line.seed for line in lines})
    steps = ", ".join(sorted({f"{int(line.cell['steps']):,}" for line in lines}))
    note = (
        f"Test scores, mean and 95 % interval over {seeds} seeds, {steps} steps, rates chosen among three on another "
    )
    note += "seed; ↓: less is better. The best mean is in bold, which is no claim: intervals overlap."
    note += f" {older}" * bool(older)
    return Table("Real data", ["data", "measured", "baseline", *mixers], rows, note)


def pictures(lines: Sequence[Line]) -> list[Dots]:
    """A chart a data set, seed by seed."""
    made = []
    for data in dict.fromkeys(line.labels["data"] for line in lines):
        mine = [line for line in judge.reported(lines) if line.labels["data"] == data]
        groups = [(labels["mixer"], list(judge.values(mine, labels, "test").values())) for labels in judge.each(mine)]
        cell = mine[0].cell
        rule = [("baseline", float(cell["baseline"][1]))]
        made.append(Dots(data, data.replace("_", " ").capitalize(), cell["metric"], groups, rule))
    return made


def document(lines: Sequence[Line], old: Sequence[Line] = ()) -> str:
    """All of it in Markdown: the table, the claims, and what each data set is."""
    found, one = table(lines, old), study.load(NAME)
    parts = ["# Real data", "Made by `python -m experiments.applications --write` from "
             "`experiments/records/studies/applications-quick.csv`.", one.question,
             markdown(found.header, found.rows), found.note, "![One chart a data set](applications.svg)",
             "## Claims"]  # fmt: skip
    verdicts = judge.judge(one, lines, SCALE)
    parts.append(
        markdown(["verdict", "claim, written before the run", "evidence"],
                 [[v.verdict, v.claim, v.evidence] for v in verdicts])
    )  # fmt: skip
    parts.append("## The data sets")
    for data in dict.fromkeys(line.labels["data"] for line in lines):
        config = importlib.import_module(f"configs.{data}")
        parts += [f"### {data.replace('_', ' ').capitalize()}", (config.__doc__ or "").strip()]
        source = config.get_config("lstm").task.dataset
        parts.append((importlib.import_module(f"data.sources.{source}").__doc__ or "").strip())
    return "\n\n".join(parts) + "\n"


def recorded() -> tuple[list[Line], list[Line]]:
    """The lines of the record, and those of them that are of older code."""
    one = study.load(NAME)
    lines = study_report.recorded(NAME, one, SCALE)
    return lines, runner.older(lines, one, one.scales[SCALE])


def main() -> None:
    args: Any = flags.FLAGS
    if not study_report.record(NAME, SCALE).exists():
        raise ValueError("there is no record yet: python -m experiments.run --study=applications --record")
    lines, old = recorded()
    found = table(lines, old)
    if args.write:
        html_report.publish(DOCUMENT, document(lines, old), pictures(lines), 3, markdown(found.header, found.rows),
                       "python -m experiments.run --study=applications --record")  # fmt: skip
        print(f"wrote {DOCUMENT}, {DOCUMENT.with_suffix('.svg')}, and the table in {html_report.README}")
        return
    print(f"{markdown(found.header, found.rows)}\n\n{found.note}")


if __name__ == "__main__":
    flags.DEFINE_bool("write", False, "Write docs/applications.md and its picture, and run nothing.")
    cli.run(main)
