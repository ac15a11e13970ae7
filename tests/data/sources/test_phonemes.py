from collections import Counter

import numpy as np

from data.builder import decode_text
from data.sources import phonemes


def test_words_and_their_first_pronunciation():
    found = phonemes.read_source()
    assert found["adamstown"] == "AE1 D AH0 M S T AW2 N"
    assert max(map(len, found)) == phonemes.MAX_LENGTH
    assert len(found) > 100_000


def test_rows_say_what_the_dictionary_says(load):
    loaded = load("phonemes")
    names, found = np.array(loaded["names"]), phonemes.read_source()
    assert sum(len(rows) for rows in loaded["sources"].values()) == len(found)
    for source, target in zip(loaded["sources"]["test"][:200], loaded["targets"]["test"][:200], strict=True):
        assert found["".join(names[source[source > 0]])] == " ".join(names[target[target > 0]])
    letters = [{row.tobytes() for row in rows} for rows in loaded["sources"].values()]
    assert len(set.union(*letters)) == sum(map(len, letters)), "no word is in two splits"


def test_families_of_words_are_in_one_split(records):
    """In version 1.0.0 23 % of the test words sounded like a training word."""
    lines = [
        (s, line.split(" ", 1))
        for s, rows in records("phonemes").items()
        for row in rows
        for line in decode_text(row["text"]).split("\n")
    ]
    said, split = {word: sounds for _, (word, sounds) in lines}, {word: s for s, (word, _) in lines}
    by_sound: dict[str, set[str]] = {}
    for word, sounds in said.items():
        by_sound.setdefault(sounds, set()).add(split[word])
    assert all(len(splits) == 1 for splits in by_sound.values())
    assert split["mother"] == split["mothers"] == split["mother's"]
    assert all(split[word] == split[word[:-2]] for word in said if word.endswith("'s") and word[:-2] in said)
    assert [0.75 < n / len(said) < 0.85 or 0.08 < n / len(said) < 0.12 for n in Counter(split.values()).values()] == [
        True
    ] * 3
