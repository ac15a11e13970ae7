"""Which of Shakespeare's 42 works is this from? Passages of 24 words each, as a search for titles has to answer.

The text is that of `shakespeare`. Who speaks and what is done on stage is taken out, as far as a line begins with it
or has it in brackets: a name would give the title away. A hash of the passage decides on its split:
passages do not overlap, but one for the test may stand between two for training in the same scene, which is what is
asked here. Of the 3,603 in the test 2.2 % share a run of six words with one in training, and two share one of twelve.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data import text
from data.builder import RecordBuilder, assign_split, decode_text
from data.sources import shakespeare
from tasks.real.words import split_words

FINGERPRINT = "9304cf7fc3756f70e1c1f1ef2168181ecea555ad50a600b38899ba7c801e422c"  # of what is loaded
PASSAGE_LENGTH = 24  # words
_VOCAB_SIZE = 4000  # known words: the most frequent ones of the training passages
STAGE_DIRECTION = re.compile(
    r"\[[^\]]*\]|(?m:^ *[A-Z][A-Za-z]*(?: [A-Z]?[a-z]+| [A-Z]+)?\.(?= |$))"
)  # "Ber." and "[Exit.]"

# Work: title, kind, and the year about which it was written, as it is commonly put; some are disputed by a few years.
WORKS = {
    "alls_well_that_ends_well": ("All's Well That Ends Well", "comedy", 1604),
    "antony_and_cleopatra": ("Antony and Cleopatra", "tragedy", 1606),
    "as_you_like_it": ("As You Like It", "comedy", 1599),
    "comedy_of_errors": ("The Comedy of Errors", "comedy", 1594),
    "coriolanus": ("Coriolanus", "tragedy", 1608),
    "cymbeline": ("Cymbeline", "comedy", 1610),
    "hamlet": ("Hamlet", "tragedy", 1600),
    "henry_iv_part_1": ("King Henry IV, Part 1", "history", 1597),
    "henry_iv_part_2": ("King Henry IV, Part 2", "history", 1598),
    "henry_v": ("King Henry V", "history", 1599),
    "henry_vi_part_1": ("King Henry VI, Part 1", "history", 1591),
    "henry_vi_part_2": ("King Henry VI, Part 2", "history", 1591),
    "henry_vi_part_3": ("King Henry VI, Part 3", "history", 1591),
    "henry_viii": ("King Henry VIII", "history", 1613),
    "john": ("King John", "history", 1596),
    "julius_caesar": ("Julius Caesar", "tragedy", 1599),
    "lear": ("King Lear", "tragedy", 1605),
    "lovers_complaint": ("A Lover's Complaint", "poem", 1604),
    "loves_labours_lost": ("Love's Labour's Lost", "comedy", 1595),
    "macbeth": ("Macbeth", "tragedy", 1606),
    "measure_for_measure": ("Measure for Measure", "comedy", 1604),
    "merchant_of_venice": ("The Merchant of Venice", "comedy", 1597),
    "merry_wives_of_windsor": ("The Merry Wives of Windsor", "comedy", 1597),
    "midsummer_nights_dream": ("A Midsummer Night's Dream", "comedy", 1595),
    "much_ado_about_nothing": ("Much Ado About Nothing", "comedy", 1598),
    "othello": ("Othello", "tragedy", 1604),
    "passionate_pilgrim": ("The Passionate Pilgrim", "poem", 1599),
    "pericles": ("Pericles", "comedy", 1608),
    "phoenix_and_the_turtle": ("The Phoenix and the Turtle", "poem", 1601),
    "rape_of_lucrece": ("The Rape of Lucrece", "poem", 1594),
    "richard_ii": ("King Richard II", "history", 1595),
    "richard_iii": ("King Richard III", "history", 1593),
    "romeo_and_juliet": ("Romeo and Juliet", "tragedy", 1595),
    "sonnets": ("Sonnets", "poem", 1609),
    "taming_of_the_shrew": ("The Taming of the Shrew", "comedy", 1591),
    "tempest": ("The Tempest", "comedy", 1611),
    "timon_of_athens": ("Timon of Athens", "tragedy", 1606),
    "tragedy_of_titus_andronicus": ("Titus Andronicus", "tragedy", 1592),
    "troilus_and_cressida": ("Troilus and Cressida", "tragedy", 1602),
    "twelfth_night": ("Twelfth Night", "comedy", 1601),
    "two_gentlemen_of_verona": ("Two Gentlemen of Verona", "comedy", 1590),
    "winters_tale": ("The Winter's Tale", "comedy", 1610),
}  # fmt: skip
TITLES = tuple(title for title, _, _ in WORKS.values())


class Titles(RecordBuilder):
    """One record per work and split: the work's name and its passages in order, one per line."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {"work": tfds.features.Text(), "text": tfds.features.Text()}

    @staticmethod
    def generate_records() -> Iterator[tuple[str, str, dict[str, Any]]]:
        for work, passages in read_source().items():
            parts: dict[str, list[str]] = {}
            for words in passages:
                passage = " ".join(words)
                parts.setdefault(assign_split(passage), []).append(passage)
            for split, some in parts.items():
                yield split, work, {"work": work, "text": "\n".join(some)}


BUILDER = Titles


def read_source() -> dict[str, list[list[str]]]:
    """Passages of each work. Raises as `shakespeare.read_source`."""
    found = {}
    for work, whole in shakespeare.read_source().items():
        words = [word for word in split_words(STAGE_DIRECTION.sub(" ", whole)) if word[0].isalpha()]
        found[work] = [words[i : i + PASSAGE_LENGTH] for i in range(0, len(words) - PASSAGE_LENGTH + 1, PASSAGE_LENGTH)]
    return found


def task_arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Arguments of `tasks.Classification`, passages in the order of the works."""
    rows = {
        split: [
            (decode_text(row["work"]), line.split())
            for row in sorted(some, key=lambda row: decode_text(row["work"]))
            for line in decode_text(row["text"]).splitlines()
        ]
        for split, some in records.items()
    }
    passages = {split: [words for _, words in some] for split, some in rows.items()}
    works = {work: i for i, work in enumerate(WORKS)}
    labels = {split: np.array([works[work] for work, _ in some], np.int32) for split, some in rows.items()}
    return {
        **text.encode_classification_words(passages, _VOCAB_SIZE, PASSAGE_LENGTH),
        "labels": labels,
        "classes": TITLES,
        "rule": "most",
    }
