"""Tables and pictures of the studies `compare`, `compare_cost` and `mixers`: mixers side by side on a few tasks."""

import math
from collections.abc import Sequence

from experiments.ablation import study, verdicts
from experiments.ablation.intervals import format_interval
from experiments.ablation.record_table import OUTDATED_MARK, outdated_note, outdated_records
from experiments.ablation.study import Labels
from experiments.ablation.trials import TrialRecord
from experiments.reporting.charts import LineChart, interval_series, render_charts
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


def task_labels(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the tasks of a study whose axes are task and mixer, in the order of its grid."""
    return list(dict.fromkeys(trial.labels["task"] for trial in trials))


def mixer_labels(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the mixers of a study, in the order of its grid."""
    return list(dict.fromkeys(trial.labels["mixer"] for trial in trials))


def score_cell(
    trials: Sequence[TrialRecord], setting: Labels, outdated: Sequence[Labels], *, bold: bool = False
) -> str:
    """Return a setting's score with its interval, how many seeds diverged, and a mark if it is outdated."""
    own = [trial for trial in verdicts.reported_records(trials) if trial.labels == setting]
    if not own:
        return "not run"
    estimate = verdicts.estimate_metric(own, setting, "test")
    cell = format_interval(estimate) if estimate.n else ""
    if diverged := sum(trial.result["died_at"] is not None for trial in own):
        cell = f"{cell} ({diverged} of {len(own)} diverged)".strip()
    cell = f"**{cell}**" if bold else cell
    return f"{cell} {OUTDATED_MARK}" if setting in outdated else cell


# ---- compare --------------------------------------------------------------------------------------------------------


def compare_table(trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> Table:
    """Tabulate mixers by tasks, the best mean of a task in bold, with chance and the trivial rule below."""
    marked, note = [trial.labels for trial in outdated], outdated_note(len(outdated), len(trials))
    trials = verdicts.reported_records(trials)
    tasks, mixers = task_labels(trials), mixer_labels(trials)
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


def pairs_chart(trials: Sequence[TrialRecord]) -> LineChart:
    """Draw accuracy against the number of pairs, from tasks named "recall 2", "recall 4" and so on."""
    trials = [trial for trial in verdicts.reported_records(trials) if trial.labels["task"].startswith("recall ")]
    pairs = {int(task.split()[1]): task for task in task_labels(trials)}
    series = []
    for mixer in mixer_labels(trials):
        estimates = [verdicts.estimate_metric(trials, {"task": t, "mixer": mixer}, "test") for t in pairs.values()]
        series.append(interval_series(mixer, list(pairs), estimates))
    chance = [("chance", trials[0].result["chance"])]
    return LineChart("pairs", "Recall against pairs", "pairs", "accuracy", series, chance, log_x=True)


def step_time_chart(trials: Sequence[TrialRecord]) -> LineChart:
    """Draw the time of a training step against length."""
    trials = verdicts.reported_records(trials)
    series = []
    for labels in verdicts.distinct_settings(trials):
        curve = next(trial.get_curve("step time") for trial in trials if trial.labels == labels)
        estimates = [verdicts.estimate_metric(trials, labels, f"step time@{x:g}") for x in curve]
        scaled = [e._replace(mean=1e3 * e.mean, low=1e3 * e.low, high=1e3 * e.high) for e in estimates]
        series.append(interval_series(labels["mixer"], list(curve), scaled))
    title = "Time of a training step"
    return LineChart("time", title, "length", "milliseconds", series, log_x=True, log_y=True)


def build_compare() -> Publication:
    """Return the table of `make compare` and README's picture, from the records of compare and compare_cost."""
    loaded = study.load_study("compare")
    trials = read_study_record("compare", loaded, "quick")
    outdated = outdated_records(trials, loaded, loaded.scales["quick"])
    recall = read_study_record("compare", loaded, "recall")
    cost = read_study_record("compare_cost", study.load_study("compare_cost"), "quick")
    charts = [*score_charts(trials, "task", TASK_TITLES), pairs_chart(recall), step_time_chart(cost)]
    table = compare_table(trials, outdated)
    return {
        "compare": f"{markdown_table(table.header, table.rows)}\n\n{table.note}",
        "docs/results/compare.svg": render_charts(charts, "svg", name="compare"),
    }


# ---- mixers, and the chosen rates -----------------------------------------------------------------------------------


def mixers_table(trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> Table:
    """Tabulate all recorded mixers on both tasks, with the sizes of their networks on the first task."""
    marked, note = [trial.labels for trial in outdated], outdated_note(len(outdated), len(trials))
    trials = verdicts.reported_records(trials)
    tasks = task_labels(trials)
    rows = []
    for mixer in mixer_labels(trials):
        result = next(trial.result for trial in trials if trial.labels["mixer"] == mixer)
        cells = [score_cell(trials, {"task": task, "mixer": mixer}, marked) for task in tasks]
        sizes = [f"{int(result['parameters']):,}", f"{int(result['state_floats']):,}"]
        rows.append([mixer.replace(",", " + "), *cells, *sizes])
    header = ["mixer", *(TASK_TITLES.get(task, task) for task in tasks), "parameters", "state, floats"]
    seeds = len({trial.seed for trial in trials})
    text = f"Mean and 95 % interval over {seeds} seeds; parameters and state are those of the {tasks[0]} network."
    return Table("Every mixer", header, rows, f"{text} {note}".rstrip())


def build_mixers() -> Publication:
    """Return the table of all mixers, from the record of the study `mixers`."""
    loaded = study.load_study("mixers")
    trials = read_study_record("mixers", loaded, "quick")
    table = mixers_table(trials, outdated_records(trials, loaded, loaded.scales["quick"]))
    return {"mixers": f"{markdown_table(table.header, table.rows)}\n\n{table.note}"}


def learning_rates_table(trials: Sequence[TrialRecord]) -> Table:
    """Tabulate the learning rate that was chosen for every mixer on every task."""
    trials = verdicts.reported_records(trials)
    tasks, rows = task_labels(trials), []
    for mixer in mixer_labels(trials):
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
