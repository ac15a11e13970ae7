"""The scorecard: every mixer against what was wanted of a model of sequences, from the records of four studies."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from experiments.ablation import study, trial_scores
from experiments.ablation.intervals import format_interval
from experiments.ablation.record_table import OUTDATED_MARK, outdated_note, outdated_records
from experiments.ablation.trials import TrialRecord
from experiments.reporting.comparison_report import step_exponent
from experiments.reporting.html_report import markdown_table
from experiments.reporting.publishing import Publication
from experiments.reporting.study_report import read_study_record

Trials = Mapping[str, Sequence[TrialRecord]]  # study → its trials

SCORECARD_STUDIES = ("score_cost", "score_memory", "score_context")
RECALL = "mixers"  # the study whose task "recall" gives a column of the scorecard
SCORECARD_HEADER = [
    *("mixer", "µs a token at 128", "at 2,048", "state at 2,048, floats", "step time ∝ length^", "chain at 512"),
    *("recall of 8 pairs", "ten digits after 54 steps", "gradient from 64 back", "2 words by one vector", "12 words"),
    "shuffled",
]


def read_scorecard_records(scale: str) -> dict[str, list[TrialRecord]]:
    """Return the trials behind the scorecard by study: all of the three studies', and of `mixers` those of recall."""
    trials = {name: read_study_record(name, study.load_study(name), scale) for name in SCORECARD_STUDIES}
    return trials | {RECALL: read_recall_trials()}


def read_recall_trials() -> list[TrialRecord]:
    """Return the reported trials of recall of 8 pairs, of which there is one record for all scales."""
    trials = trial_scores.reported_records(read_study_record(RECALL, study.load_study(RECALL), "quick"))
    return [trial for trial in trials if trial.labels["task"] == "recall"]


def scorecard_row(mixer: str, trials: Trials) -> list[str]:
    """Return a mixer's figures: means over seeds, with an interval where there are several seeds."""

    def mean(name: str, metric: str, form: str = "{:.2f}", factor: float = 1.0) -> str:
        estimate = trial_scores.estimate_metric(trials[name], {"mixer": mixer}, metric)
        return form.format(factor * estimate.mean) if estimate.n else "–"

    def interval(name: str, metric: str, **labels: str) -> str:
        estimate = trial_scores.estimate_metric(trials[name], {**labels, "mixer": mixer}, metric)
        return format_interval(estimate, 2) if estimate.n else "–"

    cost = [trial for trial in trial_scores.reported_records(trials["score_cost"]) if trial.labels == {"mixer": mixer}]
    return [
        mean("score_cost", "stream time@128", "{:,.0f}", 1e6),
        mean("score_cost", "stream time@2048", "{:,.0f}", 1e6),
        mean("score_cost", "state@2048", "{:,.0f}"),
        format_interval(step_exponent(trials["score_cost"], mixer), 2) if cost else "–",
        mean("score_cost", "step depth@512", "{:,.0f}"),
        interval(RECALL, "test", task="recall"),
        interval("score_memory", "test"),
        mean("score_memory", "reach@64", "{:.2g}"),
        mean("score_context", "test@2"),
        mean("score_context", "test@12"),
        mean("score_memory", "permuted"),
    ]


def scorecard_table(trials: Trials, outdated: Collection[str] = ()) -> str:
    """Return the scorecard in Markdown, with a mark at mixers of which some trials are `outdated`."""
    mixers = dict.fromkeys(trial.labels["mixer"] for trial in trial_scores.reported_records(trials["score_cost"]))
    rows = []
    for mixer in mixers:
        label = mixer.replace(",", " + ")
        rows.append([f"{label} {OUTDATED_MARK}" if mixer in outdated else label, *scorecard_row(mixer, trials)])
    return markdown_table(SCORECARD_HEADER, rows)


def count_outdated_trials(trials: Trials, scale: str) -> Counter[str]:
    """Return for each mixer how many of the trials behind its row are of an older version of the code."""
    counts: Counter[str] = Counter()
    for name, some in trials.items():
        loaded = study.load_study(name)
        size = loaded.scales["quick" if name == RECALL else scale]
        counts.update(trial.labels["mixer"] for trial in outdated_records(some, loaded, size))
    return counts


def format_scorecard(trials: Trials, scale: str) -> str:
    """Return the scorecard and the note on outdated trials."""
    outdated = count_outdated_trials(trials, scale)
    note = outdated_note(sum(outdated.values()), sum(map(len, trials.values())))
    return f"{scorecard_table(trials, outdated)}\n\n{note}".rstrip()


def build_scorecard() -> Publication:
    """Return the scorecard at quick scale."""
    return {"scorecard": format_scorecard(read_scorecard_records("quick"), "quick")}
