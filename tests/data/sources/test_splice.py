from typing import Any

import numpy as np

from data.sources import splice


def test_clean_sequences_with_their_classes():
    found = splice.read_source()
    assert len(found) == 2989
    assert [list(found.values()).count(label) for label in ("EI", "IE", "N")] == [674, 669, 1646]
    assert {len(sequence) for sequence in found} == {60}


def test_the_sites_are_where_biology_says():
    found = splice.read_source()
    for label, bases, least in (("EI", "GT", 667), ("IE", "AG", 665)):
        places: Any = splice.SITES[splice.CLASSES.index(label)]
        first, last = places
        assert sum(s[first : last + 1] == bases for s, c in found.items() if c == label) == least


def test_order_is_all(load):
    """Places one by one say a lot, the bag of letters next to nothing: a nearest class by composition is near the
    share of the largest class."""
    loaded = load("splice")
    counts = {
        split: np.stack([(loaded["inputs"][split] == base).sum(axis=1) for base in range(1, 5)], axis=1)
        for split in ("train", "test")
    }
    centres = np.stack([counts["train"][loaded["labels"]["train"] == c].mean(axis=0) for c in range(3)])
    said = np.abs(counts["test"][:, None] - centres).sum(axis=2).argmin(axis=1)
    assert (said == loaded["labels"]["test"]).mean() < 0.6
