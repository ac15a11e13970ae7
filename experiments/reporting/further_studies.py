"""Studies of questions that the lecture notes do not ask, each with its scores and its claims: one page."""

import itertools
from collections.abc import Sequence

from experiments.ablation import study, verdicts
from experiments.ablation.intervals import format_interval
from experiments.ablation.record_table import outdated_records
from experiments.ablation.study import Study
from experiments.ablation.trials import TrialRecord
from experiments.reporting.chart_types import Chart, DotRow, GroupedDotChart
from experiments.reporting.charts import render_charts
from experiments.reporting.claims import FOLDER, JudgedStudy, repeat_note, verdicts_table
from experiments.reporting.comparison_report import axis_labels, score_cell
from experiments.reporting.html_report import markdown_table
from experiments.reporting.publishing import Publication
from experiments.reporting.study_charts import main_chart, numeric_axis, score_charts, state_size_charts, study_title
from experiments.reporting.study_report import read_study_record, record_path

STUDIES = ("recipes", "state_tracking", "recall_against_state", "mad", "needle")


def further_studies(scale: str = "quick") -> list[JudgedStudy]:
    """Return the studies of this page that have a record."""
    found = []
    for name in STUDIES:
        if not record_path(name, scale).exists():
            continue
        loaded = study.load_study(name)
        trials = read_study_record(name, loaded, scale)
        outdated = len(outdated_records(trials, loaded, loaded.scales[scale]))
        found.append(JudgedStudy(name, loaded, trials, verdicts.judge_claims(loaded, trials, scale), outdated))
    return found


def all_scores_table(loaded: Study, trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> str:
    """Tabulate the test score of every setting, in Markdown: a row for each label of the axis that has most of them,
    and a column for each combination of the others; with one axis, a column for each further test split."""
    trials = verdicts.reported_records(trials)
    marked = [trial.labels for trial in verdicts.reported_records(outdated)]
    labels = {axis: axis_labels(trials, axis) for axis in loaded.grid}
    rows_axis = max(labels, key=lambda axis: len(labels[axis]))
    others = [axis for axis in labels if axis != rows_axis]
    columns = [dict(zip(others, values, strict=True)) for values in itertools.product(*(labels[o] for o in others))]
    known = [trial.labels for trial in trials]
    columns = [column for column in columns if any(column.items() <= one.items() for one in known)]
    header = [rows_axis, *(", ".join(map(str, column.values())) or "score" for column in columns)]
    rows = []
    for label in labels[rows_axis]:
        settings = [{**column, rows_axis: label} for column in columns]
        rows.append([str(label), *(score_cell(trials, one, marked) if one in known else "–" for one in settings)])
    if not others:
        for x in sorted({x for trial in trials for x in trial.get_curve("test")}):
            header.append(f"at {x:g}")
            for label, row in zip(labels[rows_axis], rows, strict=True):
                estimate = verdicts.estimate_metric(trials, {rows_axis: label}, f"test@{x:g}")
                row.append(format_interval(estimate))
    return markdown_table(header, rows)


def _task_charts(judged: JudgedStudy) -> list[GroupedDotChart]:
    """Draw each task's scores: the mixers' by the labels of the third axis."""
    (axis,) = judged.study.grid.keys() - {"task", "mixer"}
    charts = []
    for task in axis_labels(judged.trials, "task"):
        (chart,) = score_charts([trial for trial in judged.trials if trial.labels["task"] == task], axis)
        charts.append(chart._replace(name=task, title=task.capitalize()))
    return charts


def _split_charts(judged: JudgedStudy) -> list[GroupedDotChart]:
    """Draw the scores of a study of one axis on all of its test splits, a row for each label; of other studies none."""
    trials = verdicts.reported_records(judged.trials)
    xs = sorted({x for trial in trials for x in trial.get_curve("test")})
    if len(judged.study.grid) > 1 or not xs:
        return []
    rows = []
    for labels in verdicts.distinct_settings(trials):
        metrics = {"as trained": "test", **{f"at {x:g}": f"test@{x:g}" for x in xs}}
        values = {
            name: list(verdicts.values_by_seed(trials, labels, metric).values()) for name, metric in metrics.items()
        }
        rows.append(DotRow(str(*labels.values()), values, float(trials[0].result["baseline"][1])))
    title, metric = study_title(judged.name), trials[0].result["metric"]
    return [GroupedDotChart("splits", title, metric, rows, "trivial rule", verdicts.metric_bounds(trials, "test"))]


def _study_charts(judged: JudgedStudy) -> Sequence[Chart]:
    """Choose a study's charts: task by task where metrics differ, against the state where its size is varied."""
    if len({trial.result["metric"] for trial in judged.trials}) > 1:
        return _task_charts(judged)
    if numeric_axis(judged.trials) and (charts := state_size_charts(judged.trials)):
        return charts
    return _split_charts(judged) or [main_chart(judged.study, judged.trials, study_title(judged.name))]


def build_further_studies() -> Publication:
    """Return the sections and the charts of the studies that have a record."""
    sections: list[str] = []
    pictures: Publication = {}
    for one in further_studies():
        title = study_title(one.name)
        outdated = outdated_records(one.trials, one.study, one.study.scales["quick"])
        pictures[f"{FOLDER}/{one.name}.svg"] = render_charts(_study_charts(one), "svg", name=one.name)
        seeds = len({trial.seed for trial in verdicts.reported_records(one.trials)})
        parts = [
            f"## {title}",
            one.study.question,
            verdicts_table(one),
            f"Test scores at the best validation step, mean and 95 % interval over {seeds} seeds:",
            all_scores_table(one.study, one.trials, outdated),
            f"![{title}](studies/{one.name}.svg)",
            repeat_note(one),
        ]
        sections.append("\n\n".join(parts))
    return {"further_studies": "\n\n".join(sections), **pictures}
