"""Records of studies of a whole registry."""

import pytest

from experiments.ablation.record_files import RECORDS_DIR, read_record
from experiments.ablation.record_table import parse_records
from experiments.ablation.verdicts import judge_claims
from experiments.studies import score_cost


def test_what_is_registered_later_than_the_record_leaves_record_and_verdicts_as_they_are():
    study, rows = score_cost.STUDY, read_record(RECORDS_DIR / "studies" / "score_cost-quick.csv")
    recorded = dict.fromkeys(row["mixer"] for row in rows)
    later = study._replace(grid={"mixer": (*recorded, "newcomer")})
    trials = parse_records(rows, study, study.scales["quick"])
    assert parse_records(rows, later, study.scales["quick"]) == trials
    assert judge_claims(later, trials, "quick") == judge_claims(study, trials, "quick")
    with pytest.raises(ValueError, match="the record lacks newcomer, seed 0"):
        parse_records(rows, later._replace(registry_axis=""), study.scales["quick"])
