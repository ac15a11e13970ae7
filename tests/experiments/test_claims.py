from pathlib import Path

from experiments import claims

ROOT = Path(__file__).parents[2]


def test_every_claim_of_the_notes_has_a_verdict_from_a_record():
    some = claims.found()
    assert {each.study.row for each in some} == set(claims.NOTES)
    assert all(each.verdicts for each in some)


def test_the_readme_and_the_document_say_what_the_records_say():
    some = claims.found()
    assert claims.table(some) in (ROOT / "README.md").read_text()
    assert (ROOT / "docs" / "claims.md").read_text() == claims.document(some)


def test_the_study_that_the_readme_shows_is_one_of_the_studies():
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("```python\n")[1].split("```")[0]
    assert shown == (ROOT / "experiments" / "studies" / "shape.py").read_text()
