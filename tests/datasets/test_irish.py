from pathlib import Path

import numpy as np

import datasets
from datasets import irish


def test_all_tunes_are_there_once(data_dir: Path):
    tunes = irish.source()
    assert len(tunes) == len(set(tunes)) == 804
    loaded = datasets.load("irish", data_dir)
    assert len(loaded["alphabet"]) == 83
    letters = np.array(list(loaded["alphabet"]))
    found = [tune for text in loaded["text"].values() for tune in "".join(letters[text]).split(irish.BETWEEN)]
    assert sorted(found) == sorted(tunes)
    for tune in tunes:
        assert all(any(line.startswith(field) for line in tune.splitlines()) for field in irish.FIELDS)


def test_blocks_that_are_no_tunes_are_left_out():
    assert irish.tunes("X:1\nabc\n\n|:fragment:|\n\nX:2\nd\n \nX:1\nabc\n") == ["X:1\nabc", "X:2\nd"]
