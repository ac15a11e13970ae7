import pytest

from experiments.ablation import study
from experiments.ablation.record_table import OUTDATED_MARK
from experiments.ablation.verdicts import Verdict
from experiments.reporting import claims
from experiments.reporting.claims import JudgedStudy
from tests.experiments.reporting import STUDY, study_trials

JUDGED = JudgedStudy("lines", STUDY._replace(notes_row=1), study_trials(), [Verdict("a is better", "reproduced")], 0)


def test_every_claim_of_the_notes_has_a_study_or_a_place_where_it_is_shown():
    tested = {study.load_study(name).notes_row for name in study.study_names()}
    assert set(claims.LECTURE_CLAIMS) == set(range(1, 16))
    assert tested - {0} | set(claims.SHOWN_ELSEWHERE) == set(claims.LECTURE_CLAIMS)


def test_a_study_without_a_record_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study, "study_names", lambda: ["lines", "shape"])  # shape tests no claim of the notes
    (judged,) = claims.judged_studies()
    assert judged.name == "lines"
    assert [one.claim for one in judged.verdicts] == [claim.text for claim in judged.study.claims]
    assert claims.judged_studies("smoke") == []


def test_the_table_counts_verdicts_and_marks_older_code():
    rows = {line.split(" | ")[0]: line for line in claims.lecture_claims_table([JUDGED]).splitlines()}
    assert rows["| 1"].endswith("| `lines` | 1 reproduced |")
    assert rows["| 2"].endswith("|  | not run |")
    assert "make explore" in rows["| 13"]
    old = JUDGED._replace(outdated=7)
    assert f"| `lines` {OUTDATED_MARK} |" in claims.lecture_claims_table([old])
    assert "older" not in claims.claims_page([JUDGED])
    assert "repeats it. 7 of 18 cells are of older code." in claims.claims_page([old])


def test_a_section_has_the_question_the_claims_and_the_chart():
    page = claims.claims_page([JUDGED])
    assert page.startswith("## 1. Lines\n")
    assert "Is it so?" in page
    assert "| ✓ reproduced | a is better |" in page
    assert "![Lines](studies/lines.svg)" in page
