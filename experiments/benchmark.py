"""How slow is a recurrence, what does attention cost, and where do they cross? Timed beside other libraries.

  python -m experiments.benchmark --quick            five mixers, three lengths, in about five minutes on two cores
  python -m experiments.benchmark                    all of it, in an hour; writes the record
  python -m experiments.benchmark --only=step,token  some of it
  python -m experiments.benchmark --table            the tables from the record, nothing run
  python -m experiments.publish --only=benchmark     docs/results/benchmark.md and its pictures, from the records

Two bare layers of a mixer, width 128 and batch 32 unless said otherwise, against flax.linen, flax.nnx and PyTorch
(pip install -e '.[peers]'; without it those lines are missing), each in a process of its own. First all of them get the
same weights and must give the same losses; then they are timed in turn, A B A B, and a ratio is that of two neighbors.
Times are medians with quartiles. Where other libraries are compared, they are over three processes of each
(--processes), since some processes run faster than others from start to end. Except with --quick, every cell is timed
in a process that ran nothing before it. On a GPU, PyTorch's LSTM and attention are cuDNN's.

  step         forward, backward and update: every mixer against length and width, and against the other libraries
  token        one more token of one sequence, after so many others; ours-loop gives 64 of them a call
  forward      a whole sequence again: what a token costs a model that remembers nothing
  batch        sequences per second against how many there are at once
  memory       the peak memory of a process, attention at lengths up to 8192
  solver       LSTM and GRU solved for all steps at once against the scan
  start        from the start of train.py to its end after one step, with nothing compiled before and with all
  ensemble     15 seeds and rates trained together against one by one
  utilization  on a GPU only: how much of it a Transformer of 124 million parameters uses

Stop it any way you like: the same command goes on where it was (--workdir). The record is
experiments/records/benchmark.csv, and benchmark-cuda.csv for a GPU. docs/results/benchmark.md compares a second run
with the first one:

  python -m experiments.benchmark --against_libraries_only --workdir=runs/again \\
      --record=experiments/records/benchmark-again.csv
"""

from pathlib import Path
from typing import Any

from absl import flags

import models
from experiments.ablation.record_files import RECORDS_DIR, read_record, write_record
from experiments.benchmarks import rows, suite, tables
from experiments.benchmarks.cell import LIBRARY_MIXERS
from training import cli, files

COMMAND = "python -m experiments.benchmark"


def main() -> None:
    args: Any = flags.FLAGS
    for name in args.only:
        models.validate_choice("--only", name, suite.SECTIONS)
    record = Path(args.record or RECORDS_DIR / ("benchmark-cuda.csv" if args.gpu else "benchmark.csv"))
    if args.table:
        print(tables.format_tables(read_record(record)))
    else:
        options = suite.SuiteOptions(args.only, args.quick, args.gpu, args.against_libraries_only, args.processes)
        is_whole = not (args.quick or args.only or args.against_libraries_only)
        run_benchmark(options, Path(args.workdir), record if args.record or is_whole else None)


def run_benchmark(options: suite.SuiteOptions, workdir: Path, record: Path | None) -> None:
    """Run what is missing in the work directory, write its table and page, and the record if there is to be one.

    Raises ValueError before anything is run where the record holds PyTorch's rows and PyTorch is not installed.
    """
    of_torch = [row for row in files.read_csv(record) if row["library"].startswith("torch")] if record else []
    if of_torch and suite.installed_libraries() != tuple(LIBRARY_MIXERS):
        raise ValueError(f"{suite.TORCH_MISSING}, and {record} holds its lines; give another --record")
    workdir.mkdir(parents=True, exist_ok=True)
    with files.lock_directory(workdir):
        lines = [rows.format_fields(row) for row in suite.run_suite(options, workdir / "rows.jsonl")]
        write_record(workdir / "benchmark.csv", rows.COLUMNS, lines)
        table = read_record(workdir / "benchmark.csv")
        print(tables.format_tables(table))
        page = tables.write_benchmark_report(table, workdir / "benchmark.html", COMMAND)
        print(f"wrote {workdir / 'benchmark.csv'} and {page}")
        if record:
            new_rows = (dict(zip(rows.COLUMNS, line, strict=True)) for line in lines)
            files.check_no_rows_lost(record, new_rows, rows.KEY_COLUMNS, rows.has_time)
            write_record(record, rows.COLUMNS, lines)
            print(f"wrote {record}")


if __name__ == "__main__":
    flags.DEFINE_bool("quick", False, "Five mixers, in about five minutes.")
    flags.DEFINE_bool("gpu", False, "Cells for a GPU: attention in bfloat16, through cuDNN.")
    flags.DEFINE_bool("against_libraries_only", False, "Only what is timed beside other libraries.")
    flags.DEFINE_integer(
        "processes",
        3,
        "How many processes of each library time a comparison, one after the other: some run faster than others from "
        "start to end. A median is over all of them. With --quick one process serves for everything.",
        lower_bound=1,
    )
    flags.DEFINE_bool("table", False, "Print the tables from the record, and run nothing.")
    flags.DEFINE_list("only", [], f"Some of {', '.join(suite.SECTIONS)}.")
    cli.define_directory("workdir", "runs/benchmark", "Where rows are kept as they come.")
    flags.DEFINE_string("record", "", "The table to write; experiments/records/benchmark.csv after a whole run.")
    cli.run_command(main)
