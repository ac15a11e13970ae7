"""Antimicrobial peptides against other ones: 4,620 distinct sequences of 7 to 174 amino acids, two classes.

From the package `modlamp` 4.3.3 on PyPI (BSD-3; Müller et al. 2017), installed with --no-deps and never imported: half
of them from APD3, half from UniProt. 222 of its 5,200 sequences are there twice or more, and 22 are in both classes;
those 22 are left out and of the others one is kept.

Many are variants of each other, so that whole clusters of those that are 65 % identical (data.clusters) go to one
split, by a hash: none in the test is so near to one in training. The largest cluster has 410 sequences; the splits have
83, 8 and 8 % of all, with 55, 51 and 56 % antimicrobial ones. In version 1.0.0, which was split by a hash of the
sequence, 31 % of the test were 90 % identical to a training sequence and 59 % were 70 % identical. The nearest
neighbour by runs of four letters, which is the task's baseline, had 0.863 of them right and now has 0.792.

Beware of what gives the class away: 61 % of the UniProt sequences begin with methionine (M), as every protein is begun,
and 2 % of the antimicrobial ones, which are cut out of longer ones. The rule of the first residue alone gets 0.751
right.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from data import clusters, locate_file, text, verify_checksum
from data.builder import RecordBuilder, assign_split

INSTALL = "pip install --no-deps modlamp==4.3.3"
SOURCE_SHA256 = "e1db3dd659179118dcfca63723385f2f0c95c49d27060a90f7a9d5848250eb48"  # sha256 of AMPvsUniProt.csv
FINGERPRINT = "841ccd4b5a1682fff9ddc80c155e7ef5c7e49fcd8e896340d90476177571e227"  # of what is loaded
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
MIN_IDENTITY, RUN_LENGTH = (
    0.65,
    3,
)  # sequences that are so identical, and share a run of so many letters, go to one split
CLASSES = ("UniProt", "antimicrobial")
MAX_LENGTH = 64  # a longer one, of which there are few, is cut there


class Peptides(RecordBuilder):
    """One record per sequence: its amino acids as letters, and its class."""

    VERSION = tfds.core.Version("2.0.0")
    FEATURES = {"sequence": tfds.features.Text(), "label": tfds.features.ClassLabel(names=list(CLASSES))}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        labels = read_source()
        seen = [sequence[:MAX_LENGTH] for sequence in labels]
        for sequence, first in zip(labels, clusters.cluster_by_identity(seen, MIN_IDENTITY, RUN_LENGTH), strict=True):
            yield assign_split(first), sequence, {"sequence": sequence, "label": labels[sequence]}


BUILDER = Peptides


def read_source() -> dict[str, int]:
    """Class of each sequence that has only one. Raises as `locate_file` and `verify_checksum`."""
    contents = locate_file("modlamp", "modlamp/data/AMPvsUniProt.csv", INSTALL).read_bytes()
    verify_checksum(contents, SOURCE_SHA256, "modlamp's AMPvsUniProt.csv", f"{INSTALL} --force-reinstall")
    found: dict[str, set[int]] = {}
    for line in contents.decode("ascii").splitlines()[1:]:
        sequence, label = line.split(", ")
        found.setdefault(sequence, set()).add(int(label))
    return {sequence: min(labels) for sequence, labels in found.items() if len(labels) == 1}


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.Classification`."""
    return {**text.encode_labelled_letters(records, AMINO_ACIDS, MAX_LENGTH), "classes": CLASSES, "rule": "nearest"}
