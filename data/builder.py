"""Base class of the builders of data sets."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data.splits import assign_split as assign_split


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builder of a data set whose records have the `FEATURES` and come from `generate_records`.

    A subclass states `VERSION` (a tfds.core.Version, raised when its records change), `FEATURES` (tfds features by
    name) and `generate_records`. Its name in `data.DATASETS` is also that of its folder.
    """

    FEATURES: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls, **options: Any):
        """Stay out of tensorflow-datasets' list of names, which takes each name once: a module could not be reloaded,
        and our fashion_mnist and theirs could not both be imported."""
        super().__init_subclass__(**{"skip_registration": True, **options})

    @staticmethod
    def generate_records() -> Iterable[tuple[str, Any, Mapping[str, Any]]]:
        """(split, key, record) of every record; keys differ within a split."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(dict(self.FEATURES)))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        examples: dict[str, list] = {}
        for split, key, record in self.generate_records():
            examples.setdefault(split, []).append((key, record))
        return {split: self._generate_examples(part) for split, part in examples.items()}

    def _generate_examples(self, part: list[tuple[Any, Mapping[str, Any]]]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
        yield from part


def decode_text(value: str | bytes) -> str:
    """Text as a string: it is bytes in files, and a string in the mock data of tensorflow-datasets."""
    return value.decode() if isinstance(value, bytes) else value
