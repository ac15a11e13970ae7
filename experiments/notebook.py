"""Runs, studies and the look inside as values and pictures, for notebooks; docs/getting-started.md shows how.

What `train.train` returns is a dict already: scores, times and cost of every member.
"""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.ablation import runner, verdicts
from experiments.ablation.intervals import mean_interval
from experiments.ablation.record_table import outdated_records, tabulate_records
from experiments.ablation.study import Study, load_study, validate_study
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import VERDICT_SIGNS, Verdict
from experiments.inspection import reading
from experiments.inspection.figures import collect_arrays, figure_drawers
from experiments.inspection.reading import ModelReading
from experiments.reporting import charts, study_charts, study_report
from experiments.reporting.chart_types import Chart, LineChart, interval_series, rc_params
from experiments.reporting.html_report import Table
from training import files, metrics
from training.ensemble import member_values
from training.runtime import DEFAULT_DATA_DIR
from training.workdir import plan_from_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows, in the style of the reports."""

    name: str
    draw: Callable[[], "Figure"] = field(repr=False)  # whose address in memory would be another one in every notebook

    def figure(self) -> "Figure":
        """Draw it as a matplotlib figure, which can be changed."""
        import matplotlib as mpl

        with mpl.rc_context(rc_params(self.name)):
            return self.draw()

    def save(self, path: str | Path) -> Path:
        """Write it as SVG, PDF or PNG, whichever the path's suffix says."""
        return charts.save_figure(self.draw, path)

    def _repr_svg_(self) -> str:
        return charts.render_figure(self.draw, "svg", self.name).decode()


def draw_chart(chart: Chart) -> Picture:
    """Draw a chart of `experiments.reporting.charts` for a notebook."""
    return Picture(chart.name, partial(charts.chart_figure, chart))


# ---- a run ----------------------------------------------------------------------------------------------------------


def read_log(workdir: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's log, by step: a dict with "step", "split" and lists of numbers, one for each member."""
    return metrics.read_metrics(Path(workdir) / "metrics.jsonl")


def draw_learning(workdir: str | Path, split: str = "validation") -> Picture:
    """Draw the score of a run on a split against the training step, with the interval over its seeds.

    There is a line for each learning rate, weight decay and momentum that members have of their own. Raises ValueError
    where nothing was logged of the split.
    """
    workdir = Path(workdir)
    logged = read_log(workdir)
    rows = [row for row in logged if row["split"] == split]
    if not rows:
        known = ", ".join(sorted({row["split"] for row in logged})) or "nothing yet"
        raise ValueError(f"{workdir}: its log has no {split}; it has {known}")
    metric = next(name for name in rows[0] if name not in ("step", "split", "checksum", "loss", "seconds"))
    plan = plan_from_json(files.read_json(workdir / "group.json"))
    lines: dict[str, list[int]] = {}
    for index, rate in enumerate(plan.learning_rates):
        own = {"learning_rate": rate, **member_values(plan, index)}
        line = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in own.items())
        lines.setdefault(line, []).append(index)
    series = []
    for name, members in lines.items():
        scores = {row["step"]: [row[metric][i] for i in members if row[metric][i] is not None] for row in rows}
        known = {step: mean_interval(values) for step, values in scores.items() if values}
        series.append(interval_series(name if len(lines) > 1 else split, list(known), list(known.values())))
    return draw_chart(LineChart("learning", workdir.name, "training step", metric, series))


# ---- a study --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyResult:
    """The trials of a study; a notebook shows its table, its verdicts and its main picture."""

    name: str
    study: Study = field(repr=False)
    scale: str
    trials: Sequence[TrialRecord] = field(repr=False)
    folder: Path = field(repr=False)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A dict for each trial: labels, seed, rate, cost, scores, measures, as pandas.DataFrame takes them."""
        header, rows = tabulate_records(self.trials)
        return [
            {**dict(zip(header, row, strict=True)), **trial.result["metrics"]}
            for row, trial in zip(rows, self.trials, strict=True)
        ]

    @cached_property
    def table(self) -> Table:
        """Scores, measures and cost of each setting, with intervals over the seeds."""
        return study_report.settings_table(self.study, self.trials)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What became of the study's claims."""
        return verdicts.judge_claims(self.study, self.trials, self.scale)

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        """Pictures by name: "main" and, where they say something, "learning" and "state"."""
        drawn = [
            study_charts.learning_chart(self.trials, self.folder),
            *study_charts.state_size_charts(self.trials),
        ]
        main = study_charts.main_chart(self.study, self.trials, study_charts.study_title(self.name))
        return {"main": draw_chart(main), **{chart.name: draw_chart(chart) for chart in drawn if chart}}

    def _repr_html_(self) -> str:
        claims = "".join(f"<li>{html.escape(str(verdict))}</li>" for verdict in self.verdicts)
        return f"<p>{html.escape(self.study.question)}</p>{_html_table(self.table)}<ul>{claims}</ul>" + _html_pictures(
            [self.pictures["main"]]
        )


def run_study(
    study: str | Study,
    scale: str = "quick",
    workdir: str | Path = "runs/studies",
    *,
    selected: Mapping[str, Sequence[str]] | None = None,
    data_dir: str = DEFAULT_DATA_DIR,
    log: Callable[[str], Any] = print,
) -> StudyResult:
    """Run a study, by its name in experiments/studies or as a `Study`, or find what `workdir` has of it.

    `selected` keeps only settings with these labels, as {axis: labels}. Raises ValueError for a study that can't be
    run.
    """
    name, study = (study, load_study(study)) if isinstance(study, str) else ("study", study)
    validate_study(study, scale)
    folder = Path(workdir)
    trials = runner.run_study(study, study.scales[scale], folder, data_dir=data_dir, selected=selected, log=log)
    return StudyResult(name, study, scale, trials, folder)


def read_study(name: str, scale: str = "quick") -> StudyResult:
    """Read a study's record in the repository: what `run_study` returned when it was made.

    Raises ValueError where there is no record, or it is damaged.
    """
    study = load_study(name)
    record = study_report.read_study_record(name, study, scale)
    return StudyResult(name, study, scale, record, study_report.record_path(name, scale).parent)


@dataclass(frozen=True)
class RecordedVerdicts:
    """The verdicts on record of some studies; a notebook in docs/ shows them as a list that links to the evidence."""

    studies: Sequence[StudyResult]

    def __repr__(self) -> str:
        lines = [
            [one.name, *(f"  {verdict.verdict}: {verdict.claim}" for verdict in one.verdicts)] for one in self.studies
        ]
        return "\n".join(chain.from_iterable(lines))

    def _repr_markdown_(self) -> str:
        return "\n\n".join(map(_list_verdicts, self.studies))


def _list_verdicts(result: StudyResult) -> str:
    """The verdicts of a study as a list in Markdown, below a line that says how sure they are and leads to the rest."""
    page, row = ("claims", result.study.notes_row) if result.study.notes_row else ("further-studies", "")
    heading = f"{row}-{result.name}".strip("-").replace("_", "-")
    about = [one.scale for one in result.verdicts[:1]]
    if outdated_records(result.trials, result.study, result.study.scales[result.scale]):
        about.append("in part of older code")
    title = study_charts.study_title(result.name)
    lines = [f"- {VERDICT_SIGNS[one.verdict]} **{one.verdict}**: {one.claim}" for one in result.verdicts]
    return "\n".join([f"[{title}](results/{page}.md#{heading}), {'; '.join(about)}:", "", *lines])


def read_verdicts(*names: str, scale: str = "quick") -> RecordedVerdicts:
    """Read what the records in the repository say of the claims of these studies. Raises ValueError as `read_study`."""
    return RecordedVerdicts([read_study(name, scale) for name in names])


# ---- the look inside ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inspection:
    """What models make of a sequence of tokens; a notebook shows what heads look at, and each token's influence."""

    tokens: Sequence[str]
    readings: Sequence[ModelReading] = field(repr=False)
    arrays: Mapping[str, Any] = field(repr=False)  # by name: "tokens", "attention/block_0.weights", "lstm/occlusion" …
    remark: str = ""  # on what was left out of the text, since the models never saw it

    @cached_property
    def pictures(self) -> dict[str, Picture]:
        """Pictures by name: "path", "influence" and, if a model has attention, "heads"."""
        drawers = figure_drawers(self.readings, self.tokens, columns=2)  # the width of a page
        return {name: Picture(name, draw) for name, draw in drawers.items()}

    def _repr_html_(self) -> str:
        shown = [self.pictures[name] for name in ("heads", "influence") if name in self.pictures]
        return f"<p>{html.escape(self.remark)}</p>{_html_pictures(shown)}"


def look_inside(
    workdirs: str | Path | Sequence[str | Path],
    text: str | None = None,
    *,
    member: int = 0,
    data_dir: str = DEFAULT_DATA_DIR,
) -> Inspection:
    """Read a sentence with the models of one or several runs or exports, as `python -m experiments.explore` does.

    `text` is as --input there: a sentence, or numbers with blanks between for a task that has no text; None is a
    sentence that the models know. Raises ValueError for what can't be read or taken apart.
    """
    several = [workdirs] if isinstance(workdirs, str | Path) else workdirs
    if not several:
        raise ValueError("workdirs=[]: give the directory of a run or an export, or several")
    loaded = [reading.load_run(Path(path), data_dir, member) for path in several]
    tokens, _, readings, remark = reading.read_with_all(loaded, text)
    symbol = loaded[0].run.task.input_symbol
    return Inspection([symbol(token) for token in tokens], readings, collect_arrays(tokens, readings), remark)


# ---- HTML -----------------------------------------------------------------------------------------------------------


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head, body = row(table.header, "th"), "".join(row(cells, "td") for cells in table.rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table><p>{html.escape(table.note)}</p>"


def _html_pictures(pictures: Sequence[Picture]) -> str:
    """The pictures as images of their own, so that names inside of one do not meet those of another."""
    encoded = [charts.render_figure(picture.draw, "svg", picture.name) for picture in pictures]
    return "".join(f'<img src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">' for svg in encoded)
