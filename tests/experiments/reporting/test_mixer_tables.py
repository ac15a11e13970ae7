import pytest

from experiments.ablation.record_table import OUTDATED_MARK
from experiments.reporting import mixer_tables, study_charts
from tests.experiments.reporting import make_trial, task_trials


def test_compare_has_a_row_per_mixer_the_best_in_bold_and_what_is_no_achievement_below():
    table = mixer_tables.compare_table(task_trials())
    assert table.header == ["mixer", "recall of 8 pairs", "irish_tunes, bits per character", "state, floats"]
    lstm, attention, limits = table.rows
    assert lstm[0] == "LSTM"
    assert lstm[1].startswith("0.810")
    assert lstm[2].startswith("**2.0")
    assert [row[-1] for row in table.rows] == ["64", "64 and growing", ""]
    assert attention[1].startswith("**0.910")
    assert limits == ["*chance; simple rule*", "*0.1; 0.2*", "*0.1; 0.2*", ""]
    assert OUTDATED_MARK not in str(table)
    marked = mixer_tables.compare_table(task_trials(), task_trials()[:1])
    assert [OUTDATED_MARK in cell for cell in marked.rows[0]] == [False, True, False, False]
    attention = [trial for trial in task_trials() if trial.labels["mixer"] == "attention"]
    assert mixer_tables.compare_table(task_trials(), attention).rows[1][1].endswith(f"** {OUTDATED_MARK}")
    assert f"{OUTDATED_MARK}: 1 of 12 cells" in marked.note


def test_a_cell_says_what_diverged_and_what_was_not_run():
    setting = {"task": "copy memory", "mixer": "lstm"}
    trials = [make_trial(setting, seed, 0.2 + seed / 10) for seed in range(3)]
    trials[-1] = trials[-1]._replace(result={**trials[-1].result, "died_at": 7, "metrics": {}})
    cell = mixer_tables.score_cell(trials, setting, [])
    assert cell.startswith("0.250")
    assert cell.endswith("(1 of 3 diverged)")
    assert mixer_tables.score_cell(trials, {**setting, "mixer": "gru"}, []) == "not run"


def test_the_chosen_learning_rates_are_those_that_were_reported_with():
    table = mixer_tables.learning_rates_table([*task_trials(), task_trials()[0]._replace(phase="choose", seed=9)])
    assert table.header == ["mixer", "recall", "irish_tunes"]
    assert table.rows == [["lstm", "0.003", "0.003"], ["attention", "0.003", "0.003"]]


def test_charts_of_compare():
    """A metric's tasks share an axis."""
    accuracy, bits = study_charts.score_charts(task_trials(), "task", {"recall": "recall of 8 pairs"})
    assert [row.label for row in accuracy.rows] == ["recall of 8 pairs"]
    assert [row.label for row in bits.rows] == ["irish tunes"]
    assert (accuracy.rows[0].reference, accuracy.bounds) == (0.2, (0, 1))
    assert accuracy.rows[0].values["lstm"] == pytest.approx([0.8, 0.81, 0.82])
