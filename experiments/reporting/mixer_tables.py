"""Tables and pictures of the studies `compare`, `compare_cost` and `mixers`: mixers side by side on a few tasks."""

import math
from collections.abc import Sequence

from experiments.ablation import study, trial_scores
from experiments.ablation.record_table import outdated_note, outdated_records
from experiments.ablation.trials import TrialRecord
from experiments.reporting.charts import render_charts
from experiments.reporting.comparison_report import (
    axis_labels,
    mixers_table,
    pairs_chart,
    score_cell,
    time_chart,
)
from experiments.reporting.html_report import Table, markdown_table
from experiments.reporting.publishing import Publication
from experiments.reporting.study_charts import best_setting, score_charts
from experiments.reporting.study_report import read_study_record

TASK_TITLES = {
    "recall": "recall of 8 pairs",
    "shakespeare": "Shakespeare",
    "one vector": "translation through one vector",
    "copy memory": "copy memory, 20 steps",
}
MIXER_TITLES = {"lstm": "LSTM", "gru": "GRU", "rnn": "Elman RNN", "dense": "dense window"}
STATE_NOTES = {"attention": " and growing", "dense": ", a fixed window"}


# ---- compare --------------------------------------------------------------------------------------------------------


def compare_table(trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> Table:
    """Tabulate mixers by tasks, the best mean of a task in bold, with chance and the trivial rule below."""
    trials, outdated = trial_scores.reported_records(trials), trial_scores.reported_records(outdated)
    marked, note = [trial.labels for trial in outdated], outdated_note(len(outdated), len(trials))
    tasks, mixers = axis_labels(trials, "task"), axis_labels(trials, "mixer")
    by_task = {task: next(trial.result for trial in trials if trial.labels["task"] == task) for task in tasks}
    header = ["mixer", *(_task_header(task, by_task[task]["metric"]) for task in tasks), "state, floats"]
    best = [best_setting(trials, [{"task": task, "mixer": mixer} for mixer in mixers]) for task in tasks]
    rows = []
    for mixer in mixers:
        settings = [{"task": task, "mixer": mixer} for task in tasks]
        cells = [score_cell(trials, setting, marked, bold=setting in best) for setting in settings]
        floats = next(int(trial.result["state_floats"]) for trial in trials if trial.labels["mixer"] == mixer)
        rows.append([MIXER_TITLES.get(mixer, mixer), *cells, f"{floats:,}{STATE_NOTES.get(mixer, '')}"])
    limits = [f"*{_format_chance(by_task[task]['chance'])}; {by_task[task]['baseline'][1]:.3g}*" for task in tasks]
    rows.append(["*chance; simple rule*", *limits, ""])
    seeds = len({trial.seed for trial in trials})
    text = (
        f"Test score at the best validation step, mean and 95 % interval over {seeds} seeds; the best mean is in bold. "
        f"The state is that of the {tasks[0]} network; attention's is its cache of keys and values."
    )
    return Table("Five mixers, one skeleton", header, rows, f"{text} {note}".rstrip())


def _task_header(task: str, metric: str) -> str:
    title = TASK_TITLES.get(task, task)
    return title if metric == "accuracy" else f"{title}, {metric}"


def _format_chance(chance: float) -> str:
    return f"{chance:.3g}" if math.isfinite(chance) else "–"


def build_compare() -> Publication:
    """Return the table of `make compare` and README's picture, from the records of compare and compare_cost."""
    loaded = study.load_study("compare")
    trials = read_study_record("compare", loaded, "quick")
    outdated = outdated_records(trials, loaded, loaded.scales["quick"])
    recall = read_study_record("compare", loaded, "recall")
    cost = read_study_record("compare_cost", study.load_study("compare_cost"), "quick")
    pairs = pairs_chart(loaded, "recall", recall)
    assert pairs  # the scale has several
    charts = [*score_charts(trials, "task", TASK_TITLES), pairs, time_chart(cost)]
    table = compare_table(trials, outdated)
    return {
        "compare": f"{markdown_table(table.header, table.rows)}\n\n{table.note}",
        "docs/results/compare.svg": render_charts(charts, "svg", name="compare"),
    }


# ---- mixers, and the chosen rates -----------------------------------------------------------------------------------


def build_mixers() -> Publication:
    """Return the table of all mixers, from the record of the study `mixers`."""
    loaded = study.load_study("mixers")
    trials = read_study_record("mixers", loaded, "quick")
    outdated = outdated_records(trials, loaded, loaded.scales["quick"])
    note = outdated_note(len(outdated), len(trials))
    return {"mixers": f"{mixers_table(trials, TASK_TITLES, outdated)}\n\n{note}"}


def learning_rates_table(trials: Sequence[TrialRecord]) -> Table:
    """Tabulate the learning rate that was chosen for every mixer on every task."""
    trials = trial_scores.reported_records(trials)
    tasks, rows = axis_labels(trials, "task"), []
    for mixer in axis_labels(trials, "mixer"):
        cells = []
        for task in tasks:
            rates = {t.learning_rate for t in trials if t.labels == {"task": task, "mixer": mixer}}
            cells.append(", ".join(f"{rate:g}" for rate in sorted(rates)) or "–")
        rows.append([mixer.replace(",", " + "), *cells])
    return Table("Chosen learning rates", ["mixer", *tasks], rows)


def build_learning_rates() -> Publication:
    """Return the chosen learning rates of `compare` and `mixers`, from their records."""
    parts = []
    for name in ("compare", "mixers"):
        table = learning_rates_table(read_study_record(name, study.load_study(name), "quick"))
        parts += [f"`{name}`:", markdown_table(table.header, table.rows)]
    return {"learning_rates": "\n\n".join(parts)}
