"""Texts of rows as tokens, by character, word or byte: what labelled sequences and pairs of texts share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from tasks.real.words import UNKNOWN, split_words

TOKENIZERS = ("characters", "words", "tokens", "bytes")
BYTE_COUNT = 0xF5  # no larger byte occurs in UTF-8
MAX_UNSEEN_SHARE = 0.1  # of the characters outside of training: with more of them it is other data
_MAX_KINDS = 1_000_000  # of tokens that are counted
_SHOWN = 5  # examples in a message

Pieces = str | Sequence[str] | bytes  # a text cut into tokens: each of them is one item


def split_text(tokenizer: str, text: str) -> Pieces:
    """The tokens of a text.

    Words are those of `tasks.real.words.split_words`, in small letters, without blanks; "tokens" are what stands
    between blanks, as it is.
    """
    if tokenizer == "characters":
        return text
    if tokenizer == "bytes":
        return text.encode()
    return split_words(text) if tokenizer == "words" else text.split()


def has_vocab_size(tokenizer: str) -> bool:
    """Whether only so many of a tokenizer's tokens are known, and not all that there are."""
    return tokenizer in ("words", "tokens")


class TokenCounts:
    """How often each token occurs in the training split and in the other two.

    Of more than `_MAX_KINDS` different ones those seen least are forgotten, and counted anew when they come again
    (lossy counting, Manku and Motwani 2002), so that memory doesn't grow with the data. `totals` count all.
    """

    def __init__(self, tokenizer: str, state: Mapping[str, Any] | None = None):
        """`state`, of an earlier one, is gone on from."""
        self.tokenizer, state = tokenizer, state or {}
        self.training: Counter[str] = Counter(state.get("training"))
        self.held_out: Counter[str] = Counter(state.get("held_out"))
        self.totals: list[int] = list(state.get("totals", (0, 0)))

    def state(self) -> dict[str, Any]:
        """All counts, as JSON."""
        return {"training": dict(self.training), "held_out": dict(self.held_out), "totals": self.totals}

    def add_pieces(self, pieces: Pieces, split: str) -> None:
        """Count the tokens of a text; bytes need no counts, since all are known."""
        if isinstance(pieces, bytes):
            return
        counter = self.training if split == "train" else self.held_out
        counter.update(pieces)
        self.totals[split != "train"] += len(pieces)
        if len(counter) > _MAX_KINDS:
            for token, _ in counter.most_common()[_MAX_KINDS // 2 :]:
                del counter[token]

    def build_vocabulary(self, vocab_size: int) -> "Vocabulary":
        """The tokens of training: all bytes, all characters in order, or the `vocab_size` most frequent others."""
        if self.tokenizer == "bytes":
            return Vocabulary("bytes", tuple(map(byte_name, range(BYTE_COUNT))))
        if self.tokenizer == "characters":
            tokens = tuple(sorted(self.training))
        else:
            tokens = tuple(sorted(self.training, key=lambda word: (-self.training[word], word))[:vocab_size])
        unseen = {token: count for token, count in self.held_out.items() if token not in self.training}
        return Vocabulary(
            self.tokenizer,
            tokens,
            rare=self.totals[0] - sum(self.training[token] for token in tokens),
            rare_held_out=self.totals[1] - sum(self.held_out[token] for token in tokens),
            totals=(self.totals[0], self.totals[1]),
            unseen=tuple(sorted(unseen, key=lambda token: (-unseen[token], token))[:_SHOWN]),
            unseen_kinds=len(unseen),
        )


class Vocabulary(NamedTuple):
    """The known tokens, and how many others there were in training, `rare`, and in the splits that are held out.

    `totals` are all tokens of both; `unseen` are the most frequent of those `unseen_kinds` that training never has.
    """

    tokenizer: str
    tokens: tuple[str, ...]
    rare: int = 0
    rare_held_out: int = 0
    totals: tuple[int, int] = (0, 0)
    unseen: tuple[str, ...] = ()
    unseen_kinds: int = 0

    @property
    def needs_unknown(self) -> bool:
        """Whether some token of the data is not known."""
        return self.rare + self.rare_held_out > 0

    def find_problem(self, column: str) -> str:
        """What is wrong with the tokens of a column, e.g. "task.sequence_column=seq", in one line; "" if nothing is."""
        shown = ", ".join(map(repr, self.unseen))
        if not self.tokens:
            return f"{column}: the training rows have no {self.tokenizer} in them"
        if self.tokenizer == "characters" and self.rare_held_out > MAX_UNSEEN_SHARE * self.totals[1]:
            share = self.rare_held_out / self.totals[1]
            return (
                f"{column}: {share:.0%} of the characters of validation and test are none that training has, such as "
                f"{shown}: are they written in another way, or of other data?"
            )
        return ""

    def notes(self, column: str) -> list[str]:
        """What is not kept as it stands, a sentence each."""
        if not self.needs_unknown:
            return []
        if self.tokenizer == "characters":
            return [
                f"{column}: {self.rare_held_out:,} of {self.totals[1]:,} characters of validation and test, of "
                f"{self.unseen_kinds:,} kinds that training never has ({', '.join(map(repr, self.unseen))}), are the "
                f"token {UNKNOWN}."
            ]
        rare = self.rare, self.rare_held_out
        shares = [f"{count / max(total, 1):.1%}" for count, total in zip(rare, self.totals, strict=True)]
        return [
            f"{column}: {shares[0]} of the {self.tokenizer} of training and {shares[1]} of those of validation and "
            f"test are not among the {len(self.tokens):,} that are known, and are the token {UNKNOWN}."
        ]


class TokenEncoder:
    """From texts cut into tokens to indices: `first` for the first of the `tokens`, and `unknown` for any other."""

    def __init__(self, tokenizer: str, tokens: Sequence[str], first: int, unknown: int = 0):
        self.tokenizer, self.first, self.unknown = tokenizer, first, unknown
        self._numbers = {token: first + i for i, token in enumerate(tokens)}
        if tokenizer == "characters":
            codes = np.array([ord(token) for token in tokens], np.uint32)
            self._table = np.full(
                int(codes.max(initial=0x7F)) + 2, unknown, np.int64
            )  # the last is of all larger codes
            self._table[codes] = np.arange(first, first + len(codes))

    def encode(self, pieces: Pieces) -> Int[np.ndarray, "T"]:
        """Indices of the tokens."""
        if isinstance(pieces, bytes):
            return np.frombuffer(pieces, np.uint8).astype(np.int64) + self.first
        if isinstance(pieces, str):
            if pieces.isascii():
                return self._table[np.frombuffer(pieces.encode("ascii"), np.uint8)]
            codes = np.frombuffer(pieces.encode("utf-32-le"), "<u4")
            return self._table[np.minimum(codes, len(self._table) - 1)]
        return np.array([self._numbers.get(piece, self.unknown) for piece in pieces], np.int64)


def byte_name(byte: int) -> str:
    """How a byte is shown: a printable ASCII character as it is, others as <0x0A>."""
    return chr(byte) if 0x20 < byte < 0x7F else f"<0x{byte:02X}>"


def smallest_dtype(size: int) -> Any:
    """The smallest unsigned type that holds the numbers below `size`."""
    return np.min_scalar_type(max(size - 1, 0))
