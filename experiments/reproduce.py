"""Twelve published results on recurrence and attention: what was published, and what comes out here.

  python -m experiments.reproduce                              all twelve, from the records in the repository
  python -m experiments.reproduce --result=counting            one of them again, in some ten minutes on two cores
  python -m experiments.reproduce --result=counting --scale=standard       more seeds and steps: hours; full: a GPU
  python -m experiments.reproduce --result=counting --models=gated_delta   another mixer beside those of the paper
  python -m experiments.reproduce --result=counting --again    with other seeds: does the verdict stand?
  python -m experiments.reproduce --all --record               every one, and its record written
  python -m experiments.reproduce --write                      docs/reproduce.md, its picture, README's table

A result is a study in experiments/studies/, whose claims were written before it was run, and a table of published
numbers in experiments/published/, each with where it stands and how sure it is:

  V   read at the source: the authors' code, logs, figure or full text
  V2  read in a second text that quotes the paper
  R   read off a figure by eye, ±0.03
  M   from memory: unchecked, and no more than a hint

The verdict of a result is that of the weakest of its claims. Stop a run any way you like: the same command goes on
where it was (--workdir).
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

import models
from data import DEFAULT_DATA_DIR
from experiments.ablation import record_files, runner, study
from experiments.ablation import verdicts as judge
from experiments.ablation.intervals import format_interval
from experiments.ablation.record_table import OUTDATED_MARK, outdated_records
from experiments.ablation.study import Labels, Scale, Study, format_labels
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import VERDICT_SIGNS, Verdict
from experiments.reporting import html_report, study_report
from experiments.reporting.charts import DotChart, LineChart
from experiments.reporting.html_report import Table, markdown_table
from training import cli

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED_DIR = Path(__file__).parent / "published"
RESULT_NAMES = ("slots", "queries", "automata", "phrases", "parallel", "strings", "induction", "memory", "flip_flop",
           "selection", "counting", "permutations")  # fmt: skip
OTHER_SEEDS_SUFFIX = "-again"  # behind the name of a scale: with other seeds
SEED_OFFSET = 1000  # what is added to each that is reported
CONFIDENCE_NOTES = {"V": "", "V2": " (quoted)", "R": " (read off a figure)", "M": " (from memory, unchecked)"}


class PublishedNumber(NamedTuple):
    """A published number: of a `model`, `at` some size, in a `unit`; `setting` and `metric` are ours for it, or empty
    where there is none. `shown` in the overview."""

    model: str
    at: str
    value: str
    unit: str
    sure: str
    where: str
    setting: str
    metric: str
    shown: str

    def __str__(self) -> str:
        return f"{self.value}{self.unit}{CONFIDENCE_NOTES[self.sure]}"


class ReproducedResult(NamedTuple):
    """A result with a record: what was published, and what came out; `other_seeds` with other seeds, where that was
    run."""

    name: str
    study: Study
    published: list[PublishedNumber]
    trials: list[TrialRecord]
    verdicts: list[Verdict]
    other_seeds: list[Verdict]
    outdated: Sequence[TrialRecord] = ()  # those that the code as it is now would not take for its own
    other_seeds_outdated: int = 0  # how many there are with other seeds


def read_published(name: str) -> list[PublishedNumber]:
    return [PublishedNumber(**row) for row in record_files.read_unsigned_table(PUBLISHED_DIR / f"{name}.csv")]


def load_result(name: str, mixers: Sequence[str] = ()) -> Study:
    """The study of a result, with every scale once more with other seeds, and `mixers` among its models."""
    models.validate_choice("--result", name, RESULT_NAMES)
    one = study.load_study(name)
    scales = {f"{scale}{OTHER_SEEDS_SUFFIX}": with_other_seeds(found) for scale, found in one.scales.items()}
    return with_mixers(name, one._replace(scales={**one.scales, **scales}), mixers)


def with_other_seeds(scale: Scale) -> Scale:
    """The same with other seeds; learning rates are chosen on the same as before, so these stay."""
    return scale._replace(seeds=tuple(seed + SEED_OFFSET for seed in scale.seeds))


def with_mixers(name: str, one: Study, mixers: Sequence[str]) -> Study:
    """The study with these mixers as rows of their own, in the common skeleton, at the sizes that other such rows have.

    Raises ValueError where it varies no mixer.
    """
    for mixer in mixers:
        for part in models.parse_layer_pattern(mixer):
            models.validate_choice("--models", part, models.MIXERS)
    if not mixers:
        return one
    axis = mixer_axis(one)
    if axis is None:
        fitting = ", ".join(result for result in RESULT_NAMES if mixer_axis(study.load_study(result)))
        raise ValueError(f"--models: {name} varies something else than its mixer; give --models to {fitting}")

    def more(labels: Any) -> Any:
        if isinstance(labels, Mapping):
            return {**labels, **{mixer: {"mixer": mixer} for mixer in mixers if mixer not in labels}}
        return (*labels, *(mixer for mixer in mixers if mixer not in labels))

    scales = {
        key: scale._replace(grid={a: more(v) if a == axis else v for a, v in scale.grid.items()})
        for key, scale in one.scales.items()
    }
    labels = one.grid[axis] if isinstance(one.grid[axis], Mapping) else {}
    plain = [label for label, changes in labels.items() if set(changes) == {"mixer"}]
    without = [{**where, axis: mixer} for where in one.exclude if where.get(axis) in plain[:1] for mixer in mixers]
    return one._replace(grid={**one.grid, axis: more(one.grid[axis])}, scales=scales, exclude=[*one.exclude, *without])


def mixer_axis(one: Study) -> str | None:
    """The axis along which a study varies its mixer and nothing that a mixer can't have."""
    for axis in ("mixer", "model"):
        labels = one.grid.get(axis, {})
        alone = not isinstance(labels, Mapping) or not any(
            "model.encoder_decoder" in changes for changes in labels.values()
        )
        if labels and alone and (axis == "mixer" or any("mixer" in changes for changes in labels.values())):
            return axis
    return None


# ---- what came out --------------------------------------------------------------------------------------------------


def weakest_verdict(verdicts: Sequence[Verdict]) -> str:
    """The verdict of a result: that of the weakest of its claims."""
    order = ("not run", "not reproduced", "trend only", "proxy", "reproduced")
    return min((one.verdict for one in verdicts), key=order.index, default="not run")


def read_result(name: str, scale: str = "quick") -> ReproducedResult | None:
    """What the records say of a result; None where it has none at this scale."""
    one = load_result(name)
    if not study_report.record_path(name, scale).exists():
        return None
    lines = study_report.read_study_record(name, one, scale)
    other, again, again_older = f"{scale}{OTHER_SEEDS_SUFFIX}", [], 0
    if study_report.record_path(name, other).exists():
        others = study_report.read_study_record(name, one, other)
        again, again_older = (
            judge.judge_claims(one, others, other),
            len(outdated_records(others, one, one.scales[other])),
        )
    verdicts, old = judge.judge_claims(one, lines, scale), outdated_records(lines, one, one.scales[scale])
    return ReproducedResult(name, one, read_published(name), lines, verdicts, again, old, again_older)


def outdated_trials_note(result: ReproducedResult) -> str:
    """How many of its cells are; empty where none is."""
    told_of = f" {len(result.outdated)} of {len(result.trials)} cells are of older code" * bool(result.outdated)
    again = f" {result.other_seeds_outdated} cells with other seeds are of older code" * bool(
        result.other_seeds_outdated
    )
    return ";".join(filter(None, (told_of, again))) + "." * bool(told_of or again)


def verdict_label(result: ReproducedResult) -> str:
    """The verdict with its sign, whether other seeds gave another, and a mark where it rests on older code."""
    verdict = weakest_verdict(result.verdicts)
    unstable = ", unstable" if result.other_seeds and weakest_verdict(result.other_seeds) != verdict else ""
    return f"{VERDICT_SIGNS[verdict]} {verdict}{unstable}" + f" {OUTDATED_MARK}" * bool(
        result.outdated or result.other_seeds_outdated
    )


def measured_values(number: PublishedNumber, trials: Sequence[TrialRecord]) -> tuple[str, str]:
    """What came out for a published number: mean with interval over seeds, and the best seed."""
    labels = matching_setting(number, trials)
    if labels is None or not number.metric:
        return "–", "–"
    values = [v for v in judge.values_by_seed(trials, labels, number.metric).values() if math.isfinite(v)]
    if not values:
        return "diverged", "–"
    cell = next(line.result for line in trials if line.labels == labels)
    best = judge.max_or_min(cell)(values)
    told_best = f"{best:.3g}" if study.base_metric(number.metric) in study.SCORE_METRICS else "–"
    found = judge.estimate_metric(trials, labels, number.metric)
    if 0 < abs(found.mean) < 0.01:
        return f"{found.mean:.2g} [{found.low:.2g}, {found.high:.2g}]", told_best
    return format_interval(found), told_best


def matching_setting(number: PublishedNumber, trials: Sequence[TrialRecord]) -> Labels | None:
    return next((labels for labels in judge.distinct_settings(trials) if format_labels(labels) == number.setting), None)


def published_table(result: ReproducedResult) -> Table:
    """The published numbers of the overview and those that have one of ours, beside it."""
    here = [(one, measured_values(one, result.trials)) for one in result.published]
    some = [(one, mine) for one, mine in here if one.shown or mine[0] != "–"]
    rows = [[one.model, one.at or "–", str(one), one.where, *mine] for one, mine in some]
    header = ["model", "at", "published", "where", "here, mean", "here, best seed"]
    note = "Sizes, seeds and steps are not the paper's unless said, and accuracies here are shares, not per cent; – is "
    note += "what has no counterpart here."
    if left := len(result.published) - len(some):
        note += f" {left} more published numbers are in experiments/published/{result.name}.csv."
    return Table("Published, and here", header, rows, note)


def overview_table(results: Sequence[ReproducedResult]) -> Table:
    rows = []
    for found in results:
        shown = [one for one in found.published if one.shown]
        theirs = "; ".join(f"{one.model}{f' at {one.at}' * bool(one.at)} {one}" for one in shown)
        mine = "; ".join(
            f"{one.model} {measured_values(one, found.trials)[0]}"
            for one in shown
            if matching_setting(one, found.trials)
        )
        where = found.verdicts[0].scale if found.verdicts else ""
        told_of = [found.name, found.study.question, found.study.paper]
        rows.append([*told_of, theirs, mine, verdict_label(found), where, compute_minutes(found)])
    header = ["result", "question", "paper", "published", "here", "verdict", "scale", "minutes"]
    return Table("Twelve results", header, rows)


def verdicts_table(results: Sequence[ReproducedResult]) -> Table:
    """The README's: question and verdict of every result, those that were not run too."""
    there = {one.name: one for one in results}
    rows = [
        [f"`{name}`", load_result(name).question, verdict_label(there[name]), compute_minutes(there[name])]
        if name in there
        else [f"`{name}`", load_result(name).question, f"{VERDICT_SIGNS['not run']} not run", VERDICT_SIGNS["not run"]]
        for name in RESULT_NAMES
    ]
    return Table("Twelve results", ["result", "question", "verdict", "minutes"], rows)


def compute_minutes(result: ReproducedResult) -> str:
    return f"{sum(float(line.result['seconds']) for line in result.trials) / 60:.0f}"


def result_claims_table(result: ReproducedResult) -> Table:
    again = [one.verdict for one in result.other_seeds] or ["– not run"] * len(result.verdicts)
    rows = [
        [f"{VERDICT_SIGNS[one.verdict]} {one.verdict}", other, one.claim, one.evidence]
        for one, other in zip(result.verdicts, again, strict=True)
    ]
    return Table("Claims", ["verdict", "with other seeds", "claim, written before the run", "evidence"], rows)


def study_docstring(name: str) -> str:
    """The study's own words: what was done, and what is not as in the paper."""
    return (importlib.import_module(f"experiments.studies.{name}").__doc__ or "").strip()


def results_page(results: Sequence[ReproducedResult]) -> str:
    """All results, in Markdown."""
    table, missing = (
        overview_table(results),
        [name for name in RESULT_NAMES if name not in [one.name for one in results]],
    )
    parts = ["# Twelve published results", "Made by `python -m experiments.reproduce --write` from the records in "
             "`experiments/records/studies/` and the published numbers in `experiments/published/`.",
             markdown_table(table.header, table.rows), "![One chart a result](reproduce.svg)"]  # fmt: skip
    parts += [f"Written, and not run yet: {', '.join(missing)}."] if missing else []
    for number, found in enumerate(results, 1):
        parts += [
            f"## {number}. {study_report.study_title(found.name)}: {verdict_label(found)}",
            f"*{found.study.paper}*",
        ]
        parts += [study_docstring(found.name)]
        for one in (
            published_table(found),
            result_claims_table(found),
            study_report.settings_table(found.study, found.trials, found.outdated),
        ):
            parts += [f"### {one.title}", markdown_table(one.header, one.rows), *([one.note] if one.note else [])]
        parts += [f"`python -m experiments.reproduce --result={found.name}` repeats it.{outdated_trials_note(found)}"]
    return "\n\n".join(parts) + "\n"


def results_charts(results: Sequence[ReproducedResult]) -> list[LineChart | DotChart]:
    titles = [f"{number}. {study_report.study_title(one.name)}" for number, one in enumerate(results, 1)]
    return [study_report.main_chart(one.study, one.trials, title) for one, title in zip(results, titles, strict=True)]


# ---- the command ----------------------------------------------------------------------------------------------------


def run_result(name: str, args: Any) -> None:
    """Run one result, print what was published beside it, and write what it gave."""
    one, folder = load_result(name, args.models), Path(args.workdir)
    scale = f"{args.scale}{OTHER_SEEDS_SUFFIX * bool(args.again)}"
    study.validate_study(one, scale)
    print(f"{name}: {one.question}\n{one.paper}\n")
    lines = runner.run_study(one, one.scales[scale], folder, data_dir=args.data_dir, mode=args.how or "auto",
                       log=partial(print, flush=True))  # fmt: skip
    print()
    verdicts, before = judge.judge_claims(one, lines, scale), read_result(name, args.scale) if args.again else None
    found = ReproducedResult(name, one, read_published(name), lines, verdicts, before.verdicts if before else [])
    for table in (published_table(found), study_report.settings_table(one, lines)):
        print(html_report.text_table(table), end="\n\n")
    for verdict in found.verdicts:
        print(verdict)
    print(f"{name}: {verdict_label(found)}")
    words = f"--result={name} --scale={args.scale}" + " --again" * bool(args.again)
    words += f" --models={','.join(args.models)}" * bool(args.models)
    files = study_report.write_report(name, one, scale, lines, folder, partial=bool(args.models),
                           command=f"python -m experiments.reproduce {words}")  # fmt: skip
    if args.record:
        files.append(study_report.write_study_record(name, one, scale, lines))
    print("wrote " + ", ".join(map(str, files)) + "\n")


def publish_results(results: Sequence[ReproducedResult], scale: str) -> None:
    """docs/reproduce.md, its picture and README's table, and a page for reading. Raises ValueError, before anything is
    written, where a result that is shown now has no record at this scale."""
    table, again = (
        verdicts_table(results),
        f"python -m experiments.reproduce --result={{name}} --scale={scale} --record",
    )
    html_report.publish_page(DOCS / "reproduce.md", results_page(results), results_charts(results), 3, markdown_table(table.header, table.rows),
                   f"{again} (and once more with --again)")  # fmt: skip
    page = html_report.Report(
        title="Twelve published results",
        question="What of the published results on recurrence and attention can be had again?",
        summary=overview_table(results),
        sections=[
            html_report.Section(f"{study_report.study_title(one.name)}: {verdict_label(one)}", study_docstring(one.name), [chart],
                           [published_table(one), result_claims_table(one)])
            for one, chart in zip(results, results_charts(results), strict=True)
        ],
        command="python -m experiments.reproduce --write",
    )  # fmt: skip
    files = [DOCS / "reproduce.md", DOCS / "reproduce.svg", html_report.write_html(page, "runs/reproduce.html")]
    print(f"wrote {', '.join(map(str, files))}, and the table in {html_report.README}")


def main() -> None:
    args: Any = flags.FLAGS
    names = RESULT_NAMES if args.all else (args.result,) if args.result else ()
    if args.record and args.models:
        raise ValueError("--record: writes the result as it is defined, so it goes without --models")
    if not names and (args.models or args.again or args.record):
        raise ValueError("--models, --again and --record are of a run: give --result=NAME or --all too")
    models.validate_choice(
        "--scale", args.scale, list(dict.fromkeys(s for one in RESULT_NAMES for s in study.load_study(one).scales))
    )
    for name in names:
        load_result(name, args.models)  # all that is wrong is said before the first is run
    for name in names:
        run_result(name, args)
    if names and not (args.all and args.record):
        return
    some = [found for name in RESULT_NAMES if (found := read_result(name, args.scale))]
    if args.write or args.all:
        publish_results(some, args.scale)
    rows = {found.name: [verdict_label(found), found.study.paper] for found in some}
    for name in RESULT_NAMES:
        verdict, paper = rows.get(name, ["– not run", study.load_study(name).paper])
        print(f"{name:<14} {verdict:<28} {study.load_study(name).question}\n{'':<14} {paper}")


if __name__ == "__main__":
    flags.DEFINE_string("result", None, f"Which one: {', '.join(RESULT_NAMES)}.")
    flags.DEFINE_string("scale", "quick", "smoke, quick, standard or full: how many seeds, rates and steps.")
    flags.DEFINE_list("models", [], "Mixers to be run beside those of the paper.")
    flags.DEFINE_bool("again", False, "With other seeds, at the learning rates chosen before.")
    flags.DEFINE_bool("all", False, "Every result, one after the other, and the page.")
    flags.DEFINE_bool("record", False, "Write the record in experiments/records/studies/ too.")
    flags.DEFINE_bool("write", False, "Write the page and docs/reproduce.md with its picture, and run nothing.")
    cli.define_directory("workdir", "runs/studies", "Where results are kept, of all studies together.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    flags.DEFINE_enum("how", None, ["auto", "map", "vmap", "measured"], "How replicas run; auto unless given.")
    cli.run_command(main)
