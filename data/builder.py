"""What the builders of all data sets have in common: they give records, each in its split."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set whose records have the `FEATURES` and are what `generate_records()` gives: (split, key, record)
    each."""

    FEATURES: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls, **options: Any):
        """Without tensorflow-datasets' list of names, which takes a name once: importlib.reload would raise, and what
        comes second of our fashion_mnist and theirs."""
        super().__init_subclass__(**{"skip_registration": True, **options})

    @staticmethod
    def generate_records() -> Iterable[tuple[str, Any, Mapping[str, Any]]]:
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(dict(self.FEATURES)))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        made: dict[str, list] = {}
        for split, key, record in self.generate_records():
            made.setdefault(split, []).append((key, record))
        return {split: self._generate_examples(some) for split, some in made.items()}

    def _generate_examples(self, some: list[tuple[Any, Mapping[str, Any]]]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        yield from some


def assign_split(what: str | bytes, train: float = 0.8, validation: float = 0.1) -> str:
    """A split by a hash of `what` alone, about so large: no version of anything, and no other record, can move it."""
    contents = what.encode() if isinstance(what, str) else what
    share = int.from_bytes(hashlib.sha256(contents).digest()[:8]) / 2**64
    return "train" if share < train else "validation" if share < train + validation else "test"


def decode_text(value: str | bytes) -> str:
    """Text is bytes in files, and a string in tfds' mock data."""
    return value.decode() if isinstance(value, bytes) else value
