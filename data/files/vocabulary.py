"""The tokenizer of a text: given, or made in one reading of it, which goes on where a kill stopped it."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files.corpus import Corpus, Passage
from data.files.splits import SPLITS
from data.files.store_writer import StoreWriter
from data.files.subwords import TRAINING_BYTES, read_tokenizer, train_byte_pairs
from data.files.tokenizers import (
    ByteTokenizer,
    CharacterCounts,
    CharacterTokenizer,
    Tokenizer,
    WordCounts,
    WordTokenizer,
)

_LONG_PIECE = 64  # bytes
_LONG_DOCUMENT = 1 << 20  # bytes of one that byte pairs are trained on
BATCH = 1 << 22  # characters that are worked on together


def given_tokenizer(options: Any, tokenizer_paths: Sequence[Path]) -> Tokenizer | None:
    """The tokenizer, where the text needn't be read for it."""
    if tokenizer_paths:
        return read_tokenizer(tokenizer_paths[0])
    return ByteTokenizer() if options.tokenizer == "bytes" else None


def make_tokenizer(
    options: Any, corpus: Corpus, writer: StoreWriter, state: dict[str, Any] | None
) -> tuple[Tokenizer, list[str], int]:
    """A tokenizer made of the text, notes about it, and the characters read for it.

    `state` is that of a checkpoint of this reading.
    """
    if options.tokenizer == "bpe":
        return _train_byte_pairs(options, corpus, writer)
    survey = {"characters": _CharacterSurvey, "words": _WordSurvey}[options.tokenizer]((state or {}).get("survey"))
    done, pending, size = (state or {}).get("done", 0), [], 0
    for passage in corpus.read_passages((state or {}).get("start")):
        pending.append(passage)
        size += len(passage.text)
        if size >= BATCH:
            survey.add(pending)
            done, pending, size = done + size, [], 0
            if writer.is_checkpoint_due(done, passage.bytes_read):
                kept = {"stage": "survey", "start": passage.following, "done": done, "survey": survey.state()}
                writer.checkpoint(kept, done)
    survey.add(pending)
    return *survey.result(options), done + size


class _CharacterSurvey:
    def __init__(self, state: Any):
        self.counts = {split: CharacterCounts((state or {}).get(split)) for split in SPLITS}

    def add(self, passages: list[Passage]) -> None:
        for split, counts in self.counts.items():
            counts.add_texts([passage.text for passage in passages if passage.split == split])

    def state(self) -> dict[str, Any]:
        return {split: counts.as_dict() for split, counts in self.counts.items()}

    def result(self, options: Any) -> tuple[Tokenizer, list[str]]:
        found = self.state()
        alphabet = sorted(set().union(*found.values()))
        notes = []
        if unseen := [character for character in alphabet if character not in found["train"]]:
            times = sum(found[split].get(character, 0) for split in SPLITS for character in unseen)
            shown = ", ".join(map(repr, unseen[:5])) + (", …" if len(unseen) > 5 else "")
            notes.append(f"Characters never seen in training: {len(unseen):,} ({shown}), which occur {times:,} times.")
        return CharacterTokenizer("".join(alphabet)), notes


class _WordSurvey:
    def __init__(self, state: Any):
        self.counts = WordCounts(**state) if state else WordCounts()

    def add(self, passages: list[Passage]) -> None:
        self.counts.add_texts([passage.text for passage in passages if passage.split == "train"])

    def state(self) -> dict[str, Any]:
        return {"counts": self.counts.counts, "missed": self.counts.missed}

    def result(self, options: Any) -> tuple[Tokenizer, list[str]]:
        words = self.counts.most_common(options.vocab_size)
        notes = ["Words are in small letters, and what separates them (blanks, line ends, underscores) is not kept."]
        if words and self.counts.missed and self.counts.counts[words[-1]] <= self.counts.missed:
            notes.append(
                f"The text has so many different words that those seen less than {self.counts.missed:,} times may be "
                f"missing among the {options.vocab_size:,} commonest."
            )
        return WordTokenizer(words), notes


def _train_byte_pairs(options: Any, corpus: Corpus, writer: StoreWriter) -> tuple[Tokenizer, list[str], int]:
    """Byte pairs of the training documents, or of as many of them, by hash, as `TRAINING_BYTES` allow.

    The reading is not resumed: encoding takes many times as long.
    """
    sample: list[tuple[int, bytes, int]] = []
    done, size, share, reported = 0, 0, 1 << 32, 0
    for passage in corpus.read_passages():
        done += len(passage.text)
        if passage.split == "train" and (number := zlib.crc32(contents := passage.text.encode())) < share:
            contents = contents[:_LONG_DOCUMENT]
            sample.append((number, contents, weight := _training_weight(contents)))
            size += weight
        while size > TRAINING_BYTES:
            share //= 2
            sample = [item for item in sample if item[0] < share]
            size = sum(weight for _, _, weight in sample)
        if done - reported >= BATCH:
            writer.is_checkpoint_due(done, passage.bytes_read)
            reported = done
    tokenizer = train_byte_pairs((contents.decode("utf-8", "ignore") for _, contents, _ in sample), options.vocab_size)
    notes = []
    if share < 1 << 32:
        part, read = (1 << 32) // share, sum(len(contents) for _, contents, _ in sample)
        notes.append(f"The byte pairs are those of 1 in {part:,} training documents, {read:,} bytes.")
    if len(tokenizer.names) < options.vocab_size:
        notes.append(f"The text has pairs for {len(tokenizer.names):,} tokens, and not for {options.vocab_size:,}.")
    return tokenizer, notes, done


def _training_weight(contents: bytes) -> int:
    """Bytes of a document, and four times those of long pieces between blanks, as in scripts that have none: few are
    alike, and the library takes 70 times their memory."""
    return len(contents) + 3 * sum(len(piece) for piece in contents.split() if len(piece) > _LONG_PIECE)
