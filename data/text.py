"""Running text as indices, by character or by word."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data.builder import decode_text


def encode_characters(records: Mapping[str, Sequence[Mapping[str, Any]]], name: str, between: str) -> dict[str, Any]:
    """What `tasks.real.characters.Characters` takes of records with a `name` and a "text" in ASCII codes: `alphabet`,
    the sorted distinct characters of all splits, and each split's texts, in the order of their names and with `between`
    in between, as one array of indices into it.
    """
    codes_between = np.frombuffer(between.encode("ascii"), np.uint8)
    joined = {}
    for split, unordered in records.items():
        texts = sorted(unordered, key=lambda record: decode_text(record[name]))
        pieces = [piece for one in texts for piece in (codes_between, np.asarray(one["text"], np.uint8))]
        joined[split] = np.concatenate(pieces[1:])
    codes = np.flatnonzero(sum(np.bincount(text, minlength=256) for text in joined.values()))
    index = np.zeros(256, np.uint8)
    index[codes] = np.arange(len(codes))
    alphabet = bytes(codes.tolist()).decode("latin-1")
    return {"text": {split: index[text] for split, text in joined.items()}, "alphabet": alphabet}


def ascii_codes(text: str) -> np.ndarray:
    """Codes of the characters; what is not ASCII is a question mark."""
    return np.frombuffer(text.encode("ascii", "replace"), np.uint8)


def most_common_words(texts: Iterable[Iterable[str]], limit: int) -> tuple[str, ...]:
    """The `limit` frequent words, the most frequent first; those as frequent as each other by the alphabet."""
    counts = Counter(word for text in texts for word in text)
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:limit])


def encode_labelled_letters(
    records: Mapping[str, Sequence[Mapping[str, Any]]], letters: str, max_length: int
) -> dict[str, Any]:
    """`inputs`, `labels` and `names` for `tasks.real.classification.Classification`, of records with a "sequence" of
    `letters`, of which the first `max_length` are taken, and a "label"; in the order of the sequences."""
    inputs, labels = {}, {}
    number = {letter: 1 + i for i, letter in enumerate(letters)}
    for split, unordered in records.items():
        rows = sorted(unordered, key=lambda record: decode_text(record["sequence"]))
        found = [[number.get(letter, 0) for letter in decode_text(row["sequence"])[:max_length]] for row in rows]
        inputs[split] = pad_rows(found, max_length).astype(np.uint8)
        labels[split] = np.array([int(row["label"]) for row in rows], np.int32)
    return {"inputs": inputs, "labels": labels, "names": ("", *letters)}


def encode_lm_words(said: Mapping[str, Sequence[Sequence[str]]], vocab_size: int, unknown: str) -> dict[str, Any]:
    """What `tasks.real.words.Words` takes of the words of each split's texts, one text after the other: the
    `vocab_size` frequent in training have a number each, all others are `unknown`, 0."""
    names = (unknown, *most_common_words(said["train"], vocab_size))
    number = {word: i for i, word in enumerate(names)}
    joined = {
        s: np.array([number.get(word, 0) for words in some for word in words], np.int32) for s, some in said.items()
    }
    return {"text": joined, "names": names}


def encode_classification_words(
    said: Mapping[str, Sequence[Sequence[str]]], vocab_size: int, max_length: int
) -> dict[str, Any]:
    """`inputs` and `names` for `tasks.real.classification.Classification` of the words of each split's texts: the first
    `max_length` of those among the `vocab_size` frequent in training; the others are left out."""
    names = ("", *most_common_words(said["train"], vocab_size))
    number = {word: i for i, word in enumerate(names)}
    found = {s: [[number[word] for word in words if word in number][:max_length] for words in said[s]] for s in said}
    return {"inputs": {s: pad_rows(some, max_length).astype(np.uint16) for s, some in found.items()}, "names": names}


def pad_rows(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """One row each, `width` wide, with 0 behind its end."""
    found = np.zeros((len(rows), width), np.int32)
    for place, row in zip(found, rows, strict=True):
        place[: len(row)] = row
    return found
