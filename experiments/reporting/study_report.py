"""What a study found, for people: the page, the picture and the tables, all from its lines."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.ablation import record_files, verdicts
from experiments.ablation.groups import read_group_file
from experiments.ablation.intervals import format_interval, interquartile_mean, mean_interval
from experiments.ablation.record_files import RECORDS_DIR
from experiments.ablation.record_table import (
    OUTDATED_MARK,
    RECORD_COLUMNS,
    metric_sort_key,
    outdated_note,
    parse_records,
    short_revision,
    tabulate_records,
)
from experiments.ablation.study import SCORE_METRICS, Labels, Study, format_labels, grid_labels
from experiments.ablation.trials import TrialRecord
from experiments.reporting import charts, html_report
from experiments.reporting.charts import DotChart, LineChart, interval_series
from experiments.reporting.html_report import Report, Section, Table
from training import files, metrics

MAX_SERIES = 12  # lines in one chart: more can't be told apart


def study_title(name: str) -> str:
    """The name of a study as a title."""
    return name.replace("_", " ").capitalize()


def varying_labels(labels: Labels, settings: Sequence[Labels]) -> Labels:
    """Its labels on those axes on which the settings differ at all."""
    return {axis: label for axis, label in labels.items() if any(other[axis] != label for other in settings)} or labels


def setting_label(labels: Labels, settings: Sequence[Labels]) -> str:
    """A setting as it is told apart from the others; of the only axis on which they differ a name says enough."""
    found = varying_labels(labels, settings)
    (only, *others) = found.values()
    return only if isinstance(only, str) and not others else format_labels(found)


def metric_label(metric: str, trials: Sequence[TrialRecord]) -> str:
    """A metric in words for an axis: the score under its own name."""
    names = {line.result["metric"] for line in trials}
    return (names.pop() if len(names) == 1 else "score") if metric in ("test", "validation") else metric


def numeric_axis(trials: Sequence[TrialRecord]) -> str | None:
    """An axis along which a line can be drawn: all labels numbers, three or more of them."""
    for axis in trials[0].labels:
        labels = {line.labels[axis] for line in trials}
        if len(labels) > 2 and all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels):
            return axis
    return None


def is_log_spaced(x: Sequence[float]) -> bool:
    """Whether a logarithmic axis suits these places."""
    return min(x) > 0 and max(x) / min(x) >= 4


def main_chart(study: Study, trials: Sequence[TrialRecord], title: str) -> LineChart | DotChart:
    """The metric that the study shows: a curve over its own x, or over an axis of numbers, or seed by seed."""
    trials, metric = verdicts.reported_records(trials), study.plot_metric
    if metric in SCORE_METRICS:  # scores of one kind go into one picture: the one that most lines have
        scores = Counter(line.result["metric"] for line in trials).most_common(1)
        trials = [line for line in trials if line.result["metric"] == scores[0][0]]
    settings = verdicts.distinct_settings(trials)
    chance = (
        [("chance", trials[0].result["chance"])]
        if metric == "test" and trials[0].result["metric"] == "accuracy"
        else []
    )
    if metric == "test" and not chance:
        chance = [tuple(trials[0].result["baseline"])]
    if len({(line.result["metric"], line.result["chance"]) for line in trials}) > 1:
        chance = []  # of several tasks
    xs = sorted({x for line in trials for x in line.get_curve(metric)})
    if xs and len(settings) <= MAX_SERIES:
        series = [
            interval_series(
                setting_label(s, settings), xs, [verdicts.estimate_metric(trials, s, f"{metric}@{x:g}") for x in xs]
            )
            for s in settings
        ]
        values = [v for one in series for v in one.y if math.isfinite(v)]
        wide = bool(values) and min(values) > 0 and max(values) / min(values) > 30
        return LineChart("main", title, _AXIS_LABELS.get(metric, "length"), metric_label(metric, trials), series, chance,
                     log_x=is_log_spaced(xs), log_y=wide)  # fmt: skip
    axis = numeric_axis(trials)
    if axis and not xs:
        x = sorted({line.labels[axis] for line in trials})
        rest = verdicts.distinct_settings(
            [line._replace(labels={a: v for a, v in line.labels.items() if a != axis}) for line in trials]
        )
        if len(rest) <= MAX_SERIES:
            series = []
            for labels in rest:
                there = [v for v in x if {**labels, axis: v} in settings]
                found = [verdicts.estimate_metric(trials, {**labels, axis: v}, metric) for v in there]
                series.append(
                    interval_series(
                        setting_label(labels, rest) if labels else metric_label(metric, trials), there, found
                    )
                )
            return LineChart(
                "main", title, axis.split(".")[-1], metric_label(metric, trials), series, chance, log_x=is_log_spaced(x)
            )
    y = metric_label(metric, trials)
    if xs:  # too many curves: where they end
        metric, y = f"{metric}@{xs[-1]:g}", f"{y} at {xs[-1]:g}"
    groups = [(setting_label(s, settings), list(verdicts.values_by_seed(trials, s, metric).values())) for s in settings]
    return DotChart("main", title, y, groups, chance, bounds=verdicts.metric_bounds(trials, metric))


_AXIS_LABELS = {"reach": "steps back", "stream time": "context", "state": "context"}


def learning_chart(trials: Sequence[TrialRecord], folder: Path) -> LineChart | None:
    """Test score against step, where the groups' own logs are at hand and the settings are few enough."""
    trials = verdicts.reported_records(trials)
    settings, series = verdicts.distinct_settings(trials), []
    if len(settings) > MAX_SERIES:
        return None
    for setting in settings:
        curves: dict[int, list[float]] = {}
        for line in (line for line in trials if line.labels == setting and line.result["died_at"] is None):
            run = folder / "groups" / str(line.result.get("group", ""))
            if not (run / "group.json").exists():
                return None
            group = read_group_file(run, "group.json", files.GROUP_SCHEMA)
            try:
                members = list(zip(group["seeds"], group["learning_rates"], strict=True))
                at = members.index((line.seed, files.to_jsonable(line.learning_rate)))
                for row in metrics.read_metrics(run / "metrics.jsonl"):
                    if row["split"] == "test" and (value := row[line.result["metric"]][at]) is not None:
                        curves.setdefault(row["step"], []).append(value)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError):
                raise ValueError(
                    f"{run}: group.json or metrics.jsonl is damaged; delete {run}, and the curves are left out"
                ) from None
        steps = sorted(curves)
        found = [mean_interval(curves[step]) for step in steps]
        series.append(interval_series(setting_label(setting, settings), steps, found))
    return LineChart("learning", "Learning", "training step", trials[0].result["metric"], series)


def state_size_chart(study: Study, trials: Sequence[TrialRecord]) -> LineChart | None:
    """The score against how many floats a model carries, where settings differ in it."""
    trials = verdicts.reported_records(trials)
    settings = verdicts.distinct_settings(trials)
    floats = {repr(line.labels): line.result["state_floats"] for line in trials}
    if len(set(floats.values())) < 2 or min(floats.values()) <= 0 or len(settings) > MAX_SERIES:
        return None
    series = [
        interval_series(setting_label(s, settings), [floats[repr(s)]], [verdicts.estimate_metric(trials, s, "test")])
        for s in settings
    ]
    return LineChart(
        "state", "Score against state size", "state, floats", trials[0].result["metric"], series, log_x=True
    )


def settings_table(study: Study, trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> Table:
    """A row a setting: score, what was measured beside it, what it costs, the rate that was chosen; with a mark where
    cells of it are `outdated`."""
    marked, older = [line.labels for line in outdated], outdated_note(len(outdated), len(trials))
    trials = verdicts.reported_records(trials)
    settings = verdicts.distinct_settings(trials)
    plain = [name for name in study.measures if any(name in line.result["metrics"] for line in trials)]
    header = ["setting", *([metric_label("test", trials), "middle half"] if study.trained else []), *plain]
    header += ["parameters", "state, floats"] + (["rate", "diverged"] if study.trained else [])
    rows = []
    for setting in settings:
        mine = [line for line in trials if line.labels == setting]
        row = [setting_label(setting, settings) + f" {OUTDATED_MARK}" * (setting in marked)]
        if study.trained:
            found = verdicts.estimate_metric(mine, setting, "test")
            lived = [v for v in verdicts.values_by_seed(mine, setting, "test").values() if math.isfinite(v)]
            row += [format_interval(found) if lived else "all diverged"]
            row += [f"{interquartile_mean(lived):.3f}" if len(lived) > 3 else "–"]
        for name in plain:
            found = verdicts.estimate_metric(mine, setting, name)
            row.append(format_interval(found) if found.n else "–")
        cell = mine[0].result
        row += [f"{int(cell['parameters']):,}", f"{int(cell['state_floats']):,}"]
        if study.trained:
            dead = sum(line.result["died_at"] is not None for line in mine)
            row += [f"{mine[0].learning_rate:g}", f"{dead} of {len(mine)}" if dead else "–"]
        rows.append(row)
    seeds = len({line.seed for line in trials})
    return Table("Every setting", header, rows, f"Mean and 95 % interval over {seeds} seeds; “middle half” is the "
                 f"interquartile mean of four seeds or more, which one that failed does not move."
                 + f" {older}" * bool(older))  # fmt: skip


def curves_table(trials: Sequence[TrialRecord], metric: str) -> Table:
    """A measured curve in figures."""
    trials = verdicts.reported_records(trials)
    settings, xs = verdicts.distinct_settings(trials), sorted({x for line in trials for x in line.get_curve(metric)})
    rows = []
    for setting in settings:
        found = [verdicts.estimate_metric(trials, setting, f"{metric}@{x:g}") for x in xs]
        rows.append([setting_label(setting, settings), *(f"{v.mean:.3g}" if v.n else "–" for v in found)])
    return Table(metric.capitalize(), ["setting", *(f"at {x:g}" for x in xs)], rows)


def curve_names(trials: Sequence[TrialRecord]) -> list[str]:
    return sorted({name.split("@")[0] for line in trials for name in line.result["metrics"] if "@" in name})


def build_report(
    name: str,
    study: Study,
    scale: str,
    trials: Sequence[TrialRecord],
    chart: LineChart | DotChart,
    folder: Path,
    command: str = "",
) -> Report:
    """The page of a study, whose picture is `chart`."""
    drawn = [chart, *(chart for chart in (learning_chart(trials, folder), state_size_chart(study, trials)) if chart)]
    settings = verdicts.distinct_settings(verdicts.reported_records(trials))
    if not isinstance(chart, DotChart) and study.trained:
        groups = [
            (setting_label(s, settings), list(verdicts.values_by_seed(trials, s, "test").values())) for s in settings
        ]
        drawn.append(DotChart("seeds", "Seed by seed", metric_label("test", trials), groups))
    sections = [Section("In pictures", "", drawn, [curves_table(trials, metric) for metric in curve_names(trials)])]
    chosen = [line for line in trials if line.phase == "choose"]
    if chosen:
        why = "Validation score of each rate, on seeds that are not reported."
        sections.append(Section("How the learning rates were chosen", why, [], [learning_rate_table(chosen)]))
    first = verdicts.reported_records(trials)[0].result
    revisions = sorted({short_revision(line.result["revision"]) for line in trials})
    seconds = sum(float(line.result["seconds"]) for line in trials)
    configs: dict[str, Any] = {}
    for line in verdicts.reported_records(trials):
        configs.setdefault(
            f"Config: {format_labels(line.labels)}", line.result.get("config", {"key": line.result["key"]})
        )
    return Report(
        title=study_title(name),
        question=study.question,
        summary=settings_table(study, trials),
        verdicts=verdicts.judge_claims(study, trials, scale),
        sections=sections,
        settings={
            **configs,
            "Machine and versions": {"device": first["device"], "how": first["how"], **first.get("packages", {})},
        },
        command=command or f"python -m experiments.run --study={name} --scale={scale}",
        provenance=f"{time.strftime('%Y-%m-%d')}, at revision {', '.join(revisions)}; {seconds:.0f} s of computing",
    )


def learning_rate_table(trials: Sequence[TrialRecord]) -> Table:
    settings, rates = verdicts.distinct_settings(trials), sorted({line.learning_rate for line in trials})
    rows = []
    for setting in settings:
        found = []
        for rate in rates:
            some = [
                line.get_metric("validation")
                for line in trials
                if line.labels == setting and line.learning_rate == rate
            ]
            lived = [value for value in some if math.isfinite(value)]
            dead = f" ({len(some) - len(lived)} of {len(some)} diverged)" * (len(lived) < len(some))
            found.append(f"{sum(lived) / len(lived):.4g}{dead}" if lived else dead.strip() or "–")
        rows.append([setting_label(setting, settings), *found])
    return Table("Validation score by learning rate", ["setting", *(f"{rate:g}" for rate in rates)], rows)


def write_report(
    name: str,
    study: Study,
    scale: str,
    trials: Sequence[TrialRecord],
    folder: Path,
    partial: bool = False,
    command: str = "",
) -> list[Path]:
    """The page, the table as CSV and Parquet, and the picture as SVG, PDF and PNG, in `folder`/NAME-SCALE/; of
    `partial` of its settings in NAME-SCALE-some/."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    into = folder / f"{name}-{scale}{'-some' * partial}"
    into.mkdir(parents=True, exist_ok=True)
    header, rows = tabulate_records(trials)
    files.write_csv(into / "cells.csv", header, rows)
    columns: dict[str, list[Any]] = {
        h: [row[i] if row[i] != "" else None for row in rows] for i, h in enumerate(header)
    }
    with files.with_path(into / "cells.parquet"):
        pq.write_table(pa.table({h: _typed_column(values) for h, values in columns.items()}), into / "cells.parquet")
    shown = main_chart(study, trials, study_title(name))
    pictures = [charts.save_charts(shown, into / f"picture.{kind}", columns=1) for kind in ("svg", "pdf", "png")]
    made = html_report.write_html(
        build_report(name, study, scale, trials, shown, folder, command), into / "report.html"
    )
    return [made, into / "cells.csv", into / "cells.parquet", *pictures]


def _typed_column(values: Sequence[Any]) -> list[Any]:
    """Numbers where all are numbers, else text: a column has one type."""
    try:
        return [None if value is None else float(value) for value in values]
    except (TypeError, ValueError):
        return [None if value is None else str(value) for value in values]


def read_study_record(name: str, study: Study, scale: str) -> list[TrialRecord]:
    """The lines of the study's record in the repository. Raises ValueError where it is damaged, or lacks a seed."""
    return parse_rows(record_path(name, scale), record_files.read_record(record_path(name, scale)), study, scale)


def parse_rows(path: Path, rows: Sequence[Mapping[str, str]], study: Study, scale: str) -> list[TrialRecord]:
    """Rows as lines of the study; the ValueError for what is wrong with them names the file."""
    try:
        return parse_records(rows, study, study.scales[scale])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_study_record(name: str, study: Study, scale: str, trials: Sequence[TrialRecord]) -> Path:
    """Write the study's record in the repository: the rows of these lines' settings anew, any others as they are.

    Raises ValueError, and writes nothing, where the record would lack rows of the scale then.
    """
    path = record_path(name, scale)
    header, values = tabulate_records(trials)
    fresh = [dict(zip(header, map(record_files.format_field, row), strict=True)) for row in values]
    axes = list(study.grid)

    def setting(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row[axis] for axis in axes)

    grid = [tuple(str(labels[axis]) for axis in axes) for labels in grid_labels(study, study.scales[scale])]
    renewed = set(map(setting, fresh))
    kept = record_files.read_record(path) if renewed < set(grid) else []
    if kept and not set(axes) <= set(kept[0]):
        raise ValueError(f"{path}: the record is of another study; make it anew with --record, without --filter")
    rows = fresh + [row for row in kept if setting(row) not in renewed and setting(row) in grid]
    rows.sort(key=lambda row: (row["part"], grid.index(setting(row))))  # "choose" before "report"
    parse_rows(path, rows, study, scale)
    names = {name for row in rows for name in row} - {*axes, *RECORD_COLUMNS}
    header = [*axes, *RECORD_COLUMNS, *sorted(names, key=metric_sort_key)]
    path.parent.mkdir(exist_ok=True)
    record_files.write_record(path, header, [[row.get(name, "") for name in header] for row in rows])
    return path


def record_path(name: str, scale: str) -> Path:
    return RECORDS_DIR / "studies" / f"{name}-{scale}.csv"
