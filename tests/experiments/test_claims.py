from pathlib import Path

from experiments import claims
from experiments.ablation import study, verdicts
from experiments.ablation.record_table import OUTDATED_MARK
from experiments.reporting import study_report

ROOT = Path(__file__).parents[2]


def test_every_claim_of_the_notes_has_a_verdict_from_a_record():
    some = claims.judged_studies()
    assert {each.study.notes_row for each in some} == set(claims.LECTURE_CLAIMS)
    assert all(each.verdicts for each in some)


def test_the_readme_and_the_document_say_what_the_records_say():
    some = claims.judged_studies()
    assert claims.lecture_claims_table(some) in (ROOT / "README.md").read_text()
    assert (ROOT / "docs" / "claims.md").read_text() == claims.claims_page(some)


def test_what_rests_on_older_code_is_marked():
    one = study.load_study("lines")
    lines = study_report.read_study_record("lines", one, "quick")
    fresh = claims.JudgedStudy("lines", one, lines, verdicts.judge_claims(one, lines, "quick"), 0)
    assert OUTDATED_MARK not in claims.lecture_claims_table([fresh])
    assert "older" not in claims.claims_page([fresh])
    old = fresh._replace(outdated=7)
    assert f"| `lines` {OUTDATED_MARK} |" in claims.lecture_claims_table([old])
    assert f"7 of {len(lines)} cells are of older code." in claims.claims_page([old])


def test_the_study_that_the_readme_shows_is_one_of_the_studies():
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("```python\n")[1].split("```")[0]
    assert shown == (ROOT / "experiments" / "studies" / "shape.py").read_text()
