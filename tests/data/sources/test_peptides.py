from data.sources import peptides


def test_no_sequence_is_there_twice_or_in_both_classes():
    found = peptides.read_source()
    assert len(found) == 4620
    assert [list(found.values()).count(label) for label in (1, 0)] == [2540, 2080]
    assert all(set(sequence) <= set(peptides.AMINO_ACIDS) for sequence in found)


def test_the_class_is_given_away_by_how_a_sequence_begins():
    """The leak that the task's baseline states: whole proteins begin with M."""
    found = peptides.read_source()
    share = [[s[0] == "M" for s, label in found.items() if label == c] for c in (0, 1)]
    assert sum(share[0]) / len(share[0]) > 0.5
    assert sum(share[1]) / len(share[1]) < 0.05
