"""The claims of the lecture notes, each with the verdict of its studies' records in this repository.

  python -m experiments.claims           the table in Markdown, from experiments/records/studies/; nothing is run
  python -m experiments.claims --write   docs/claims.md, with the evidence, docs/claims.svg and README's table, too

A record is made by `python -m experiments.run --study=NAME --record`.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from experiments.ablation import study
from experiments.ablation import verdicts as judge
from experiments.ablation.record_table import OUTDATED_MARK, outdated_records
from experiments.ablation.study import Study
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import VERDICT_SIGNS, Verdict
from experiments.reporting import html_report, study_report
from experiments.reporting.charts import DotChart, LineChart
from training import cli

DOCS = Path(__file__).parents[1] / "docs"
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
    14: "Applications: language, biological sequences, vision",
}


class JudgedStudy(NamedTuple):
    """A study with a record, and what it found."""

    name: str
    study: Study
    trials: list[TrialRecord]
    verdicts: list[Verdict]
    outdated: int  # lines that the code as it is now would not take for its own


def judged_studies(scale: str = "quick") -> list[JudgedStudy]:
    """The studies that answer the notes and have a record, in the order of the notes."""
    some = []
    for name in study.study_names():
        one = study.load_study(name)
        if one.notes_row and study_report.record_path(name, scale).exists():
            lines = study_report.read_study_record(name, one, scale)
            some.append(
                JudgedStudy(
                    name,
                    one,
                    lines,
                    judge.judge_claims(one, lines, scale),
                    len(outdated_records(lines, one, one.scales[scale])),
                )
            )
    return sorted(some, key=lambda each: (each.study.notes_row, each.name))


def lecture_claims_table(studies: list[JudgedStudy]) -> str:
    """A row a claim of the notes: how many of the inequalities that its studies claim came out how; a mark behind
    studies whose record holds older code."""
    rows = []
    for row, claim in LECTURE_CLAIMS.items():
        mine = [each for each in studies if each.study.notes_row == row]
        count = Counter(one.verdict for each in mine for one in each.verdicts)
        told = ", ".join(f"{count[verdict]} {verdict}" for verdict in VERDICT_SIGNS if count[verdict]) or "not run"
        rows.append(
            [
                str(row),
                claim,
                ", ".join(f"`{each.name}`" + f" {OUTDATED_MARK}" * bool(each.outdated) for each in mine),
                told,
            ]
        )
    return html_report.markdown_table(["row", "the notes say", "studies", "of their claims"], rows)


def claims_page(studies: list[JudgedStudy]) -> str:
    """Every claim with its verdict and evidence, in Markdown."""
    parts = ["# The notes' claims, measured", "", "Made by `python -m experiments.claims --write` from the records in "
             "`experiments/records/studies/`.", "", "![One chart a study](claims.svg)", ""]  # fmt: skip
    for each in studies:
        parts += [f"## {each.study.notes_row}. {study_report.study_title(each.name)}", "", f"*{LECTURE_CLAIMS[each.study.notes_row]}.* "
                  f"{each.study.question}", ""]  # fmt: skip
        rows = [[f"{VERDICT_SIGNS[one.verdict]} {one.verdict}", one.claim, one.evidence] for one in each.verdicts]
        parts.append(html_report.markdown_table(["verdict", "claim, written before the run", "evidence"], rows))
        where = each.verdicts[0].scale if each.verdicts else ""
        parts += [
            "",
            f"{where[:1].upper()}{where[1:]}; `python -m experiments.run --study={each.name}` repeats it."
            + f" {each.outdated} of {len(each.trials)} cells are of older code." * bool(each.outdated),
            "",
        ]
    return "\n".join(parts)


def claims_charts(studies: list[JudgedStudy]) -> list[LineChart | DotChart]:
    titles = [f"{each.study.notes_row}. {study_report.study_title(each.name)}" for each in studies]
    return [study_report.main_chart(one.study, one.trials, title) for one, title in zip(studies, titles, strict=True)]


def main() -> None:
    args: Any = flags.FLAGS
    some = judged_studies()
    print(lecture_claims_table(some))
    if args.write:
        html_report.publish_page(DOCS / "claims.md", claims_page(some), claims_charts(some), 3, lecture_claims_table(some),
                       "python -m experiments.run --study={name} --record")  # fmt: skip
        print(f"wrote {DOCS / 'claims.md'}, {DOCS / 'claims.svg'}, and the table in {html_report.README}")


if __name__ == "__main__":
    flags.DEFINE_bool("write", False, "Write docs/claims.md, docs/claims.svg and README's table too.")
    cli.run_command(main)
