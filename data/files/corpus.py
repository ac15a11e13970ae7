"""The documents of a user's texts, each with the split that it belongs to."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.files.documents import Document, read_documents
from data.files.splits import FIELD_SPLITS, has_given_splits, survey_splits
from data.splits import assign_split

Place = tuple[int, int, int]  # number of the config's field, of the file in it, of the document in that


class Passage(NamedTuple):
    """A document of a split. `following` is the place after it, to go on from; `bytes_read` are those of all files."""

    text: str
    split: str
    following: Place
    bytes_read: int


class Corpus:
    """The texts that `task.path`, `task.validation_path` and `task.test_path` name.

    Where splits are given, by these fields, by a column or by a folder, what is given is read once at the beginning, to
    know the documents of which copies are dropped. Otherwise splits go by the hash of a document. Of each field's files
    no more than `limit` characters are read, if it is given.
    """

    def __init__(self, options: Any, sources: Mapping[str, Sequence[Path]], limit: int | None = None):
        self._options, self._limit = options, limit
        self._sources = [(field, sources[field]) for field in ("path", *FIELD_SPLITS) if field in sources]
        self.size = sum(path.stat().st_size for _, paths in self._sources for path in paths)
        self.rule, self.duplicates = survey_splits(self._given_documents())

    def _given_documents(self) -> Iterator[tuple[str, str]]:
        for number, (field, paths) in enumerate(self._sources):
            if field in FIELD_SPLITS or has_given_splits(paths, self._options.split_column):
                for document in self._read_field(number):
                    yield FIELD_SPLITS.get(field, document.split), document.text

    def _read_field(
        self, number: int, start: tuple[int, int] | None = None, counts: MutableMapping[str, int] | None = None
    ) -> Iterator[Document]:
        (field, paths), options = self._sources[number], self._options
        split_column = "" if field in FIELD_SPLITS else options.split_column
        characters = 0
        for document in read_documents(field, paths, options.column, options.document, split_column, start, counts):
            yield document
            characters += len(document.text)
            if self._limit is not None and characters >= self._limit:
                return

    def read_passages(
        self, start: Place | None = None, counts: MutableMapping[str, int] | None = None
    ) -> Iterator[Passage]:
        """Read all documents but copies of those in a later split, from a place on that an earlier one named."""
        first_field, *within = start or (0,)
        bytes_before, all_by_hash = 0, not self.rule.given  # then copies are in one split, and the rule is simple
        for number, (field, paths) in enumerate(self._sources):
            if number >= first_field:
                begin = (within[0], within[1]) if within and number == first_field else None
                for text, given, (file, index), bytes_read in self._read_field(number, begin, counts):
                    if all_by_hash:
                        split = assign_split(text)
                    else:
                        split = self.rule.assign_item(FIELD_SPLITS.get(field, given), text)
                        if not self.duplicates.keep_item(split, text):
                            continue
                    yield Passage(text, split, (number, file, index + 1), bytes_before + bytes_read)
            bytes_before += sum(path.stat().st_size for path in paths)
