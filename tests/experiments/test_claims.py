from pathlib import Path

from experiments import claims
from experiments.ablation import study, verdicts
from experiments.comparison import OLDER
from experiments.reporting import study_report

ROOT = Path(__file__).parents[2]


def test_every_claim_of_the_notes_has_a_verdict_from_a_record():
    some = claims.found()
    assert {each.study.row for each in some} == set(claims.NOTES)
    assert all(each.verdicts for each in some)


def test_the_readme_and_the_document_say_what_the_records_say():
    some = claims.found()
    assert claims.table(some) in (ROOT / "README.md").read_text()
    assert (ROOT / "docs" / "claims.md").read_text() == claims.document(some)


def test_what_rests_on_older_code_is_marked():
    one = study.load("lines")
    lines = study_report.recorded("lines", one, "quick")
    fresh = claims.Found("lines", one, lines, verdicts.judge(one, lines, "quick"), 0)
    assert OLDER not in claims.table([fresh])
    assert "older" not in claims.document([fresh])
    old = fresh._replace(older=7)
    assert f"| `lines` {OLDER} |" in claims.table([old])
    assert f"7 of {len(lines)} cells are of older code." in claims.document([old])


def test_the_study_that_the_readme_shows_is_one_of_the_studies():
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("```python\n")[1].split("```")[0]
    assert shown == (ROOT / "experiments" / "studies" / "shape.py").read_text()
