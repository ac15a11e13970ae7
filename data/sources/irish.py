"""Irish folk tunes in ABC notation: the 804 of MIT's course 6.S191, with 83 distinct characters.

From the package `mitdeeplearning` 0.7.5 on PyPI (© MIT Introduction to Deep Learning, MIT licence), which is installed
with --no-deps and never imported. The file is ordered by the kind of dance; here a hash decides.

The same melody may be there under several titles and in several keys: tunes that share a fifth of their runs of twelve
steps of the scale go to one split. In version 1.0.0, which was split by a hash of the tune, 9 of the 85 tunes in the
test (11 %) were so near to one in training, 6 of them nearly note for note; now none of 92 is.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data import clusters, locate_file, text, verify_checksum
from data.builder import RecordBuilder, assign_split

INSTALL = "make setup, or see requirements-data.lock"
SOURCE_SHA256 = "df3782d5f7b5a2f4c66aa7c13f13008d5f48757b3f5f51620cd6c1ceb2c53023"  # sha256 of irish.abc
FINGERPRINT = "8a19318485491d200da79c3dd522369875fd91ba8b09b34c50cab6fb0de719c4"  # of what is loaded
SEPARATOR = "\n\n"
_MIN_SHARED_RUNS, _RUN_LENGTH = 0.2, 12  # tunes with that share of the runs of so many steps in common go to one split
HEADER_FIELDS = ("X:", "T:", "M:", "L:", "K:")  # what every tune here begins with, and some with more


class Irish(RecordBuilder):
    """One record per tune: its number and its text in ASCII codes."""

    VERSION = tfds.core.Version("2.0.0")
    FEATURES = {"tune": tfds.features.Text(), "text": tfds.features.Tensor(shape=(None,), dtype=np.uint8)}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        return tune_records(read_source())


BUILDER = Irish


def tune_records(tunes: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Records of tunes, each in the split of the first tune with its melody."""
    firsts = clusters.cluster_by_runs(tunes, [melodic_intervals(tune) for tune in tunes], _MIN_SHARED_RUNS, _RUN_LENGTH)
    for number, (tune, first) in enumerate(zip(tunes, firsts, strict=True)):
        name = f"{number:04}"
        yield assign_split(first), name, {"tune": name, "text": text.ascii_codes(tune, unknown="?")}


def melodic_intervals(tune: str) -> tuple[int, ...]:
    """Steps of the scale from each note of a tune to the next, which do not depend on its key, metre or note lengths.

    Fields, quoted chords, grace notes and ornaments are not part of it.
    """
    lines = [line for line in tune.splitlines() if not re.match("[A-Za-z]:", line)]
    plain = re.sub(r'"[^"]*"|![^!]*!|\{[^}]*\}|%.*|\[[A-Z]:[^]]*\]', "", "\n".join(lines))
    notes = [
        "CDEFGAB".index(note.upper()) + 7 * (note.islower() + octaves.count("'") - octaves.count(","))
        for note, octaves in re.findall("([A-Ga-g])([',]*)", plain)
    ]
    return tuple(after - before for before, after in itertools.pairwise(notes))


def read_source() -> list[str]:
    """Distinct tunes in the file's order. Raises as `locate_file` and `verify_checksum`."""
    contents = locate_file("mitdeeplearning", "mitdeeplearning/data/irish.abc", INSTALL).read_bytes()
    verify_checksum(contents, SOURCE_SHA256, "mitdeeplearning's irish.abc", INSTALL)
    return split_tunes(contents.decode("ascii"))


def split_tunes(book: str) -> list[str]:
    """Distinct tunes of a book: blocks from a line X: to a blank line. Other fragments are left out."""
    blocks = (block.strip("\n") for block in re.split(r"\n\s*\n", book.replace("\r\n", "\n")))
    return list(dict.fromkeys(block for block in blocks if block.startswith("X:")))


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.Characters`."""
    return text.encode_characters(records, "tune", SEPARATOR)
