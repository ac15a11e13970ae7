import importlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import data
from data import clusters
from data.sources import irish


def test_all_tunes_are_there_once(data_dir: Path):
    tunes = irish.read_source()
    assert len(tunes) == len(set(tunes)) == 804
    loaded = data.load_dataset("irish", data_dir)
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
def test_a_melody_is_in_one_split(name: str):
    try:
        records = list(importlib.import_module(data.DATASETS[name]).BUILDER.generate_records())
    except FileNotFoundError as error:
        pytest.skip(str(error))
    melodies = [irish.melodic_intervals(record["text"].tobytes().decode()) for _, _, record in records]
    sizes = [len(clusters.distinct_runs(melody, irish._RUN_LENGTH)) for melody in melodies]
    both = clusters.count_shared_runs(melodies, irish._RUN_LENGTH)
    across = [n / min(sizes[i], sizes[j]) for (i, j), n in both.items() if records[i][0] != records[j][0]]
    assert 0 < max(across) < irish._MIN_SHARED_RUNS
    assert min(Counter(split for split, _, _ in records).values()) > 0.08 * len(records)
