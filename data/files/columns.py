"""Rows of tables, and the columns that are wanted of them."""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.files.sources import Counts


class Row(NamedTuple):
    """A row of a table: its values in the order of the columns, where it stands, and its number over all files.

    `bytes_read` are those of all files so far; `split` is the one that its file belongs to, or "".
    """

    values: tuple[Any, ...]
    place: str
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    bytes_read: int
    split: str = ""


# A file's rows from one on: number from 0, what its place is called, values, bytes read of this file. Returns how many
# rows the file has.
FileRows = Generator[tuple[int, str, tuple[Any, ...], int], None, int]


class ColumnRequest(NamedTuple):
    """Which columns are wanted of which file. Columns are by the config field that names them, which may be ""."""

    field: str
    path: Path
    columns: Sequence[tuple[str, str]]
    counts: Counts | None = None

    @property
    def what(self) -> str:
        return f"task.{self.field}={self.path}"

    def find_columns(self, names: Sequence[str]) -> list[int]:
        """Places of the wanted columns among `names`. Raises ValueError for one that is missing or there twice."""
        return [self._find_column(option, column, names) for option, column in self.columns]

    def _find_column(self, option: str, column: str, names: Sequence[str]) -> int:
        if names.count(column) == 1:
            return names.index(column)
        prefix = f"task.{option}={column}: {self.path.name}" if option else f"{self.what}: column {column!r}: the file"
        if column in names:
            raise ValueError(f"{prefix} has {names.count(column)} columns of that name: rename all but one")
        raise ValueError(f"{prefix} has no such column; it has {list_names(names)}")

    def pick_value(self, row: Mapping[str, Any], option: str, column: str, place: str) -> Any:
        """The value of a column, or of a.b in nested objects. Raises ValueError if the row lacks it."""
        if column in row:
            return row[column]
        outer, _, inner = column.partition(".")
        if inner and isinstance(row.get(outer), Mapping):
            return self.pick_value(row[outer], option, inner, place)
        prefix = f"task.{option}={column}: " if option else f"{self.what}: column {column!r}: "
        raise ValueError(f"{prefix}{place} has no such key; it has {list_names(list(row))}")


def list_names(names: Sequence[str]) -> str:
    """Names of columns for an error, at most 20, those with blanks at their ends in quotes."""
    shown = [name if name.strip() == name != "" else repr(name) for name in names[:20]]
    return (", ".join(shown) + ("" if len(names) <= 20 else f" and {len(names) - 20} more")) or "none"


def name_paths(paths: Sequence[Path]) -> str:
    """One name for several files: that of the file, or of the folder of the first."""
    return str(paths[0]) if len(paths) == 1 else str(paths[0].parent)
