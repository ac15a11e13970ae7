"""From text to tokens and back to names: bytes, characters, words, and byte pairs.

Token 0 ends a document in every tokenizer. Text has no NUL (`data.files.sources` refuses it), so documents are joined
by it and encoded many at a time.
"""

import abc
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt

from data.files.chunk_cache import MAX_CHUNKS, ChunkCache, split_at_blanks
from tasks.real.words import split_words

END = "␄"
UNKNOWN = "<unk>"
CODES = 0x110000  # of Unicode
_SHORT = 32  # characters of what is met again
_LONGEST = 100  # characters of a word
Tokens = UInt[np.ndarray, "N"]


class Encoded(NamedTuple):
    """Tokens of documents, and how much of these has no token.

    `lost` counts characters of which nothing is kept; what became an unknown token is there, and isn't lost.
    """

    tokens: Tokens
    lost: int = 0


class Tokenizer(abc.ABC):
    """What gives the tokens of a text, in the smallest of uint8, uint16 and uint32 that holds them all."""

    kind: ClassVar[str]
    names: tuple[str, ...]
    """How each token looks; no two look alike."""
    token_bytes: Int32[np.ndarray, "V"] | None = None
    """Bytes of UTF-8 that each token stands for, 0 for the end of a document; None where tokens don't say it all."""
    spelled_bytes: Int32[np.ndarray, "V"] | None = None
    """What `token_bytes` are if, in a given text, they add up to all of it; None where this can't be."""
    unknown: int | None = None
    """The token of what has none."""

    @property
    def description(self) -> str:
        """What `tasks.real.tokenization` knows it by."""
        return self.kind

    @abc.abstractmethod
    def encode(self, text: str) -> Tokens:
        """Tokens of a text, without an end. Raises ValueError for what has no token."""

    @abc.abstractmethod
    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Tokens of each text and then token 0, one text after the other."""

    @abc.abstractmethod
    def identity(self) -> dict[str, Any]:
        """All that makes this tokenizer, as JSON for `restore_tokenizer`."""

    def notes(self) -> list[str]:
        """What it does to a text before it is encoded, in sentences."""
        return []


def restore_tokenizer(identity: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer whose `identity` this is."""
    settings = {name: value for name, value in identity.items() if name != "kind"}
    if identity["kind"] == "subwords":
        from data.files.subwords import SubwordTokenizer

        return SubwordTokenizer(**settings)
    return {"bytes": ByteTokenizer, "characters": CharacterTokenizer, "words": WordTokenizer}[identity["kind"]](
        **settings
    )


def smallest_dtype(size: int) -> np.dtype:
    """The smallest unsigned type that holds the numbers below `size`."""
    return np.dtype(np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32)


class ByteTokenizer(Tokenizer):
    """Each byte of UTF-8 is its own token. There is no byte 0 in a text, so that it can end documents."""

    kind = "bytes"

    def __init__(self) -> None:
        shown = {*range(0x20, 0x7F), *b"\n\t\r"}
        self.names = (END, *(chr(byte) if byte in shown else f"<0x{byte:02X}>" for byte in range(1, 256)))
        self.token_bytes = np.ones(256, np.int32)
        self.token_bytes[0] = 0

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(text.encode(), np.uint8)

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        return Encoded(np.frombuffer(join_documents(texts).encode(), np.uint8))

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}


class CharacterTokenizer(Tokenizer):
    """Each character of an alphabet is a token."""

    kind = "characters"

    def __init__(self, alphabet: str):
        self.alphabet = alphabet
        end = "<end>" if END in alphabet else END
        self.names = (end, *alphabet)
        self.token_bytes = np.array([0, *(len(character.encode()) for character in alphabet)], np.int32)
        # Tokens by code; 0 stands for NUL, and for what isn't in the alphabet, as all codes beyond the table aren't.
        codes = _code_points(alphabet)
        self._table = np.zeros(int(codes.max(initial=0)) + 2, smallest_dtype(len(self.names)))
        self._table[codes] = np.arange(1, len(self.names))

    def encode(self, text: str) -> Tokens:
        tokens = self._look_up(text)
        if len(strange := np.flatnonzero(tokens == 0)):
            missing = dict.fromkeys(text[i] for i in strange[:1000].tolist())
            raise ValueError(f"the alphabet has no {', '.join(map(repr, list(missing)[:5]))}")
        return tokens

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        tokens = self._look_up(join_documents(texts))
        if np.count_nonzero(tokens == 0) != len(texts):
            self.encode("".join(texts))  # raises
        return Encoded(tokens)

    def _look_up(self, text: str) -> Tokens:
        return self._table.take(_code_points(text), mode="clip")

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "alphabet": self.alphabet}


class WordTokenizer(Tokenizer):
    """Each of the `words` is a token, and all others are `<unk>`. Words are as `tasks.real.words` splits them: in small
    letters, with apostrophes inside; numbers, and signs one by one. What separates them isn't kept."""

    kind = "words"
    unknown: int = 1

    def __init__(self, words: Sequence[str]):
        end = "<end>" if END in words else END
        self.names = (end, UNKNOWN, *words)  # no word is spelled as <unk> is, since < is a word of its own
        self._index = {word: token for token, word in enumerate(words, start=2)}
        self._index["\0"] = 0
        self._cache = ChunkCache(self._encode_chunks, smallest_dtype(len(self.names)))

    def _encode_chunks(self, chunks: list[str]) -> list[list[int]]:
        return [[self._index.get(word, self.unknown) for word in split_words(chunk)] for chunk in chunks]

    def encode(self, text: str) -> Tokens:
        return self._cache.encode(text.split())

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        return Encoded(self._cache.encode(split_at_blanks([f"{text} \0" for text in texts])))

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "words": list(self.names[2:])}


class CharacterCounts:
    """How often each character occurs, in memory of a fixed size."""

    def __init__(self, counts: Mapping[str, int] | None = None):
        self._counts = np.zeros(CODES, np.int64)
        for character, count in (counts or {}).items():
            self._counts[ord(character)] = count

    def add_texts(self, texts: Iterable[str]) -> None:
        """Count the characters of `texts`."""
        counts = np.bincount(_code_points("".join(texts)))
        self._counts[: len(counts)] += counts

    def as_dict(self) -> dict[str, int]:
        """Characters that occur, in the order of their codes, and how often."""
        return {chr(code): int(self._counts[code]) for code in np.flatnonzero(self._counts).tolist()}


class WordCounts:
    """How often each word occurs, in memory of a fixed size.

    Words of more than 100 characters, as in scripts without blanks, are not counted, and so are never known. More than
    `LIMIT` different words are not kept: those seen least are forgotten, and counted anew when they come again (lossy
    counting, Manku and Motwani 2002). A word's count is then at most `missed` too small.
    """

    LIMIT = 1_000_000

    def __init__(self, counts: Mapping[str, int] | None = None, missed: int = 0):
        self.counts: Counter[str] = Counter(counts or {})
        self.missed = missed
        self._words: dict[str, Sequence[str]] = {}  # of chunks between blanks: most are met again

    def add_texts(self, texts: Iterable[str]) -> None:
        """Count the words of `texts`."""
        chunks = split_at_blanks(texts).value_counts()
        different, times = (chunks.field(name).to_pylist() for name in ("values", "counts"))
        if len(self._words) > MAX_CHUNKS:
            self._words = {}
        counts, known = self.counts, self._words
        for chunk, count in zip(different, times, strict=True):
            words = known.get(chunk)
            if words is None:
                words = split_words(chunk)
                if len(chunk) <= _SHORT:
                    known[chunk] = words
            for word in words:
                if len(word) <= _LONGEST:
                    counts[word] += count
        while len(counts) > self.LIMIT:
            least = int(
                np.partition(np.fromiter(counts.values(), np.int64, len(counts)), self.LIMIT // 2)[self.LIMIT // 2]
            )
            self.counts = counts = Counter({word: count for word, count in counts.items() if count > least})
            self.missed += least

    def most_common(self, limit: int) -> list[str]:
        """The `limit` most frequent words, most frequent first; equally frequent ones in alphabetical order."""
        return sorted(self.counts, key=lambda word: (-self.counts[word], word))[:limit]


def join_documents(texts: Sequence[str], end: str = "\0") -> str:
    """All texts, with an end after each."""
    return end.join((*texts, "")) if texts else ""


def _code_points(text: str) -> np.ndarray:
    """Codes of the characters of a text, uint8 or uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
