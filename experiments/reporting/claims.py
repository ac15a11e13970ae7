"""The claims of the lecture notes, each with the verdicts of the studies that test it.

The notes are MIT 6.S191, lecture 2; a claim's number is its row in them, and a study's `notes_row`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from experiments.ablation import study, verdicts
from experiments.ablation.record_table import OUTDATED_MARK, outdated_records
from experiments.ablation.study import Study
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import VERDICT_SIGNS, Verdict
from experiments.reporting.charts import render_charts
from experiments.reporting.html_report import markdown_table
from experiments.reporting.publishing import Publication
from experiments.reporting.study_charts import main_chart, study_title
from experiments.reporting.study_report import read_study_record, record_path

LECTURE_CLAIMS = {
    1: "A network of straight lines stays one; with non-linear activations, depth draws anything",
    2: "An RNN's encoding is a bottleneck",
    3: "An RNN is slow: its steps can't be taken side by side",
    4: "An RNN has no long memory",
    5: "One dense network over everything does not scale and has no order",
    6: "Wanted: a continuous stream, parallelisation, long memory, context",
    7: "Positional encoding gives back the order",
    8: "Query, key and value: each its own weights and bias",
    9: "Similarity of query and key: similar words get higher weight",
    10: "Softmax: changing one weight changes all the others",
    11: "Attention singles out the features that matter",
    12: "Several heads see different things; blocks stack",
    13: "Searching among videos: a query, keys and values",
    14: "Applications: language, biological sequences, vision",
    15: "What a Transformer does can be seen stage by stage",
}
SHOWN_ELSEWHERE = {  # claims that are no inequality: where they can be tried
    13: "to be tried: the search on the page of `make explore`",
    15: "to be seen: the page of `make explore`",
}
FOLDER = "docs/results/studies"  # of the pictures


class JudgedStudy(NamedTuple):
    """A study with a record, and its verdicts. `outdated` counts the trials of an older version of the code."""

    name: str
    study: Study
    trials: list[TrialRecord]
    verdicts: list[Verdict]
    outdated: int


def notes_studies(scale: str | None = None) -> list[str]:
    """The studies that test a claim of the lecture notes, by its row; with a scale, those that have it."""
    studies = {name: study.load_study(name) for name in study.study_names()}
    names = [name for name, loaded in studies.items() if loaded.notes_row and scale in {None, *loaded.scales}]
    return sorted(names, key=lambda name: (studies[name].notes_row, name))


def judged_studies(scale: str = "quick") -> list[JudgedStudy]:
    """Return the studies that test a claim of the notes and have a record, in the order of the notes."""
    found = []
    for name in notes_studies(scale):
        if not record_path(name, scale).exists():
            continue
        loaded = study.load_study(name)
        trials = read_study_record(name, loaded, scale)
        outdated = len(outdated_records(trials, loaded, loaded.scales[scale]))
        found.append(JudgedStudy(name, loaded, trials, verdicts.judge_claims(loaded, trials, scale), outdated))
    return found


def lecture_claims_table(studies: Sequence[JudgedStudy]) -> str:
    """Tabulate the notes' claims: their studies (marked if outdated), and how many of those studies' claims came out
    how."""
    rows = []
    for row, claim in LECTURE_CLAIMS.items():
        own = [judged for judged in studies if judged.study.notes_row == row]
        outcomes = describe_outcomes([verdict for judged in own for verdict in judged.verdicts])
        names = [f"`{judged.name}` {OUTDATED_MARK}" if judged.outdated else f"`{judged.name}`" for judged in own]
        rows.append([str(row), claim, ", ".join(names), outcomes or SHOWN_ELSEWHERE.get(row, "not run")])
    return markdown_table(["row", "the notes say", "studies", "of their claims"], rows)


def describe_outcomes(judged: Sequence[Verdict]) -> str:
    """How many claims came out how: "3 reproduced, 1 undecided"."""
    counts = Counter(one.verdict for one in judged)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICT_SIGNS if counts[verdict])


def claims_page(studies: Sequence[JudgedStudy]) -> str:
    """Return a section for each study: its question, its claims with verdict and evidence, and its chart."""
    return "\n\n".join(_study_section(judged) for judged in studies)


def _study_section(judged: JudgedStudy) -> str:
    row, title = judged.study.notes_row, study_title(judged.name)
    return "\n\n".join(
        [
            f"## {row}. {title}",
            f"*{LECTURE_CLAIMS[row]}.* {judged.study.question}",
            verdicts_table(judged),
            f"![{title}](studies/{judged.name}.svg)",
            repeat_note(judged),
        ]
    )


def verdicts_table(judged: JudgedStudy) -> str:
    """Tabulate a study's claims with verdict and evidence, in Markdown."""
    rows = [[f"{VERDICT_SIGNS[one.verdict]} {one.verdict}", one.claim, one.evidence] for one in judged.verdicts]
    return markdown_table(["verdict", "claim, written before the run", "evidence"], rows)


def repeat_note(judged: JudgedStudy) -> str:
    """Say what repeats a study, and how much of its record is of older code."""
    scale = judged.verdicts[0].scale if judged.verdicts else ""
    note = f"{scale[:1].upper()}{scale[1:]}; `python -m experiments.run --study={judged.name}` repeats it."
    if judged.outdated:
        note += f" {judged.outdated} of {len(judged.trials)} cells are of older code."
    return note


def build_claims() -> Publication:
    """Return the table, the sections and the charts of the notes' claims."""
    studies = judged_studies()
    pictures = {
        f"{FOLDER}/{one.name}.svg": render_charts(
            main_chart(one.study, one.trials, study_title(one.name)), "svg", name=one.name
        )
        for one in studies
    }
    return {"claims_table": lecture_claims_table(studies), "claims": claims_page(studies), **pictures}
