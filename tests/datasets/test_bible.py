import pytest

import datasets
from datasets import bible


def test_every_chapter_is_there(data_dir):
    try:
        chapters = bible.source()
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
    loaded = datasets.load("bible", data_dir)
    assert len(loaded["names"]) == bible.WORDS + 1
    assert loaded["names"][0] == bible.UNKNOWN
    assert sum(map(len, loaded["text"].values())) == sum(map(len, chapters.values()))
    for text in loaded["text"].values():
        assert (text == 0).mean() < 0.05, "few words are unknown"
