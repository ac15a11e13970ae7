"""Run an ablation study: every setting in its grid, with several seeds, and a verdict on each of its claims.

  python -m experiments.run --list                                      all studies
  python -m experiments.run --study=similarity                          quick: minutes on two cores
  python -m experiments.run --study=similarity --scale=smoke            does it run at all? a minute
  python -m experiments.run --study=similarity --dry_run                what it would train, time and memory
  python -m experiments.run --study=similarity --filter=model.attention.similarity=dot,cosine
  python -m experiments.run --study=bottleneck --scale=full --executor=ray --address=auto     on a cluster
  python -m experiments.run --study=similarity --record                 and write its record in the repository
  python -m experiments.run --study=similarity --filter=similarity=dot --record     of these settings; others stay
  python -m experiments.run --study=similarity --until=decided --record     with 3, 5, 8, 12 seeds, until all claims are
                                                                            decided or there are no more looks
  python -m experiments.run --study=similarity --table                  from the record; runs nothing
  python -m experiments.run --study=own_data --config=configs/text.py --config.task.path=notes.txt    on your data
  python -m experiments.run --study=shape --config=configs/labelled.py --config.task.path=genes.csv   any study

A study is a file in experiments/studies/; copy one and change it. It says what varies, what is fixed, which learning
rates to choose from, which seeds are reported, and what is expected. --workdir keeps every result: any study that needs
the same trial finds it there, and a study that was stopped, in whatever way, continues where it was. At the end,
WORKDIR/NAME-SCALE/ holds report.html, the table as CSV and Parquet, and the picture as SVG, PDF and PNG.

With --config, the data of that config file take the place of the study's own task: configs/text.py, labelled.py,
pairs.py and series.py are for files of yours, whose name is --config.task.path, and each says what other fields it has;
any other file of configs/ does as well. Every field that is set, as --config.training.steps=2000, counts for all
settings. What the study varies in its models stays; its claims speak of its own task and are left out.
"""

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from experiments.ablation import groups, own_data, runner, sequential, verdicts
from experiments.ablation.dry_run import describe_plan
from experiments.ablation.looks import LOOKS, scale_at_look
from experiments.ablation.record_table import outdated_note, outdated_records
from experiments.ablation.study import Study, load_study, parse_filter, study_names, validate_study
from experiments.ablation.study_on_data import study_on_data
from experiments.ablation.trials import TrialRecord
from experiments.reporting import html_report, study_report
from experiments.reporting.data_summary import introduce_data
from training import cli
from training.runtime import DEFAULT_DATA_DIR


def list_studies() -> str:
    """Every study, with its question and the row of the lecture notes' claims that it answers."""
    studies = {name: load_study(name) for name in study_names()}
    order = sorted(studies, key=lambda name: (studies[name].notes_row == 0, studies[name].notes_row, name))
    rows = {name: f"row {studies[name].notes_row}" if studies[name].notes_row else "" for name in order}
    return "\n".join(f"{rows[name]:<7} {name:<14} {studies[name].question}" for name in order)


def read_all_records() -> list[TrialRecord]:
    """The trials in all quick records of trained studies. A study that was edited since its record is left out."""
    studies = {name: load_study(name) for name in study_names()}
    trials: list[TrialRecord] = []
    for name, study in studies.items():
        if study.trained and study_report.record_path(name, "quick").exists():
            with contextlib.suppress(ValueError):
                trials += study_report.read_study_record(name, study, "quick")
    return trials


def print_results(
    name: str, study: Study, scale: str, trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()
) -> None:
    """Print the table and the verdicts; settings with `outdated` trials are marked."""
    print(html_report.text_table(study_report.settings_table(study, trials, outdated)), end="\n\n")
    for metric in [] if study.trained else study_report.curve_names(trials):
        table = study_report.curves_table(trials, metric)
        *header, last = table.header
        print(html_report.text_table(table._replace(header=[*header, f"{last}   ({table.title.lower()})"])), end="\n\n")
    for verdict in verdicts.judge_claims(study, trials, scale):
        print(verdict)


def main() -> None:
    """Do what the flags say."""
    args: Any = flags.FLAGS
    if args.list:
        return print(list_studies())
    if not args.study:
        raise ValueError(f"give --study=NAME, with NAME one of {', '.join(study_names())}; --list says what they ask")
    name, study, folder = args.study, load_study(args.study), Path(args.workdir)
    data, remarks = own_data.read_config_flag(args), []
    if data:
        if args.record or args.table:
            raise ValueError("--record, --table: a record is of a study on its own task, so they go without --config")
        study, remarks = study_on_data(name, study, data)
        name = f"{name}-on-{data.name}"
    own_data.require_data(name, study)
    validate_study(study, args.scale)
    scale, selected = study.scales[args.scale], parse_filter(args.filter, study)
    shown = introduce_data(args.study, study, scale, data, remarks, args.data_dir, selected) if data else {}
    has_record = study_report.record_path(name, args.scale).exists()
    if args.until and (selected or data or args.table):
        raise ValueError(
            "--until=decided: decides all of a study's claims: it goes without --filter, --config, --table"
        )
    if (
        args.record
        and selected
        and has_record
        and any(trial.result.get("looks") for trial in study_report.read_study_record(name, study, args.scale))
    ):
        raise ValueError("--filter: the record was made with --until=decided, so it is renewed whole, without --filter")
    if args.table:
        if not has_record:
            raise ValueError(f"there is no record of {name} at scale {args.scale}; run it with --record")
        trials = study_report.read_study_record(name, study, args.scale)
        if outdated := outdated_records(trials, study, scale, args.data_dir):
            print(f"{outdated_note(len(outdated), len(trials))} Run the study with --record to renew them.\n")
        return print_results(name, study, args.scale, trials, outdated)
    if args.until:
        sequential.validate_until_decided(study, args.scale)
    if args.dry_run:
        recorded = [trial.result for trial in read_all_records()]
        first = scale_at_look(scale, LOOKS[:1]) if args.until else scale
        return print(describe_plan(name, study, first, folder, args.data_dir, selected, recorded))
    if args.record and selected and not has_record:
        raise ValueError("--record: there is no record yet whose other rows could stay, so it goes without --filter")
    execute = groups.run_sequentially
    if args.executor == "ray":
        from experiments.ablation import ray_executor

        execute = ray_executor.make_ray_executor(args.address, args.cpus, args.gpus)
    if args.allow_fewer_devices:
        execute = groups.allow_fewer_devices(execute)
    mode = args.mode or ("autotune" if args.scale == "full" else "auto")
    log = partial(print, flush=True)
    options: Any = {"data_dir": args.data_dir, "mode": mode, "execute": execute, "log": log}
    if args.until:
        study, trials = sequential.run_until_decided(study, args.scale, folder, **options)
    else:
        trials = runner.run_study(study, scale, folder, selected=selected, **options)
    print()
    print_results(name, study, args.scale, trials)
    files = study_report.write_report(name, study, args.scale, trials, folder, partial=bool(selected), **shown)
    if args.record:
        files.append(study_report.write_study_record(args.study, study, args.scale, trials))
    print("wrote " + ", ".join(str(path) for path in files))
    return None


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags, in a test in `values` of its own."""
    text, yes_or_no = partial(flags.DEFINE_string, flag_values=values), partial(flags.DEFINE_bool, flag_values=values)
    number = partial(flags.DEFINE_float, lower_bound=0, flag_values=values)
    choice, directory = (
        partial(flags.DEFINE_enum, flag_values=values),
        partial(cli.define_directory, flag_values=values),
    )
    text("study", None, "Which study; --list names them.")
    own_data.define_config_flag(values)
    text("scale", "quick", "smoke, quick or full: how many seeds, rates and steps.")
    directory("workdir", "runs/studies", "Where results are kept, of all studies together.")
    directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    flags.DEFINE_list("filter", [], "Only settings with these labels: AXIS=LABEL,LABEL,AXIS=LABEL.", flag_values=values)
    choice("executor", "local", ["local", "ray"], "Where groups of trials run: here, or on a Ray cluster.")
    text("address", None, "The Ray cluster to use; a new one on this machine unless given.")
    number("cpus", 1, "Cores that a group of trials asks a Ray cluster for.")
    number("gpus", 0, "GPUs that a group of trials asks a Ray cluster for.")
    yes_or_no("allow_fewer_devices", False, "Continue groups that were begun on more devices than there are now.")
    modes = "How members run: map one after another, vmap side by side, auto as suits the device, autotune as is "
    modes += "fastest when timed first; autotune at full scale unless given, else auto."
    choice("mode", None, ["auto", "map", "vmap", "autotune"], modes)
    choice("until", None, ["decided"], "Look with 3, 5, 8 and 12 seeds until every claim is decided.")
    yes_or_no("list", False, "List the studies; run nothing.")
    yes_or_no("dry_run", False, "Say what would be run, and how long it would take; with --until, at the first look.")
    yes_or_no("table", False, "Print table and verdicts from the record in the repository; run nothing.")
    yes_or_no(
        "record", False, "Write the record in the repository too; with --filter, only the rows of those settings."
    )


if __name__ == "__main__":
    define_flags()
    cli.run_command(main)
