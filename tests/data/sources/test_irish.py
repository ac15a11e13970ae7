from collections import Counter

import numpy as np
import pytest

from data import clusters
from data.sources import irish


def test_all_tunes_are_there_once(load):
    tunes = irish.read_source()
    assert len(tunes) == len(set(tunes)) == 804
    loaded = load("irish")
    assert len(loaded["alphabet"]) == 83
    letters = np.array(list(loaded["alphabet"]))
    found = [tune for text in loaded["text"].values() for tune in "".join(letters[text]).split(irish.SEPARATOR)]
    assert sorted(found) == sorted(tunes)
    for tune in tunes:
        assert all(any(line.startswith(field) for line in tune.splitlines()) for field in irish.HEADER_FIELDS)


def test_blocks_that_are_no_tunes_are_left_out():
    assert irish.split_tunes("X:1\nabc\n\n|:fragment:|\n\nX:2\nd\n \nX:1\nabc\n") == ["X:1\nabc", "X:2\nd"]


def test_a_melody_is_the_same_in_any_key_and_metre():
    tune = 'X:1\nT:A\nM:4/4\nL:1/8\nK:C\n|:C2E2 G>c|"Am"{d}B,z [K:G]c\'2:|'
    assert irish.melodic_intervals(tune) == (2, 2, 3, -8, 15)
    assert irish.melodic_intervals("X:2\nT:B\nM:6/8\nL:1/4\nK:D\nDF|Ad C d'") == (2, 2, 3, -8, 15)
    assert irish.melodic_intervals("X:1\nK:C\n") == ()


@pytest.mark.parametrize("name", ["irish", "oneill"])
def test_a_melody_is_in_one_split(name: str, records):
    tunes = [(split, row) for split, rows in records(name).items() for row in rows]
    melodies = [irish.melodic_intervals(np.asarray(row["text"], np.uint8).tobytes().decode()) for _, row in tunes]
    sizes = [len(clusters.distinct_runs(melody, irish._RUN_LENGTH)) for melody in melodies]
    both = clusters.count_shared_runs(melodies, irish._RUN_LENGTH)
    across = [n / min(sizes[i], sizes[j]) for (i, j), n in both.items() if tunes[i][0] != tunes[j][0]]
    assert 0 < max(across) < irish._MIN_SHARED_RUNS
    assert min(Counter(split for split, _ in tunes).values()) > 0.08 * len(tunes)
