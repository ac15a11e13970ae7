from experiments.reporting import further_studies
from experiments.reporting.chart_types import GroupedDotChart
from experiments.reporting.claims import JudgedStudy
from tests.experiments.reporting import STUDY, make_trial, study_trials


def test_scores_have_a_row_for_each_label_of_the_longest_axis():
    trials = study_trials()
    table = further_studies.all_scores_table(STUDY, trials).splitlines()
    axes = {axis: {trial.labels[axis] for trial in trials} for axis in STUDY.grid}
    longest = max(axes, key=lambda axis: len(axes[axis]))
    assert len(table) - 2 == len(axes[longest])
    assert {line.split(" | ")[0].removeprefix("| ") for line in table[2:]} == set(map(str, axes[longest]))


def test_a_study_of_one_axis_shows_all_its_test_splits():
    trials = [
        make_trial({"mixer": mixer}, seed, 0.9, {"test@256": 0.5 + 0.1 * seed, "test@64": 0.7})
        for mixer in ("a", "b")
        for seed in (0, 1)
    ]
    loaded = STUDY._replace(grid={"mixer": ("a", "b")}, claims=())
    header, _, *rows = further_studies.all_scores_table(loaded, trials).splitlines()
    assert header == "| mixer | score | at 64 | at 256 |"
    assert len(rows) == 2
    assert rows[0].startswith("| a | 0.900 (no spread seen) | 0.700 (no spread seen) | 0.550 [")
    (chart,) = further_studies._study_charts(JudgedStudy("needle", loaded, trials, [], 0))
    assert isinstance(chart, GroupedDotChart)
    assert [row.label for row in chart.rows] == ["a", "b"]
    assert chart.rows[0].values == {"as trained": [0.9, 0.9], "at 64": [0.7, 0.7], "at 256": [0.5, 0.6]}


def test_every_study_of_the_page_is_there_and_has_claims():
    for name in further_studies.STUDIES:
        loaded = further_studies.study.load_study(name)
        assert loaded.claims
        assert not loaded.notes_row, "this one is on the page of the notes' claims"
