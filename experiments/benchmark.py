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
  peers        beside what PyTorch has, and packages for it: mambapy, transformers, xlstm, accelerated-scan, ...
  start        from the start of train.py to its end after one step, with nothing compiled before and with all
  ensemble     15 seeds and rates trained together against one by one
  utilization  on a GPU only: how much of it a Transformer of 124 million parameters uses

Beside an earlier revision of this repository instead (experiments/benchmarks/revisions.py), and the same again later:

  python -m experiments.benchmark --against=v0.2 --dry_run    how long it will take; a folder with its code will do too
  python -m experiments.benchmark --against=v0.2              ten mixers' steps and memory; writes speed.csv
  python -m experiments.benchmark --against=v0.2 --again      writes speed-again.csv, and says which ratios have moved

Stop it any way you like: the same command goes on where it was (--workdir). Records are in experiments/records/:
benchmark.csv, benchmark-cuda.csv for a GPU, speed.csv, and peers.csv with --only=peers, which is not run otherwise.
--again writes a second one beside it, NAME-again.csv, and says which ratios have moved; for benchmark.csv give
--against_libraries_only with it, which is what docs/results/benchmark.md compares.
"""

import sys
from pathlib import Path
from typing import Any

from absl import flags

import models
from experiments.ablation.record_files import RECORDS_DIR, read_record, write_record
from experiments.benchmarks import revisions, rows, speed_tables, suite, tables
from training import cli, files

COMMAND = "python -m experiments.benchmark"


def main() -> None:
    args: Any = flags.FLAGS
    for name in args.only:
        models.validate_choice("--only", name, suite.SECTIONS)
    for name in args.mixers:
        models.validate_choice("--mixers", name, models.MIXERS)
    _refuse_idle_flags(args)
    kind = "speed" if args.against else "peers" if args.only == ["peers"] else "benchmark"
    first = RECORDS_DIR / f"{kind}{'-cuda' if args.gpu else ''}.csv"
    record = Path(args.record or (first.with_stem(f"{first.stem}-again") if args.again else first))
    workdir = Path(args.workdir)
    workdir = workdir.with_name(f"{workdir.name}-again") if args.again else workdir
    if args.table:
        print(tables.format_tables(read_record(record)))
        return
    if args.against:
        mixers = tuple(args.mixers) or revisions.MIXERS
        comparison = revisions.Comparison(args.against, mixers, args.processes, args.gpu)
        print(comparison.describe_duration(), file=sys.stderr)
        if args.dry_run:
            return
        is_whole = set(mixers) >= set(revisions.MIXERS)
        run_comparison(comparison, workdir, record if args.record or is_whole else None)
    else:
        options = suite.SuiteOptions(args.only, args.quick, args.gpu, args.against_libraries_only, args.processes)
        is_whole = kind == "peers" or not (args.quick or args.only or args.against_libraries_only)
        run_benchmark(options, workdir, record if args.record or args.again or is_whole else None)
    if args.again:
        print(tables.format_table(tables.agreement_table(read_record(first), read_record(record))))


def _refuse_idle_flags(args: Any) -> None:
    names = ("only", "quick", "against_libraries_only") if args.against else ("mixers", "dry_run")
    for name in names:
        if getattr(args, name):
            raise ValueError(f"--{name} has no effect {'with' if args.against else 'without'} --against; leave it out")


def run_comparison(comparison: revisions.Comparison, workdir: Path, record: Path | None) -> None:
    """Run what is missing in the work directory, print it, and write the record if there is to be one."""
    workdir.mkdir(parents=True, exist_ok=True)
    with files.lock_directory(workdir):
        measured = revisions.compare_revisions(comparison, workdir / "before.jsonl")
        lines = list(map(rows.format_fields, measured))
        write_record(workdir / "speed.csv", rows.COLUMNS, lines)
        print(tables.format_table(speed_tables.revision_table(read_record(workdir / "speed.csv"))))
        if record:
            new_rows = (dict(zip(rows.COLUMNS, line, strict=True)) for line in lines)
            files.check_no_rows_lost(record, new_rows, rows.KEY_COLUMNS, rows.has_time)
            write_record(record, rows.COLUMNS, lines)
            print(f"wrote {record}")


def run_benchmark(options: suite.SuiteOptions, workdir: Path, record: Path | None) -> None:
    """Run what is missing in the work directory, write its table and page, and the record if there is to be one.

    Raises ValueError before anything is run where the record holds rows of a library that is not installed.
    """
    in_record = dict.fromkeys(row["library"] for row in files.read_csv(record) if row["library"]) if record else ()
    available = suite.installed_libraries() if in_record else ()
    if missing := [library for library in in_record if library not in available]:
        raise ValueError(f"{suite.describe_missing(missing)}, and {record} holds its lines; give another --record")
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
    flags.DEFINE_string(
        "against", "", "A revision of this repository, or a folder with its code: every mixer beside what it was there."
    )
    flags.DEFINE_list("mixers", [], "With --against: which mixers; the record is written for all of them only.")
    flags.DEFINE_bool("again", False, "A second run with a record of its own, which is compared with the first.")
    flags.DEFINE_bool("dry_run", False, "With --against: say how long it will take, and run nothing.")
    flags.DEFINE_list("only", [], f"Some of {', '.join(suite.SECTIONS)}.")
    cli.define_directory("workdir", "runs/benchmark", "Where rows are kept as they come.")
    flags.DEFINE_string("record", "", "The table to write; experiments/records/benchmark.csv after a whole run.")
    cli.run_command(main)
