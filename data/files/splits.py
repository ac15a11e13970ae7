"""Splits of the items (documents or rows) of a user's files: given, or by a hash of the item's contents.

`survey_splits` looks over the items once, if any split is given; `SplitRule.assign_item` then says for each where it
goes, and `DuplicateFilter.keep_item` whether it stays.
"""

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.files.formats import SPLIT_NAMES, file_splits
from data.files.sources import Counts, add_count
from data.splits import assign_split

SPLITS = ("train", "validation", "test")
FIELD_SPLITS = {"validation_path": "validation", "test_path": "test"}


def canonical_split(name: str, place: str) -> str:
    """The split that `name` stands for, such as "validation" for "dev". Raises ValueError for any other name."""
    if (found := SPLIT_NAMES.get(str(name).strip().lower())) is None:
        raise ValueError(f"{place}: the split is {str(name)!r}: write train, validation or test")
    return found


def known_split(name: str, counts: Counts | None = None) -> str | None:
    """The split that `formats.file_splits` names for a file, "" for none; None for one that is none of ours."""
    split = SPLIT_NAMES.get(name.lower()) if name else ""
    if split is None:
        add_count(counts, f"Files of the split {name} left out, which is none of train, validation and test")
    elif split:
        add_count(counts, f"Files that are {split} by their name or folder")
    return split


def has_given_splits(paths: Sequence[Path], split_column: str = "") -> bool:
    """Whether a column, or the name or place of files, says which split items belong to: then they must be surveyed."""
    return bool(split_column) or any(file_splits(paths))


class SplitRule(NamedTuple):
    """Where items go that `given` splits are known of. A split that isn't given takes a tenth of all others by hash."""

    given: frozenset[str] = frozenset()

    def assign_item(self, given: str, contents: str | bytes) -> str:
        """Split of an item: the one that is given, if it is validation or test; otherwise by a hash of its contents."""
        if given in ("validation", "test"):
            return given
        if not self.given & {"validation", "test"}:
            return assign_split(contents)
        if {"validation", "test"} <= self.given:
            return "train"
        missing = "test" if "validation" in self.given else "validation"
        return "train" if assign_split(contents, train=0.9) == "train" else missing

    def notes(self, counts: Mapping[str, int], items: str = "documents") -> list[str]:
        """That items go to a split by a hash though others are given, and how many do, from the `counts` of splits."""
        missing = [split for split in ("validation", "test") if self.given and split not in self.given]
        return [
            f"No {items.removesuffix('s')} is given as {split}: {counts.get(split, 0):,} {items} are taken from "
            f"training by a hash."
            for split in missing
        ]


class DuplicateFilter:
    """Drops items of training that are in validation or test, and items of validation that are in test.

    The items of the splits that are given are added first; 8 bytes of each are kept. Where all splits go by hash,
    copies are in the same split, and nothing is added. `dropped` counts by split, and may be set to go on counting.
    """

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        self._added = {split: array("Q") for split in ("validation", "test")}
        self._sorted: dict[str, np.ndarray] = {}

    def add_item(self, split: str, contents: str | bytes) -> None:
        """Note an item of validation or test; one of training is not needed."""
        if split in self._added:
            self._added[split].append(_hash_contents(contents))
            self._sorted.clear()

    def keep_item(self, split: str, contents: str | bytes) -> bool:
        """Whether an item stays in `split`. One that doesn't is counted."""
        later = [other for other in SPLITS[SPLITS.index(split) + 1 :] if self._added[other]]
        if not later:
            return True
        number = _hash_contents(contents)
        if any(self._contains(other, number) for other in later):
            self.dropped[split] = self.dropped.get(split, 0) + 1
            return False
        return True

    def _contains(self, split: str, number: int) -> bool:
        if split not in self._sorted:
            self._sorted[split] = np.unique(np.frombuffer(self._added[split], np.uint64))
        known = self._sorted[split]
        place = int(np.searchsorted(known, np.uint64(number)))
        return place < len(known) and int(known[place]) == number

    def notes(self, items: str = "documents") -> list[str]:
        """What was dropped, a sentence each."""
        return [
            f"{items.capitalize()} of {split} dropped, since a copy is in a later split: {number:,}."
            for split, number in self.dropped.items()
        ]


def _hash_contents(contents: str | bytes) -> int:
    contents = contents.encode() if isinstance(contents, str) else contents
    return int.from_bytes(hashlib.blake2b(contents, digest_size=8).digest())


def survey_splits(items: Iterable[tuple[str, str | bytes]]) -> tuple[SplitRule, DuplicateFilter]:
    """Look over (given split or "", contents) of all items once: the rule of their splits, and a filter of copies."""
    found: set[str] = set()
    duplicates = DuplicateFilter()
    for given, contents in items:
        if given:
            found.add(given)
            duplicates.add_item(given, contents)
    return SplitRule(frozenset(found)), duplicates


def check_splits(field: str, path: str, counts: Mapping[str, int], items: str = "documents") -> None:
    """Raise ValueError, with what to do, unless every split has an item."""
    if empty := [split for split in SPLITS if not counts.get(split)]:
        total = sum(counts.values())
        smaller = "a smaller task.document (paragraph or line), " if items == "documents" else ""
        raise ValueError(
            f"task.{field}={path}: it has {total:,} {items.removesuffix('s') if total == 1 else items}, and none is "
            f"left for {' and '.join(empty)}: give more, {smaller}or task.validation_path and task.test_path"
        )
