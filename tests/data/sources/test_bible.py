import pytest

import data
from data import clusters
from data.sources import bible


def test_every_chapter_is_there(data_dir):
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
    loaded = data.load_dataset("bible", data_dir)
    assert len(loaded["names"]) == bible.VOCAB_SIZE + 1
    assert loaded["names"][0] == bible.UNKNOWN
    assert sum(map(len, loaded["text"].values())) == sum(map(len, chapters.values()))
    for text in loaded["text"].values():
        assert (text == 0).mean() < 0.05, "few words are unknown"


def test_chapters_that_tell_the_same_are_in_one_split():
    """Kings and Isaiah; in version 1.0.0 64 % of a test chapter's runs of eight words were in training."""
    records = {key: (split, tuple(record["text"].split())) for split, key, record in bible.Bible.generate_records()}
    assert records["12018"][0] == records["23036"][0]  # 2 Kings 18, Isaiah 36
    known = set().union(*(clusters.distinct_runs(text, 8) for split, text in records.values() if split == "train"))
    shares = [
        len(clusters.distinct_runs(text, 8) & known) / len(clusters.distinct_runs(text, 8))
        for split, text in records.values()
        if split == "test"
    ]
    assert len(shares) == 105
    assert 0 < max(shares) < 1 / 3
