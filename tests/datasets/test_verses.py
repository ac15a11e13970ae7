import pytest

import datasets
from datasets import verses


@pytest.fixture(scope="module")
def found():
    try:
        return verses.source()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_verses_with_people_s_links(found):
    greek, english, links = found["40005011"]
    assert greek[:2] == ["μακάριος", "εἰμί"]
    assert english[:3] == ["blessed", "are", "you"]
    assert {(0, 0), (1, 1)} <= links
    assert all(0 <= e < len(english) and 0 <= g < len(greek) for e, g in links)


def test_rows_links_and_unknown_words(found, data_dir):
    loaded = datasets.load("verses", data_dir)
    assert sum(map(len, loaded["sources"].values())) == len(found)
    for split in datasets.SPLITS:
        targets, sources, links = (loaded[name][split] for name in ("targets", "sources", "links"))
        assert links.shape == (len(sources), verses.LONGEST, verses.LONGEST)
        assert not links[targets == 0].any()
        assert not links.transpose(0, 2, 1)[sources == 0].any()
        assert links.any(axis=2)[targets > 0].mean() > 0.9, "nearly every word is linked"
    assert (loaded["targets"]["test"] == 4).sum() / (loaded["targets"]["test"] > 0).sum() < 0.1
