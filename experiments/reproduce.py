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
from experiments.ablation.runner import Line
from experiments.ablation.study import Labels, Scale, Study, told
from experiments.ablation.verdicts import VERDICTS, Verdict
from experiments.comparison import OLDER
from experiments.reporting import html_report, study_report
from experiments.reporting.charts import Chart, Dots
from experiments.reporting.html_report import Table, markdown
from training import cli

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED = Path(__file__).parent / "published"
RESULTS = ("slots", "queries", "automata", "phrases", "parallel", "strings", "induction", "memory", "flip_flop",
           "selection", "counting", "permutations")  # fmt: skip
AGAIN = "-again"  # behind the name of a scale: with other seeds
OTHER_SEEDS = 1000  # what is added to each that is reported
SURE = {"V": "", "V2": " (quoted)", "R": " (read off a figure)", "M": " (from memory, unchecked)"}


class Number(NamedTuple):
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
        return f"{self.value}{self.unit}{SURE[self.sure]}"


class Found(NamedTuple):
    """A result with a record: what was published, and what came out; `again` with other seeds, where that was run."""

    name: str
    study: Study
    published: list[Number]
    lines: list[Line]
    verdicts: list[Verdict]
    again: list[Verdict]
    older: Sequence[Line] = ()  # those that the code as it is now would not take for its own
    again_older: int = 0  # how many there are with other seeds


def published(name: str) -> list[Number]:
    return [Number(**row) for row in record_files.read_table(PUBLISHED / f"{name}.csv")]


def load(name: str, others: Sequence[str] = ()) -> Study:
    """The study of a result, with every scale once more with other seeds, and `others` among its models."""
    models.one_of("--result", name, RESULTS)
    one = study.load(name)
    scales = {f"{scale}{AGAIN}": moved(found) for scale, found in one.scales.items()}
    return with_models(name, one._replace(scales={**one.scales, **scales}), others)


def moved(scale: Scale) -> Scale:
    """The same with other seeds; learning rates are chosen on the same as before, so these stay."""
    return scale._replace(seeds=tuple(seed + OTHER_SEEDS for seed in scale.seeds))


def with_models(name: str, one: Study, others: Sequence[str]) -> Study:
    """The study with these mixers as rows of their own, in the common skeleton, at the sizes that other such rows have.

    Raises ValueError where it varies no mixer.
    """
    for mixer in others:
        for part in models.pattern(mixer):
            models.one_of("--models", part, models.MIXERS)
    if not others:
        return one
    axis = mixers_axis(one)
    if axis is None:
        fitting = ", ".join(result for result in RESULTS if mixers_axis(study.load(result)))
        raise ValueError(f"--models: {name} varies something else than its mixer; give --models to {fitting}")

    def more(labels: Any) -> Any:
        if isinstance(labels, Mapping):
            return {**labels, **{mixer: {"mixer": mixer} for mixer in others if mixer not in labels}}
        return (*labels, *(mixer for mixer in others if mixer not in labels))

    scales = {
        key: scale._replace(vary={a: more(v) if a == axis else v for a, v in scale.vary.items()})
        for key, scale in one.scales.items()
    }
    labels = one.vary[axis] if isinstance(one.vary[axis], Mapping) else {}
    plain = [label for label, changes in labels.items() if set(changes) == {"mixer"}]
    without = [{**where, axis: mixer} for where in one.without if where.get(axis) in plain[:1] for mixer in others]
    return one._replace(vary={**one.vary, axis: more(one.vary[axis])}, scales=scales, without=[*one.without, *without])


def mixers_axis(one: Study) -> str | None:
    """The axis along which a study varies its mixer and nothing that a mixer can't have."""
    for axis in ("mixer", "model"):
        labels = one.vary.get(axis, {})
        alone = not isinstance(labels, Mapping) or not any(
            "model.encoder_decoder" in changes for changes in labels.values()
        )
        if labels and alone and (axis == "mixer" or any("mixer" in changes for changes in labels.values())):
            return axis
    return None


# ---- what came out --------------------------------------------------------------------------------------------------


def weakest(verdicts: Sequence[Verdict]) -> str:
    """The verdict of a result: that of the weakest of its claims."""
    order = ("not run", "not reproduced", "trend only", "proxy", "reproduced")
    return min((one.verdict for one in verdicts), key=order.index, default="not run")


def recorded(name: str, scale: str = "quick") -> Found | None:
    """What the records say of a result; None where it has none at this scale."""
    one = load(name)
    if not study_report.record(name, scale).exists():
        return None
    lines = study_report.recorded(name, one, scale)
    other, again, again_older = f"{scale}{AGAIN}", [], 0
    if study_report.record(name, other).exists():
        others = study_report.recorded(name, one, other)
        again, again_older = judge.judge(one, others, other), len(runner.older(others, one, one.scales[other]))
    verdicts, old = judge.judge(one, lines, scale), runner.older(lines, one, one.scales[scale])
    return Found(name, one, published(name), lines, verdicts, again, old, again_older)


def of_older_code(found: Found) -> str:
    """How many of its cells are; empty where none is."""
    told_of = f" {len(found.older)} of {len(found.lines)} cells are of older code" * bool(found.older)
    again = f" {found.again_older} cells with other seeds are of older code" * bool(found.again_older)
    return ";".join(filter(None, (told_of, again))) + "." * bool(told_of or again)


def said(found: Found) -> str:
    """The verdict with its sign, whether other seeds gave another, and a mark where it rests on older code."""
    verdict = weakest(found.verdicts)
    unstable = ", unstable" if found.again and weakest(found.again) != verdict else ""
    return f"{VERDICTS[verdict]} {verdict}{unstable}" + f" {OLDER}" * bool(found.older or found.again_older)


def ours(number: Number, lines: Sequence[Line]) -> tuple[str, str]:
    """What came out for a published number: mean with interval over seeds, and the best seed."""
    labels = setting_of(number, lines)
    if labels is None or not number.metric:
        return "–", "–"
    values = [v for v in judge.values(lines, labels, number.metric).values() if math.isfinite(v)]
    if not values:
        return "diverged", "–"
    cell = next(line.cell for line in lines if line.labels == labels)
    best = judge.best(cell)(values)
    told_best = f"{best:.3g}" if study.source(number.metric) in study.TRAINED else "–"
    found = judge.estimate(lines, labels, number.metric)
    if 0 < abs(found.mean) < 0.01:
        return f"{found.mean:.2g} [{found.low:.2g}, {found.high:.2g}]", told_best
    return format_interval(found), told_best


def setting_of(number: Number, lines: Sequence[Line]) -> Labels | None:
    return next((labels for labels in judge.each(lines) if told(labels) == number.setting), None)


def beside(found: Found) -> Table:
    """The published numbers of the overview and those that have one of ours, beside it."""
    here = [(one, ours(one, found.lines)) for one in found.published]
    some = [(one, mine) for one, mine in here if one.shown or mine[0] != "–"]
    rows = [[one.model, one.at or "–", str(one), one.where, *mine] for one, mine in some]
    header = ["model", "at", "published", "where", "here, mean", "here, best seed"]
    note = "Sizes, seeds and steps are not the paper's unless said, and accuracies here are shares, not per cent; – is "
    note += "what has no counterpart here."
    if left := len(found.published) - len(some):
        note += f" {left} more published numbers are in experiments/published/{found.name}.csv."
    return Table("Published, and here", header, rows, note)


def overview(some: Sequence[Found]) -> Table:
    rows = []
    for found in some:
        shown = [one for one in found.published if one.shown]
        theirs = "; ".join(f"{one.model}{f' at {one.at}' * bool(one.at)} {one}" for one in shown)
        mine = "; ".join(f"{one.model} {ours(one, found.lines)[0]}" for one in shown if setting_of(one, found.lines))
        where = found.verdicts[0].scale if found.verdicts else ""
        told_of = [found.name, found.study.question, found.study.paper]
        rows.append([*told_of, theirs, mine, said(found), where, minutes(found)])
    header = ["result", "question", "paper", "published", "here", "verdict", "scale", "minutes"]
    return Table("Twelve results", header, rows)


def short(some: Sequence[Found]) -> Table:
    """The README's: question and verdict of every result, those that were not run too."""
    there = {one.name: one for one in some}
    rows = [
        [f"`{name}`", load(name).question, said(there[name]), minutes(there[name])]
        if name in there
        else [f"`{name}`", load(name).question, f"{VERDICTS['not run']} not run", VERDICTS["not run"]]
        for name in RESULTS
    ]
    return Table("Twelve results", ["result", "question", "verdict", "minutes"], rows)


def minutes(found: Found) -> str:
    return f"{sum(float(line.cell['seconds']) for line in found.lines) / 60:.0f}"


def claims_table(found: Found) -> Table:
    again = [one.verdict for one in found.again] or ["– not run"] * len(found.verdicts)
    rows = [
        [f"{VERDICTS[one.verdict]} {one.verdict}", other, one.claim, one.evidence]
        for one, other in zip(found.verdicts, again, strict=True)
    ]
    return Table("Claims", ["verdict", "with other seeds", "claim, written before the run", "evidence"], rows)


def about(name: str) -> str:
    """The study's own words: what was done, and what is not as in the paper."""
    return (importlib.import_module(f"experiments.studies.{name}").__doc__ or "").strip()


def document(some: Sequence[Found]) -> str:
    """All results, in Markdown."""
    table, missing = overview(some), [name for name in RESULTS if name not in [one.name for one in some]]
    parts = ["# Twelve published results", "Made by `python -m experiments.reproduce --write` from the records in "
             "`experiments/records/studies/` and the published numbers in `experiments/published/`.",
             markdown(table.header, table.rows), "![One chart a result](reproduce.svg)"]  # fmt: skip
    parts += [f"Written, and not run yet: {', '.join(missing)}."] if missing else []
    for number, found in enumerate(some, 1):
        parts += [f"## {number}. {study_report.headline(found.name)}: {said(found)}", f"*{found.study.paper}*"]
        parts += [about(found.name)]
        for one in (beside(found), claims_table(found), study_report.summary(found.study, found.lines, found.older)):
            parts += [f"### {one.title}", markdown(one.header, one.rows), *([one.note] if one.note else [])]
        parts += [f"`python -m experiments.reproduce --result={found.name}` repeats it.{of_older_code(found)}"]
    return "\n\n".join(parts) + "\n"


def pictures(some: Sequence[Found]) -> list[Chart | Dots]:
    titles = [f"{number}. {study_report.headline(one.name)}" for number, one in enumerate(some, 1)]
    return [study_report.main_chart(one.study, one.lines, title) for one, title in zip(some, titles, strict=True)]


# ---- the command ----------------------------------------------------------------------------------------------------


def run(name: str, args: Any) -> None:
    """Run one result, print what was published beside it, and write what it gave."""
    one, folder = load(name, args.models), Path(args.workdir)
    scale = f"{args.scale}{AGAIN * bool(args.again)}"
    study.check(one, scale)
    print(f"{name}: {one.question}\n{one.paper}\n")
    lines = runner.run(one, one.scales[scale], folder, data_dir=args.data_dir, how=args.how or "auto",
                       say=partial(print, flush=True))  # fmt: skip
    print()
    verdicts, before = judge.judge(one, lines, scale), recorded(name, args.scale) if args.again else None
    found = Found(name, one, published(name), lines, verdicts, before.verdicts if before else [])
    for table in (beside(found), study_report.summary(one, lines)):
        print(html_report.columns(table), end="\n\n")
    for verdict in found.verdicts:
        print(verdict)
    print(f"{name}: {said(found)}")
    words = f"--result={name} --scale={args.scale}" + " --again" * bool(args.again)
    words += f" --models={','.join(args.models)}" * bool(args.models)
    files = study_report.write(name, one, scale, lines, folder, some=bool(args.models),
                           command=f"python -m experiments.reproduce {words}")  # fmt: skip
    if args.record:
        files.append(study_report.write_record(name, one, scale, lines))
    print("wrote " + ", ".join(map(str, files)) + "\n")


def write(some: Sequence[Found], scale: str) -> None:
    """docs/reproduce.md, its picture and README's table, and a page for reading. Raises ValueError, before anything is
    written, where a result that is shown now has no record at this scale."""
    table, again = short(some), f"python -m experiments.reproduce --result={{name}} --scale={scale} --record"
    html_report.publish(DOCS / "reproduce.md", document(some), pictures(some), 3, markdown(table.header, table.rows),
                   f"{again} (and once more with --again)")  # fmt: skip
    page = html_report.Report(
        title="Twelve published results",
        question="What of the published results on recurrence and attention can be had again?",
        summary=overview(some),
        sections=[
            html_report.Section(f"{study_report.headline(one.name)}: {said(one)}", about(one.name), [chart],
                           [beside(one), claims_table(one)])
            for one, chart in zip(some, pictures(some), strict=True)
        ],
        command="python -m experiments.reproduce --write",
    )  # fmt: skip
    files = [DOCS / "reproduce.md", DOCS / "reproduce.svg", html_report.write(page, "runs/reproduce.html")]
    print(f"wrote {', '.join(map(str, files))}, and the table in {html_report.README}")


def main() -> None:
    args: Any = flags.FLAGS
    names = RESULTS if args.all else (args.result,) if args.result else ()
    if args.record and args.models:
        raise ValueError("--record: writes the result as it is defined, so it goes without --models")
    if not names and (args.models or args.again or args.record):
        raise ValueError("--models, --again and --record are of a run: give --result=NAME or --all too")
    models.one_of("--scale", args.scale, list(dict.fromkeys(s for one in RESULTS for s in study.load(one).scales)))
    for name in names:
        load(name, args.models)  # all that is wrong is said before the first is run
    for name in names:
        run(name, args)
    if names and not (args.all and args.record):
        return
    some = [found for name in RESULTS if (found := recorded(name, args.scale))]
    if args.write or args.all:
        write(some, args.scale)
    rows = {found.name: [said(found), found.study.paper] for found in some}
    for name in RESULTS:
        verdict, paper = rows.get(name, ["– not run", study.load(name).paper])
        print(f"{name:<14} {verdict:<28} {study.load(name).question}\n{'':<14} {paper}")


if __name__ == "__main__":
    flags.DEFINE_string("result", None, f"Which one: {', '.join(RESULTS)}.")
    flags.DEFINE_string("scale", "quick", "smoke, quick, standard or full: how many seeds, rates and steps.")
    flags.DEFINE_list("models", [], "Mixers to be run beside those of the paper.")
    flags.DEFINE_bool("again", False, "With other seeds, at the learning rates chosen before.")
    flags.DEFINE_bool("all", False, "Every result, one after the other, and the page.")
    flags.DEFINE_bool("record", False, "Write the record in experiments/records/studies/ too.")
    flags.DEFINE_bool("write", False, "Write the page and docs/reproduce.md with its picture, and run nothing.")
    cli.define_directory("workdir", "runs/studies", "Where results are kept, of all studies together.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    flags.DEFINE_enum("how", None, ["auto", "map", "vmap", "measured"], "How replicas run; auto unless given.")
    cli.run(main)
