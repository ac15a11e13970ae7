"""RNN against attention on real data, at equal parameters and in equal steps: the table, the claims and the pictures.

Language (characters of Shakespeare, of tunes and of Python's library, words of a Bible), biology (peptides, splice
sites), vision (digits pixel by pixel, in order and permuted, and in patches) and translation (words to sounds, Greek
to English). Each is a config and a data set of the same name, whose docstrings say where the data come from.
"""

import importlib
from collections.abc import Sequence

from experiments.ablation import study, trial_scores, verdicts
from experiments.ablation.intervals import format_interval
from experiments.ablation.record_table import OUTDATED_MARK, outdated_note, outdated_records
from experiments.ablation.study import Labels
from experiments.ablation.trials import TrialRecord
from experiments.reporting.charts import render_charts
from experiments.reporting.html_report import Table, markdown_table
from experiments.reporting.publishing import Publication
from experiments.reporting.study_charts import best_setting, score_charts
from experiments.reporting.study_report import read_study_record

NAME, SCALE = "applications", "quick"


def applications_table(trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> Table:
    """Tabulate the data sets: metric, trivial baseline, and every mixer's mean and interval over seeds.

    The best mean is in bold; what rests on `outdated` trials is marked.
    """
    marked, note = [trial.labels for trial in outdated], outdated_note(len(outdated), len(trials))
    trials = trial_scores.reported_records(trials)
    mixers = list(dict.fromkeys(trial.labels["mixer"] for trial in trials))
    rows = []
    for data in dict.fromkeys(trial.labels["data"] for trial in trials):
        result = next(trial.result for trial in trials if trial.labels["data"] == data)
        better = trial_scores.max_or_min(result)
        rule, score = result["baseline"]
        metric = f"{result['metric']} ↓" if better is min else result["metric"]
        rows.append(
            [data.replace("_", " "), metric, f"{score:.3g} ({rule})", *_score_cells(trials, data, mixers, marked)]
        )
    seeds = len({trial.seed for trial in trials})
    steps = ", ".join(sorted({f"{int(trial.result['steps']):,}" for trial in trials}))
    text = (
        f"Test scores, mean and 95 % interval over {seeds} seeds, {steps} steps, rates chosen among three on another "
        "seed; ↓: less is better. The best mean is in bold, which is no claim: intervals overlap."
    )
    return Table("Real data", ["data", "measured", "baseline", *mixers], rows, f"{text} {note}".rstrip())


def _score_cells(
    trials: Sequence[TrialRecord], data: str, mixers: Sequence[str], marked: Sequence[Labels]
) -> list[str]:
    """The scores on one data set, one cell for each mixer."""
    settings = [{"data": data, "mixer": mixer} for mixer in mixers]
    best = best_setting(trials, settings)
    cells = []
    for setting in settings:
        estimate = trial_scores.estimate_metric(trials, setting, "test")
        cell = format_interval(estimate) if estimate.n else "–"
        cell = f"**{cell}**" if setting == best else cell
        cells.append(f"{cell} {OUTDATED_MARK}" if setting in marked else cell)
    return cells


def applications_page(trials: Sequence[TrialRecord], outdated: Sequence[TrialRecord] = ()) -> str:
    """Return question, table, picture, claims and the data sets' descriptions in Markdown."""
    table, loaded = applications_table(trials, outdated), study.load_study(NAME)
    claims = [[one.verdict, one.claim, one.evidence] for one in verdicts.judge_claims(loaded, trials, SCALE)]
    parts = [
        loaded.question,
        markdown_table(table.header, table.rows),
        table.note,
        "![Test scores of four mixers on every data set, and the trivial rules](applications.svg)",
        "## Claims",
        markdown_table(["verdict", "claim, written before the run", "evidence"], claims),
        "## The data sets",
    ]
    for data in dict.fromkeys(trial.labels["data"] for trial in trials):
        config = importlib.import_module(f"configs.{data}")
        source = importlib.import_module(f"data.sources.{config.get_config('lstm').task.dataset}")
        parts += [f"### {data.replace('_', ' ').capitalize()}", (config.__doc__ or "").strip()]
        parts.append((source.__doc__ or "").strip())
    return "\n\n".join(parts)


def build_applications() -> Publication:
    """Return the page and the picture, from the record of the study `applications`."""
    loaded = study.load_study(NAME)
    trials = read_study_record(NAME, loaded, SCALE)
    outdated = outdated_records(trials, loaded, loaded.scales[SCALE])
    return {
        "applications": applications_page(trials, outdated),
        "docs/results/applications.svg": render_charts(score_charts(trials, "data"), "svg", name=NAME),
    }
