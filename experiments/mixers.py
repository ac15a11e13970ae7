"""Every mixer on two tasks that ask for memory, at equal parameters and budget: a table, for the README.

  python -m experiments.mixers                          all of them: an hour on two cores
  python -m experiments.mixers --mixers=lstm,s6         some of them; the record keeps the others' lines
  python -m experiments.mixers --table                  the table from the record, nothing trained

The tasks are recall of 8 pairs, as in `make compare`, and copy memory over a silence of 20 steps. Learning rates are
chosen among 1e-3, 3e-3, 1e-2 and 3e-2, on a seed that is not reported; then three seeds are trained. The record is
experiments/records/mixers.csv. Stop it any way you like: the same command goes on where it was.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

import models
from data import DEFAULT_DATA_DIR
from experiments.ablation.intervals import format_interval, mean_interval
from experiments.ablation.record_files import RECORDS_DIR, read_record, replace_rows
from experiments.compare import recall_row
from experiments.comparison import (
    OUTDATED_MARK,
    Row,
    Scale,
    Study,
    older,
    outdated_note,
    told,
    told_rate,
    write_results,
)
from experiments.reporting.html_report import markdown_table
from training import cli, runtime

MIXER_TASKS = (
    recall_row(8, "recall", 3000),
    Row("copy memory", "copy_memory", {"task.delay": 20, "training.steps": 1000, "training.eval_every": 100}),
)
HYBRID_PATTERN = "rglru,attention"
MIXER_ORDER = ["attention", *(name for name in models.MIXERS if name != "attention"), HYBRID_PATTERN]
MIXERS_RECORD = RECORDS_DIR / "mixers.csv"


def mixers_table(lines: Sequence[Mapping[str, str]], old: Sequence[Mapping[str, str]] = ()) -> str:
    """The record as a table in Markdown: mean and 95 % interval over seeds of the test score, with a mark where lines
    are `old`."""
    marked = {(line["mixer"], line["row"]) for line in old}
    names = [name for name in MIXER_ORDER if any(line["mixer"] == name for line in lines)]
    told = {name: [name.replace(",", " + ")] for name in names}
    for name in names:
        for row in MIXER_TASKS:
            mine = [line for line in lines if (line["mixer"], line["row"]) == (name, row.name)]
            found = [float(line["test"]) for line in mine if not line["died_at"]]
            dead = f" ({len(mine) - len(found)} of {len(mine)} diverged)" if len(found) < len(mine) else ""
            mark = f" {OUTDATED_MARK}" * ((name, row.name) in marked)
            score = format_interval(mean_interval(found, bounds=(0, 1))) if found else ""
            told[name].append(score + dead + mark or "not run")
        one = max((line for line in lines if line["mixer"] == name), key=lambda line: line["row"])  # recall's
        told[name] += [f"{int(one['parameters']):,}", f"{int(one['state_floats']):,}"]
    header = ["mixer", "recall of 8 pairs", "copy memory, 20 steps", "parameters", "state, floats"]
    return markdown_table(header, told.values())


def read_mixers_record() -> tuple[list[dict[str, str]], list[Mapping[str, str]]]:
    """The lines of the record, and those of them that are of older code. Raises ValueError where there is none."""
    if not (lines := read_record(MIXERS_RECORD)):
        raise ValueError(f"{MIXERS_RECORD} is missing; python -m experiments.mixers makes it")
    return lines, older(lines, MIXER_TASKS)


def main() -> None:
    args: Any = flags.FLAGS
    if args.table:
        lines, old = read_mixers_record()
        print(mixers_table(lines, old))
        return print(f"\n{outdated_note(len(old), len(lines))}") if old else None
    names = [name.replace("+", ",") for name in args.mixers] or MIXER_ORDER
    for name in names:
        for one in models.parse_layer_pattern(name):
            models.validate_choice("--mixers", one, models.MIXERS)
    scale = Scale(MIXER_TASKS, seeds=(0, 1, 2), choosing=(100,), lengths=(), context=0, mixers=tuple(names))
    runtime.configure_runtime(len(scale.seeds))
    study = Study("mixers", scale, Path(args.workdir), DEFAULT_DATA_DIR, args.only)
    results, chosen = {}, {}
    for row, mixer, rate, result in study.cells():
        results[row.name, mixer], chosen[row.name, mixer] = result, rate
        print(
            f"{row.name:<12} {mixer:<16} {told(result):<26} rate {told_rate(rate):<6} {result['seconds']:>6.0f} s",
            flush=True,
        )
    fresh = read_record(write_results(study, results, chosen))
    order = lambda line: (line["row"], MIXER_ORDER.index(line["mixer"]), int(line["seed"]))  # noqa: E731
    replace_rows(MIXERS_RECORD, fresh, ("row", "mixer"), order)
    lines, old = read_mixers_record()
    print(f"\n{mixers_table(lines, old)}\n\n{outdated_note(len(old), len(lines))}\nwrote {MIXERS_RECORD}")
    return None


if __name__ == "__main__":
    cli.define_directory("workdir", "runs/mixers", "Where the runs go.")
    flags.DEFINE_list("mixers", [], "Mixers to train, or patterns joined by +; all unless given.")
    flags.DEFINE_list("only", [], "Rows to train: recall, copy memory; both unless given.")
    flags.DEFINE_bool("table", False, "Print the table from the record, and train nothing.")
    cli.run_command(main)
