"""Texts as arrays of indices, by character or by word: the arguments of tasks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data.builder import decode_text

MAX_CHARACTERS = 256  # an index is stored in a byte


def encode_characters(records: Mapping[str, Sequence[Mapping[str, Any]]], name: str, separator: str) -> dict[str, Any]:
    """Arguments of `tasks.Characters` from records with a `name` and a "text", a string or an array of ASCII codes.

    `alphabet` is the sorted distinct characters of all splits. Each split's texts, ordered by name and joined by the
    separator, become one array of indices into it. Raises ValueError for more than 256 distinct characters.
    """
    texts = {}
    for split, unordered in records.items():
        ordered = sorted(unordered, key=lambda record: decode_text(record[name]))
        texts[split] = separator.join(_decode_codes(record["text"]) for record in ordered)
    characters = sorted(set().union(*texts.values()))
    if len(characters) > MAX_CHARACTERS:
        counts = Counter("".join(texts.values()))
        rare = " ".join(sorted(characters, key=lambda character: counts[character])[:5])
        raise ValueError(
            f"the text has {len(characters)} distinct characters, and {MAX_CHARACTERS} at most can be told apart: "
            f"replace rare ones, such as {rare}"
        )
    code_points = np.array([ord(character) for character in characters])
    index = np.zeros(code_points.max(initial=0) + 1, np.uint8)
    index[code_points] = np.arange(len(characters))
    encoded = {split: index[np.frombuffer(text.encode("utf-32-le"), "<u4")] for split, text in texts.items()}
    return {"text": encoded, "alphabet": "".join(characters)}


def _decode_codes(value: Any) -> str:
    """The text of a record, which is a string, or bytes of one, or an array of codes below 256."""
    if isinstance(value, (str, bytes)):
        return decode_text(value)
    return np.asarray(value, np.uint8).tobytes().decode("latin-1")


def ascii_codes(text: str, unknown: str = "") -> np.ndarray:
    """ASCII codes of a text. Characters that are not ASCII become `unknown`; without it they raise ValueError."""
    if not unknown and not text.isascii():
        strange = list(dict.fromkeys(character for character in text if not character.isascii()))
        raise ValueError(
            f"{', '.join(map(repr, strange[:5]))}: not ASCII; store the text in a tfds.features.Text(), or say what to "
            f"put in place of such characters"
        )
    ascii_only = text if text.isascii() else "".join(c if c.isascii() else unknown for c in text)
    return np.frombuffer(ascii_only.encode("ascii"), np.uint8)


def most_common_words(texts: Iterable[Iterable[str]], limit: int) -> tuple[str, ...]:
    """The `limit` most frequent words, most frequent first; equally frequent ones in alphabetical order."""
    counts = Counter(word for text in texts for word in text)
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:limit])


def encode_labelled_letters(
    records: Mapping[str, Sequence[Mapping[str, Any]]], letters: str, max_length: int
) -> dict[str, Any]:
    """`inputs`, `labels` and `names` of `tasks.Classification`, from records with a "sequence" and a "label".

    A sequence consists of `letters` and is cut at `max_length`; rows are in alphabetical order of the sequences.
    """
    inputs, labels = {}, {}
    index = {letter: 1 + i for i, letter in enumerate(letters)}
    for split, unordered in records.items():
        ordered = sorted(unordered, key=lambda record: decode_text(record["sequence"]))
        rows = [[index.get(letter, 0) for letter in decode_text(row["sequence"])[:max_length]] for row in ordered]
        inputs[split] = pad_rows(rows, max_length).astype(np.uint8)
        labels[split] = np.array([int(row["label"]) for row in ordered], np.int32)
    return {"inputs": inputs, "labels": labels, "names": ("", *letters)}


def encode_lm_words(texts: Mapping[str, Sequence[Sequence[str]]], vocab_size: int, unknown: str) -> dict[str, Any]:
    """Arguments of `tasks.Words` from the words of each split's texts, one text after the other.

    The `vocab_size` most frequent words of the training split are known; all others are token 0, named `unknown`.
    """
    names = (unknown, *most_common_words(texts["train"], vocab_size))
    index = {word: i for i, word in enumerate(names)}
    encoded = {
        split: np.array([index.get(word, 0) for words in part for word in words], np.int32)
        for split, part in texts.items()
    }
    return {"text": encoded, "names": names}


def encode_classification_words(
    texts: Mapping[str, Sequence[Sequence[str]]], vocab_size: int, max_length: int
) -> dict[str, Any]:
    """`inputs` and `names` of `tasks.Classification` from the words of each split's texts.

    Only the `vocab_size` most frequent words of the training split are kept, and of these the first `max_length`.
    """
    names = ("", *most_common_words(texts["train"], vocab_size))
    index = {word: i for i, word in enumerate(names)}
    inputs = {}
    for split, part in texts.items():
        rows = [[index[word] for word in words if word in index][:max_length] for words in part]
        inputs[split] = pad_rows(rows, max_length).astype(np.uint16)
    return {"inputs": inputs, "names": names}


def pad_rows(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Rows of different lengths as an array [N, width], with 0 after their ends."""
    padded = np.zeros((len(rows), width), np.int32)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
