"""What was published on recurrence and attention beside what came out here, from records: verdicts, costs, tables."""

import importlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from experiments.ablation import trial_scores, verdicts
from experiments.ablation.looks import parse_looks
from experiments.ablation.record_table import OUTDATED_MARK, outdated_records
from experiments.ablation.study import Study
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import VERDICT_SIGNS, Verdict
from experiments.reporting.html_report import Report, Section, Table
from experiments.reporting.published_charts import published_charts
from experiments.reporting.published_numbers import (
    PublishedNumber,
    format_counterpart,
    measured_values,
    read_published,
)
from experiments.reporting.result_studies import OTHER_SEEDS_SUFFIX, RESULT_NAMES, load_result
from experiments.reporting.study_charts import main_chart, study_title
from experiments.reporting.study_report import read_study_record, record_path

# The weakest first.
VERDICT_ORDER = ("not run", "contradicted", "smaller than claimed", "undecided", "proxy", "reproduced")
NOT_RUN = f"{VERDICT_SIGNS['not run']} not run"


class ReproducedResult(NamedTuple):
    """A result with a record: what was published and what came out here.

    `other_seeds` are the verdicts of a second run with other seeds, and `other_trials` its trials, both empty without
    one; `outdated` are the trials of an older version of the code, and `other_seeds_outdated` counts them in the second
    run.
    """

    name: str
    study: Study
    published: list[PublishedNumber]
    trials: list[TrialRecord]
    verdicts: list[Verdict]
    other_seeds: list[Verdict]
    outdated: Sequence[TrialRecord] = ()
    other_seeds_outdated: int = 0
    other_trials: Sequence[TrialRecord] = ()


def read_result(name: str, scale: str = "quick") -> ReproducedResult | None:
    """Return what the records say of a result, or None where it has no record at this scale."""
    loaded = load_result(name)
    if not record_path(name, scale).exists():
        return None
    trials = read_study_record(name, loaded, scale)
    judged = verdicts.judge_claims(loaded, trials, scale)
    outdated = outdated_records(trials, loaded, loaded.scales[scale])
    result = ReproducedResult(name, loaded, read_published(name), trials, judged, [], outdated)
    other_scale = f"{scale}{OTHER_SEEDS_SUFFIX}"
    if not record_path(name, other_scale).exists():
        return result
    others = read_study_record(name, loaded, other_scale)
    return result._replace(
        other_seeds=verdicts.judge_claims(loaded, others, other_scale),
        other_seeds_outdated=len(outdated_records(others, loaded, loaded.scales[other_scale])),
        other_trials=others,
    )


# ---- verdicts and costs ---------------------------------------------------------------------------------------------


def weakest_verdict(judged: Sequence[Verdict]) -> str:
    """Return the verdict on a result: that of the weakest of its claims."""
    return min((one.verdict for one in judged), key=VERDICT_ORDER.index, default="not run")


def signed_verdict(judged: Sequence[Verdict]) -> str:
    """Return the verdict on a result with its sign."""
    verdict = weakest_verdict(judged)
    return f"{VERDICT_SIGNS[verdict]} {verdict}"


def is_reversed(first: Verdict, second: Verdict) -> bool:
    """Return whether both verdicts on a claim are decided, and differ."""
    return first.verdict != second.verdict and not {first.verdict, second.verdict} & {"undecided", "not run"}


def unstable_claims(result: ReproducedResult) -> list[Verdict]:
    """Return the verdicts, with other seeds, on the claims that those decide otherwise."""
    pairs = zip(result.verdicts, result.other_seeds, strict=False)
    return [other for first, other in pairs if is_reversed(first, other)]


def verdict_label(result: ReproducedResult) -> str:
    """Return the verdict with its sign, "unstable" if other seeds decide a claim otherwise, and a mark if trials are
    outdated."""
    label = signed_verdict(result.verdicts)
    if unstable_claims(result):
        label += ", unstable"
    return f"{label} {OUTDATED_MARK}" if result.outdated or result.other_seeds_outdated else label


def verdict_sentence(result: ReproducedResult) -> str:
    """Return the verdict and its reason: the weakest claim with its evidence, and what other seeds say."""
    verdict, total = weakest_verdict(result.verdicts), len(result.verdicts)
    weakest = [one for one in result.verdicts if one.verdict == verdict]
    if not weakest:
        return f"**{NOT_RUN}**, because it has no claim yet."
    seeds = count_seeds(result.trials)
    count = "its one claim" if total == 1 else f"{len(weakest)} of its {total} claims"
    case = f"“{weakest[0].claim}” ({weakest[0].evidence})"
    such_as = f"{count}: {case}" if len(weakest) == 1 else f"{count}, such as {case}"
    reason = {
        "reproduced": f"each of its {total} claims surely holds"
        if total > 1
        else f"its one claim surely holds: {case}",
        "proxy": f"what is claimed surely holds, but of something smaller, which stands in for {result.study.proxy}",
        "undecided": f"{seeds} seed{'s' * (seeds > 1)} do{'es' * (seeds == 1)} not decide {such_as}",
        "smaller than claimed": f"what is seen has the claimed sign and surely misses the claimed size in {such_as}",
        "contradicted": f"what is seen surely contradicts {such_as}",
        "not run": f"seeds or settings are missing for {such_as}",
    }[verdict]
    if unstable := unstable_claims(result):
        reason += f"; unstable, because with other seeds “{unstable[0].claim}” is {unstable[0].verdict}"
    elif result.other_seeds:
        other = weakest_verdict(result.other_seeds)
        reason += "; other seeds say the same" if other == verdict else f"; with other seeds it is {other}"
    return f"**{VERDICT_SIGNS[verdict]} {verdict.capitalize()}**, because {reason}."


def outdated_trials_note(result: ReproducedResult) -> str:
    """Return how many of its trials are outdated, as a sentence; empty where none is."""
    notes = []
    if result.outdated:
        notes.append(f"{len(result.outdated)} of {len(result.trials)} cells are of older code")
    if result.other_seeds_outdated:
        notes.append(f"{result.other_seeds_outdated} cells with other seeds are of older code")
    return f"{'; '.join(notes)}." if notes else ""


def count_seeds(trials: Sequence[TrialRecord]) -> int:
    """Return how many seeds are reported."""
    return len({trial.seed for trial in trial_scores.reported_records(trials)})


def compute_minutes(trials: Sequence[TrialRecord]) -> str:
    """Return how many minutes the trials took, "–" where a record does not say."""
    minutes = sum(float(trial.result["seconds"]) for trial in trials) / 60
    return f"{minutes:.0f}" if minutes >= 1 else "under 1" if minutes > 0 else "–"


def repeat_commands(result: ReproducedResult) -> list[str]:
    """Return the command that repeats a result, and, if that was run, the one with other seeds."""
    commands = []
    for trials, flag in ((result.trials, ""), (result.other_trials, " --other_seeds")):
        looks = parse_looks(trial.result.get("looks", "") for trial in trials)
        until = " --until=decided" if looks else ""
        if trials:
            commands.append(f".venv/bin/python -m experiments.reproduce --result={result.name}{flag}{until}")
    return commands


def cost_sentence(result: ReproducedResult) -> str:
    """Return what the commands of `repeat_commands` took: minutes, seeds, and devices as recorded."""
    costs = []
    for trials in filter(None, (result.trials, result.other_trials)):
        where = dict.fromkeys(f"{trial.result['how']} ({trial.result['device']})" for trial in trials)
        minutes, seeds = compute_minutes(trials), count_seeds(trials)
        cost = f"{minutes} minute{'s' * (minutes not in ('1', 'under 1'))} for {seeds} seed{'s' * (seeds > 1)}"
        costs.append(f"{cost}, {' and '.join(where)}")
    return f"Measured: {'; with other seeds '.join(costs)}."


# ---- tables ---------------------------------------------------------------------------------------------------------


def published_table(result: ReproducedResult) -> Table:
    """Tabulate the published numbers of the overview, and those that have a counterpart, beside ours."""
    numbers = [(number, measured_values(number, result.trials)) for number in result.published]
    shown = [(number, ours) for number, ours in numbers if number.shown or ours[0] != "–"]
    rows = []
    for number, (_, best) in shown:
        theirs = [number.model, number.condition or "–", str(number), number.source or "–"]
        rows.append([*theirs, format_counterpart(number, result.trials), best])
    header = ["model", "at", "published", "where", "here", "here, best seed"]
    note = "Here is the mean over seeds, or the best seed where the paper reports its best run. Sizes, seeds and steps "
    note += "are not the paper's unless said, and accuracies here are shares, not per cent; – is what has no "
    note += "counterpart here."
    if left := len(result.published) - len(shown):
        note += f" {left} more published numbers are in experiments/published/{result.name}.csv."
    return Table("Published, and here", header, rows, note)


def short_paper(paper: str) -> str:
    """Return authors and year of a paper, or of several with ";" between: "Schlag et al. 2021"."""
    short = []
    for one in paper.split(";"):
        authors = re.match(r"\s*(.+?\b(?:19|20)\d\d)\b", one)
        text = authors[1] if authors else one.strip()
        short.append(re.sub(r"^([^,]+), .* and .* (\d{4})$", r"\1 et al. \2", text))
    return "; ".join(short)


def overview_table(results: Sequence[ReproducedResult]) -> Table:
    """Tabulate all results in short cells: question, paper, verdict, that with other seeds, and minutes."""
    by_name = {result.name: result for result in results}
    rows = []
    for name in RESULT_NAMES:
        result = by_name.get(name)
        loaded = result.study if result else load_result(name)
        row = [name, loaded.question, short_paper(loaded.paper)]
        if result:
            others = signed_verdict(result.other_seeds) if result.other_seeds else NOT_RUN
            rows.append([*row, verdict_label(result), others, compute_minutes(result.trials)])
        else:
            rows.append([*row, f"{NOT_RUN} yet", NOT_RUN, "–"])
    header = ["result", "question", "paper", "verdict", "with other seeds", "minutes"]
    return Table(f"{len(RESULT_NAMES)} results", header, rows)


def result_claims_table(result: ReproducedResult) -> Table:
    """Tabulate a result's claims with their verdicts, with other seeds too, and the evidence."""
    others = [one.verdict for one in result.other_seeds] or [NOT_RUN] * len(result.verdicts)
    rows = [
        [f"{VERDICT_SIGNS[one.verdict]} {one.verdict}", other, one.claim, one.evidence]
        for one, other in zip(result.verdicts, others, strict=True)
    ]
    return Table("Claims", ["verdict", "with other seeds", "claim, written before the run", "evidence"], rows)


# ---- one page for reading -------------------------------------------------------------------------------------------


def study_docstring(name: str) -> str:
    """Return the study's own description: what was done, and what differs from the paper."""
    return (importlib.import_module(f"experiments.studies.{name}").__doc__ or "").strip()


def results_report(results: Sequence[ReproducedResult]) -> Report:
    """Return all results as one page for reading."""
    sections = []
    for result in results:
        title = study_title(result.name)
        charts = [
            *published_charts(result.published, result.trials),
            main_chart(result.study, result.trials, title),
        ]
        tables = [published_table(result), result_claims_table(result)]
        heading = f"{title}: {verdict_label(result)}"
        sections.append(Section(heading, study_docstring(result.name), charts, tables))
    return Report(
        title=f"{len(RESULT_NAMES)} published results",
        question="Which published results on recurrence and attention can be reproduced?",
        summary=overview_table(results),
        sections=sections,
        command="python -m experiments.reproduce --all",
    )
