"""Rows of a user's tables and FASTA files with the split that each belongs to: labelled sequences, pairs of texts."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from data.files import fasta, splits, tables
from data.files.sources import FASTA_SUFFIXES, Counts, data_suffix
from data.files.store_writer import StoreWriter

FIELDS = ("path", *splits.FIELD_SPLITS)  # of the config, in the order in which their files are read
SPLIT_OPTION = "split_column"
_CRLF = "Rows whose line ends, CRLF, became one character each"

Position = tuple[int, int]  # which of the FIELDS, and which row of it
Sources = Mapping[str, Sequence[Path]]


@dataclasses.dataclass
class RowTally:
    """Counts of rows that are not kept as they stand, with the place of the first of each kind."""

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    places: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def restore(cls, state: Mapping[str, Any] | None) -> Self:
        """One that goes on counting from the `state` of an earlier one."""
        return cls(Counter(state["counts"]), dict(state["places"])) if state else cls()

    def state(self) -> dict[str, Any]:
        """All counts, as JSON."""
        return {"counts": dict(self.counts), "places": self.places}

    def add(self, what: str, place: str) -> None:
        """Count a row."""
        self.counts[what] += 1
        self.places.setdefault(what, place)

    def notes(self) -> list[str]:
        """A sentence for each kind."""
        return [f"{what}: {count:,}; the first is {self.places[what]}." for what, count in self.counts.items()]


class GivenRow(NamedTuple):
    """Values of a row in the order of the columns, and its split if one is given, else "".

    `bytes_read` are those of all files so far; reading goes on after a row at `after`.
    """

    values: tuple[Any, ...]
    given: str
    place: str
    after: Position
    bytes_read: int


def read_given_rows(
    sources: Sources,
    columns: Mapping[str, str],
    start: Position = (0, 0),
    counts: Counts | None = None,
    labels: Mapping[str, str] | None = None,
) -> Iterator[GivenRow]:
    """Read the rows of all files from the position `start` on.

    Args:
      sources: files by the config field that names them, one of `FIELDS`; others are passed over.
      columns: names of columns by the option that each is given in. That of `SPLIT_OPTION` is no value, but the split.
      start: where to begin, as `GivenRow.after`.
      counts: see `tables.read_rows`.
      labels: of FASTA sequences by their id, in place of those in the headers.

    A line end within a value is one character, also where it is CRLF. Raises ValueError, in one line, for what can't be
    read.
    """
    bytes_before = 0
    for number, field in enumerate(FIELDS):
        paths = sources.get(field, ())
        if number >= start[0]:
            first = start[1] if number == start[0] else 0
            for row in _read_field(field, paths, columns, first, counts, labels) if paths else ():
                values = row.values if SPLIT_OPTION not in columns else row.values[:-1]
                given = splits.FIELD_SPLITS.get(field, "")
                if not given and (name := row.values[-1] if SPLIT_OPTION in columns else row.split):
                    given = splits.canonical_split(name, row.place)
                if any(isinstance(value, str) and "\r\n" in value for value in values):
                    values = tuple(value.replace("\r\n", "\n") if isinstance(value, str) else value for value in values)
                    if counts is not None:
                        counts[_CRLF] = counts.get(_CRLF, 0) + 1
                yield GivenRow(values, given, row.place, (number, row.index + 1), bytes_before + row.bytes_read)
        bytes_before += sum(path.stat().st_size for path in paths)


def _read_field(
    field: str,
    paths: Sequence[Path],
    columns: Mapping[str, str],
    start_row: int,
    counts: Counts | None,
    labels: Mapping[str, str] | None,
) -> Iterator[tables.Row]:
    """Rows of one field's files, with the values of the columns and at the end that of the split column, if any."""
    wanted = {option: name for option, name in columns.items() if option != SPLIT_OPTION}
    if field == "path" and SPLIT_OPTION in columns:
        wanted[SPLIT_OPTION] = columns[SPLIT_OPTION]
    is_short = SPLIT_OPTION in columns and SPLIT_OPTION not in wanted
    tables.check_same_kind(field, paths)
    if not is_fasta(paths):
        for row in tables.read_rows(field, paths, wanted, start_row, counts):
            yield row._replace(values=(*row.values, None)) if is_short else row
        return
    for option, name in wanted.items():
        if name not in fasta.FASTA_COLUMNS:
            raise ValueError(
                f"task.{option}={name}: {paths[0].name} has no such column; FASTA has {', '.join(fasta.FASTA_COLUMNS)}"
            )
    places = [fasta.FASTA_COLUMNS.index(name) for name in wanted.values()]
    for row in fasta.read_fasta(field, paths, start_row, counts, labels):
        yield row._replace(values=(*(row.values[i] for i in places), *([None] if is_short else [])))


def is_fasta(paths: Sequence[Path]) -> bool:
    """Whether files are FASTA files."""
    return any(data_suffix(path) in FASTA_SUFFIXES for path in paths)


def has_given_splits(sources: Sources, columns: Mapping[str, str]) -> bool:
    """Whether the split of some rows may be given: by field, column, folder, or in the headers of FASTA files."""
    return (
        SPLIT_OPTION in columns
        or any(sources.get(field) for field in splits.FIELD_SPLITS)
        or is_fasta(sources["path"])
        or splits.has_given_splits(sources["path"])
    )


def count_source_bytes(sources: Sources) -> int:
    """Bytes of all files that hold rows."""
    return sum(path.stat().st_size for field in FIELDS for path in sources.get(field, ()))


def parse_text(value: Any, place: str, option: str) -> str:
    """A value as text, "" for a null. Raises ValueError, in one line, for any other; `option` is "FIELD=COLUMN"."""
    if not isinstance(value, str | None):
        raise ValueError(f"task.{option}: {place} holds {type_name(value)} and no text: give a column of texts")
    return value or ""


def type_name(value: Any) -> str:
    """What a value is, in words."""
    return {list: "a list", dict: "a record", bytes: "bytes"}.get(
        type(value), f"a value of type {type(value).__name__}"
    )


def encode_contents(text: str, place: str, option: str) -> bytes:
    """A text in UTF-8. Raises ValueError, in one line, for halves of characters, which JSON can hold."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise ValueError(f"{place}: task.{option}: {half} is half of a character: remove it from the text") from None


def prepare_in_two_readings(
    reader: Any,
    size: int,
    writer: StoreWriter,
    scan: Callable[[Any, StoreWriter, int, Position], dict[str, Any]],
    write: Callable[[Any, dict[str, Any], StoreWriter, int, Position], None],
) -> dict[str, Any]:
    """Read rows to learn what the manifest keeps, which is returned, and again to write the records.

    If splits are given the rows are read once more before that. A preparation that was killed goes on where it was;
    only given splits are looked for anew.

    Args:
      reader: of the rows; it has `is_surveyed` and `survey_splits`.
      size: bytes of the sources.
      writer: of the records.
      scan: the first reading, of (reader, writer, bytes read before, where to begin).
      write: the second, of (reader, what `scan` gave, writer, bytes read before, where to begin).
    """
    begin = size if reader.is_surveyed else 0
    writer.total_bytes = begin + 2 * size
    reader.survey_splits(writer.is_checkpoint_due)
    content = (writer.resumed or {}).get("content")
    after = (writer.resumed or {}).get("after", (0, 0))
    if content is None:
        content = scan(reader, writer, begin, (after[0], after[1]))
        writer.checkpoint({"content": content, "after": (0, 0)}, begin + size)
        after = (0, 0)
    write(reader, content, writer, begin + size, (after[0], after[1]))
    return content
