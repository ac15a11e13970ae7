"""Texts encoded chunk by chunk, each different chunk once: most of a text is what was met before."""

import importlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

MAX_CHUNKS = 400_000  # different ones that are remembered
MAX_LENGTH = 16_000_000  # characters and tokens of all that are remembered


class ChunkCache:
    """Tokens of chunks of text (words, as a rule) that are the same wherever a chunk stands.

    Args:
      encode_chunks: gives the tokens of each of some chunks.
      dtype: of the tokens.
    """

    def __init__(self, encode_chunks: Callable[[list[str]], Sequence[Sequence[int]]], dtype: np.dtype):
        self._encode_chunks, self._dtype = encode_chunks, dtype
        self._forget_all()

    def _forget_all(self) -> None:
        self._index: dict[str, int] = {}
        self._length = 0
        self._lengths = np.zeros(0, np.int64)
        self._tokens = np.zeros(0, self._dtype)

    def encode(self, chunks: Any) -> np.ndarray:
        """Tokens of all chunks (a list, or an array of Arrow), one after the other."""
        import pyarrow as pa

        coded = pa.array(chunks, pa.large_string()).dictionary_encode()
        rows = self._find_rows(coded.dictionary.to_pylist())[coded.indices.to_numpy()]
        lengths = self._lengths[rows]
        begins = (np.cumsum(self._lengths) - self._lengths)[rows]
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - ends + lengths, lengths)
        return self._tokens[places]

    def _find_rows(self, different: list[str]) -> np.ndarray:
        """Where the tokens of each of some different chunks are kept; those that are new are encoded."""
        if len(self._index) > MAX_CHUNKS or self._length > MAX_LENGTH:
            self._forget_all()
        new = [chunk for chunk in different if chunk not in self._index]
        if new:
            encoded = self._encode_chunks(new)
            self._index.update(zip(new, range(len(self._index), len(self._index) + len(new)), strict=True))
            self._lengths = np.append(self._lengths, np.fromiter(map(len, encoded), np.int64, len(new)))
            flat = np.fromiter(itertools.chain.from_iterable(encoded), self._dtype)
            self._tokens = np.concatenate([self._tokens, flat])
            self._length += sum(map(len, new)) + len(flat)
        return np.fromiter(map(self._index.__getitem__, different), np.int64, len(different))


def split_at_blanks(texts: Iterable[str]) -> Any:
    """What stands between the blanks of texts, one text after the other, as an array of Arrow."""
    import pyarrow as pa

    compute: Any = importlib.import_module("pyarrow.compute")
    return compute.utf8_split_whitespace(pa.array(texts, pa.large_string())).values
