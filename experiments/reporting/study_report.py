"""The report of a study: its page, its tables and its record in the repository."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.ablation import record_files, trial_scores, verdicts
from experiments.ablation.intervals import format_interval, interquartile_mean
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
from experiments.ablation.study import EXTRA_METRICS, Labels, Study, format_labels, grid_labels
from experiments.ablation.trials import TrialRecord
from experiments.reporting import html_report
from experiments.reporting.charts import Chart, DotChart, save_charts
from experiments.reporting.html_report import Report, Section, Table
from experiments.reporting.study_charts import (
    learning_chart,
    main_chart,
    metric_label,
    seeds_chart,
    setting_label,
    state_size_charts,
    study_title,
)
from training import files

MIDDLE_HALF, DIVERGED = "middle half", "diverged"  # columns of `settings_table`


def settings_table(
    study: Study, trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = (), keep_empty: bool = False
) -> Table:
    """Tabulate the settings: scores, measures, cost, chosen rate; those with `outdated` trials are marked.

    The columns "middle half" and "diverged" stay without a number in them only if `keep_empty`.
    """
    marked, note = [trial.labels for trial in outdated], outdated_note(len(outdated), len(trials))
    trials = trial_scores.reported_records(trials)
    settings = trial_scores.distinct_settings(trials)
    measures = [
        name for name in (*EXTRA_METRICS, *study.measures) if any(name in trial.result["metrics"] for trial in trials)
    ]
    header = [
        "setting",
        *([score_label(metric_label("test", trials), trials), MIDDLE_HALF] if study.trained else []),
        *measures,
    ]
    header += ["parameters", "state, floats"] + (["rate", DIVERGED] if study.trained else [])
    rows = []
    for setting in settings:
        own = [trial for trial in trials if trial.labels == setting]
        label = setting_label(setting, settings)
        row = [f"{label} {OUTDATED_MARK}" if setting in marked else label]
        if study.trained:
            row += _score_cells(own, setting)
        for name in measures:
            estimate = trial_scores.estimate_metric(own, setting, name)
            row.append(format_interval(estimate) if estimate.n else "–")
        row += [f"{int(own[0].result['parameters']):,}", f"{int(own[0].result['state_floats']):,}"]
        if study.trained:
            diverged = sum(trial.result["died_at"] is not None for trial in own)
            row += [f"{own[0].learning_rate:g}", f"{diverged} of {len(own)}" if diverged else "–"]
        rows.append(row)
    seeds = len({trial.seed for trial in trials})
    for name in () if keep_empty else (MIDDLE_HALF, DIVERGED):
        if name in header and all(row[header.index(name)] == "–" for row in rows):
            column = header.index(name)
            header, *rows = [[*row[:column], *row[column + 1 :]] for row in (header, *rows)]
    text = f"Mean and 95 % interval over {seeds} seeds"
    if keep_empty or MIDDLE_HALF in header:
        text += (
            f"; “{MIDDLE_HALF}” is the interquartile mean of four seeds or more, which one that failed does not move"
        )
    return Table("Every setting", header, rows, f"{text}. {note}".rstrip())


def score_label(name: str, trials: Sequence[TrialRecord]) -> str:
    """The name of the score, and whether lower or higher is better where the trials say so; a record's don't."""
    best = {trial.result.get("best") for trial in trials}
    directions = [words for mode, words in (("min", "lower is better"), ("max", "higher is better")) if best == {mode}]
    return ", ".join([name, *directions])


def describe_scale(scale: str, trials: Sequence[TrialRecord]) -> str:
    """Steps and seeds of a scale, as its reported trials have them, and what smoke is good for; "" if untrained."""
    trials = trial_scores.reported_records(trials)
    steps = sorted({int(trial.result["steps"]) for trial in trials})
    if not steps or not steps[-1]:
        return ""
    seeds = len({trial.seed for trial in trials})
    trained = f"{steps[0]:,} to {steps[-1]:,} steps" if len(steps) > 1 else f"{steps[0]:,} step{'s' * (steps[0] > 1)}"
    text = f"{scale}: {trained} and {seeds} seed{'s' * (seeds > 1)}"
    return f"{text}; it shows that it runs, not who is better" if scale == "smoke" else text


def _score_cells(trials: Sequence[TrialRecord], setting: Labels) -> list[str]:
    """The test score of a setting with its interval, and its interquartile mean from four seeds on."""
    estimate = trial_scores.estimate_metric(trials, setting, "test")
    finite = [v for v in trial_scores.values_by_seed(trials, setting, "test").values() if math.isfinite(v)]
    return [
        format_interval(estimate) if finite else "all diverged",
        f"{interquartile_mean(finite):.3f}" if len(finite) > 3 else "–",
    ]


def curves_table(trials: Sequence[TrialRecord], metric: str) -> Table:
    """Tabulate a measured curve: one row for each setting, one column for each x."""
    trials = trial_scores.reported_records(trials)
    settings = trial_scores.distinct_settings(trials)
    xs = sorted({x for trial in trials for x in trial.get_curve(metric)})
    rows = []
    for setting in settings:
        estimates = [trial_scores.estimate_metric(trials, setting, f"{metric}@{x:g}") for x in xs]
        rows.append([setting_label(setting, settings), *(f"{e.mean:.3g}" if e.n else "–" for e in estimates)])
    return Table(metric.capitalize(), ["setting", *(f"at {x:g}" for x in xs)], rows)


def curve_names(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the metrics of which the trials have a curve."""
    return sorted({name.split("@")[0] for trial in trials for name in trial.result["metrics"] if "@" in name})


def learning_rate_table(trials: Sequence[TrialRecord]) -> Table:
    """Tabulate the mean validation score of each setting at each rate, and how many seeds diverged there."""
    settings, rates = trial_scores.distinct_settings(trials), sorted({trial.learning_rate for trial in trials})
    rows = []
    for setting in settings:
        cells = []
        for rate in rates:
            own = [trial for trial in trials if trial.labels == setting and trial.learning_rate == rate]
            scores = [trial.get_metric("validation") for trial in own]
            finite = [score for score in scores if math.isfinite(score)]
            diverged = f"({len(scores) - len(finite)} of {len(scores)} diverged)" if len(finite) < len(scores) else ""
            mean = f"{sum(finite) / len(finite):.4g}" if finite else ""
            cells.append(f"{mean} {diverged}".strip() or "–")
        rows.append([setting_label(setting, settings), *cells])
    return Table("Validation score by learning rate", ["setting", *(f"{rate:g}" for rate in rates)], rows)


def build_report(
    name: str,
    study: Study,
    scale: str,
    trials: Sequence[TrialRecord],
    chart: Chart,
    folder: Path,
    command: str = "",
    title: str = "",
    data: Table | None = None,
) -> Report:
    """Return the page of a study whose main chart is `chart`; `folder` holds the groups' logs.

    `data` says on whose data it was run, if not on the study's own.
    """
    charts = [chart, *filter(None, [learning_chart(trials, folder)]), *state_size_charts(trials)]
    if not isinstance(chart, DotChart) and study.trained:
        charts.append(seeds_chart(trials))
    sections = [Section("In pictures", "", charts, [curves_table(trials, metric) for metric in curve_names(trials)])]
    if data:
        sections.insert(0, Section(data.title, "", [], [data._replace(title="")]))
    tuning = [trial for trial in trials if trial.phase == "choose"]
    if tuning:
        text = "Validation score of each rate, on seeds that are not reported."
        sections.append(Section("How the learning rates were chosen", text, [], [learning_rate_table(tuning)]))
    reported = trial_scores.reported_records(trials)
    configs: dict[str, Any] = {}
    for trial in reported:
        config = trial.result.get("config", {"key": trial.result["key"]})
        configs.setdefault(f"Config: {format_labels(trial.labels)}", config)
    first = reported[0].result
    machine = {"device": first["device"], "how": first["how"], **first.get("packages", {})}
    revisions = sorted({short_revision(trial.result["revision"]) for trial in trials})
    seconds = sum(float(trial.result["seconds"]) for trial in trials)
    return Report(
        title=title or study_title(name),
        question=study.question,
        summary=settings_table(study, trials),
        verdicts=verdicts.judge_claims(study, trials, scale),
        sections=sections,
        settings={**configs, "Machine and versions": machine},
        command=command or f"python -m experiments.run --study={name} --scale={scale}",
        provenance=f"{time.strftime('%Y-%m-%d')}, at revision {', '.join(revisions)}; {seconds:.0f} s of computing",
        remark=describe_scale(scale, trials),
    )


def write_report(
    name: str,
    study: Study,
    scale: str,
    trials: Sequence[TrialRecord],
    folder: Path,
    partial: bool = False,
    command: str = "",
    title: str = "",
    data: Table | None = None,
) -> list[Path]:
    """Write the page, the table (CSV, Parquet) and the main chart (SVG, PDF, PNG) into `folder`/NAME-SCALE/.

    Of a `partial` grid they go into NAME-SCALE-some/. Returns the files written. `command`, `title` and `data` are of a
    run on other data than the study's own.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = folder / (f"{name}-{scale}-some" if partial else f"{name}-{scale}")
    target.mkdir(parents=True, exist_ok=True)
    header, rows = tabulate_records(trials)
    files.write_csv(target / "cells.csv", header, rows)
    columns = {name: _typed_column([row[i] if row[i] != "" else None for row in rows]) for i, name in enumerate(header)}
    with files.with_path(target / "cells.parquet"):
        pq.write_table(pa.table(columns), target / "cells.parquet")
    chart = main_chart(study, trials, title or study_title(name))
    pictures = [save_charts(chart, target / f"picture.{kind}", columns=1) for kind in ("svg", "pdf", "png")]
    report = build_report(name, study, scale, trials, chart, folder, command, title, data)
    page = html_report.write_html(report, target / "report.html")
    return [page, target / "cells.csv", target / "cells.parquet", *pictures]


def _typed_column(values: Sequence[Any]) -> list[Any]:
    """Return numbers if all values are numbers, else text: a Parquet column has one type."""
    try:
        return [None if value is None else float(value) for value in values]
    except (TypeError, ValueError):
        return [None if value is None else str(value) for value in values]


def read_study_record(name: str, study: Study, scale: str) -> list[TrialRecord]:
    """Return the trials of the study's record in the repository.

    Raises ValueError where there is no record, or it is damaged, lacks a seed or holds a trial twice.
    """
    path = record_path(name, scale)
    if not path.exists():
        raise ValueError(
            f"{path} is missing; python -m experiments.run --study={name} --scale={scale} --record makes it"
        )
    trials = parse_rows(path, record_files.read_record(path), study, scale)
    keys = Counter((trial.result["key"], trial.seed) for trial in trial_scores.reported_records(trials))
    if twice := [key for (key, _), count in keys.items() if key and count > 1]:  # old records: one key for all seeds
        raise ValueError(f"{path}: two trials of one seed have the key {twice[0]}; each must have its own")
    return trials


def parse_rows(path: Path, rows: Sequence[Mapping[str, str]], study: Study, scale: str) -> list[TrialRecord]:
    """Return rows as trials of the study. Raises ValueError that names the file where something is wrong with them."""
    try:
        return parse_records(rows, study, study.scales[scale])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_study_record(name: str, study: Study, scale: str, trials: Sequence[TrialRecord]) -> Path:
    """Write the study's record in the repository: rows of these trials' settings are replaced, all others kept.

    Raises ValueError, and writes nothing, if the record would then lack rows of the scale.
    """
    path = record_path(name, scale)
    claims = ";".join(map(verdicts.claim_fingerprint, study.claims))
    header, values = tabulate_records([one._replace(result={**one.result, "claims": claims}) for one in trials])
    new_rows = [dict(zip(header, map(record_files.format_field, row), strict=True)) for row in values]
    axes = list(study.grid)

    def setting(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row[axis] for axis in axes)

    grid = [tuple(str(labels[axis]) for axis in axes) for labels in grid_labels(study, study.scales[scale])]
    renewed = set(map(setting, new_rows))
    kept = record_files.read_record(path) if renewed < set(grid) else []
    if kept and not set(axes) <= set(kept[0]):
        raise ValueError(f"{path}: the record is of another study; make it anew with --record, without --filter")
    rows = new_rows + [row for row in kept if setting(row) not in renewed and setting(row) in grid]
    rows.sort(key=lambda row: (row["part"], grid.index(setting(row))))  # "choose" before "report"
    parse_rows(path, rows, study, scale)
    names = {name for row in rows for name in row} - {*axes, *RECORD_COLUMNS}
    header = [*axes, *RECORD_COLUMNS, *sorted(names, key=metric_sort_key)]
    path.parent.mkdir(exist_ok=True)
    record_files.write_record(path, header, [[row.get(name, "") for name in header] for row in rows])
    return path


def record_path(name: str, scale: str) -> Path:
    """Return the path of a study's record in the repository."""
    return RECORDS_DIR / "studies" / f"{name}-{scale}.csv"
