"""O'Neill's Music of Ireland (1850 melodies and more) in ABC notation, where music21 is installed: 2,009 tunes.

From music21's corpus, which is distributed with its encoders' permission; read as files, never imported.
Split by melody as `irish` is: in version 1.0.0, which was split by a hash of the tune, 26 of the 180 tunes in the test
(14 %) shared a fifth of their runs of twelve steps with one in training and 17 of them nine tenths; now none of 195
does.
"""

import re
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from data import locate_file, verify_checksum
from data.builder import RecordBuilder
from data.sources import irish

INSTALL = "pip install -e '.[music]'"
SOURCE_SHA256 = "c45fbfa139a40a00dd465badff3f99dc9177877d00cb7cb7b696e9cdf4fd942e"  # sha256 of all books in a row
FINGERPRINT = "8696c2691eb13a0c5ec692b3499fcd947dab09decbb071719760ec3d308024bb"  # of what is loaded


class Oneill(RecordBuilder):
    """One record per tune, as in `irish`."""

    VERSION = tfds.core.Version("2.0.0")
    FEATURES = irish.Irish.FEATURES

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        return irish.tune_records(read_source())


BUILDER = Oneill
task_arguments = irish.task_arguments


def read_source() -> list[str]:
    """Distinct tunes in the order of the files. Raises as `locate_file` and `verify_checksum`."""
    folder = locate_file("music21", "music21/corpus/oneills1850", INSTALL)
    books = [path.read_bytes() for path in sorted(folder.glob("*.abc"))]
    verify_checksum(b"".join(books), SOURCE_SHA256, "music21's oneills1850", f"{INSTALL} --force-reinstall")
    found = []
    for book in books:
        parts = re.split(r"(?m)^(?=X:)", book.decode("utf-8", "replace").replace("\r\n", "\n"))
        found += [part.strip("\n") for part in parts if part.startswith("X:")]
    return list(dict.fromkeys(found))
