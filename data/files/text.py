"""Texts of any size as tokens: the data of `tasks.real.text.Text`.

A text is read up to three times: for the splits, where a column or files give them; for the vocabulary; and to be
encoded. Memory does not depend on its size, and what was read for the vocabulary or encoded is not read again after a
kill.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data.files import FileData, token_files
from data.files.corpus import Corpus, Passage
from data.files.sources import TOKEN_SUFFIXES, data_suffix, reading_notes
from data.files.splits import SPLITS, check_splits
from data.files.store import Store
from data.files.store_writer import NullWriter, StoreWriter
from data.files.subwords import MIN_VOCAB_SIZE
from data.files.token_stream import TokenRows, TokenWriter, read_spread_tokens, read_tokens
from data.files.tokenizers import Tokenizer, restore_tokenizer, smallest_dtype
from data.files.vocabulary import BATCH, given_tokenizer, make_tokenizer
from tasks.base import suggest_name

VERSION = 2
TOKENIZERS = ("characters", "bytes", "words", "bpe")
IN_MEMORY = 256 << 20  # bytes of a training split that is kept in memory
HEAD = 1 << 22  # tokens in memory of a training split that isn't, for baselines and pictures
EVALUATED = 1 << 24  # tokens of validation and of test that are evaluated on, at most
EVALUATED_RUNS = 32  # in which these lie, if there are more


@dataclasses.dataclass(frozen=True)
class Options:
    """Fields of `config.task` that say which files are a text, and what its tokens are. See docs/own-data.md."""

    path: str
    validation_path: str = ""
    test_path: str = ""
    split_column: str = ""
    column: str = "text"
    document: str = "auto"
    tokenizer: str = "characters"
    tokenizer_path: str = ""
    vocab_size: int = 8000
    token_dtype: str = "uint16"
    stream: str = "auto"
    path_fields: ClassVar[tuple[str, ...]] = ("path", "validation_path", "test_path", "tokenizer_path")

    def __post_init__(self):
        if self.tokenizer.endswith(".json"):  # a tokenizer.json, named where tokenizers are
            self._require("tokenizer", not self.tokenizer_path, "task.tokenizer_path names another; give one of them")
            object.__setattr__(self, "tokenizer_path", self.tokenizer)
            object.__setattr__(self, "tokenizer", "characters")
        near = suggest_name(self.tokenizer, TOKENIZERS)
        known = f"{near}must be one of {', '.join(TOKENIZERS)}, or the path of a tokenizer.json"
        self._require("tokenizer", self.tokenizer in TOKENIZERS, known)
        unambiguous = not self.tokenizer_path or self.tokenizer == "characters"
        self._require("tokenizer", unambiguous, "task.tokenizer_path is given too; leave out one of them")
        self._require("token_dtype", self.token_dtype in token_files.DTYPES, "must be uint16 or uint32")
        self._require("stream", self.stream in ("auto", "yes", "no"), "must be auto, yes or no")
        least = MIN_VOCAB_SIZE if self.tokenizer == "bpe" else 1
        why = " for bpe: the bytes, and the end of a document" if self.tokenizer == "bpe" else ""
        self._require("vocab_size", self.vocab_size >= least, f"must be {least} or more{why}")
        # Where tokens come with the files the size is passed over: configs of large models set it, for byte pairs.
        has_tokens = bool(self.tokenizer_path) or data_suffix(Path(self.path)) in TOKEN_SUFFIXES
        default = type(self).vocab_size
        is_used = has_tokens or self.tokenizer in ("words", "bpe") or self.vocab_size == default
        unused = f"is for words and bpe, and task.tokenizer={self.tokenizer} knows all there are: leave it at {default}"
        self._require("vocab_size", is_used, unused)

    def _require(self, name: str, is_valid: bool, rule: str) -> None:
        if not is_valid:
            raise ValueError(f"task.{name}={getattr(self, name)}: {rule}")


def prepare(options: Options, sources: Mapping[str, Sequence[Path]], writer: StoreWriter) -> dict[str, Any]:
    """Write the tokens of all splits, and return what `load` needs to know and the notes.

    Raises ValueError, in one line, for a text that can't be read or split.
    """
    if _is_token_file(sources):
        return token_files.prepare_tokens(options, sources, writer)
    corpus, state = Corpus(options, sources), writer.resumed
    tokenizer = given_tokenizer(options, sources.get("tokenizer_path", ()))
    writer.total_bytes = corpus.size * (2 if tokenizer is None else 1)
    if tokenizer is not None:
        state = state or _first_state(tokenizer, tokenizer.notes(), 0, 0)
    elif state is None or state["stage"] == "survey":
        state = _first_state(*make_tokenizer(options, corpus, writer, state), corpus.size)
        writer.checkpoint(state, state["done"])
    content = _encode_corpus(corpus, writer, state)
    check_splits("path", options.path, content["documents"])
    return content


def describe(options: Options, sources: Mapping[str, Sequence[Path]], limit: int | None = None) -> list[str]:
    """What `prepare` would make of the first `limit` characters of each path, or of all: documents, tokens, notes."""
    writer: Any = NullWriter()
    if _is_token_file(sources):
        content, size = token_files.prepare_tokens(options, sources, writer), 0
    else:
        corpus = Corpus(options, sources, limit)
        tokenizer = given_tokenizer(options, sources.get("tokenizer_path", ()))
        if tokenizer is None:
            tokenizer, notes, _ = make_tokenizer(options, corpus, writer, None)
        else:
            notes = tokenizer.notes()
        content, size = _encode_corpus(corpus, writer, _first_state(tokenizer, notes, 0, 0)), corpus.size
    counts, lines = content["tokens"]["counts"], []
    if documents := content.get("documents"):
        total, characters = sum(documents.values()), sum(content["characters"].values())
        part = f" in the first {limit:,} characters" if limit is not None and limit < size else ""
        lines.append(
            f"{total:,} document{'' if total == 1 else 's'}{part}, of {characters / max(1, total):,.0f} characters"
            f"{'' if total == 1 else ' on average'}: "
            f"{_list_splits(documents)}"
        )
    lines.append(f"{sum(counts.values()):,} tokens of {len(content['names']):,} kinds: {_list_splits(counts)}")
    prepared = sum(counts.values()) * np.dtype(content["tokens"]["dtype"]).itemsize
    lines.append(f"{prepared / 2**20:,.1f} MiB when prepared")
    if documents and limit is None:
        try:
            check_splits("path", options.path, documents)
        except ValueError as error:
            return [*lines, *content["notes"], f"to be mended: {error}"]
    return [*lines, *content["notes"]]


def _list_splits(counts: Mapping[str, int]) -> str:
    total = max(1, sum(counts.values()))
    return ", ".join(f"{split} {count:,} ({count / total:.0%})" for split, count in counts.items())


def _is_token_file(sources: Mapping[str, Sequence[Path]]) -> bool:
    return data_suffix(sources["path"][0]) in TOKEN_SUFFIXES


def _first_state(tokenizer: Tokenizer, notes: list[str], done: int, bytes_before: int) -> dict[str, Any]:
    """The state of an encoding that has not begun."""
    return {
        "stage": "encode", "tokenizer": tokenizer.identity(), "notes": notes, "start": None, "done": done,
        "bytes_before": bytes_before, "tokens": None, "counts": {}, "dropped": {}, "tally": None,
    }  # fmt: skip


def _encode_corpus(corpus: Corpus, writer: StoreWriter, state: dict[str, Any]) -> dict[str, Any]:
    encoder = _Encoder(restore_tokenizer(state["tokenizer"]), writer, state)
    counts, done = dict(state["counts"]), state["done"]
    corpus.duplicates.dropped = dict(state["dropped"])
    pending, size = [], 0
    for passage in corpus.read_passages(state["start"], counts):
        pending.append(passage)
        size += len(passage.text)
        if size >= BATCH:
            encoder.add_passages(pending)
            done, pending, size = done + size, [], 0
            if writer.is_checkpoint_due(done, state["bytes_before"] + passage.bytes_read):
                kept = {
                    "start": passage.following, "done": done, "counts": counts, "tokens": encoder.tokens.state(),
                    "dropped": corpus.duplicates.dropped, "tally": encoder.tally,
                }  # fmt: skip
                writer.checkpoint({**state, **kept}, done)
    encoder.add_passages(pending)
    by_hash = corpus.rule.notes(encoder.tally["documents"])
    notes = [*reading_notes(counts), *by_hash, *corpus.duplicates.notes(), *state["notes"], *encoder.notes()]
    return encoder.finish(notes)


class _Encoder:
    """Encodes passages into the store, and counts what becomes of them."""

    def __init__(self, tokenizer: Tokenizer, writer: StoreWriter, state: Mapping[str, Any]):
        self.tokenizer = tokenizer
        self.tokens = TokenWriter(writer, smallest_dtype(len(tokenizer.names)), state["tokens"])
        counted = ("documents", "characters", "unknown", "lost", "bytes", "spelled")
        self.tally: dict[str, dict[str, int]] = state["tally"] or {what: dict.fromkeys(SPLITS, 0) for what in counted}

    def add_passages(self, passages: Sequence[Passage]) -> None:
        for split in SPLITS:
            texts = [passage.text for passage in passages if passage.split == split]
            tokens, lost = self.tokenizer.encode_documents(texts)
            self.tokens.add_tokens(split, tokens)
            self.tally["documents"][split] += len(texts)
            self.tally["characters"][split] += sum(map(len, texts))
            self.tally["lost"][split] += lost
            if self.tokenizer.spelled_bytes is not None:
                self.tally["bytes"][split] += len("".join(texts).encode())
                self.tally["spelled"][split] += int(self.tokenizer.spelled_bytes[tokens].sum())
            if self.tokenizer.unknown is not None:
                self.tally["unknown"][split] += int(np.count_nonzero(tokens == self.tokenizer.unknown))

    def notes(self) -> list[str]:
        """What is not kept of the text, a sentence each."""
        notes, tally = [], self.tally
        if any(tally["unknown"].values()):
            name = self.tokenizer.names[self.tokenizer.unknown or 0]
            shares = ", ".join(
                f"{split} {tally['unknown'][split]:,} ({tally['unknown'][split] / max(1, self._count(split)):.1%})"
                for split in SPLITS
            )
            notes.append(f"Tokens that are {name}, since what they were is not in the vocabulary: {shares}.")
        if any(tally["lost"].values()):
            what = "bytes" if self.tokenizer.token_bytes is not None else "characters"
            lost = ", ".join(f"{split} {tally['lost'][split]:,}" for split in SPLITS)
            notes.append(f"Left out by the tokenizer, {what} that it has no token for: {lost}.")
        return notes

    def _token_bytes(self) -> list[int] | None:
        """Bytes of each token, where tokens spell the text, but for a blank that may be put before each document."""
        tokenizer, tally = self.tokenizer, self.tally
        found = tokenizer.token_bytes
        if tokenizer.spelled_bytes is not None and all(
            0 <= tally["spelled"][split] - tally["bytes"][split] <= tally["documents"][split] for split in SPLITS
        ):
            found = tokenizer.spelled_bytes
        return None if found is None else found.tolist()

    def _count(self, split: str) -> int:
        """Tokens of a split without the ends of documents."""
        return self.tokens.counts[split] - self.tally["documents"][split]

    def finish(self, notes: list[str]) -> dict[str, Any]:
        tokenizer, token_bytes = self.tokenizer, self._token_bytes()
        if token_bytes is None and tokenizer.kind == "subwords":
            notes.append("The tokens do not spell the text byte by byte, so that its score is the perplexity.")
        notes += evaluation_notes(self.tokens.counts)
        return {
            "tokens": self.tokens.finish(),
            "names": list(tokenizer.names),
            "token_bytes": token_bytes,
            "tokenizer": tokenizer.description,
            "documents": self.tally["documents"],
            "characters": self.tally["characters"],
            "notes": notes,
        }


def evaluation_notes(counts: Mapping[str, int]) -> list[str]:
    """Which evaluation splits are so long that a part of them must do."""
    return [
        f"Of the {counts[split]:,} tokens of {split}, {EVALUATED:,} in {EVALUATED_RUNS} runs are evaluated on."
        for split in ("validation", "test")
        if counts[split] > EVALUATED
    ]


def load(options: Options, store: Store) -> FileData:
    """Arguments of `tasks.real.text.Text`; the training text stays on disk if it is large, or `stream` says so."""
    content, stated = store.content, store.content["tokens"]
    size = stated["counts"]["train"] * np.dtype(stated["dtype"]).itemsize
    is_streamed = options.stream == "yes" or (options.stream == "auto" and size > IN_MEMORY)
    text: dict[str, np.ndarray] = {
        "train": read_tokens(store, stated, "train", HEAD if is_streamed else None),
        **{
            split: read_spread_tokens(store, stated, split, EVALUATED, EVALUATED_RUNS)
            for split in ("validation", "test")
        },
    }
    arguments = {
        "text": text,
        "names": tuple(content["names"]),
        "token_bytes": None if content["token_bytes"] is None else np.array(content["token_bytes"], np.int32),
        "tokenizer": content["tokenizer"],
    }
    if not is_streamed:
        return FileData(arguments)
    return FileData({**arguments, "train_size": stated["counts"]["train"]}, TokenRows(store, stated))
