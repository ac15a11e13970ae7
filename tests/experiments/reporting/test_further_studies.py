from experiments.reporting import further_studies
from tests.experiments.reporting import STUDY, study_trials


def test_scores_have_a_row_for_each_label_of_the_longest_axis():
    trials = study_trials()
    table = further_studies.all_scores_table(STUDY, trials).splitlines()
    axes = {axis: {trial.labels[axis] for trial in trials} for axis in STUDY.grid}
    longest = max(axes, key=lambda axis: len(axes[axis]))
    assert len(table) - 2 == len(axes[longest])
    assert {line.split(" | ")[0].removeprefix("| ") for line in table[2:]} == set(map(str, axes[longest]))


def test_every_study_of_the_page_is_there_and_has_claims():
    for name in further_studies.STUDIES:
        loaded = further_studies.study.load_study(name)
        assert loaded.claims
        assert not loaded.notes_row, "this one is on the page of the notes' claims"
