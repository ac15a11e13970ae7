"""A comparison of mixers over several tasks: one table with a row per mixer, one page and one picture.

A comparison is a study with the axes "task" and "mixer". What mixers cost in time comes from a second, untrained study
with the axis "mixer" and the measures "step time", "step depth" and "stream time".
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.ablation.intervals import Interval, fit_exponent, format_interval
from experiments.ablation.learning_rates import format_learning_rate
from experiments.ablation.record_files import write_record
from experiments.ablation.record_table import OUTDATED_MARK, short_revision, tabulate_records
from experiments.ablation.study import Labels, Study, axis_overrides, load_config_file
from experiments.ablation.trial_scores import estimate_metric, metric_bounds, reported_records, values_by_seed
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import Verdict
from experiments.reporting import charts, html_report
from experiments.reporting.charts import DotChart, LineChart, Series, interval_series
from experiments.reporting.html_report import Report, Section, Table, markdown_table
from experiments.reporting.study_report import describe_scale, learning_chart, score_label

REFERENCE = "attention"  # the mixer whose number of parameters the others are matched to
TOLERANCE = 0.05  # relative difference of parameters above which a mixer counts as not matched
LENGTH = CONTEXT = 512  # of the costs in the table

Trials = Sequence[TrialRecord]


def axis_labels(trials: Trials, axis: str) -> list[str]:
    """The labels of an axis in order of appearance."""
    return list(dict.fromkeys(trial.labels[axis] for trial in trials))


def select_trials(trials: Trials, **labels: str) -> list[TrialRecord]:
    """The reported trials with these labels."""
    return [t for t in reported_records(trials) if all(t.labels[axis] == label for axis, label in labels.items())]


# ---- tables ---------------------------------------------------------------------------------------------------------


def format_score(trials: Trials) -> str:
    """The test score of one setting, mean and interval, and how many of its seeds diverged."""
    if not trials:
        return "not run"
    dead = sum(trial.result["died_at"] is not None for trial in trials)
    if dead == len(trials):
        return "all diverged"
    score = format_interval(estimate_metric(trials, trials[0].labels, "test"))
    return f"{score} ({dead} of {len(trials)} diverged)" if dead else score


def score_cell(trials: Trials, setting: Labels, outdated: Sequence[Labels], *, bold: bool = False) -> str:
    """The score of a setting, with a mark if it is one of the `outdated` ones."""
    cell = format_score(select_trials(trials, **setting))
    cell = f"**{cell}**" if bold else cell
    return f"{cell} {OUTDATED_MARK}" if setting in outdated else cell


def score_rows(trials: Trials, outdated: Trials = ()) -> list[list[str]]:
    """One row per mixer: its name and its score on each task, marked where one of its trials is `outdated`."""
    marked = [trial.labels for trial in reported_records(outdated)]
    tasks = axis_labels(trials, "task")
    rows = []
    for mixer in axis_labels(trials, "mixer"):
        cells = [score_cell(trials, {"task": task, "mixer": mixer}, marked) for task in tasks]
        rows.append([mixer.replace(",", " + "), *cells])
    return rows


def scores_table(trials: Trials, outdated: Trials = ()) -> str:
    """Every mixer's score on every task, in Markdown."""
    return markdown_table(["mixer", *axis_labels(trials, "task")], score_rows(trials, outdated))


def mixers_table(trials: Trials, titles: Mapping[str, str], outdated: Trials = ()) -> str:
    """Every mixer's score on every task under the task's title, parameters and state on the first task, in Markdown."""
    first = axis_labels(trials, "task")[0]
    rows = score_rows(trials, outdated)
    for row, mixer in zip(rows, axis_labels(trials, "mixer"), strict=True):
        cost = (select_trials(trials, task=first, mixer=mixer) or select_trials(trials, mixer=mixer))[0].result
        row += [f"{cost['parameters']:,.0f}", f"{cost['state_floats']:,.0f}"]
    header = ["mixer", *(titles.get(task, task) for task in axis_labels(trials, "task"))]
    return markdown_table([*header, "parameters", "state, floats"], rows)


def step_exponent(costs: Trials, mixer: str) -> Interval:
    """The power of length that a mixer's training step grows with."""
    times = select_trials(costs, mixer=mixer)[0].get_curve("step time")
    return fit_exponent(list(times), list(times.values()))


def summary_table(trials: Trials, costs: Trials) -> Table:
    """One row per mixer: scores, parameters and state on the first task, and what a step and a token cost."""
    tasks, shuffled = axis_labels(trials, "task"), axis_labels(shuffled_trials(trials), "task")
    header = ["mixer"]
    by_task = {task: select_trials(trials, task=task) for task in tasks}
    header += [f"{task} ({score_label(some[0].result['metric'], some)})" for task, some in by_task.items()]
    header += ["parameters", "of them in mixers", "state, floats", "step time ∝ length^", f"µs a token at {CONTEXT}"]
    header += [f"chain of operations at {LENGTH}", *(f"{task}, shuffled: output moves" for task in shuffled)]
    rows = score_rows(trials)
    for row, mixer in zip(rows, axis_labels(trials, "mixer"), strict=True):
        result = select_trials(trials, task=tasks[0], mixer=mixer)[0].result
        row += [f"{result['parameters']:,.0f}", f"{result['mixer_parameters']:,.0f}", f"{result['state_floats']:,.0f}"]
        (cost,) = select_trials(costs, mixer=mixer)
        row += [format_interval(step_exponent(costs, mixer), 2)]
        row += [f"{1e6 * cost.get_metric(f'stream time@{CONTEXT}'):.0f}"]
        row += [f"{cost.get_metric(f'step depth@{LENGTH}'):,.0f}"]
        row += [format_shuffled(trials, task, mixer) for task in shuffled]
    seeds = len({trial.seed for trial in reported_records(trials)})
    note = f"Mean and 95 % interval over {seeds} seeds. Parameters and state are those of the {tasks[0]} network; "
    note += "attention's state is its cache of keys and values."
    return Table("Five mixers, one skeleton", header, rows, note=note)


def shuffled_trials(trials: Trials) -> list[TrialRecord]:
    """The trials in which it was measured how far the output moves when the input is shuffled."""
    return [trial for trial in reported_records(trials) if "permuted" in trial.result["metrics"]]


def format_shuffled(trials: Trials, task: str, mixer: str) -> str:
    """How far the output moves, by its own length, when the input is shuffled."""
    moved = estimate_metric(trials, {"task": task, "mixer": mixer}, "permuted")
    return format_interval(moved, 2) if moved.n else "diverged"


def time_table(costs: Trials) -> Table:
    """Milliseconds of a training step at each length, and microseconds of a token in each context."""
    lengths, contexts = (sorted({x for t in costs for x in t.get_curve(c)}) for c in ("step time", "stream time"))
    header = ["mixer", *(f"ms a step at {x:.0f}" for x in lengths), *(f"µs a token at {x:.0f}" for x in contexts)]
    rows = []
    for trial in reported_records(costs):
        steps = [f"{1e3 * seconds:.1f}" for seconds in trial.get_curve("step time").values()]
        tokens = [f"{1e6 * seconds:.0f}" for seconds in trial.get_curve("stream time").values()]
        rows.append([trial.labels["mixer"], *steps, *tokens])
    return Table("Time", header, rows)


# ---- charts ---------------------------------------------------------------------------------------------------------


def task_charts(trials: Trials, folder: Path, task: str) -> list[LineChart | DotChart]:
    """Learning curves where the runs' logs are at hand, and the test scores seed by seed."""
    of_task = select_trials(trials, task=task)
    result = of_task[0].result
    rule, score = result["baseline"]
    # Where less is better, chance lies so far above the curves that it would flatten them.
    references = [("chance", result["chance"])] if result["best"] == "max" else []
    curves = learning_chart(of_task, folder)
    dots = DotChart(
        f"{task} seeds",
        f"{task.capitalize()}, seed by seed",
        result["metric"],
        [
            (m, list(values_by_seed(of_task, {"task": task, "mixer": m}, "test").values()))
            for m in axis_labels(of_task, "mixer")
        ],
        bounds=metric_bounds(of_task, "test"),
    )
    if curves is None:
        return [dots]
    low, high = metric_bounds(of_task, "test")
    series = [
        one._replace(low=np.clip(one.low or one.y, low, high), high=np.clip(one.high or one.y, low, high))
        for one in curves.series
    ]
    references.append((rule, score))
    return [curves._replace(name=task, title=task.capitalize(), series=series, references=references), dots]


def pairs_chart(study: Study, scale: str, trials: Trials) -> LineChart | None:
    """Recall against the number of pairs to be remembered, where the tasks have several."""
    overrides = axis_overrides(study, study.scales[scale])["task"]
    tasks = [task for task in axis_labels(trials, "task") if overrides[task].get("config") == "recall"]
    if len(tasks) < 2:
        return None
    pairs = [overrides[task]["task.pairs"] for task in tasks]
    series = [
        interval_series(m, pairs, [estimate_metric(trials, {"task": task, "mixer": m}, "test") for task in tasks])
        for m in axis_labels(trials, "mixer")
    ]
    references = [("chance", select_trials(trials, task=tasks[0])[0].result["chance"])]
    return LineChart("pairs", "Recall against pairs", "pairs", "accuracy", series, references, log_x=True)


def time_chart(costs: Trials) -> LineChart:
    """Milliseconds of a training step against length."""
    series = []
    for trial in reported_records(costs):
        times = trial.get_curve("step time")
        series.append(Series(trial.labels["mixer"], list(times), [1e3 * seconds for seconds in times.values()]))
    note = "Medians; batch 8, width 64, one block, on this machine."
    title = "Time of a training step"
    return LineChart("time", title, "length", "milliseconds", series, log_x=True, log_y=True, note=note)


def size_chart(lengths: Sequence[float], width: int = 64) -> LineChart:
    """Parameters of one dense window, a width × width block for every pair of places, and of attention."""
    dense = [width**2 * length * (length + 1) / 2 + width * length for length in lengths]
    attention = [4 * width**2 + 4 * width for _ in lengths]
    series = [Series("dense", lengths, dense), Series("attention", lengths, attention)]
    note = f"A dense window without a bottleneck, width {width}. The recurrent mixers are matched to attention at "
    note += "every length."
    title = "Parameters of one mixer"
    return LineChart("size", title, "length", "parameters", series, log_x=True, log_y=True, note=note)


# ---- the page -------------------------------------------------------------------------------------------------------


def describe_task(study: Study, scale: str, trials: Trials, task: str) -> str:
    """What a task asks for, what is no achievement in it, and which mixers' parameters are not matched."""
    overrides = axis_overrides(study, study.scales[scale])["task"][task]
    config_file = load_config_file({**study.fixed, **overrides}["config"])
    document = (config_file.get("__doc__") or "").strip().partition("\n")[0]
    result = select_trials(trials, task=task)[0].result
    rule, score = result["baseline"]
    text = f"{document} Chance gives {result['chance']:.3g}; {rule}: {score:.3g}. {result['steps']:,} steps."
    unmatched = unmatched_mixers(trials, task)
    return f"{text} Parameters not matched: {', '.join(unmatched)} of attention's." if unmatched else text


def unmatched_mixers(trials: Trials, task: str) -> list[str]:
    """The mixers whose number of parameters is more than 5 % off attention's, and how far it is off."""
    counts = {trial.labels["mixer"]: trial.result["parameters"] for trial in select_trials(trials, task=task)}
    off = {mixer: count / counts[REFERENCE] - 1 for mixer, count in counts.items() if REFERENCE in counts}
    return [f"{mixer} {share:+.0%}" for mixer, share in off.items() if abs(share) > TOLERANCE]


def write_comparison(
    study: Study,
    scale: str,
    trials: Trials,
    costs: Trials,
    verdicts: Sequence[Verdict],
    used: str,
    folder: Path,
    data: Table | None = None,
    title: str = "Recur or attend?",
    command: str = "",
) -> list[Path]:
    """report.html, picture.svg, and the trials as results.csv and timing.csv, in `folder`.

    `used` says how many seconds were used; `data`, `title` and `command` are of a run on other data than
    the study's own.
    """
    tasks = axis_labels(trials, "task")
    drawn = {task: task_charts(trials, folder, task) for task in tasks}
    pairs = pairs_chart(study, scale, trials)
    lengths = sorted({x for trial in costs for x in trial.get_curve("step time")})
    sections = [Section(t.capitalize(), describe_task(study, scale, trials, t), drawn[t]) for t in tasks]
    text = "A training step holds data, forward, backward and update. Streaming feeds one token at a time, given the "
    text += "state of those before it."
    if data:
        sections.insert(0, Section(data.title, "", [], [data._replace(title="")]))
    sections.append(Section("What it costs", text, [time_chart(costs), size_chart(lengths)], [time_table(costs)]))
    if pairs:
        text = (
            "How many key–value pairs each mixer can hold: sequences of four tokens a pair, the same model throughout."
        )
        sections.insert(0, Section("Recall against pairs", text, [pairs]))
    result = trials[-1].result
    made = f"{time.strftime('%Y-%m-%d')}, at revision {short_revision(result['revision'])}; seconds used: {used}"
    chosen = {
        f"{t.labels['task']} {t.labels['mixer']}": format_learning_rate(t.learning_rate)
        for t in reported_records(trials)
    }
    page = Report(
        title=title,
        question=study.question,
        summary=summary_table(trials, costs),
        verdicts=verdicts,
        sections=sections,
        settings={
            "Learning rates chosen (* at the end of the grid)": chosen,
            **{f"Config: {t}": select_trials(trials, task=t, mixer=REFERENCE)[0].result["config"] for t in tasks},
            "Machine and versions": {"device": result["device"], "how": result["how"], **result["packages"]},
        },
        command=command or f"python -m experiments.compare --scale={scale}",
        provenance=made,
        remark=describe_scale(scale, trials),
    )
    shown = [drawn[task][0] for task in tasks[:3]] + [time_chart(costs)]
    shown[0] = pairs or shown[0]
    tables = {"results.csv": trials, "timing.csv": costs}
    for name, some in tables.items():
        write_record(folder / name, *tabulate_records(some))
    return [
        html_report.write_html(page, folder / "report.html"),
        charts.save_charts(shown, folder / "picture.svg", columns=2),
        *(folder / name for name in tables),
    ]
