import pytest

from data import clusters
from data.builder import decode_text
from data.sources import bible


def test_every_chapter_is_there(load):
    try:
        chapters = bible.read_source()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert len(chapters) == 1189
    assert chapters["01001"][:10] == [
        "in",
        "the",
        "beginning",
        "god",
        "created",
        "the",
        "heavens",
        "and",
        "the",
        "earth",
    ]
    loaded = load("bible")
    assert len(loaded["names"]) == bible.VOCAB_SIZE + 1
    assert loaded["names"][0] == bible.UNKNOWN
    assert sum(map(len, loaded["text"].values())) == sum(map(len, chapters.values()))
    for text in loaded["text"].values():
        assert (text == 0).mean() < 0.05, "few words are unknown"


def test_chapters_that_tell_the_same_are_in_one_split(records):
    """Kings and Isaiah; in version 1.0.0 64 % of a test chapter's runs of eight words were in training."""
    chapters = {
        decode_text(row["chapter"]): (split, clusters.distinct_runs(tuple(decode_text(row["text"]).split()), 8))
        for split, rows in records("bible").items()
        for row in rows
    }
    assert chapters["12018"][0] == chapters["23036"][0]  # 2 Kings 18, Isaiah 36
    known = set().union(*(runs for split, runs in chapters.values() if split == "train"))
    shares = [len(runs & known) / len(runs) for split, runs in chapters.values() if split == "test"]
    assert len(shares) == 105
    assert 0 < max(shares) < 1 / 3
