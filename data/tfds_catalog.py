"""Standard data sets by their names in tensorflow-datasets, for people with a network.

Preparing one downloads it and needs TensorFlow (`pip install -e '.[tfds-full]'`); reading what was prepared, here or
elsewhere with `data_dir` pointing to it, needs neither. They are prepared in ArrayRecord files, as all data sets here.

  tiny_shakespeare      characters    the file of Karpathy's char-rnn, 1.1 million characters
  mnist                 pixels        60,000 + 10,000 digits (LeCun et al. 1998)
  imdb_reviews          classification  50,000 reviews by word, good or bad (Maas et al. 2011)
  lm1b                  words         a hundredth of the One Billion Word Benchmark (Chelba et al. 2013)
  ted_hrlr_translate    parallel_text Portuguese to English, TED talks (Qi et al. 2018)
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import SPLITS, images, short, text
from data.builder import as_text, split_of
from tasks.real.words import split_words

INSTALL = "pip install -e '.[tfds-full]', with a network"
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
REVIEW = 128  # words of a review, the first ones
KNOWN = 8000  # words that have a number of their own
SENTENCE = 24  # words of a sentence, on either side


class Source(NamedTuple):
    """The name in tensorflow-datasets, what it is read from for each of our splits, and what makes a task's arguments.

    Where there is no split for validation, a hash of the record takes a tenth of the training part."""

    name: str
    splits: Mapping[str, str]
    arguments: Callable[[Rows], dict[str, Any]]
    by: str = ""  # the feature that is hashed


def load(name: str, root: Path) -> dict[str, Any]:
    """A standard data set as keyword arguments for its task.

    Raises ValueError where it is neither there nor can be had, with what to do."""
    import tensorflow_datasets as tfds

    source = SOURCES[name]
    tfds.disable_progress_bar()
    try:
        builder: Any = tfds.builder(source.name, data_dir=root, file_format="array_record")
        if not Path(builder.data_dir).exists():
            builder.download_and_prepare(file_format="array_record")
        read = {split: list(builder.as_data_source(part)) for split, part in source.splits.items()}
    except Exception as error:  # without a network or TensorFlow it can be nearly anything
        raise ValueError(f"{name} is not in {root} and can't be prepared: {INSTALL} ({short(error)})") from error
    if "validation" not in read:
        kept: dict[str, list] = {"train": [], "validation": []}
        for row in read["train"]:
            value = row[source.by]
            contents = as_text(value) if isinstance(value, (str, bytes)) else np.asarray(value).tobytes()
            kept[split_of(contents, train=0.9)].append(row)  # the rest is validation
        read = {**read, **kept}
    return source.arguments({split: read[split] for split in SPLITS})


def stamp(name: str, root: Path) -> list[tuple[str, int, int, int]]:
    """Of each file that lies below `root` for a data set: path, inode, size and time of change."""
    folder = root / SOURCES[name].name
    found = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(str(path), status.st_ino, status.st_size, status.st_mtime_ns) for path, status in found]


def characters(rows: Rows) -> dict[str, Any]:
    """For `Characters`: each split is one text."""
    some = {
        split: [
            {"name": f"{i:06}", "text": text.ascii_codes(as_text(plain(row["text"])))} for i, row in enumerate(part)
        ]
        for split, part in rows.items()
    }
    return text.characters(some, "name", "\n")


def pixels(rows: Rows) -> dict[str, Any]:
    """For `Pixels`: images of 28 × 28, in 0 … 255."""
    numbered = {split: [{**row, "row": i} for i, row in enumerate(part)] for split, part in rows.items()}
    return images.arguments(numbered)


def reviews(rows: Rows) -> dict[str, Any]:
    """For `Classification`: the first words of a review that have a number."""
    said = {split: [split_words(as_text(plain(row["text"]))) for row in part] for split, part in rows.items()}
    labels = {split: np.array([int(row["label"]) for row in part], np.int32) for split, part in rows.items()}
    return {**text.known(said, KNOWN, REVIEW), "labels": labels, "classes": ("bad", "good")}


def sentences(rows: Rows) -> dict[str, Any]:
    """For `Words`: one sentence after the other."""
    said = {split: [split_words(as_text(plain(row["text"]))) for row in part] for split, part in rows.items()}
    return text.numbered(said, KNOWN, "<unk>")


def translations(rows: Rows) -> dict[str, Any]:
    """For `ParallelText`: pairs of sentences that are short enough on both sides, unknown words by side."""
    said = {
        split: [[split_words(as_text(plain(row[language]))) for language in ("pt", "en")] for row in part]
        for split, part in rows.items()
    }
    fit = {split: [pair for pair in some if all(0 < len(side) <= SENTENCE for side in pair)]
           for split, some in said.items()}  # fmt: skip
    names, numbers = ["", "⟶", "·", "<unk pt>", "<unk en>"], []
    for side in range(2):
        counts = Counter(word for pair in fit["train"] for word in pair[side])
        known = text.commonest([counts.elements()], KNOWN)
        # The same letters may spell a word of either language, which are then two tokens.
        numbers.append({word: len(names) + i for i, word in enumerate(known)})
        names += [f"{word} ({('pt', 'en')[side]})" for word in known]

    def of(side: int, split: str) -> np.ndarray:
        return text.padded([[numbers[side].get(w, 3 + side) for w in pair[side]] for pair in fit[split]], SENTENCE)

    sides = {side: {split: of(i, split) for split in fit} for i, side in enumerate(("sources", "targets"))}
    return {**sides, "names": tuple(names)}


def plain(value: Any) -> str | bytes:
    """Text is bytes in files, a string in tfds' mock data, and may come as an array of no dimension."""
    return value if isinstance(value, (str, bytes)) else np.asarray(value).item()


SOURCES = {
    "tiny_shakespeare": Source(
        "tiny_shakespeare", {"train": "train", "validation": "validation", "test": "test"}, characters
    ),
    "mnist": Source("mnist", {"train": "train", "test": "test"}, pixels, by="image"),
    "imdb_reviews": Source("imdb_reviews", {"train": "train", "test": "test"}, reviews, by="text"),
    "lm1b": Source("lm1b", {"train": "train[:1%]", "test": "test"}, sentences, by="text"),
    "ted_hrlr_translate": Source(
        "ted_hrlr_translate/pt_to_en",
        {"train": "train", "validation": "validation", "test": "test"},
        translations,
    ),
}
