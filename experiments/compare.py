"""RNNs against attention: same skeleton, same parameters, same budget, several seeds; a table and a page of curves.

  make compare                                              ten minutes on two cores
  python -m experiments.compare --workdir=runs/mine         the same, elsewhere
  python -m experiments.compare --scale=full                hours: more tasks, more seeds, rates chosen anew
  python -m experiments.compare --only=recall,digits        some of its tasks
  python -m experiments.compare --table                     from the record; runs nothing
  python -m experiments.compare --config=configs/text.py --config.task.path=notes.txt       on data of yours

Five mixers (attention, lstm, gru, rnn, dense) differ in nothing but how they mix a sequence. Each row of the table is
one mixer on one task, printed as it finishes: test score at the best validation step, one per seed. Learning rates were
chosen among 1e-3, 3e-3, 1e-2 and 3e-2 for every mixer alike, on seeds that are not reported; they are in the record of
the study compare. Then come the time of a training step against length and the time of a streamed token.

The studies are experiments/studies/compare.py and compare_cost.py. Stop the command any way you like: the same command
continues where it was. It ends by naming the files that it wrote.

With --config the data of that config file take the place of all tasks, as in experiments.run, whose --help says more;
learning rates are then chosen first, and its scales are as long as the shortest of their tasks. Steps and all else are
fields: --config.training.steps=2000.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from experiments.ablation import groups, own_data, runner
from experiments.ablation.intervals import format_interval, mean_interval
from experiments.ablation.learning_rates import format_learning_rate
from experiments.ablation.own_data import OwnData
from experiments.ablation.record_table import outdated_note, outdated_records
from experiments.ablation.study import Study, validate_study
from experiments.ablation.study_on_data import study_on_data
from experiments.ablation.trial_scores import SHARE_METRICS, reported_records
from experiments.ablation.trials import TrialRecord, TrialResult
from experiments.ablation.verdicts import judge_claims
from experiments.reporting import comparison_report, study_report
from experiments.reporting.data_summary import introduce_data
from experiments.studies import compare, compare_cost
from training import cli
from training.runtime import DEFAULT_DATA_DIR


def describe_group(group: groups.TrialGroup, results: Sequence[TrialResult]) -> str:
    """The row of the table for a finished group: of reported seeds, of rates on the tuning seeds, or of costs."""
    first, seconds = results[0], sum(result["seconds"] for result in results)
    mixer = f"{group.labels.get('task', ''):<12} {group.labels['mixer']:<10}"
    if not group.trained:
        times = {name: value for name, value in first["metrics"].items() if "time" in name and value is not None}
        steps = [f"{1e3 * times[name]:.1f} ms a step at {name.split('@')[1]}" for name in times if "step" in name]
        tokens = [f"{1e6 * times[name]:.0f} µs a token at {name.split('@')[1]}" for name in times if "step" not in name]
        return f"{mixer} {', '.join(steps + tokens)}"
    rates = group.config["ensemble"]["learning_rates"]
    if len(rates) > 1:
        return f"{mixer} {len(rates)} learning rates tried {seconds:>68.0f}"
    bounds = (0.0, 1.0) if first["metric"] in SHARE_METRICS else (0.0, float("inf"))
    values = [result["metrics"].get("test") for result in results if result["died_at"] is None]
    alive = [value for value in values if value is not None]
    score = format_interval(mean_interval(alive, bounds=bounds)) if alive else "all diverged"
    return (
        f"{mixer} {score:<26} {first['metric']:<20} {format_learning_rate(rates[0]):>6} {first['parameters']:>8,} "
        f"{first['state_floats']:>7,} {seconds:>8.0f}"
    )


def read_record(scale: str) -> list[TrialRecord]:
    """The trials recorded at a scale; none where there is no record."""
    path = study_report.record_path("compare", scale)
    return study_report.read_study_record("compare", compare.STUDY, scale) if path.exists() else []


def recorded_table(scale: str, data_dir: str) -> str:
    """The record of a scale in Markdown, marked where a setting has outdated trials."""
    if not (trials := reported_records(read_record(scale))):
        recorded = [name for name in compare.STUDY.scales if study_report.record_path("compare", name).exists()]
        raise ValueError(f"--table: there is a record of scale {' and '.join(recorded)}, and none of {scale}")
    outdated = outdated_records(trials, compare.STUDY, compare.STUDY.scales[scale], data_dir)
    note = outdated_note(len(outdated), len(trials))
    return comparison_report.scores_table(trials, outdated) + (f"\n\n{note}" if note else "")


def describe_seconds(trials: Sequence[TrialRecord], costs: Sequence[TrialRecord], scale: str) -> str:
    """Seconds used, by task, with their budget where there is one."""
    seconds: dict[str, float] = {}
    for trial in reported_records(trials):
        seconds[trial.labels["task"]] = seconds.get(trial.labels["task"], 0.0) + trial.result["seconds"]
    seconds["timing"] = sum(trial.result["seconds"] for trial in costs)
    budget = compare.BUDGET if scale == "quick" else {}
    used = [f"{name} {n:.0f}" + (f" of {budget[name]}" if name in budget else "") for name, n in seconds.items()]
    return ", ".join(used)


def check_workdir(workdir: Path) -> None:
    """Refuse a folder that an older program filled in another way."""
    if any(workdir.glob("*/group.json")):
        raise ValueError(
            f"{workdir} holds runs as revision ba223c6 and earlier kept them, which that revision reads; give another "
            f"--workdir"
        )


def run_comparison(
    args: Any, study: Study = compare.STUDY, data: OwnData | None = None, remarks: Sequence[str] = ()
) -> list[Path]:
    """Train, time, judge and write the page, on the study's own tasks or on `data`. Returns the files written."""
    folder = Path(args.workdir or f"runs/compare-{f'on-{data.name}-' if data else ''}{args.scale}")
    check_workdir(folder)
    execute = groups.run_sequentially
    if args.allow_fewer_devices:
        execute = groups.allow_fewer_devices(execute)
    selected = {"task": args.only} if args.only else None
    shown = introduce_data("compare", study, study.scales[args.scale], data, remarks, args.data_dir) if data else {}
    print(
        f"{'task':<12} {'mixer':<10} {'score':<26} {'metric':<20} {'rate':>6} {'params':>8} {'state':>7} {'seconds':>8}"
    )
    run = partial(
        runner.run_study,
        folder=folder,
        data_dir=args.data_dir,
        execute=execute,
        log=partial(print, flush=True),
        describe=describe_group,
    )
    scale = study.scales[args.scale]
    trials = run(study, scale, selected=selected, recorded=[] if data else read_record(args.scale))
    rates = ", ".join(f"{rate:g}" for rate in scale.learning_rates)
    print(f"(* a rate at the end of the grid {rates}; a better one may lie beyond)\n")
    cost_scale = args.scale if args.scale in compare_cost.STUDY.scales else "quick"
    costs = run(compare_cost.STUDY, compare_cost.STUDY.scales[cost_scale])
    verdicts = judge_claims(study, trials, args.scale)
    verdicts += judge_claims(compare_cost.STUDY, costs, cost_scale)
    print("\n" + "\n".join(map(str, verdicts)))
    used = describe_seconds(trials, costs, "" if data else args.scale)
    print(f"seconds used: {used}")
    return comparison_report.write_comparison(study, args.scale, trials, costs, verdicts, used, folder, **shown)


def main() -> None:
    """Do what the flags say."""
    args: Any = flags.FLAGS
    study, data, remarks = compare.STUDY, own_data.read_config_flag(args), []
    validate_study(study, args.scale)
    if data:
        if args.table or args.only:
            raise ValueError("--table, --only: are of the tasks of compare itself, so they go without --config")
        study, remarks = study_on_data("compare", study, data)
        validate_study(study, args.scale)
    if args.table:
        return print(recorded_table(args.scale, args.data_dir))
    print("wrote " + ", ".join(str(path) for path in run_comparison(args, study, data, remarks)))
    return None


if __name__ == "__main__":
    own_data.define_config_flag()
    flags.DEFINE_enum("scale", "quick", list(compare.STUDY.scales), "A minute, ten minutes, or hours (recall, full).")
    cli.define_directory("workdir", None, "Where runs and report go; runs/compare-SCALE unless given.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    flags.DEFINE_bool("allow_fewer_devices", False, "Continue runs that were begun on more devices than there are now.")
    flags.DEFINE_list("only", [], "Tasks to run, by name; all unless given.")
    flags.DEFINE_bool("table", False, "Print the table from the record in the repository; run nothing.")
    cli.run_command(main)
