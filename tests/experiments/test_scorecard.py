import models
from experiments import findings, scorecard, study
from tests import ROOT


def test_the_readme_has_the_scorecard_of_the_records():
    """Every mixer and the hybrid, and a figure in every column."""
    lines = {name: findings.recorded(name, study.load(name), "quick") for name in scorecard.STUDIES}
    table = scorecard.table(lines)
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    assert [row[0] for row in rows[2:]] == [*models.MIXERS, "rglru + attention"]
    assert rows[0] == scorecard.HEADER
    assert all(cell not in ("", "nan") for row in rows for cell in row)
    assert table in (ROOT / "README.md").read_text()
