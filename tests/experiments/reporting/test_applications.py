from experiments.ablation.record_table import OUTDATED_MARK
from experiments.reporting import applications
from tests.experiments.reporting import task_trials

TRIALS = task_trials("data")


def test_a_row_per_data_set_with_its_baseline_and_the_best_in_bold():
    table = applications.applications_table(TRIALS)
    assert list(table.header) == ["data", "measured", "baseline", "lstm", "attention"]
    recall, tunes = table.rows
    assert recall[:3] == ["recall", "accuracy", "0.2 (a rule)"]
    assert recall[4].startswith("**0.910")
    assert not recall[3].startswith("**")
    assert tunes[:2] == ["irish tunes", "bits per character ↓"]
    assert tunes[3].startswith("**2.0")
    assert "over 3 seeds, 600 steps" in table.note


def test_what_is_of_older_code_is_marked():
    table = applications.applications_table(TRIALS, TRIALS[:1])
    assert [OUTDATED_MARK in cell for cell in table.rows[0]] == [False, False, False, True, False]
    assert not any(OUTDATED_MARK in cell for cell in table.rows[1])
    assert f"{OUTDATED_MARK}: 1 of 12 cells are of older code" in table.note
    assert OUTDATED_MARK not in applications.applications_table(TRIALS).note
