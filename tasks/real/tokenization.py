"""From text to tokens and back, as a task can do it: by a description that is a string.

  characters, bytes, words     tokens are known by their names alone
  none                         a corpus that came as numbers: only numbers can be read
  anything else                the contents of a tokenizer.json, which the package `tokenizers` reads

Token 0 is the end of a document, except in a corpus that came as numbers. So a byte is its own token, since no text has
a byte 0, and a tokenizer.json's own numbers are all raised by one.
"""

import functools
from collections.abc import Sequence
from typing import Any

from tasks.real.words import split_words

NO_TOKENIZER = "none"
UNKNOWN_WORD = 1  # the token of all words that have none
_DOCUMENT_BREAK = "\n\n"  # how the end of a document is written
_INSTALL = "pip install -e '.[tokenizers]'"


def encode_text(text: str, tokenizer: str, names: Sequence[str]) -> list[int]:
    """The tokens of a text. Raises ValueError, naming it, for what has no token."""
    if tokenizer == "bytes":
        if "\0" in text:
            raise ValueError("the text holds a NUL, which ends a document")
        return list(text.encode())
    if tokenizer == "words":
        numbers = _numbers_by_name(tuple(names))
        return [numbers.get(word, UNKNOWN_WORD) for word in split_words(text)]
    if tokenizer == "characters":
        numbers = _numbers_by_name(tuple(names))
        if unknown := [character for character in dict.fromkeys(text) if character not in numbers]:
            raise ValueError(f"the alphabet has no {', '.join(map(repr, unknown))}")
        return [numbers[character] for character in text]
    if tokenizer == NO_TOKENIZER:
        return _parse_numbers(text, len(names))
    return [1 + token for token in read_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids]


def decode_tokens(tokens: Sequence[int], tokenizer: str, names: Sequence[str]) -> str:
    """The text that tokens spell: words and numbers with blanks between, bytes that are no UTF-8 as �."""
    if tokenizer == NO_TOKENIZER:
        return " ".join(names[token] for token in tokens)
    documents: list[list[int]] = [[]]
    for token in tokens:
        if token:
            documents[-1].append(token)
        else:
            documents.append([])
    return _DOCUMENT_BREAK.join(_decode_document(document, tokenizer, names) for document in documents)


def _decode_document(tokens: Sequence[int], tokenizer: str, names: Sequence[str]) -> str:
    if tokenizer == "bytes":
        return bytes(tokens).decode("utf-8", "replace")
    if tokenizer in ("characters", "words"):
        return ("" if tokenizer == "characters" else " ").join(names[token] for token in tokens)
    return read_tokenizer(tokenizer).decode([token - 1 for token in tokens], skip_special_tokens=False)


@functools.lru_cache(maxsize=4)
def _numbers_by_name(names: tuple[str, ...]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names) if number}


@functools.lru_cache(maxsize=4)
def read_tokenizer(contents: str) -> Any:
    """The tokenizer that a tokenizer.json describes. Raises ValueError without the package, or if it is none."""
    try:
        import tokenizers
    except ImportError:
        raise ValueError(f"task.tokenizer: this one needs the package tokenizers: {_INSTALL}") from None
    try:
        return tokenizers.Tokenizer.from_str(contents)
    except Exception as error:  # the library raises bare Exceptions
        raise ValueError(f"task.tokenizer: is no tokenizer.json ({' '.join(str(error).split())[:120]})") from None


def _parse_numbers(text: str, vocab_size: int) -> list[int]:
    for word in text.split():
        if not (word.isascii() and word.isdigit() and int(word) < vocab_size):
            raise ValueError(
                f"{word!r}: is no token of a corpus that came as numbers; give whole numbers from 0 to "
                f"{vocab_size - 1} with blanks between"
            )
    return [int(word) for word in text.split()]
