"""What a study found, for people: the page, the picture and the tables, all from its lines."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.ablation import record_files, runner, verdicts
from experiments.ablation.intervals import format_interval, interquartile_mean, interval
from experiments.ablation.learning_rates import RECORDS
from experiments.ablation.runner import Line
from experiments.ablation.study import TRAINED, Labels, Study, every, told
from experiments.comparison import OLDER, older_note
from experiments.reporting import charts, html_report
from experiments.reporting.charts import Chart, Dots, band
from experiments.reporting.html_report import Report, Section, Table
from training import files, metrics

MOST = 12  # lines in one chart: more can't be told apart


def headline(name: str) -> str:
    """The name of a study as a title."""
    return name.replace("_", " ").capitalize()


def varied(labels: Labels, settings: Sequence[Labels]) -> Labels:
    """Its labels on those axes on which the settings differ at all."""
    return {axis: label for axis, label in labels.items() if any(other[axis] != label for other in settings)} or labels


def word(labels: Labels, settings: Sequence[Labels]) -> str:
    """A setting as it is told apart from the others; of the only axis on which they differ a name says enough."""
    found = varied(labels, settings)
    (only, *others) = found.values()
    return only if isinstance(only, str) and not others else told(found)


def name_of(metric: str, lines: Sequence[Line]) -> str:
    """A metric in words for an axis: the score under its own name."""
    names = {line.cell["metric"] for line in lines}
    return (names.pop() if len(names) == 1 else "score") if metric in ("test", "validation") else metric


def numeric_axis(lines: Sequence[Line]) -> str | None:
    """An axis along which a line can be drawn: all labels numbers, three or more of them."""
    for axis in lines[0].labels:
        labels = {line.labels[axis] for line in lines}
        if len(labels) > 2 and all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels):
            return axis
    return None


def spaced(x: Sequence[float]) -> bool:
    """Whether a logarithmic axis suits these places."""
    return min(x) > 0 and max(x) / min(x) >= 4


def main_chart(study: Study, lines: Sequence[Line], title: str) -> Chart | Dots:
    """The metric that the study shows: a curve over its own x, or over an axis of numbers, or seed by seed."""
    lines, metric = verdicts.reported(lines), study.show
    if metric in TRAINED:  # scores of one kind go into one picture: the one that most lines have
        scores = Counter(line.cell["metric"] for line in lines).most_common(1)
        lines = [line for line in lines if line.cell["metric"] == scores[0][0]]
    settings = verdicts.each(lines)
    chance = [("chance", lines[0].cell["chance"])] if metric == "test" and lines[0].cell["metric"] == "accuracy" else []
    if metric == "test" and not chance:
        chance = [tuple(lines[0].cell["baseline"])]
    if len({(line.cell["metric"], line.cell["chance"]) for line in lines}) > 1:
        chance = []  # of several tasks
    xs = sorted({x for line in lines for x in line.curve(metric)})
    if xs and len(settings) <= MOST:
        series = [
            band(word(s, settings), xs, [verdicts.estimate(lines, s, f"{metric}@{x:g}") for x in xs]) for s in settings
        ]
        values = [v for one in series for v in one.y if math.isfinite(v)]
        wide = bool(values) and min(values) > 0 and max(values) / min(values) > 30
        return Chart("main", title, AXES.get(metric, "length"), name_of(metric, lines), series, chance,
                     log_x=spaced(xs), log_y=wide)  # fmt: skip
    axis = numeric_axis(lines)
    if axis and not xs:
        x = sorted({line.labels[axis] for line in lines})
        rest = verdicts.each(
            [line._replace(labels={a: v for a, v in line.labels.items() if a != axis}) for line in lines]
        )
        if len(rest) <= MOST:
            series = []
            for labels in rest:
                there = [v for v in x if {**labels, axis: v} in settings]
                found = [verdicts.estimate(lines, {**labels, axis: v}, metric) for v in there]
                series.append(band(word(labels, rest) if labels else name_of(metric, lines), there, found))
            return Chart("main", title, axis.split(".")[-1], name_of(metric, lines), series, chance, log_x=spaced(x))
    y = name_of(metric, lines)
    if xs:  # too many curves: where they end
        metric, y = f"{metric}@{xs[-1]:g}", f"{y} at {xs[-1]:g}"
    groups = [(word(s, settings), list(verdicts.values(lines, s, metric).values())) for s in settings]
    return Dots("main", title, y, groups, chance, bounds=verdicts.bounds(lines, metric))


AXES = {"reach": "steps back", "stream time": "context", "state": "context"}


def learning_curves(lines: Sequence[Line], folder: Path) -> Chart | None:
    """Test score against step, where the groups' own logs are at hand and the settings are few enough."""
    lines = verdicts.reported(lines)
    settings, series = verdicts.each(lines), []
    if len(settings) > MOST:
        return None
    for setting in settings:
        curves: dict[int, list[float]] = {}
        for line in (line for line in lines if line.labels == setting and line.cell["died_at"] is None):
            run = folder / "groups" / str(line.cell.get("group", ""))
            if not (run / "group.json").exists():
                return None
            group = runner.of_group(run, "group.json", files.GROUP)
            try:
                members = list(zip(group["seeds"], group["learning_rates"], strict=True))
                at = members.index((line.seed, files.plain(line.rate)))
                for row in metrics.read_metrics(run / "metrics.jsonl"):
                    if row["split"] == "test" and (value := row[line.cell["metric"]][at]) is not None:
                        curves.setdefault(row["step"], []).append(value)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError):
                raise ValueError(
                    f"{run}: group.json or metrics.jsonl is damaged; delete {run}, and the curves are left out"
                ) from None
        steps = sorted(curves)
        found = [interval(curves[step]) for step in steps]
        series.append(band(word(setting, settings), steps, found))
    return Chart("learning", "Learning", "training step", lines[0].cell["metric"], series)


def against_state(study: Study, lines: Sequence[Line]) -> Chart | None:
    """The score against how many floats a model carries, where settings differ in it."""
    lines = verdicts.reported(lines)
    settings = verdicts.each(lines)
    floats = {repr(line.labels): line.cell["state_floats"] for line in lines}
    if len(set(floats.values())) < 2 or min(floats.values()) <= 0 or len(settings) > MOST:
        return None
    series = [band(word(s, settings), [floats[repr(s)]], [verdicts.estimate(lines, s, "test")]) for s in settings]
    return Chart("state", "Score against state size", "state, floats", lines[0].cell["metric"], series, log_x=True)


def summary(study: Study, lines: Sequence[Line], old: Sequence[Line] = ()) -> Table:
    """A row a setting: score, what was measured beside it, what it costs, the rate that was chosen; with a mark where
    cells of it are `old`."""
    marked, older = [line.labels for line in old], older_note(len(old), len(lines))
    lines = verdicts.reported(lines)
    settings = verdicts.each(lines)
    plain = [name for name in study.measured if any(name in line.cell["metrics"] for line in lines)]
    header = ["setting", *([name_of("test", lines), "middle half"] if study.trained else []), *plain]
    header += ["parameters", "state, floats"] + (["rate", "diverged"] if study.trained else [])
    rows = []
    for setting in settings:
        mine = [line for line in lines if line.labels == setting]
        row = [word(setting, settings) + f" {OLDER}" * (setting in marked)]
        if study.trained:
            found = verdicts.estimate(mine, setting, "test")
            lived = [v for v in verdicts.values(mine, setting, "test").values() if math.isfinite(v)]
            row += [format_interval(found) if lived else "all diverged"]
            row += [f"{interquartile_mean(lived):.3f}" if len(lived) > 3 else "–"]
        for name in plain:
            found = verdicts.estimate(mine, setting, name)
            row.append(format_interval(found) if found.n else "–")
        cell = mine[0].cell
        row += [f"{int(cell['parameters']):,}", f"{int(cell['state_floats']):,}"]
        if study.trained:
            dead = sum(line.cell["died_at"] is not None for line in mine)
            row += [f"{mine[0].rate:g}", f"{dead} of {len(mine)}" if dead else "–"]
        rows.append(row)
    seeds = len({line.seed for line in lines})
    return Table("Every setting", header, rows, f"Mean and 95 % interval over {seeds} seeds; “middle half” is the "
                 f"interquartile mean of four seeds or more, which one that failed does not move."
                 + f" {older}" * bool(older))  # fmt: skip


def curves_table(lines: Sequence[Line], metric: str) -> Table:
    """A measured curve in figures."""
    lines = verdicts.reported(lines)
    settings, xs = verdicts.each(lines), sorted({x for line in lines for x in line.curve(metric)})
    rows = []
    for setting in settings:
        found = [verdicts.estimate(lines, setting, f"{metric}@{x:g}") for x in xs]
        rows.append([word(setting, settings), *(f"{v.mean:.3g}" if v.n else "–" for v in found)])
    return Table(metric.capitalize(), ["setting", *(f"at {x:g}" for x in xs)], rows)


def curves_of(lines: Sequence[Line]) -> list[str]:
    return sorted({name.split("@")[0] for line in lines for name in line.cell["metrics"] if "@" in name})


def page(
    name: str, study: Study, scale: str, lines: Sequence[Line], shown: Chart | Dots, folder: Path, command: str = ""
) -> Report:
    """The page of a study, whose picture is `shown`."""
    drawn = [shown, *(chart for chart in (learning_curves(lines, folder), against_state(study, lines)) if chart)]
    settings = verdicts.each(verdicts.reported(lines))
    if not isinstance(shown, Dots) and study.trained:
        groups = [(word(s, settings), list(verdicts.values(lines, s, "test").values())) for s in settings]
        drawn.append(Dots("seeds", "Seed by seed", name_of("test", lines), groups))
    sections = [Section("In pictures", "", drawn, [curves_table(lines, metric) for metric in curves_of(lines)])]
    chosen = [line for line in lines if line.part == "choose"]
    if chosen:
        why = "Validation score of each rate, on seeds that are not reported."
        sections.append(Section("How the learning rates were chosen", why, [], [rates_table(chosen)]))
    first = verdicts.reported(lines)[0].cell
    revisions = sorted({runner.short(line.cell["revision"]) for line in lines})
    seconds = sum(float(line.cell["seconds"]) for line in lines)
    configs: dict[str, Any] = {}
    for line in verdicts.reported(lines):
        configs.setdefault(f"Config: {told(line.labels)}", line.cell.get("config", {"key": line.cell["key"]}))
    return Report(
        title=headline(name),
        question=study.question,
        summary=summary(study, lines),
        verdicts=verdicts.judge(study, lines, scale),
        sections=sections,
        settings={
            **configs,
            "Machine and versions": {"device": first["device"], "how": first["how"], **first.get("packages", {})},
        },
        command=command or f"python -m experiments.run --study={name} --scale={scale}",
        made=f"{time.strftime('%Y-%m-%d')}, at revision {', '.join(revisions)}; {seconds:.0f} s of computing",
    )


def rates_table(lines: Sequence[Line]) -> Table:
    settings, rates = verdicts.each(lines), sorted({line.rate for line in lines})
    rows = []
    for setting in settings:
        found = []
        for rate in rates:
            some = [line.value("validation") for line in lines if line.labels == setting and line.rate == rate]
            lived = [value for value in some if math.isfinite(value)]
            dead = f" ({len(some) - len(lived)} of {len(some)} diverged)" * (len(lived) < len(some))
            found.append(f"{sum(lived) / len(lived):.4g}{dead}" if lived else dead.strip() or "–")
        rows.append([word(setting, settings), *found])
    return Table("Validation score by learning rate", ["setting", *(f"{rate:g}" for rate in rates)], rows)


def write(
    name: str, study: Study, scale: str, lines: Sequence[Line], folder: Path, some: bool = False, command: str = ""
) -> list[Path]:
    """The page, the table as CSV and Parquet, and the picture as SVG, PDF and PNG, in `folder`/NAME-SCALE/; of `some`
    of its settings in NAME-SCALE-some/."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    into = folder / f"{name}-{scale}{'-some' * some}"
    into.mkdir(parents=True, exist_ok=True)
    header, rows = runner.table(lines)
    files.write_csv(into / "cells.csv", header, rows)
    columns: dict[str, list[Any]] = {
        h: [row[i] if row[i] != "" else None for row in rows] for i, h in enumerate(header)
    }
    with files.named(into / "cells.parquet"):
        pq.write_table(pa.table({h: plain_column(values) for h, values in columns.items()}), into / "cells.parquet")
    shown = main_chart(study, lines, headline(name))
    pictures = [charts.save(shown, into / f"picture.{kind}", columns=1) for kind in ("svg", "pdf", "png")]
    made = html_report.write(page(name, study, scale, lines, shown, folder, command), into / "report.html")
    return [made, into / "cells.csv", into / "cells.parquet", *pictures]


def plain_column(values: Sequence[Any]) -> list[Any]:
    """Numbers where all are numbers, else text: a column has one type."""
    try:
        return [None if value is None else float(value) for value in values]
    except (TypeError, ValueError):
        return [None if value is None else str(value) for value in values]


def recorded(name: str, study: Study, scale: str) -> list[Line]:
    """The lines of the study's record in the repository. Raises ValueError where it is damaged, or lacks a seed."""
    return lines_at(record(name, scale), record_files.read_record(record(name, scale)), study, scale)


def lines_at(path: Path, rows: Sequence[Mapping[str, str]], study: Study, scale: str) -> list[Line]:
    """Rows as lines of the study; the ValueError for what is wrong with them names the file."""
    try:
        return runner.lines_of(rows, study, study.scales[scale])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_record(name: str, study: Study, scale: str, lines: Sequence[Line]) -> Path:
    """Write the study's record in the repository: the rows of these lines' settings anew, any others as they are.

    Raises ValueError, and writes nothing, where the record would lack rows of the scale then.
    """
    path = record(name, scale)
    header, values = runner.table(lines)
    fresh = [dict(zip(header, map(record_files.written, row), strict=True)) for row in values]
    axes = list(study.vary)

    def setting(row: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(row[axis] for axis in axes)

    grid = [tuple(str(labels[axis]) for axis in axes) for labels in every(study, study.scales[scale])]
    renewed = set(map(setting, fresh))
    kept = record_files.read_record(path) if renewed < set(grid) else []
    if kept and not set(axes) <= set(kept[0]):
        raise ValueError(f"{path}: the record is of another study; make it anew with --record, without --filter")
    rows = fresh + [row for row in kept if setting(row) not in renewed and setting(row) in grid]
    rows.sort(key=lambda row: (row["part"], grid.index(setting(row))))  # "choose" before "report"
    lines_at(path, rows, study, scale)
    names = {name for row in rows for name in row} - {*axes, *runner.COLUMNS}
    header = [*axes, *runner.COLUMNS, *sorted(names, key=runner.by_x)]
    path.parent.mkdir(exist_ok=True)
    record_files.write_record(path, header, [[row.get(name, "") for name in header] for row in rows])
    return path


def record(name: str, scale: str) -> Path:
    return RECORDS / "studies" / f"{name}-{scale}.csv"
