"""Tokens of long texts in a store: written as blocks, read as windows or whole."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped, UInt

from data.files.store import Store
from data.files.store_writer import SPLITS, StoreWriter

BLOCK = (
    8192  # tokens of a record: reading a window of 129 takes 6 µs, at 4,096 5 µs and twice the index, at 16,384 8 µs
)


class TokenWriter:
    """Writer of the tokens of each split, one after the other, in blocks of equal size; the last may be shorter.

    `state` says what a writer that goes on later needs to know.
    """

    def __init__(self, writer: StoreWriter, dtype: np.dtype, state: Mapping[str, Any] | None = None):
        self._writer, self.dtype = writer, np.dtype(dtype).newbyteorder("<")
        self.counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
        self._rest = {split: np.zeros(0, self.dtype) for split in SPLITS}
        if state is not None:
            self.counts = dict(state["counts"])
            self._rest = {
                split: np.frombuffer(base64.b64decode(rest), self.dtype) for split, rest in state["rest"].items()
            }

    def add_tokens(self, split: str, tokens: Shaped[np.ndarray, "N"]) -> None:
        """Append tokens to a split."""
        self.counts[split] += len(tokens)
        pending = np.concatenate([self._rest[split], tokens.astype(self.dtype, copy=False)])
        whole = len(pending) // BLOCK * BLOCK
        contents, size = pending[:whole].tobytes(), BLOCK * self.dtype.itemsize
        for begin in range(0, len(contents), size):
            self._writer.append(split, contents[begin : begin + size])
        self._rest[split] = pending[whole:]

    def state(self) -> dict[str, Any]:
        """What is not in the store yet, as JSON."""
        rest = {split: base64.b64encode(tokens.tobytes()).decode() for split, tokens in self._rest.items()}
        return {"counts": self.counts, "rest": rest}

    def finish(self) -> dict[str, Any]:
        """Write what is left, and return what `read_tokens` needs to know."""
        for split, tokens in self._rest.items():
            if len(tokens):
                self._writer.append(split, tokens.tobytes())
        return {"counts": self.counts, "dtype": self.dtype.name, "block": BLOCK}


class TokenRows:
    """Windows of a split's tokens, read from the store: the training rows of a text that stays on disk."""

    def __init__(self, store: Store, stated: Mapping[str, Any], split: str = "train"):
        self._store, self._split = store, split
        self._total, self._block, self._dtype = stated["counts"][split], stated["block"], np.dtype(stated["dtype"])

    def __len__(self) -> int:
        return self._total

    def gather(self, ids: Int64[np.ndarray, "n"], max_length: int) -> UInt[np.ndarray, "n W"]:
        """Windows of `max_length` + 1 tokens that begin at the places `ids`; 0 after the end of the text.

        Raises IndexError for a place that isn't there, and ValueError for a damaged store.
        """
        ids = np.asarray(ids, np.int64)
        if len(ids) and (ids.min() < 0 or ids.max() >= self._total):
            raise IndexError(f"places {ids.min()} to {ids.max()}: the {self._split} text has {self._total} tokens")
        width, itemsize = max_length + 1, self._dtype.itemsize
        first, offsets = np.divmod(ids, self._block)
        lengths = np.minimum(width, self._total - ids)
        blocks = (offsets + lengths - 1) // self._block + 1
        records = self._store.read_ranges(self._split, first, blocks)
        windows = np.zeros((len(ids), width), self._dtype)
        for row, parts, offset, length in zip(windows, records, offsets.tolist(), lengths.tolist(), strict=True):
            contents = parts[0] if len(parts) == 1 else b"".join(parts)
            row[:length] = np.frombuffer(contents, self._dtype, length, offset * itemsize)
        return windows


def read_tokens(store: Store, stated: Mapping[str, Any], split: str, limit: int | None = None) -> UInt[np.ndarray, "N"]:
    """The tokens of a split, or the first `limit` of them."""
    total = stated["counts"][split]
    return _read_span(store, stated, split, 0, total if limit is None else min(limit, total))


def read_spread_tokens(
    store: Store, stated: Mapping[str, Any], split: str, limit: int, runs: int
) -> UInt[np.ndarray, "N"]:
    """The tokens of a split; of more than `limit`, as many in `runs` spans at even distances."""
    total, span = stated["counts"][split], limit // runs
    if total <= limit:
        return read_tokens(store, stated, split)
    starts = [(total - span) * run // (runs - 1) for run in range(runs)]
    return np.concatenate([_read_span(store, stated, split, start, start + span) for start in starts])


def _read_span(store: Store, stated: Mapping[str, Any], split: str, start: int, stop: int) -> UInt[np.ndarray, "N"]:
    dtype, block = np.dtype(stated["dtype"]), stated["block"]
    tokens = np.empty(stop - start, dtype)
    first = start // block
    place = first * block
    for record in _read_blocks(store, split, first, -(-stop // block)):
        found = np.frombuffer(record, dtype)
        low, high = max(start, place), min(stop, place + len(found))
        tokens[low - start : high - start] = found[low - place : high - place]
        place += len(found)
    return tokens


def _read_blocks(store: Store, split: str, first: int, stop: int) -> Iterable[bytes]:
    for begin in range(first, stop, 256):
        (records,) = store.read_ranges(split, np.array([begin]), np.array([min(256, stop - begin)]))
        yield from records
