"""Clusters of sequences that are nearly copies of each other, so that a whole cluster goes to one split.

Two sequences are linked where their `identity` is at least a threshold, and a cluster is all that hangs together by
links (single linkage). So no sequence is that identical to one of another cluster, apart from pairs that have no run
of `k` letters in common, which are not compared: a rule of this kind is what CD-HIT (Li and Godzik 2006) and MMseqs2
make quick, and what splits of protein data sets are made by. All of it is exact and without chance.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int

MATCH, MISMATCH, GAP = 1, -1, -2  # of an alignment's score, a letter each
_SCORE_UNIT = (
    1024  # scores are counted in it, so that the number of matching letters fits beside them; longer than a sequence
)
_MAX_TABLE_CELLS = 2**17  # of an alignment's table that are worked on at once


def cluster_by_identity(sequences: Sequence[str], threshold: float, k: int) -> list[str]:
    """Of each sequence, the alphabetically first one of its cluster. Sequences are in ASCII.

    Raises ValueError for one of `_SCORE_UNIT` letters or more, whose alignments could not be counted.
    """
    if (longest := max(map(len, sequences), default=0)) >= _SCORE_UNIT:
        raise ValueError(f"a sequence has {longest} letters; alignments are of fewer than {_SCORE_UNIT}")
    pairs = np.array(sorted(count_shared_runs(sequences, k)), np.int32).reshape(-1, 2)
    sizes = np.array([len(sequence) for sequence in sequences], np.int32)
    counts = [
        np.array([sequence.count(letter) for sequence in sequences]) for letter in sorted(set("".join(sequences)))
    ]
    # No alignment matches more letters than both have.
    most = sum((each[pairs].min(axis=1) for each in counts), np.zeros(len(pairs)))
    near = pairs[most >= threshold * sizes[pairs].min(axis=1)]
    return smallest_connected_keys(sequences, near[pairwise_identity(sequences, near) >= threshold])


def cluster_by_runs(names: Sequence[str], sequences: Sequence[Sequence], threshold: float, k: int) -> list[str]:
    """Of each sequence, the alphabetically first name in its cluster. For long ones: two are linked where at least the
    share `threshold` of the runs of `k` elements of the one that has fewer is in the other."""
    sizes = [len(distinct_runs(sequence, k)) for sequence in sequences]
    both = count_shared_runs(sequences, k)
    return smallest_connected_keys(
        names, [(i, j) for (i, j), n in both.items() if n >= threshold * min(sizes[i], sizes[j])]
    )


def count_shared_runs(sequences: Sequence[Sequence], k: int) -> Counter[tuple[int, int]]:
    """All pairs (i < j) of sequences that have runs of `k` elements in common, and how many distinct ones."""
    holders: dict[Any, list[int]] = defaultdict(list)
    for i, sequence in enumerate(sequences):
        for run in distinct_runs(sequence, k):
            holders[run].append(i)
    return Counter(pair for some in holders.values() for pair in combinations(some, 2))


def distinct_runs(sequence: Sequence, k: int) -> set:
    """All distinct runs of `k` elements of a string or tuple; the whole of a shorter one."""
    return {sequence[i : i + k] for i in range(max(1, len(sequence) - k + 1))}


def pairwise_identity(sequences: Sequence[str], pairs: Int[np.ndarray, "P 2"]) -> Float[np.ndarray, "P"]:
    """The identity of each pair: the letters that match in its best local alignment (Smith and Waterman 1981), divided
    by the length of the shorter sequence. The best has the highest score, and of equal ones the most matches."""
    sizes = np.array([len(sequence) for sequence in sequences], np.int32)
    longest = sizes.max(initial=1)
    letters = np.zeros((len(sequences), longest), np.uint8)
    for row, sequence in zip(letters, sequences, strict=True):
        row[: len(sequence)] = np.frombuffer(sequence.encode("ascii"), np.uint8)
    lengths = np.sort(sizes[pairs], axis=1)
    short_first = np.where((sizes[pairs[:, 0]] > sizes[pairs[:, 1]])[:, None], pairs[:, ::-1], pairs)
    matches = np.zeros(len(pairs), np.int64)
    order, start = np.lexsort(lengths.T), 0  # by the longer one: little is padding
    while start < len(order):
        width = lengths[order[min(start + _MAX_TABLE_CELLS // longest, len(order) - 1)], 1]
        rows = order[start : start + _MAX_TABLE_CELLS // width]
        (n, m), some = lengths[rows].max(axis=0), short_first[rows]
        matches[rows] = _count_aligned_matches(letters[some[:, 0], :n].T, letters[some[:, 1], :m].T)
        start += len(rows)
    return matches / lengths[:, 0]


def _count_aligned_matches(some: np.ndarray, others: np.ndarray) -> Int[np.ndarray, "P"]:
    """The matching letters of the best local alignment of each column of `some` [n, P] with that of `others` [m, P],
    both in ASCII codes with 0 behind the end."""
    some = np.where(some == 0, 1, some)  # padding matches nothing
    gaps = -GAP * _SCORE_UNIT * np.arange(others.shape[0] + 1, dtype=np.int32)[:, None]
    table = np.zeros((others.shape[0] + 1, others.shape[1]), np.int32)
    best = np.zeros(others.shape[1], np.int32)
    for letter in some:
        step = np.where(others == letter, np.int32(MATCH * _SCORE_UNIT + 1), np.int32(MISMATCH * _SCORE_UNIT))
        new = np.maximum(table + GAP * _SCORE_UNIT, 0)
        np.maximum(new[1:], table[:-1] + step, out=new[1:])
        new += gaps  # a gap of any length in the other direction, at once
        table = np.maximum.accumulate(new, axis=0) - gaps
        np.maximum(best, table.max(axis=0), out=best)
    return best % _SCORE_UNIT


def smallest_connected_keys(keys: Sequence[Any], links: Iterable) -> list[Any]:
    """Of each of `keys`, the smallest one to which it is linked, over however many links (i, j)."""
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in links:
        first, second = sorted((root(i), root(j)), key=lambda at: keys[at])
        parent[second] = first
    return [keys[root(i)] for i in range(len(keys))]
