from pathlib import Path

import numpy as np

import datasets
from datasets import phonemes


def test_words_and_their_first_pronunciation():
    found = phonemes.source()
    assert found["adamstown"] == "AE1 D AH0 M S T AW2 N"
    assert max(map(len, found)) == phonemes.LONGEST
    assert len(found) > 100_000


def test_rows_say_what_the_dictionary_says(data_dir: Path):
    loaded = datasets.load("phonemes", data_dir)
    names, found = np.array(loaded["names"]), phonemes.source()
    assert sum(len(rows) for rows in loaded["sources"].values()) == len(found)
    for source, target in zip(loaded["sources"]["test"][:200], loaded["targets"]["test"][:200], strict=True):
        assert found["".join(names[source[source > 0]])] == " ".join(names[target[target > 0]])
    letters = [{row.tobytes() for row in rows} for rows in loaded["sources"].values()]
    assert len(set.union(*letters)) == sum(map(len, letters)), "no word is in two splits"
