from collections import Counter
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

import data
from data import clusters
from data.sources import peptides, splice

RANDOM = np.random.default_rng(0)


def simple(a: str, b: str) -> float:
    """Identity by its definition, a cell at a time: (score, matches) of the best alignment that ends there."""
    table: dict[tuple[int, int], tuple[int, int]] = {}
    for i, j in product(range(len(a) + 1), range(len(b) + 1)):
        found = [(0, 0)]
        if i and j:
            (score, matches), same = table[i - 1, j - 1], a[i - 1] == b[j - 1]
            found.append((score + (clusters.MATCH if same else clusters.MISMATCH), matches + same))
        for before in [(i - 1, j)] * (i > 0) + [(i, j - 1)] * (j > 0):
            found.append((table[before][0] + clusters.GAP, table[before][1]))
        table[i, j] = max(one for one in found if one[0] >= 0)
    return max(table.values())[1] / min(len(a), len(b))


def test_identity_by_its_definition():
    sequences = ["".join(RANDOM.choice(list("ABCD"), RANDOM.integers(1, 15))) for _ in range(40)]
    pairs = np.array(list(combinations(range(40), 2)), np.int32)
    found = clusters.pairwise_identity(sequences, pairs)
    assert found.tolist() == [simple(sequences[i], sequences[j]) for i, j in pairs]


@pytest.mark.parametrize(
    ("a", "b", "identity"),
    [
        ("ACDEFGHIKL", "ACDEFGHIKL", 1),
        ("ACDEFGHIKL", "WWACDEFGHIKLWWW", 1),  # a part of another
        ("ACDEFGHIKL", "ACDEFWHIKL", 0.9),  # a letter changed
        ("ACDEFGHIKL", "ACDEFGHIKWL", 0.9),  # a letter put in near the end: a gap does not pay
        ("ACDEFGHIKL", "ACDEFWGHIKL", 1),  # in the middle, where it does
        ("ACDE", "FGHI", 0),
    ],
)
def test_identities_one_can_see(a: str, b: str, identity: float):
    assert clusters.pairwise_identity([a, b], np.array([[0, 1]], np.int32)).tolist() == [identity]
    assert clusters.pairwise_identity([a, b], np.array([[1, 0]], np.int32)).tolist() == [identity]


def test_clusters_hang_together_by_links_and_are_the_same_in_any_order():
    chain = ["ACDEFGHIKL", "ACDEFGHIWW", "YYDEFGHIWW", "MMMMMMMMMM"]  # the first and third: 5 of 10
    first = clusters.cluster_by_identity(chain, 0.7, 3)
    assert first == ["ACDEFGHIKL"] * 3 + ["MMMMMMMMMM"]
    assert clusters.cluster_by_identity(chain[::-1], 0.7, 3) == first[::-1]
    assert clusters.cluster_by_identity(chain, 0.9, 3) == chain
    assert clusters.cluster_by_identity([], 0.5, 3) == []
    assert clusters.cluster_by_identity(["AC", "AC", "ACD"], 0.7, 3) == ["AC", "AC", "ACD"], (
        "no run of three is shared by those"
    )


def may_be_near(sequences: list[str], pairs: np.ndarray, threshold: float) -> np.ndarray:
    """The pairs that have enough letters in common, in whatever order, for an identity of `threshold`."""
    counts = np.array(
        [[sequence.count(letter) for letter in sorted(set("".join(sequences)))] for sequence in sequences]
    )
    sizes = np.array([len(sequence) for sequence in sequences])
    common = np.minimum(counts[pairs[:, 0]], counts[pairs[:, 1]]).sum(axis=1)
    return pairs[common >= threshold * sizes[pairs].min(axis=1)]


@pytest.mark.parametrize(("module", "share"), [(peptides, 0.8), (splice, 0.7)])
def test_no_near_copies_across_splits(module: Any, share: float, load: Callable[[str], dict[str, Any]]):
    """Over what the model sees, with the same runs; in version 1.0.0 the largest identity was 1 in peptides."""
    loaded = load(module.__name__.rpartition(".")[2])
    names = np.array(loaded["names"])
    rows = {s: ["".join(names[row]) for row in loaded["inputs"][s]] for s in data.SPLITS}
    sequences = [row for s in data.SPLITS for row in rows[s]]
    split = np.repeat(list(data.SPLITS), [len(rows[s]) for s in data.SPLITS])
    pairs = np.array(
        [(i, j) for i, j in clusters.count_shared_runs(sequences, module.RUN_LENGTH) if split[i] != split[j]], np.int32
    )
    assert len(pairs) > 1000 or module is splice
    found = clusters.pairwise_identity(sequences, may_be_near(sequences, pairs, module.MIN_IDENTITY))
    assert module.MIN_IDENTITY - 0.1 < found.max() < module.MIN_IDENTITY
    counts = Counter(split.tolist())
    assert abs(counts["train"] / len(split) - share) < 0.05
    assert min(counts["validation"], counts["test"]) > 300
    balance = [np.bincount(labels) / len(labels) for labels in loaded["labels"].values()]
    assert np.ptp(balance, axis=0).max() < 0.1


def test_a_sequence_too_long_to_be_counted_is_refused():
    with pytest.raises(ValueError, match="a sequence has 1024 letters; alignments are of fewer than 1024"):
        clusters.cluster_by_identity(["A" * 1024, "A" * 1024], 0.9, 3)
