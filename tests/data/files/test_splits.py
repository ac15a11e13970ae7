"""Splits of a user's items: given, or by hash; copies across them."""

import pytest

from data.files.splits import DuplicateFilter, SplitRule, canonical_split, check_splits, survey_splits

TEXTS = [f"document {i}" for i in range(2000)]


def test_names_of_splits():
    assert [canonical_split(name, "row 1") for name in ("Training", "dev", "VAL", "test")] == [
        "train",
        "validation",
        "validation",
        "test",
    ]
    with pytest.raises(ValueError, match="row 7: the split is 'holdout': write train, validation or test"):
        canonical_split("holdout", "row 7")


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ((), {"train": 0.8, "validation": 0.1, "test": 0.1}),
        (("train", "test"), {"train": 0.9, "validation": 0.1}),
        (("train", "validation"), {"train": 0.9, "test": 0.1}),
        (("train", "validation", "test"), {"train": 1.0}),
    ],
)
def test_a_split_that_is_not_given_is_taken_from_training(given: tuple[str, ...], shares: dict[str, float]):
    rule = SplitRule(frozenset(given))
    found = [rule.assign_item("train" if given else "", text) for text in TEXTS]
    assert {split: found.count(split) / len(found) for split in set(found)} == pytest.approx(shares, abs=0.03)
    assert all(rule.assign_item(split, text) == split for split in ("validation", "test") for text in TEXTS[:20])


def test_that_a_split_is_taken_from_training_is_said():
    counts = {"train": 198, "validation": 22, "test": 30}
    assert SplitRule(frozenset({"train", "test"})).notes(counts, "rows") == [
        "No row is given as validation: 22 rows are taken from training by a hash."
    ]
    assert len(SplitRule(frozenset({"train"})).notes(counts)) == 2
    assert SplitRule().notes(counts) == SplitRule(frozenset({"validation", "test"})).notes(counts) == []


def test_copies_are_dropped_from_the_split_that_is_trained_earlier():
    items = [("test", "a"), ("train", "a"), ("train", "b"), ("validation", "b"), ("validation", "a"), ("train", "c")]
    rule, duplicates = survey_splits(items)
    kept = [(split, text) for split, text in items if duplicates.keep_item(rule.assign_item(split, text), text)]
    assert kept == [("test", "a"), ("validation", "b"), ("train", "c")]
    assert duplicates.dropped == {"train": 2, "validation": 1}
    assert duplicates.notes()[0] == "Documents of train dropped, since a copy is in a later split: 2."


def test_nothing_is_dropped_where_nothing_is_given():
    rule, duplicates = survey_splits([("", text) for text in [*TEXTS, *TEXTS]])
    assert rule == SplitRule()
    assert all(duplicates.keep_item(rule.assign_item("", text), text) for text in [*TEXTS, *TEXTS])


def test_a_hash_is_looked_up_exactly():
    duplicates = DuplicateFilter()
    for text in TEXTS[:1000]:
        duplicates.add_item("test", text)
    assert [duplicates.keep_item("train", text) for text in TEXTS] == [False] * 1000 + [True] * 1000


def test_a_split_without_an_item_says_what_to_do():
    with pytest.raises(ValueError, match=r"^task.path=a.txt: it has 1 document, and none is left for validation and t"):
        check_splits("path", "a.txt", {"train": 1})
