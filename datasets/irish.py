"""Irish folk tunes in ABC notation: the 804 of MIT's course 6.S191, with 83 distinct characters.

From the package `mitdeeplearning` 0.7.5 on PyPI (© MIT Introduction to Deep Learning, MIT licence), which is installed
with --no-deps and never imported. The file is ordered by the kind of dance; here a hash of the tune decides.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from datasets import locate, text, verify
from datasets.builder import Records, split_of

INSTALL = "make setup, or see requirements-data.lock"
SOURCE = "df3782d5f7b5a2f4c66aa7c13f13008d5f48757b3f5f51620cd6c1ceb2c53023"  # sha256 of irish.abc
PREPARED = "6e14533d82f77ce11e7fbe3daeab48009b654b8f040bdd7f6a577ef44f1d368e"  # `fingerprint` of what `load` returns
BETWEEN = "\n\n"
FIELDS = ("X:", "T:", "M:", "L:", "K:")  # what every tune here begins with, and some with more


class Irish(Records):
    """One record a tune: the hash of its text, by which it is named, and the text in ASCII codes."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"tune": tfds.features.Text(), "text": tfds.features.Tensor(shape=(None,), dtype=np.uint8)}

    @staticmethod
    def records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        return numbered(source())


BUILDER = Irish


def numbered(tunes: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A record a tune, in the split that its hash says."""
    for number, tune in enumerate(tunes):
        name = f"{number:04}"
        yield split_of(tune), name, {"tune": name, "text": text.ascii_codes(tune)}


def source() -> list[str]:
    """The distinct tunes, in the file's order. Raises as `locate` and `verify` do."""
    contents = locate("mitdeeplearning", "mitdeeplearning/data/irish.abc", INSTALL).read_bytes()
    verify(contents, SOURCE, "mitdeeplearning's irish.abc", INSTALL)
    return tunes(contents.decode("ascii"))


def tunes(book: str) -> list[str]:
    """What begins with X: and goes on to a blank line, each once; loose fragments are left out."""
    blocks = (block.strip("\n") for block in re.split(r"\n\s*\n", book.replace("\r\n", "\n")))
    return list(dict.fromkeys(block for block in blocks if block.startswith("X:")))


def arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What `tasks.characters.Characters` takes."""
    return text.characters(records, "tune", BETWEEN)
