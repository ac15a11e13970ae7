"""What was published on recurrence and attention beside what came out here: tables, page and pictures, from records."""

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.ablation import record_files, study, trial_scores, verdicts
from experiments.ablation.intervals import format_interval
from experiments.ablation.record_table import OUTDATED_MARK, outdated_records
from experiments.ablation.study import Labels, Study, format_labels
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import VERDICT_SIGNS, Verdict
from experiments.reporting.charts import render_charts
from experiments.reporting.html_report import Report, Section, Table, markdown_table
from experiments.reporting.publishing import Publication
from experiments.reporting.result_studies import OTHER_SEEDS_SUFFIX, RESULT_NAMES, load_result
from experiments.reporting.study_charts import main_chart, study_title
from experiments.reporting.study_report import read_study_record, record_path, settings_table

PUBLISHED_DIR = Path(__file__).parents[1] / "published"
FOLDER = "docs/results/studies"  # of the pictures
CONFIDENCE_NOTES = {
    "V": "",
    "V2": " (quoted)",
    "R": " (read off a figure)",
    "H": " (read off a figure, hidden marker)",
    "A": " (an axis, not a figure)",
    "M": " (from memory, unchecked)",
    "U": " (unverifiable)",
}
# The weakest first.
VERDICT_ORDER = ("not run", "contradicted", "smaller than claimed", "undecided", "proxy", "reproduced")


class PublishedNumber(NamedTuple):
    """A published number of a `model` under a `condition` such as a size, with its `source` in the paper.

    `confidence` is one of `CONFIDENCE_NOTES`. `setting` and `metric` name our counterpart, and are empty where there is
    none. `shown` is not empty for what the overview shows.
    """

    model: str
    condition: str
    value: str
    unit: str
    confidence: str
    source: str
    setting: str
    metric: str
    shown: str

    def __str__(self) -> str:
        return f"{self.value}{self.unit}{CONFIDENCE_NOTES[self.confidence]}"


class ReproducedResult(NamedTuple):
    """A result with a record: what was published and what came out here.

    `other_seeds` are the verdicts of a second run with other seeds, empty without one; `outdated` are the trials of an
    older version of the code, and `other_seeds_outdated` counts them in the second run.
    """

    name: str
    study: Study
    published: list[PublishedNumber]
    trials: list[TrialRecord]
    verdicts: list[Verdict]
    other_seeds: list[Verdict]
    outdated: Sequence[TrialRecord] = ()
    other_seeds_outdated: int = 0


def read_published(name: str) -> list[PublishedNumber]:
    """Return a result's published numbers, from experiments/published/."""
    return [PublishedNumber(**row) for row in record_files.read_unsigned_table(PUBLISHED_DIR / f"{name}.csv")]


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
    )


# ---- verdicts and numbers -------------------------------------------------------------------------------------------


def weakest_verdict(judged: Sequence[Verdict]) -> str:
    """Return the verdict on a result: that of the weakest of its claims."""
    return min((one.verdict for one in judged), key=VERDICT_ORDER.index, default="not run")


def is_reversed(first: Verdict, second: Verdict) -> bool:
    """Return whether both verdicts on a claim are decided, and differ."""
    return first.verdict != second.verdict and not {first.verdict, second.verdict} & {"undecided", "not run"}


def verdict_label(result: ReproducedResult) -> str:
    """Return the verdict with its sign, "unstable" if other seeds decide a claim otherwise, and a mark if trials are
    outdated."""
    verdict = weakest_verdict(result.verdicts)
    label = f"{VERDICT_SIGNS[verdict]} {verdict}"
    if any(is_reversed(*pair) for pair in zip(result.verdicts, result.other_seeds, strict=False)):
        label += ", unstable"
    return f"{label} {OUTDATED_MARK}" if result.outdated or result.other_seeds_outdated else label


def outdated_trials_note(result: ReproducedResult) -> str:
    """Return how many of its trials are outdated, as a sentence; empty where none is."""
    notes = []
    if result.outdated:
        notes.append(f"{len(result.outdated)} of {len(result.trials)} cells are of older code")
    if result.other_seeds_outdated:
        notes.append(f"{result.other_seeds_outdated} cells with other seeds are of older code")
    return f"{'; '.join(notes)}." if notes else ""


def matching_setting(number: PublishedNumber, trials: Sequence[TrialRecord]) -> Labels | None:
    """Return the setting that is our counterpart of a published number."""
    settings = trial_scores.distinct_settings(trials)
    return next((labels for labels in settings if format_labels(labels) == number.setting), None)


def measured_values(number: PublishedNumber, trials: Sequence[TrialRecord]) -> tuple[str, str]:
    """Return our counterpart of a published number: mean with interval over seeds, and the best seed."""
    labels = matching_setting(number, trials)
    if labels is None or not number.metric:
        return "–", "–"
    values = [v for v in trial_scores.values_by_seed(trials, labels, number.metric).values() if math.isfinite(v)]
    if not values:
        return "diverged", "–"
    best = "–"
    if study.base_metric(number.metric) in study.SCORE_METRICS:
        result = next(trial.result for trial in trials if trial.labels == labels)
        best = f"{trial_scores.max_or_min(result)(values):.3g}"
    estimate = trial_scores.estimate_metric(trials, labels, number.metric)
    if 0 < abs(estimate.mean) < 0.01:
        return f"{estimate.mean:.2g} [{estimate.low:.2g}, {estimate.high:.2g}]", best
    return format_interval(estimate), best


def compute_minutes(result: ReproducedResult) -> str:
    """Return how many minutes the trials took."""
    return f"{sum(float(trial.result['seconds']) for trial in result.trials) / 60:.0f}"


# ---- tables ---------------------------------------------------------------------------------------------------------


def published_table(result: ReproducedResult) -> Table:
    """Tabulate the published numbers of the overview, and those that have a counterpart, beside ours."""
    numbers = [(number, measured_values(number, result.trials)) for number in result.published]
    shown = [(number, ours) for number, ours in numbers if number.shown or ours[0] != "–"]
    rows = [[number.model, number.condition or "–", str(number), number.source, *ours] for number, ours in shown]
    header = ["model", "at", "published", "where", "here, mean", "here, best seed"]
    note = "Sizes, seeds and steps are not the paper's unless said, and accuracies here are shares, not per cent; – is "
    note += "what has no counterpart here."
    if left := len(result.published) - len(shown):
        note += f" {left} more published numbers are in experiments/published/{result.name}.csv."
    return Table("Published, and here", header, rows, note)


def overview_table(results: Sequence[ReproducedResult]) -> Table:
    """Tabulate the results: question, paper, the published numbers, ours, and the verdict."""
    rows = []
    for result in results:
        shown = [number for number in result.published if number.shown]
        theirs = [f"{n.model} at {n.condition} {n}" if n.condition else f"{n.model} {n}" for n in shown]
        ours = [
            f"{number.model} {measured_values(number, result.trials)[0]}"
            for number in shown
            if matching_setting(number, result.trials)
        ]
        scale = result.verdicts[0].scale if result.verdicts else ""
        row = [result.name, result.study.question, result.study.paper, "; ".join(theirs), "; ".join(ours)]
        rows.append([*row, verdict_label(result), scale, compute_minutes(result)])
    header = ["result", "question", "paper", "published", "here", "verdict", "scale", "minutes"]
    return Table("Twelve results", header, rows)


def verdicts_table(results: Sequence[ReproducedResult]) -> Table:
    """Tabulate question, verdict and minutes of every result, including those that were not run."""
    by_name = {result.name: result for result in results}
    rows = []
    for name in RESULT_NAMES:
        row = [f"`{name}`", load_result(name).question]
        if name in by_name:
            rows.append([*row, verdict_label(by_name[name]), compute_minutes(by_name[name])])
        else:
            rows.append([*row, f"{VERDICT_SIGNS['not run']} not run", VERDICT_SIGNS["not run"]])
    return Table("Twelve results", ["result", "question", "verdict", "minutes"], rows)


def result_claims_table(result: ReproducedResult) -> Table:
    """Tabulate a result's claims with their verdicts, with other seeds too, and the evidence."""
    others = [one.verdict for one in result.other_seeds] or ["– not run"] * len(result.verdicts)
    rows = [
        [f"{VERDICT_SIGNS[one.verdict]} {one.verdict}", other, one.claim, one.evidence]
        for one, other in zip(result.verdicts, others, strict=True)
    ]
    return Table("Claims", ["verdict", "with other seeds", "claim, written before the run", "evidence"], rows)


# ---- pages ----------------------------------------------------------------------------------------------------------


def study_docstring(name: str) -> str:
    """Return the study's own description: what was done, and what differs from the paper."""
    return (importlib.import_module(f"experiments.studies.{name}").__doc__ or "").strip()


def results_page(results: Sequence[ReproducedResult]) -> str:
    """Return the overview and a section for each result, in Markdown."""
    table = verdicts_table(results)
    parts = [markdown_table(table.header, table.rows)]
    if missing := [name for name in RESULT_NAMES if name not in [result.name for result in results]]:
        parts.append(f"Written, and not run yet: {', '.join(missing)}.")
    overview = overview_table(results)
    parts += ["## Published and measured", markdown_table(overview.header, overview.rows)]
    for number, result in enumerate(results, 1):
        title = study_title(result.name)
        parts += [f"## {number}. {title}: {verdict_label(result)}", f"*{result.study.paper}*"]
        parts += [study_docstring(result.name), f"![{title}](studies/{result.name}.svg)"]
        settings = settings_table(result.study, result.trials, result.outdated, keep_empty=True)
        for part in (published_table(result), result_claims_table(result), settings):
            parts += [f"### {part.title}", markdown_table(part.header, part.rows), *([part.note] if part.note else [])]
        repeat = f"`python -m experiments.reproduce --result={result.name}` repeats it."
        parts.append(f"{repeat} {outdated_trials_note(result)}".rstrip())
    return "\n\n".join(parts)


def results_report(results: Sequence[ReproducedResult]) -> Report:
    """Return all results as one page for reading."""
    sections = []
    for result in results:
        title = study_title(result.name)
        chart = main_chart(result.study, result.trials, title)
        tables = [published_table(result), result_claims_table(result)]
        heading = f"{title}: {verdict_label(result)}"
        sections.append(Section(heading, study_docstring(result.name), [chart], tables))
    return Report(
        title="Twelve published results",
        question="Which published results on recurrence and attention can be reproduced?",
        summary=overview_table(results),
        sections=sections,
        command="python -m experiments.reproduce --all",
    )


def build_results() -> Publication:
    """Return the page and the pictures of the published results."""
    results = [result for name in RESULT_NAMES if (result := read_result(name))]
    pictures = {
        f"{FOLDER}/{result.name}.svg": render_charts(
            main_chart(result.study, result.trials, study_title(result.name)), "svg", name=result.name
        )
        for result in results
    }
    return {"reproduce": results_page(results), **pictures}
