"""Run an ablation study: every setting it varies, with several seeds, and a verdict on what it claims.

  python -m experiments.run --list                                      the studies there are
  python -m experiments.run --study=similarity                          quick: minutes on two cores
  python -m experiments.run --study=similarity --scale=smoke            does it run at all? a minute
  python -m experiments.run --study=similarity --dry_run                what it would train, time and memory
  python -m experiments.run --study=similarity --filter=model.attention.similarity=dot,cosine
  python -m experiments.run --study=bottleneck --scale=full --executor=ray --address=auto     on a cluster
  python -m experiments.run --study=similarity --record                 and its record in the repository written
  python -m experiments.run --study=similarity --filter=similarity=dot --record     of these settings, the others stay
  python -m experiments.run --study=similarity --table                  from the record, nothing run

A study is a file in experiments/studies/; copy one and change it. It says what varies, what is fixed, the learning
rates to choose from, the seeds, and what is expected. --workdir holds what was run: any study that needs the same cell
finds it there, and a study that was stopped, in whatever way, goes on where it was. At the end, WORKDIR/NAME-SCALE/
holds report.html, the table as CSV and Parquet, and the picture as SVG, PDF and PNG.
"""

import statistics as spread
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from data import DEFAULT_DATA_DIR
from experiments.ablation import runner, verdicts
from experiments.ablation.runner import TrialRecord
from experiments.ablation.study import Scale, Study, load_study, resolve_settings, study_names, validate_study
from experiments.comparison import outdated_note
from experiments.reporting import html_report, study_report
from training import builder, cli, ensemble, trainer
from training.progress import format_duration


def list_studies() -> str:
    """Every study with the row of the notes' claims that it answers, and its question."""
    found = {name: load_study(name) for name in study_names()}
    order = sorted(found, key=lambda name: (found[name].notes_row == 0, found[name].notes_row, name))
    return "\n".join(
        f"{f'row {found[name].notes_row}' if found[name].notes_row else '':<7} {name:<14} {found[name].question}"
        for name in order
    )


def parse_filter(words: Sequence[str], study: Study) -> dict[str, list[str]]:
    """`AXIS=LABEL,LABEL` of --filter, by axis. An axis may be given by the end of its name."""
    found: dict[str, list[str]] = {}
    axis = ""
    for word in words:
        name, given, label = word.partition("=")
        known = next((one for one in study.grid if name in (one, one.split(".")[-1])), None)
        if given and (known or not axis):
            axis = known or name
        elif axis:
            label = word  # which may have a = in it
        else:
            raise ValueError(
                f"--filter={','.join(words)}: write AXIS=LABEL,LABEL with AXIS one of {', '.join(study.grid)}"
            )
        found.setdefault(axis, []).append(label)
    return found


def describe_plan(
    name: str, study: Study, scale: Scale, folder: Path, data_dir: str, selected: Mapping[str, Sequence[str]]
) -> str:
    """What would be run: cells and programs, and what they would take, as far as earlier cells tell."""
    with runner.open_store(folder) as store:
        some = resolve_settings(study, scale, selected)
        jobs = runner.plan_groups(store, runner.tuning_trials(study, scale, some), (), study, data_dir)
        # Which rate will be best is not known yet; each costs the same.
        wanted = runner.reported_trials(scale, some, [runner.candidate_rates(one, scale)[0] for one in some])
        jobs += runner.plan_groups(store, wanted, study.measures, study, data_dir)
        known = [cell for cell in store.results.values() if cell["steps"]]
    known += [
        line.result | {"steps": float(line.result["steps"])}
        for line in read_all_records()
        if line.result["steps"] != "0"
    ]
    rate = {mixer: spread.median(found) for mixer, found in training_speeds(known).items()}
    told_jobs, seconds, largest, unknown = [], 0.0, 0.0, 0
    for job in jobs:
        run = builder.build_run(job.config, job.data_dir)
        cost, replicas = trainer.run_costs(run), len(ensemble.plan_ensemble(job.config).seeds)
        speed = rate.get(job.config["model"]["mixer"], rate.get("", 0.0))
        needs = cost["step_flops"] * job.config["training"]["steps"] * replicas / speed if speed and job.trained else 0
        unknown += not needs
        seconds, bytes_ = seconds + needs + _STARTUP_SECONDS, estimate_memory(run, cost, replicas)
        largest = max(largest, bytes_)
        told_jobs.append(
            f"{job.name:<44} {replicas:>3} cells  {cost['parameters']:>10,} parameters  "
            f"{bytes_ / 2**20:>7.0f} MiB  {format_duration(needs + _STARTUP_SECONDS) if needs else '?':>8}"
        )
    cells = sum(len(ensemble.plan_ensemble(job.config).seeds) for job in jobs)
    rest = f", without {unknown} programs of which nothing is known" * bool(unknown)
    return "\n".join(
        [
            *told_jobs,
            f"{name}: {cells} cells to run in {len(jobs)} programs, about {format_duration(seconds)}{rest}; "
            f"at most {largest / 2**20:.0f} MiB at once. Time is judged by the speed of recorded cells, memory by "
            f"parameters and one batch of activations.",
        ]
    )


_STARTUP_SECONDS = 4.0  # seconds that a program takes to build, compile and save, on two cores


def training_speeds(results: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """FLOPs a second that recorded cells were trained at; under "" those of all."""
    found: dict[str, list[float]] = {}
    for cell in results:
        if float(cell["training_seconds"]):
            speed = float(cell["step_flops"]) * float(cell["steps"]) / float(cell["training_seconds"])
            mixer = cell.get("config", {}).get("model.mixer", "")
            for name in {mixer, ""}:
                found.setdefault(name, []).append(speed)
    return found


def read_all_records() -> list[TrialRecord]:
    found = []
    for name in study_names():
        study = load_study(name)
        if study_report.record_path(name, "quick").exists() and study.trained:
            found += study_report.read_study_record(name, study, "quick")
    return found


def estimate_memory(run: builder.Run, cost: Mapping[str, int], ensemble_size: int) -> float:
    """Bytes, roughly: every replica's parameters, best ones and two moments; one's gradient and activations."""
    batch, length = run.config["training"]["batch_size"], run.config["model"]["max_length"]
    shapes = jax.eval_shape(
        lambda p: run.model.apply(
            {"params": p},
            jnp.zeros((batch, length, *([] if run.task.vocabulary else [run.task.channels])),
                      jnp.int32 if run.task.vocabulary else jnp.float32),
            capture_intermediates=True,
        )[1],
        jax.eval_shape(lambda: trainer.init_params(run, jnp.uint32(0))),
    )  # fmt: skip
    activations = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    return 4 * cost["parameters"] * (4 * ensemble_size + 1) + 3 * activations


def print_results(
    name: str, study: Study, scale: str, lines: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()
) -> None:
    """The table and the verdicts, on the terminal; settings of `outdated` cells with a mark."""
    curves = (
        [] if study.trained else [study_report.curves_table(lines, name) for name in study_report.curve_names(lines)]
    )
    for table in (study_report.settings_table(study, lines, outdated), *curves):
        header = [*table.header[:-1], table.header[-1] + f"   ({table.title.lower()})" * (table in curves)]
        print(html_report.text_table(table._replace(header=header)), end="\n\n")
    for one in verdicts.judge_claims(study, lines, scale):
        print(one)


def main() -> None:
    args: Any = flags.FLAGS
    if args.list:
        return print(list_studies())
    if not args.study:
        raise ValueError(f"give --study=NAME, with NAME one of {', '.join(study_names())}; --list says what they ask")
    study, folder = load_study(args.study), Path(args.workdir)
    validate_study(study, args.scale)
    scale, some = study.scales[args.scale], parse_filter(args.filter, study)
    if args.table:
        if not study_report.record_path(args.study, args.scale).exists():
            raise ValueError(f"there is no record of {args.study} at scale {args.scale}; run it with --record")
        lines = study_report.read_study_record(args.study, study, args.scale)
        if old := runner.outdated_records(lines, study, scale, args.data_dir):
            print(f"{outdated_note(len(old), len(lines))} Run the study with --record to renew them.\n")
        return print_results(args.study, study, args.scale, lines, old)
    if args.dry_run:
        return print(describe_plan(args.study, study, scale, folder, args.data_dir, some))
    execute = runner.run_sequentially
    if args.executor == "ray":
        from experiments.ablation import ray_executor

        execute = ray_executor.make_ray_executor(args.address, args.cpus, args.gpus)
    if args.regroup:
        execute = partial(run_on_fewer_devices, execute)
    if args.record and some and not study_report.record_path(args.study, args.scale).exists():
        raise ValueError("--record: there is no record yet whose other rows could stay, so it goes without --filter")
    how = args.how or ("measured" if args.scale == "full" else "auto")
    say = partial(print, flush=True)
    lines = runner.run_study(
        study, scale, folder, data_dir=args.data_dir, mode=how, execute=execute, selected=some, log=say
    )
    print()
    print_results(args.study, study, args.scale, lines)
    files = study_report.write_report(args.study, study, args.scale, lines, folder, partial=bool(some))
    if args.record:
        files.append(study_report.write_study_record(args.study, study, args.scale, lines))
    print("wrote " + ", ".join(str(path) for path in files))
    return None


def run_on_fewer_devices(execute: runner.Executor, jobs: Sequence[runner.TrialGroup]) -> Any:
    """The same, with groups that were begun on more devices gone on with on those that there are."""
    return execute([job._replace(allow_fewer_devices=True) for job in jobs])


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Called where this file is the program; a test has flags of its own."""
    flags.DEFINE_string("study", None, "Which study; --list names them.", flag_values=values)
    flags.DEFINE_string("scale", "quick", "smoke, quick or full: how many seeds, rates and steps.", flag_values=values)
    cli.define_directory(
        "workdir", "runs/studies", "Where results are kept, of all studies together.", flag_values=values
    )
    cli.define_directory(
        "data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.", flag_values=values
    )
    flags.DEFINE_list("filter", [], "Only settings with these labels: AXIS=LABEL,LABEL,AXIS=LABEL.", flag_values=values)
    flags.DEFINE_enum(
        "executor",
        "local",
        ["local", "ray"],
        "Where groups of cells run: here, or on a Ray cluster.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "address", None, "The Ray cluster to use; a new one on this machine unless given.", flag_values=values
    )
    flags.DEFINE_float(
        "cpus", 1, "Cores that a group of cells asks a Ray cluster for.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_float(
        "gpus", 0, "GPUs that a group of cells asks a Ray cluster for.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_bool(
        "regroup", False, "Go on with groups that were begun on more devices than there are.", flag_values=values
    )
    flags.DEFINE_enum(
        "how",
        None,
        ["auto", "map", "vmap", "measured"],
        "How replicas run: map one after another, vmap side by side, auto as suits the device, measured as is fastest "
        "when timed first; measured at full scale unless given, else auto.",
        flag_values=values,
    )
    flags.DEFINE_bool("list", False, "List the studies, and run nothing.", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "Say what would be run, and how long it would take.", flag_values=values)
    flags.DEFINE_bool(
        "table",
        False,
        "Print table and verdicts from the record in the repository, and run nothing.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "record",
        False,
        "Write the record in experiments/records/studies/ too; with --filter, only the rows of those settings.",
        flag_values=values,
    )


if __name__ == "__main__":
    define_flags()
    cli.run_command(main)
