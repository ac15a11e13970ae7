"""The Greek New Testament and its English, verse by verse, with which word translates which, as people have found.

From the package `bible-alignments` 0.4.2 on PyPI: the SBL Greek New Testament and its manual alignment with the Berean
Standard Bible (Clear Bible, Biblica; CC BY 4.0), and that Bible (public domain). Of 7,920 verses those of up to
`MAX_LENGTH` words on either side are kept; a chapter is in one split as a whole. Greek is by lemma, English in small
letters and without punctuation. Words seen less than twice in training are unknown ones.

Of the 99,439 links of these verses 9 lead to an English word of the verse before or after, and are left out.

The gospels tell much alike: chapters that share a twentieth of their runs of eight English words are in one split. Of
the test verses 1.0 % are word for word in training all the same, and 3.5 % have half of their runs of six words there;
it was 2.7 and 6.6 % in version 1.0.0, which was split by a hash of the chapter alone.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data import clusters, locate_file, text, verify_checksum
from data.builder import RecordBuilder, assign_split, decode_text
from data.sources import bible

SOURCE_SHA256 = {
    "data/sources/SBLGNT.tsv": "c355b3f79a453e8e2a681506cdddc7349826fd4ea223736920625b8362d7b2f0",
    "data/eng/alignments/BSB/SBLGNT-BSB-manual.json": (
        "144c84636e3972774565b66105259e01df2b2236877055920c7996c08fdbc38e"
    ),
}
FINGERPRINT = "4de549b10a2fb86e6b8d8e002b758267d7dc71a10e82ae71ab9ab4c2e5321996"  # of what is loaded
MAX_LENGTH = 24  # words of a verse, on either side
_MIN_SHARED_RUNS = (
    0.05  # chapters with that share of the runs of `bible.RUN_LENGTH` English words in common go to one split
)
_MIN_COUNT = 2  # a word that training has less often is an unknown one
_SPECIAL_NAMES = (
    "",
    "⟶",
    "·",
    "<unk>",
    "<unk>",
)  # padding, separator, end, an unknown Greek word, an unknown English one


class Verses(RecordBuilder):
    """One record a chapter: its number, the Greek lemmas and the English words, a verse a line with blanks between,
    and the triples (verse, English word, Greek word) of words that translate each other."""

    VERSION = tfds.core.Version("2.0.0")
    FEATURES = {
        "chapter": tfds.features.Text(),
        "greek": tfds.features.Text(),
        "english": tfds.features.Text(),
        "links": tfds.features.Tensor(shape=(None, 3), dtype=np.int32),
    }

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        chapters: dict[str, list] = {}
        for verse, found in read_source().items():
            chapters.setdefault(verse[:5], []).append(found)
        said = [tuple(word for _, english, _ in verses for word in english) for verses in chapters.values()]
        firsts = clusters.cluster_by_runs(list(chapters), said, _MIN_SHARED_RUNS, bible.RUN_LENGTH)
        for (chapter, verses), first in zip(chapters.items(), firsts, strict=True):
            links = [(i, e, g) for i, (_, _, pairs) in enumerate(verses) for e, g in sorted(pairs)]
            greek, english = ("\n".join(" ".join(verse[side]) for verse in verses) for side in (0, 1))
            record = {"chapter": chapter, "greek": greek, "english": english, "links": np.array(links, np.int32)}
            yield assign_split(first), chapter, record


BUILDER = Verses


def read_source() -> dict[str, tuple[list[str], list[str], set[tuple[int, int]]]]:
    """Greek, English and links of each verse that has links and is short enough.

    Raises as `locate_file` and `verify_checksum`.
    """
    greek: dict[str, dict[str, str]] = {}  # verse: word's number: word
    for row in bible.read_table(path := "data/sources/SBLGNT.tsv", SOURCE_SHA256[path]):
        greek.setdefault(row["id"][1:9], {})[row["id"]] = row["lemma"].replace(" ", "_")
    english: dict[str, dict[str, str]] = {}
    for row in bible.read_table(path := "data/eng/targets/BSB/nt_BSB.tsv", bible.SOURCE_SHA256[path]):
        word = row["text"].lower()
        if not row["exclude"] and any(letter.isalnum() for letter in word):
            english.setdefault(row["source_verse"], {})[row["id"]] = word
    links: dict[str, list[tuple[str, str]]] = {}  # (English, Greek)
    contents = locate_file("bible-alignments", path := list(SOURCE_SHA256)[1], bible.INSTALL).read_bytes()
    verify_checksum(contents, SOURCE_SHA256[path], f"bible-alignments' {path}", f"{bible.INSTALL} --force-reinstall")
    for record in json.loads(contents)["records"]:
        for word in record["source"]:
            links.setdefault(word[1:9], []).extend((other, word) for other in record["target"])

    found = {}
    for verse in sorted(greek.keys() & english.keys() & links.keys()):
        sources, targets = greek[verse], english[verse]
        at = {key: i for i, key in enumerate(sources)}
        to = {key: i for i, key in enumerate(targets)}
        pairs = {(to[e], at[g]) for e, g in links[verse] if e in to and g in at}
        if pairs and len(sources) <= MAX_LENGTH and len(targets) <= MAX_LENGTH:
            found[verse] = (list(sources.values()), list(targets.values()), pairs)
    return found


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.ParallelText`, in the order of the verses.

    `links` [N, MAX_LENGTH, MAX_LENGTH] are True where an English word (second axis) translates a Greek one (third).
    """
    rows = {split: sorted(some, key=lambda row: decode_text(row["chapter"])) for split, some in records.items()}
    sides = {
        side: {
            split: [line.split() for row in some for line in decode_text(row[side]).splitlines()]
            for split, some in rows.items()
        }
        for side in ("greek", "english")
    }
    names, number = list(_SPECIAL_NAMES), {}
    for side in sides:
        counts = Counter(word for words in sides[side]["train"] for word in words)
        known = [
            word for word in text.most_common_words(sides[side]["train"], len(counts)) if counts[word] >= _MIN_COUNT
        ]
        number[side] = {word: len(names) + i for i, word in enumerate(known)}
        names += known

    def words_of(side: str, split: str) -> np.ndarray:
        unknown = 3 + (side == "english")
        return text.pad_rows([[number[side].get(word, unknown) for word in w] for w in sides[side][split]], MAX_LENGTH)

    links = {}
    for split, some in rows.items():
        links[split], first = np.zeros((len(sides["greek"][split]), MAX_LENGTH, MAX_LENGTH), bool), 0
        for row in some:
            verse, *pair = np.asarray(row["links"]).T
            links[split][first + verse, pair[0], pair[1]] = True
            first += len(decode_text(row["greek"]).splitlines())
    return {
        "sources": {split: words_of("greek", split) for split in rows},
        "targets": {split: words_of("english", split) for split in rows},
        "names": tuple(names),
        "links": links,
    }
