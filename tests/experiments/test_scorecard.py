import pytest

import models
from experiments import scorecard
from experiments.ablation import study
from experiments.ablation.record_table import OUTDATED_MARK
from experiments.reporting import study_report
from tests import ROOT


@pytest.mark.long
def test_the_readme_has_the_scorecard_of_the_records():
    """Every mixer and the hybrid, and a figure in every column."""
    lines = {
        name: study_report.read_study_record(name, study.load_study(name), "quick")
        for name in scorecard.SCORECARD_STUDIES
    }
    old = scorecard.count_outdated_trials(lines, "quick")
    table = scorecard.scorecard_table(lines, old)
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    named = [*models.MIXERS, "rglru + attention"]
    assert [row[0] for row in rows[2:]] == [
        name + f" {OUTDATED_MARK}" * (name.replace(" + ", ",") in old) for name in named
    ]
    assert rows[0] == scorecard.SCORECARD_HEADER
    assert all(cell not in ("", "nan") for row in rows for cell in row)
    assert table in (ROOT / "README.md").read_text()
    marked = scorecard.scorecard_table(lines, {"gru": 1})
    assert [row.split("|")[1].strip() for row in marked.splitlines() if OUTDATED_MARK in row] == [
        f"gru {OUTDATED_MARK}"
    ]
