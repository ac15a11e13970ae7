"""The scorecard: every mixer against what was wanted of a model of sequences; each cell a figure that was measured.

  make scorecard                           runs what it rests on, an hour or more on two cores, and prints it
  python -m experiments.scorecard          prints it from the records in the repository

Wanted were a continuous stream (what a token costs as the stream grows), parallelisation (the power of length that a
training step grows with, and its longest chain of operations), long memory (recall of 8 pairs, from the record of
experiments/mixers.py; ten digits kept through 54 steps, and how much of the gradient comes from the one that is due, 64
back), context (translating 2 and 12 words by one vector) and order (how far the output moves when all that was read is
shuffled). The studies score_cost, score_memory and score_context measure these. Stop it any way you like: the same
command goes on.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from experiments.ablation import runner, study, verdicts
from experiments.ablation.intervals import fit_exponent, format_interval, mean_interval
from experiments.ablation.record_files import read_record
from experiments.ablation.record_table import OUTDATED_MARK, outdated_note, outdated_records
from experiments.ablation.trials import TrialRecord
from experiments.mixers import MIXERS_RECORD as MIXERS
from experiments.mixers import read_mixers_record as recorded_mixers
from experiments.reporting import study_report
from experiments.reporting.html_report import markdown_table
from training import cli, runtime

SCORECARD_STUDIES = ("score_cost", "score_memory", "score_context")
SCORECARD_HEADER = [
    "mixer",
    "µs a token at 128",
    "at 2,048",
    "state at 2,048, floats",
    "step time ∝ length^",
    "chain at 512",
]
SCORECARD_HEADER += ["recall of 8 pairs", "ten digits after 54 steps", "gradient from 64 back"]
SCORECARD_HEADER += ["2 words by one vector", "12 words", "shuffled"]


def scorecard_row(
    mixer: str, trials: Mapping[str, Sequence[TrialRecord]], mixers: Sequence[Mapping[str, str]], mark: str = ""
) -> list[str]:
    """A mixer's figures: means over seeds, with an interval where there are seeds to make one of."""

    def found(name: str, metric: str, form: str = "{:.2f}", factor: float = 1.0) -> str:
        estimate = verdicts.estimate_metric(trials[name], {"mixer": mixer}, metric)
        return form.format(factor * estimate.mean) if estimate.n else "–"

    def told(name: str, metric: str) -> str:
        estimate = verdicts.estimate_metric(trials[name], {"mixer": mixer}, metric)
        return format_interval(estimate, 2) if estimate.n else "–"

    pairs = [
        float(line["test"]) for line in mixers if (line["mixer"], line["row"]) == (mixer, "recall") and line["test"]
    ]
    costs = [line for line in verdicts.reported_records(trials["score_cost"]) if line.labels == {"mixer": mixer}]
    times = costs[0].get_curve("step time") if costs else {}
    return [
        mixer.replace(",", " + ") + mark,
        found("score_cost", "stream time@128", "{:,.0f}", 1e6),
        found("score_cost", "stream time@2048", "{:,.0f}", 1e6),
        found("score_cost", "state@2048", "{:,.0f}"),
        format_interval(fit_exponent(list(times), list(times.values())), 2) if times else "–",
        found("score_cost", "step depth@512", "{:,.0f}"),
        format_interval(mean_interval(pairs, bounds=(0, 1)), 2) if pairs else "–",
        told("score_memory", "test"),
        found("score_memory", "reach@64", "{:.2g}"),
        found("score_context", "test@2"),
        found("score_context", "test@12"),
        found("score_memory", "permuted"),
    ]


def scorecard_table(trials: Mapping[str, Sequence[TrialRecord]], outdated: Container[str] = ()) -> str:
    """The scorecard in Markdown, with a mark behind mixers some of whose cells are `outdated`."""
    names = dict.fromkeys(line.labels["mixer"] for line in verdicts.reported_records(trials["score_cost"]))
    recorded = read_record(MIXERS)
    return markdown_table(
        SCORECARD_HEADER,
        [scorecard_row(mixer, trials, recorded, f" {OUTDATED_MARK}" * (mixer in outdated)) for mixer in names],
    )


def count_outdated_trials(trials: Mapping[str, Sequence[TrialRecord]], scale: str) -> dict[str, int]:
    """Of each mixer that has any, how many of the cells behind its row are of older code."""
    some = Counter(line["mixer"] for line in recorded_mixers()[1] if line["row"] == "recall")
    for name in SCORECARD_STUDIES:
        one = study.load_study(name)
        some.update(line.labels["mixer"] for line in outdated_records(trials[name], one, one.scales[scale]))
    return some


def main() -> None:
    args: Any = flags.FLAGS
    lines = {}
    if args.run:  # for all of them, since the first array settles it
        runtime.configure_runtime(
            max(len(study.load_study(name).scales[args.scale].seeds) for name in SCORECARD_STUDIES)
        )
    for name in SCORECARD_STUDIES:
        one = study.load_study(name)
        study.validate_study(one, args.scale)
        if args.run:
            print(f"{name}: {one.question}", flush=True)
            lines[name] = runner.run_study(
                one, one.scales[args.scale], Path(args.workdir), log=partial(print, flush=True)
            )
            study_report.write_report(name, one, args.scale, lines[name], Path(args.workdir))
            if args.record:
                study_report.write_study_record(name, one, args.scale, lines[name])
        else:
            if not (path := study_report.record_path(name, args.scale)).exists():
                raise ValueError(f"{path} is missing; make scorecard makes it")
            lines[name] = study_report.read_study_record(name, one, args.scale)
    old = count_outdated_trials(lines, args.scale)
    print(scorecard_table(lines, old))
    if old:
        recalled = sum(line["row"] == "recall" for line in read_record(MIXERS))
        print(f"\n{outdated_note(sum(old.values()), recalled + sum(map(len, lines.values())))}")
    for name in SCORECARD_STUDIES:
        for one in verdicts.judge_claims(study.load_study(name), lines[name], args.scale):
            print(one)


if __name__ == "__main__":
    flags.DEFINE_bool("run", False, "Run the studies, where they are not run yet, and not only read their records.")
    flags.DEFINE_bool("record", False, "With --run, write the records in the repository anew.")
    flags.DEFINE_string("scale", "quick", "smoke, quick or full.")
    cli.define_directory("workdir", "runs/studies", "Where results are kept, of all studies together.")
    cli.run_command(main)
