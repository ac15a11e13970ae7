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

from data import SPLITS, images, summarize_error, text
from data.builder import assign_split, decode_text
from tasks.real.words import split_words

INSTALL = "pip install -e '.[tfds-full]', with a network"
RecordsBySplit = Mapping[str, Sequence[Mapping[str, Any]]]
_REVIEW_LENGTH = 128  # words kept of a review, from its beginning
_VOCAB_SIZE = 8000  # known words: the most frequent ones of the training split
_MAX_SENTENCE_LENGTH = 24  # words of a sentence, on either side


class CatalogEntry(NamedTuple):
    """A set's name in tensorflow-datasets, the source of each of our splits, and what makes a task's arguments of it.

    Without a validation split, a hash of `hash_feature` takes a tenth of the training split.
    """

    name: str
    source_splits: Mapping[str, str]
    task_arguments: Callable[[RecordsBySplit], dict[str, Any]]
    hash_feature: str = ""  # the feature that is hashed


def load_catalog_entry(name: str, root: Path) -> dict[str, Any]:
    """Load a standard data set as keyword arguments for its task.

    Raises ValueError, with what to do, if it is neither there nor can be prepared.
    """
    import tensorflow_datasets as tfds

    source = CATALOG[name]
    tfds.disable_progress_bar()
    try:
        builder: Any = tfds.builder(source.name, data_dir=root, file_format="array_record")
        if not Path(builder.data_dir).exists():
            builder.download_and_prepare(file_format="array_record")
        read = {split: list(builder.as_data_source(part)) for split, part in source.source_splits.items()}
    except Exception as error:  # without a network or TensorFlow it can be nearly anything
        raise ValueError(
            f"{name} is not in {root} and can't be prepared: {INSTALL} ({summarize_error(error)})"
        ) from error
    if "validation" not in read:
        kept: dict[str, list] = {"train": [], "validation": []}
        for row in read["train"]:
            value = row[source.hash_feature]
            contents = decode_text(value) if isinstance(value, (str, bytes)) else np.asarray(value).tobytes()
            kept[assign_split(contents, train=0.9)].append(row)  # the rest is validation
        read = {**read, **kept}
    return source.task_arguments({split: read[split] for split in SPLITS})


def file_stamps(name: str, root: Path) -> list[tuple[str, int, int, int]]:
    """Path, inode, size and modification time of each file of a data set below `root`."""
    folder = root / CATALOG[name].name
    found = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(str(path), status.st_ino, status.st_size, status.st_mtime_ns) for path, status in found]


def _character_arguments(rows: RecordsBySplit) -> dict[str, Any]:
    """Arguments of `tasks.Characters`: each split is one text."""
    some = {
        split: [
            {"name": f"{i:06}", "text": text.ascii_codes(decode_text(_unwrap_scalar(row["text"])))}
            for i, row in enumerate(part)
        ]
        for split, part in rows.items()
    }
    return text.encode_characters(some, "name", "\n")


def _pixel_arguments(rows: RecordsBySplit) -> dict[str, Any]:
    """Arguments of `tasks.Pixels`: images of 28 × 28 in 0 … 255."""
    numbered = {split: [{**row, "row": i} for i, row in enumerate(part)] for split, part in rows.items()}
    return images.image_arguments(numbered)


def _review_arguments(rows: RecordsBySplit) -> dict[str, Any]:
    """Arguments of `tasks.Classification`: the first known words of each review."""
    said = {
        split: [split_words(decode_text(_unwrap_scalar(row["text"]))) for row in part] for split, part in rows.items()
    }
    labels = {split: np.array([int(row["label"]) for row in part], np.int32) for split, part in rows.items()}
    return {
        **text.encode_classification_words(said, _VOCAB_SIZE, _REVIEW_LENGTH),
        "labels": labels,
        "classes": ("bad", "good"),
    }


def _sentence_arguments(rows: RecordsBySplit) -> dict[str, Any]:
    """Arguments of `tasks.Words`: one sentence after the other."""
    said = {
        split: [split_words(decode_text(_unwrap_scalar(row["text"]))) for row in part] for split, part in rows.items()
    }
    return text.encode_lm_words(said, _VOCAB_SIZE, "<unk>")


def _translation_arguments(rows: RecordsBySplit) -> dict[str, Any]:
    """Arguments of `tasks.ParallelText`: pairs of sentences that are short enough on both sides."""
    said = {
        split: [[split_words(decode_text(_unwrap_scalar(row[language]))) for language in ("pt", "en")] for row in part]
        for split, part in rows.items()
    }
    fit = {split: [pair for pair in some if all(0 < len(side) <= _MAX_SENTENCE_LENGTH for side in pair)]
           for split, some in said.items()}  # fmt: skip
    names, numbers = ["", "⟶", "·", "<unk pt>", "<unk en>"], []
    for side in range(2):
        counts = Counter(word for pair in fit["train"] for word in pair[side])
        known = text.most_common_words([counts.elements()], _VOCAB_SIZE)
        # The same letters may spell a word of either language, which are then two tokens.
        numbers.append({word: len(names) + i for i, word in enumerate(known)})
        names += [f"{word} ({('pt', 'en')[side]})" for word in known]

    def words_of(side: int, split: str) -> np.ndarray:
        return text.pad_rows(
            [[numbers[side].get(w, 3 + side) for w in pair[side]] for pair in fit[split]], _MAX_SENTENCE_LENGTH
        )

    sides = {side: {split: words_of(i, split) for split in fit} for i, side in enumerate(("sources", "targets"))}
    return {**sides, "names": tuple(names)}


def _unwrap_scalar(value: Any) -> str | bytes:
    """A text, which is bytes in files, a string in tfds' mock data, or either in a 0-d array."""
    return value if isinstance(value, (str, bytes)) else np.asarray(value).item()


CATALOG = {
    "tiny_shakespeare": CatalogEntry(
        "tiny_shakespeare", {"train": "train", "validation": "validation", "test": "test"}, _character_arguments
    ),
    "mnist": CatalogEntry("mnist", {"train": "train", "test": "test"}, _pixel_arguments, hash_feature="image"),
    "imdb_reviews": CatalogEntry(
        "imdb_reviews", {"train": "train", "test": "test"}, _review_arguments, hash_feature="text"
    ),
    "lm1b": CatalogEntry("lm1b", {"train": "train[:1%]", "test": "test"}, _sentence_arguments, hash_feature="text"),
    "ted_hrlr_translate": CatalogEntry(
        "ted_hrlr_translate/pt_to_en",
        {"train": "train", "validation": "validation", "test": "test"},
        _translation_arguments,
    ),
}
