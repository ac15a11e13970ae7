"""Counts of n-grams: what a model of language is to be held against."""

import functools

import numpy as np
from jaxtyping import Integer


def ngram_bits(train: Integer[np.ndarray, "N"], test: Integer[np.ndarray, "M"], vocab_size: int, order: int) -> float:
    """Bits per token of `test` (from its token number `order` on) under counts of `order`-grams in `train`.

    Witten and Bell 1991, interpolated: p(c | h) = (n(h c) + d(h) p(c | h′)) / (n(h) + d(h)), where n counts, d(h) is
    how many different tokens followed h, and h′ is h without its first token; where nothing followed h it is p(c | h′),
    and p without any h′ is uniform over the `vocab_size`. Raises ValueError where a gram's number takes over 63 bits.
    """
    if vocab_size**order >= 2**63:
        raise ValueError(f"order={order}: grams of {vocab_size} symbols can't be numbered; use a smaller one")
    p = np.full(len(test) - order + 1, 1 / vocab_size)
    for n in range(1, order + 1):
        wanted = _ngram_ids(test, n, vocab_size)[order - n :]
        found, counts = np.unique(_ngram_ids(train, n, vocab_size), return_counts=True)
        histories, first, followers = np.unique(found // vocab_size, return_index=True, return_counts=True)
        totals = np.add.reduceat(counts, first)
        seen, different = _look_up(histories, (totals, followers), wanted // vocab_size)
        (times,) = _look_up(found, (counts,), wanted)
        p = np.where(seen > 0, (times + different * p) / np.maximum(seen + different, 1), p)
    return float(-np.log2(p).mean())


def _ngram_ids(text: Integer[np.ndarray, "N"], n: int, symbols: int) -> Integer[np.ndarray, "M"]:
    """The number, in base `symbols`, that each run of `n` tokens spells."""
    spelt = np.zeros(len(text) - n + 1, np.int64)
    for i in range(n):
        spelt = spelt * symbols + text[i : len(spelt) + i]
    return spelt


def _look_up(keys: np.ndarray, values: tuple[np.ndarray, ...], wanted: np.ndarray) -> list[np.ndarray]:
    """Of each of `values`, what belongs to the `wanted` keys, and 0 to those that are not among the sorted `keys`."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    there = keys[at] == wanted
    return [np.where(there, some[at], 0) for some in values]


@functools.lru_cache(maxsize=8)
def cached_ngram_bits(train: bytes, test: bytes, symbols: int, order: int) -> float:
    """`ngram_bits` of texts as the bytes of int32 arrays: arrays can't be looked up, bytes can."""
    return ngram_bits(np.frombuffer(train, np.int32), np.frombuffer(test, np.int32), symbols, order)
