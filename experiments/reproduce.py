"""Published results on recurrence and attention: what was published, and what comes out here.

  python -m experiments.reproduce                              all of them, from the records in the repository
  python -m experiments.reproduce --result=counting            one of them again, in some ten minutes on two cores
  python -m experiments.reproduce --result=counting --scale=standard        more seeds and steps: hours; full: a GPU
  python -m experiments.reproduce --result=counting --mixers=gated_delta    another mixer beside those of the paper
  python -m experiments.reproduce --result=counting --other_seeds           with other seeds: does the verdict stand?
  python -m experiments.reproduce --result=counting --until=decided          with 3, 5, 8, 12 seeds, until it is decided
  python -m experiments.reproduce --result=memory --config=configs/text.py --config.task.path=notes.txt    its models on
                                                               data of yours, of which nothing was published
  python -m experiments.reproduce --all --record               every one, its record, and runs/reproduce.html

A result is a study in experiments/studies/, whose claims were written before it was run, and a table of published
numbers in experiments/published/, each with its place in the paper and how sure we are of it:

  V   read at the source: the authors' code, logs, figure or full text
  V2  read in a second text that quotes the paper
  R   read off a figure by eye, ±0.03
  H   read off a figure where the marker lies under others, ±0.03
  A   the axis of a figure, and not a figure of the text
  M   from memory: unchecked, and no more than a hint
  U   unverifiable: no source states it as a number

Where the metric of our counterpart begins with "best of", the paper reports its best run, and ours is the best seed.

The verdict of a result is that of the weakest of its claims. Stop a run any way you like: the same command goes on
where it was (--workdir). `python -m experiments.ledger` repeats all of them, each until it is decided and with other
seeds too. `python -m experiments.publish --only=reproduce` puts the records into docs/.
"""

from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

import models
from experiments.ablation import own_data, runner, sequential, study, verdicts
from experiments.ablation.own_data import OwnData
from experiments.ablation.study_on_data import study_on_data
from experiments.reporting import html_report
from experiments.reporting.data_summary import introduce_data
from experiments.reporting.published_numbers import read_published
from experiments.reporting.published_results import (
    ReproducedResult,
    published_table,
    read_result,
    results_report,
    verdict_label,
)
from experiments.reporting.result_studies import OTHER_SEEDS_SUFFIX, RESULT_NAMES, load_result, result_flags
from experiments.reporting.study_report import settings_table, write_report, write_study_record
from training import cli
from training.runtime import DEFAULT_DATA_DIR


def run_result(name: str, args: Any) -> None:
    """Run one result, print what was published beside it, and write its report (and with --record its record)."""
    loaded, folder = load_result(name, args.mixers), Path(args.workdir)
    scale = f"{args.scale}{OTHER_SEEDS_SUFFIX}" if args.other_seeds else args.scale
    study.validate_study(loaded, scale)
    print(f"{name}: {loaded.question}\n{loaded.paper}\n")
    options: Any = {"data_dir": args.data_dir, "mode": args.mode, "log": partial(print, flush=True)}
    if args.until:
        loaded, trials = sequential.run_until_decided(loaded, scale, folder, **options)
    else:
        trials = runner.run_study(loaded, loaded.scales[scale], folder, **options)
    print()
    judged = verdicts.judge_claims(loaded, trials, scale)
    first_run = read_result(name, args.scale) if args.other_seeds else None
    result = ReproducedResult(
        name, loaded, read_published(name), trials, judged, first_run.verdicts if first_run else []
    )
    for table in (published_table(result), settings_table(loaded, trials)):
        print(html_report.text_table(table), end="\n\n")
    for verdict in judged:
        print(verdict)
    print(f"{name}: {verdict_label(result)}")
    words = result_flags(name, args.scale, other_seeds=args.other_seeds, until=args.until, mixers=args.mixers)
    command = " ".join(["python -m experiments.reproduce", *words])
    written = write_report(name, loaded, scale, trials, folder, partial=bool(args.mixers), command=command)
    if args.record:
        written.append(write_study_record(name, loaded, scale, trials))
    print("wrote " + ", ".join(map(str, written)) + "\n")


def run_on_data(name: str, args: Any, data: OwnData) -> None:
    """Run the models of one result on data of the user's, of which nothing was published, and write the report."""
    scale = f"{args.scale}{OTHER_SEEDS_SUFFIX}" if args.other_seeds else args.scale
    loaded, remarks = study_on_data(name, load_result(name, args.mixers), data)
    study.validate_study(loaded, scale)
    shown = introduce_data(name, loaded, loaded.scales[scale], data, remarks, args.data_dir)
    trials = runner.run_study(
        loaded,
        loaded.scales[scale],
        Path(args.workdir),
        data_dir=args.data_dir,
        mode=args.mode,
        log=partial(print, flush=True),
    )
    print("\n" + html_report.text_table(settings_table(loaded, trials)), end="\n\n")
    written = write_report(f"{name}-on-{data.name}", loaded, scale, trials, Path(args.workdir), **shown)
    print("wrote " + ", ".join(map(str, written)) + "\n")


def print_results(results: list[ReproducedResult]) -> None:
    """Print verdict, question and paper of every result, including those without a record."""
    labels = {result.name: verdict_label(result) for result in results}
    for name in RESULT_NAMES:
        loaded = study.load_study(name)
        print(f"{name:<14} {labels.get(name, '– not run'):<28} {loaded.question}\n{'':<14} {loaded.paper}")


def main() -> None:
    args: Any = flags.FLAGS
    names = RESULT_NAMES if args.all else (args.result,) if args.result else ()
    if args.record and args.mixers:
        raise ValueError("--record: writes the result as it is defined, so it goes without --mixers")
    if not names and (args.mixers or args.other_seeds or args.record or args.until):
        raise ValueError("--mixers, --other_seeds, --record and --until are of a run: give --result=NAME or --all too")
    scales = [scale for result in RESULT_NAMES for scale in study.load_study(result).scales]
    models.validate_choice("--scale", args.scale, list(dict.fromkeys(scales)))
    data = own_data.read_config_flag(args)
    if data and (args.record or args.until or not args.result):
        raise ValueError(
            "--config: the models of one result are run on your data: give --result=NAME, and no --record or --until"
        )
    for name in names:
        load_result(name, args.mixers)  # whatever is wrong is said before the first is run
    for name in names:
        if data:
            return run_on_data(name, args, data)
        run_result(name, args)
    if names and not (args.all and args.record):
        return None
    results = [result for name in RESULT_NAMES if (result := read_result(name, args.scale))]
    print_results(results)
    if args.all:
        print(f"wrote {html_report.write_html(results_report(results), 'runs/reproduce.html')}")
    return None


if __name__ == "__main__":
    own_data.define_config_flag()
    flags.DEFINE_string("result", None, f"Which one: {', '.join(RESULT_NAMES)}.")
    flags.DEFINE_string("scale", "quick", "smoke, quick, standard or full: how many seeds, rates and steps.")
    flags.DEFINE_list("mixers", [], "Mixers to be run beside those of the paper.")
    flags.DEFINE_bool("other_seeds", False, "With other seeds, at the learning rates chosen before.")
    flags.DEFINE_enum("until", None, ["decided"], "Look with 3, 5, 8 and 12 seeds until every claim is decided.")
    flags.DEFINE_bool("all", False, "Every result, one after the other.")
    flags.DEFINE_bool("record", False, "Write the record in experiments/records/studies/ too.")
    cli.define_directory("workdir", "runs/studies", "Where results are kept, of all studies together.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    flags.DEFINE_enum("mode", "auto", ["auto", "map", "vmap", "autotune"], "How the ensemble runs.")
    cli.run_command(main)
