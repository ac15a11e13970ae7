"""The scorecard: every mixer against what was wanted of a model of sequences; each cell a figure that was measured.

  make scorecard                           runs what it rests on, an hour or more on two cores, and prints it
  python -m experiments.scorecard          prints it from the records in the repository

Wanted were a continuous stream (what a token costs as the stream grows), parallelization (the power of length that a
training step grows with, and its longest chain of operations), long memory (recall of 8 pairs, from the record of the
study mixers; ten digits kept through 54 steps, and how much of the gradient comes from the one that is due, 64 back),
context (translating 2 and 12 words by one vector) and order (how far the output moves when all that was read is
shuffled). The studies score_cost, score_memory and score_context measure these. Stop it any way you like: the same
command goes on. `python -m experiments.publish --only=scorecard` puts the records into docs/.
"""

from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from experiments.ablation import runner, study, verdicts
from experiments.ablation.trials import TrialRecord
from experiments.reporting import scorecard
from experiments.reporting.scorecard import SCORECARD_STUDIES
from experiments.reporting.study_report import write_report, write_study_record
from training import cli, runtime


def run_studies(args: Any) -> dict[str, list[TrialRecord]]:
    """Run the three studies, write their reports and, with --record, their records; return their trials."""
    loaded = {name: study.load_study(name) for name in SCORECARD_STUDIES}
    runtime.configure_runtime(max(len(one.scales[args.scale].seeds) for one in loaded.values()))  # once for all of them
    trials, folder = {}, Path(args.workdir)
    for name, one in loaded.items():
        print(f"{name}: {one.question}", flush=True)
        trials[name] = runner.run_study(one, one.scales[args.scale], folder, log=partial(print, flush=True))
        write_report(name, one, args.scale, trials[name], folder)
        if args.record:
            write_study_record(name, one, args.scale, trials[name])
    return trials


def main() -> None:
    args: Any = flags.FLAGS
    for name in SCORECARD_STUDIES:
        study.validate_study(study.load_study(name), args.scale)
    if args.run:
        trials = run_studies(args) | {scorecard.RECALL: scorecard.read_recall_trials()}
    else:
        trials = scorecard.read_scorecard_records(args.scale)
    print(scorecard.format_scorecard(trials, args.scale))
    for name in SCORECARD_STUDIES:
        for verdict in verdicts.judge_claims(study.load_study(name), trials[name], args.scale):
            print(verdict)


if __name__ == "__main__":
    flags.DEFINE_bool("run", False, "Run the studies, where they are not run yet, and not only read their records.")
    flags.DEFINE_bool("record", False, "With --run, write the records in the repository anew.")
    flags.DEFINE_string("scale", "quick", "smoke, quick or full.")
    cli.define_directory("workdir", "runs/studies", "Where results are kept, of all studies together.")
    cli.run_command(main)
