"""Byte pairs trained on a text, and tokenizers read from a `tokenizer.json`, through the package `tokenizers`."""

import functools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.files.chunk_cache import ChunkCache
from data.files.tokenizers import CODES, END, Encoded, Tokenizer, Tokens, join_documents, smallest_dtype

TRAINING_BYTES = (
    16 << 20
)  # of a text that byte pairs are trained on, at most: the library takes 25 times as much memory
MIN_VOCAB_SIZE = 257  # the bytes, and the end of a document
_SEQUENCES = ("normalizers", "pretokenizers", "decoders")  # of parts, within a part
_MAX_PIECE = 4 << 20  # characters that are encoded in one call
# Pieces at whose borders the expression of GPT-2 separates too, so that each can be encoded on its own.
_BLANK = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's; Python's \s has more
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")
_CHUNKS = re.compile(rf"\0| ?[^{_BLANK}\0]+|[{_BLANK}]+(?![^{_BLANK}\0])|[{_BLANK}]+")


class SubwordTokenizer(Tokenizer):
    """Tokens of a `tokenizer.json`, each raised by one: token 0 ends a document.

    What would make it another tokenizer than it says is switched off: truncation, padding, dropout. Special tokens
    are not added, but found where a text spells them.

    Raises ValueError, in one line, for a file that is no tokenizer.
    """

    kind = "subwords"

    def __init__(self, tokenizer: str, shift: int = 1):
        self._spec, self._tokenizer = _parse_tokenizer(tokenizer)
        self._json = json.dumps(self._spec)
        self._shift = shift
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        added = {token["id"]: token["content"] for token in self._spec.get("added_tokens") or ()}
        size = max(vocabulary.values(), default=-1) + 1
        spelled: list[bytes | None] = [None] * size
        is_byte_level = "ByteLevel" in _part_types(self._spec, "pre_tokenizer", "decoder")
        for token, index in vocabulary.items():
            if index in added:
                spelled[index] = added[index].encode()
            else:
                spelled[index] = _byte_level_bytes(token) if is_byte_level else _plain_bytes(token)
        self.names = (*[END] * shift, *_distinct_names(spelled))
        # In a text a special token is what spells it; where tokens came as numbers it stands for nothing.
        special = {token["id"] for token in self._spec.get("added_tokens") or () if token.get("special")}
        is_nothing = special if shift == 0 else set()
        lengths = [0 if index in is_nothing else len(spelling or b"") for index, spelling in enumerate(spelled)]
        self._lengths = np.array([*[0] * shift, *lengths], np.int32)
        normalizers = _part_types(self._spec, "normalizer")
        if is_byte_level and normalizers == {None}:
            self.token_bytes = self._lengths
        elif normalizers <= {
            None,
            "Sequence",
            "Prepend",
            "Replace",
        }:  # those of SentencePiece, which write ▁ for a blank
            self.spelled_bytes = self._lengths
        model = self._spec["model"]
        unknown = model.get("unk_id") if model.get("unk_id") is not None else vocabulary.get(model.get("unk_token"))
        self.unknown = None if unknown is None else unknown + shift
        self._dtype = smallest_dtype(size + shift)
        self._alphabet = self._known_characters(vocabulary) if self._may_drop() else None
        self._added = tuple(added.values())
        self._cache = ChunkCache(self._encode_chunks, self._dtype) if self._splits_as_gpt2() else None

    @property
    def description(self) -> str:
        return self._json

    def encode(self, text: str) -> Tokens:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return np.array(encoding.ids, self._dtype) + self._dtype.type(self._shift)

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        whole = join_documents(texts)
        if self._cache is not None and not any(token in whole for token in self._added):
            tokens = self._cache.encode(_CHUNKS.findall(whole))
        else:
            tokens = self._encode_whole(texts)
        return Encoded(tokens, self._count_lost(texts, tokens))

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokenizer": self._json, "shift": self._shift}

    def notes(self) -> list[str]:
        kinds = _part_types(self._spec, "normalizer") - {None, "Sequence"}
        if not kinds or self.spelled_bytes is not None:
            return []
        return [f"The tokenizer changes the text before it encodes it (its normalizer: {', '.join(sorted(kinds))})."]

    def _encode_chunks(self, chunks: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(chunks, add_special_tokens=False)
        return [
            [0] if chunk == "\0" else [token + self._shift for token in encoding.ids]
            for chunk, encoding in zip(chunks, encodings, strict=True)
        ]

    def _encode_whole(self, texts: Sequence[str]) -> Tokens:
        pieces, is_last = [], []
        for text in texts:
            cut = _cut_long(text)
            pieces += cut
            is_last += [False] * (len(cut) - 1) + [True]
        result = []
        for encoding, ends in zip(
            self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False), is_last, strict=True
        ):
            result.append(np.array(encoding.ids, self._dtype) + self._dtype.type(self._shift))
            if ends:
                result.append(np.zeros(1, self._dtype))
        return np.concatenate(result) if result else np.zeros(0, self._dtype)

    def _count_lost(self, texts: Sequence[str], tokens: Tokens) -> int:
        """Characters (bytes, where tokens spell these) of which nothing was kept."""
        if self.token_bytes is not None:
            return max(0, len("".join(texts).encode()) - int(self._lengths[tokens].sum()))
        if self._alphabet is None:
            return 0
        normalizer = self._tokenizer.normalizer
        text = "".join(texts if normalizer is None else map(normalizer.normalize_str, texts))
        return int(np.count_nonzero(~self._alphabet[np.frombuffer(text.encode("utf-32-le"), "<u4")]))

    def _splits_as_gpt2(self) -> bool:
        splitter = self._spec.get("pre_tokenizer") or {}
        return (
            splitter.get("type") == "ByteLevel"
            and splitter.get("use_regex", True)
            and not splitter.get("add_prefix_space", True)
            and not self._spec.get("normalizer")
            and len(self._spec.get("added_tokens") or ()) <= 16
        )

    def _may_drop(self) -> bool:
        """Whether the model leaves out, without a word, what it has no token for."""
        model = self._spec["model"]
        return self.token_bytes is None and self.unknown is None and not model.get("byte_fallback")

    def _known_characters(self, vocabulary: Iterable[str]) -> np.ndarray:
        """For each code of Unicode, whether there is a token of this character alone, or it is blank."""
        known = np.zeros(CODES, bool)
        known[[ord(token) for token in vocabulary if len(token) == 1]] = True
        known[[code for code in range(0x3001) if chr(code).isspace()]] = True
        return known


def read_tokenizer(path: Path, shift: int = 1) -> SubwordTokenizer:
    """The tokenizer of a `tokenizer.json`. Raises ValueError, in one line, for a file that is none."""
    try:
        return SubwordTokenizer(path.read_text(encoding="utf-8"), shift)
    except ValueError as error:
        raise ValueError(f"task.tokenizer_path={path}: {str(error).splitlines()[0][:160]}") from None


def train_byte_pairs(texts: Iterable[str], vocab_size: int) -> SubwordTokenizer:
    """Byte pairs as GPT-2's (Radford et al. 2019), of which `vocab_size` includes the bytes and the document's end.

    Any UTF-8 can be encoded with it. A short text may have fewer pairs than asked for.
    """
    tokenizers = import_tokenizers("task.tokenizer=bpe")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=alphabet, min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return SubwordTokenizer(tokenizer.to_str())


def import_tokenizers(field: str) -> Any:
    """The package `tokenizers`. Raises ValueError, in one line, if it isn't installed."""
    try:
        import tokenizers
    except ImportError:
        raise ValueError(f"{field}: the package tokenizers is missing: pip install -e '.[tokenizers]'") from None
    return tokenizers


def _parse_tokenizer(text: str) -> tuple[dict[str, Any], Any]:
    """The parts of a `tokenizer.json`, and the tokenizer itself without what changes from call to call."""
    tokenizers = import_tokenizers("task.tokenizer_path")
    try:
        spec = json.loads(text)
        spec["truncation"] = spec["padding"] = None
        if "dropout" in spec["model"]:
            spec["model"]["dropout"] = None
        return spec, tokenizers.Tokenizer.from_str(json.dumps(spec))
    except Exception as error:  # tokenizers raises Exception itself
        raise ValueError(f"this is no tokenizer.json ({type(error).__name__}: {error}): save it anew") from None


def _part_types(spec: dict[str, Any], *parts: str) -> set[str]:
    """Types of the named parts of a tokenizer, and of what sequences among them hold."""
    found = set()
    for part in parts:
        stated = spec.get(part) or {}
        for step in (stated, *(inner for name in _SEQUENCES for inner in stated.get(name, ()))):
            found.add(step.get("type"))
    return found


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """The byte that each character stands for in the vocabulary of GPT-2 and all that are byte-level as it is."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(shown)]
    return {**{chr(byte): byte for byte in shown}, **{chr(256 + i): byte for i, byte in enumerate(others)}}


def _byte_level_bytes(token: str) -> bytes:
    known = _byte_of_character()
    return bytes(known[c] for c in token) if all(c in known for c in token) else token.encode()


def _plain_bytes(token: str) -> bytes:
    """What a token of SentencePiece or of words spells."""
    if _BYTE_TOKEN.fullmatch(token):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()


def _distinct_names(spelled: Sequence[bytes | None]) -> list[str]:
    """How each token looks: its text, or its bytes where these are no text on their own."""
    names, taken = [], {END}
    for index, spelling in enumerate(spelled):
        try:
            name = f"<{index}>" if spelling is None else spelling.decode()
        except UnicodeDecodeError:
            name = "".join(f"<0x{byte:02X}>" for byte in spelling or b"")
        name = name if name not in taken else f"{name}#{index}"
        taken.add(name)
        names.append(name)
    return names


def _cut_long(text: str) -> list[str]:
    """A text in pieces of bounded length, cut after ends of lines where there are any."""
    pieces, start = [], 0
    while len(text) - start > _MAX_PIECE:
        cut = text.rfind("\n", start, start + _MAX_PIECE) + 1 or start + _MAX_PIECE
        pieces.append(text[start:cut])
        start = cut
    return [*pieces, text[start:]]
