"""Clusters of near-duplicate sequences, so that a whole cluster goes to one split.

Two sequences are linked if their identity reaches a threshold, and clusters are the connected components (single
linkage). So no two sequences of different clusters are that similar, except for pairs without a common run of `k`
letters, which are not compared. CD-HIT (Li and Godzik 2006) and MMseqs2 approximate such a rule to split protein data
sets; here it is exact and deterministic.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int

MATCH, MISMATCH, GAP = 1, -1, -2  # scores per letter of an alignment
# One integer holds score · unit + matches, so the unit is above the length of any sequence.
_SCORE_UNIT = 1024
_MAX_TABLE_CELLS = 2**17  # of the alignments that are computed at once


def cluster_by_identity(sequences: Sequence[str], threshold: float, k: int) -> list[str]:
    """Alphabetically first sequence of the cluster of each sequence. Sequences are in ASCII.

    Raises ValueError for a sequence of `_SCORE_UNIT` letters or more.
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
    """Alphabetically first name in the cluster of each sequence, for long sequences.

    Two are linked if at least the share `threshold` of the runs of `k` elements of the one with fewer is in the other.
    """
    sizes = [len(distinct_runs(sequence, k)) for sequence in sequences]
    both = count_shared_runs(sequences, k)
    return smallest_connected_keys(
        names, [(i, j) for (i, j), n in both.items() if n >= threshold * min(sizes[i], sizes[j])]
    )


def count_shared_runs(sequences: Sequence[Sequence], k: int) -> Counter[tuple[int, int]]:
    """Number of distinct runs of `k` elements that the sequences of each pair (i < j) share, where there are any."""
    holders: dict[Any, list[int]] = defaultdict(list)
    for i, sequence in enumerate(sequences):
        for run in distinct_runs(sequence, k):
            holders[run].append(i)
    return Counter(pair for some in holders.values() for pair in combinations(some, 2))


def distinct_runs(sequence: Sequence, k: int) -> set:
    """Distinct runs of `k` elements of a string or tuple; a shorter sequence is its only run."""
    return {sequence[i : i + k] for i in range(max(1, len(sequence) - k + 1))}


def pairwise_identity(sequences: Sequence[str], pairs: Int[np.ndarray, "P 2"]) -> Float[np.ndarray, "P"]:
    """Identity of each pair: matching letters in its best local alignment over the length of the shorter sequence.

    The best alignment (Smith and Waterman 1981) has the highest score, and among equal scores the most matches.
    """
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
    """Matching letters of the best local alignment of each column of `some` [n, P] with that of `others` [m, P].

    Both are ASCII codes with 0 after the end.
    """
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
    """Smallest key in the connected component of each key, under links (i, j) between their indices."""
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in links:
        first, second = sorted((root(i), root(j)), key=lambda at: keys[at])
        parent[second] = first
    return [keys[root(i)] for i in range(len(keys))]
