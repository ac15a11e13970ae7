"""Reading of time series from a user's tables: numbers, times and splits, row by row, gathered by series."""

import dataclasses
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int8, Int64

from data.files import splits, tables
from data.files.columns import list_names
from data.files.sources import reading_notes
from data.files.time_axis import Times, parse_time

NAMED_COLUMNS = ("time_column", "series_column", "split_column")  # options that name a column which holds no values
FIELDS = ("path", *splits.FIELD_SPLITS)
MISSING = ("", "nan", "na", "n/a", "null", "none")  # how a table says that a value is missing, in any case
SNIFFED_ROWS = 100  # by which columns of numbers are told from others
MAX_SNIFFED_ROWS = 10_000  # where a column has no value in those
_SHARD = re.compile(r"-\d+-of-\d+\.")

Sources = Mapping[str, Sequence[Path]]


class NotANumber(ValueError):
    """A cell that holds no number that can be used."""


def parse_number(cell: Any) -> float:
    """A cell's number, nan for a missing one. Raises NotANumber, saying what is wrong, for anything else."""
    if cell is None:
        return np.nan
    if isinstance(cell, str):
        cell = cell.strip()
        if cell.lower() in MISSING:
            return np.nan
        if "_" in cell:  # which Python takes for a number
            raise NotANumber(f"is {cell!r}, which is no number")
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise NotANumber(f"is {str(cell)[:40]!r}, which is no number") from None
    if number in (np.inf, -np.inf):
        raise NotANumber(f"is {str(cell)!r}: leave it empty if the value is missing")
    return number


@dataclasses.dataclass(frozen=True)
class SeriesRows:
    """The rows of one series, in order.

    `given` is 1 for validation, 2 for test, and 0 for none of them. A run is what follows on one another: `runs` holds
    the rows at which each begins.
    """

    name: str
    values: Float64[np.ndarray, "N C"]
    times: Times | None
    given: Int8[np.ndarray, "N"]
    runs: Int64[np.ndarray, "R"]


@dataclasses.dataclass(frozen=True)
class SeriesTable:
    """All series of some files, and what is to be said about their columns."""

    columns: tuple[str, ...]
    series: list[SeriesRows]
    is_whole: bool
    notes: list[str]


def read_series(
    options: Any, sources: Sources, report: Callable[[int], Any] | None = None, limit: int | None = None
) -> SeriesTable:
    """Read all series, or those in the first `limit` rows.

    Args:
      options: see `data.files.series.Options`.
      sources: files by the config field that names them.
      report: called with the bytes read so far, now and then.
      limit: rows after which no more is read of a field's files.

    Raises ValueError, in one line with row and column, for what is no number, no time, or out of order.
    """
    columns, notes = choose_columns(options, sources)
    reader = _Reader(options, columns)
    counts: dict[str, int] = {}
    bytes_before, is_whole = 0, True
    for field in FIELDS:
        tables.check_same_kind(field, paths := sources.get(field, ()))
        left = limit
        for path in paths:
            number = 0
            for row in tables.read_rows(field, [path], reader.begin_file(field, path), counts=counts):
                number = row.index + 1
                if left is not None and row.index >= left:
                    is_whole = False
                    break
                reader.add_row(row)
                if report is not None and row.index % 1000 == 0:
                    report(bytes_before + row.bytes_read)
            if left is not None:
                left -= number
            bytes_before += path.stat().st_size
    return SeriesTable(columns, reader.all_series(), is_whole, [*notes, *reading_notes(counts)])


# ---- columns --------------------------------------------------------------------------------------------------------


def choose_columns(options: Any, sources: Sources) -> tuple[tuple[str, ...], list[str]]:
    """The columns of values, and sentences about those that were left out.

    Raises ValueError for a column that the first file lacks, and where no column holds numbers.
    """
    path = sources["path"][0]
    names = tables.column_names("path", path)
    other = {option: name for option in NAMED_COLUMNS if (name := getattr(options, option))}
    given = [("columns", name) for name in options.columns] + [
        ("target_columns", name) for name in options.target_columns
    ]
    for option, name in [*other.items(), *given]:
        if names.count(name) > 1:
            raise ValueError(f"task.{option}={name}: {path.name} has several columns of that name: rename all but one")
        if name not in names and name.partition(".")[0] not in names:
            raise ValueError(f"task.{option}={name}: {path.name} has no such column; it has {list_names(names)}")
        if option == "columns" and name in other.values():
            taken = next(option for option in other if other[option] == name)
            raise ValueError(f"task.columns={name}: it is task.{taken} already")
    if options.columns:
        return _check_targets(options, options.columns), []
    candidates = [name for name in names if name not in other.values() and name.strip()]
    reasons, rising = _sniff_columns(path, candidates)
    columns = tuple(name for name in candidates if name not in reasons)
    if not columns:
        raise ValueError(f"task.path={path}: no column holds numbers; it has {list_names(names)}")
    left = [f"{name} ({reason})" for name, reason in reasons.items()]
    left += ["a column without a name"] if any(not name.strip() for name in names) else []
    notes = [f"Left out: {', '.join(left)}; task.columns names those that are wanted."] if left else []
    if rising and not options.time_column and not options.series_column:
        notes.append(
            f"{rising[0]} rises from row to row: if it is the time, name it by task.time_column={rising[0]}, so that "
            f"missing rows are noticed."
        )
    return _check_targets(options, columns), notes


def _check_targets(options: Any, columns: tuple[str, ...]) -> tuple[str, ...]:
    for name in options.target_columns:
        if name not in columns:
            raise ValueError(
                f"task.target_columns={name}: must be one of the columns that are read, {', '.join(columns)}: name it "
                f"in task.columns too"
            )
    return columns


def _sniff_columns(path: Path, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Why columns are not taken for numbers, by their names, and the columns that may be the time: from the first rows
    of a file."""
    reasons: dict[str, str] = {}
    seen: set[str] = set()
    times: dict[str, list[float]] = {name: [] for name in names}
    for row in tables.read_rows("path", [path], names):
        for name, cell in zip(names, row.values, strict=True):
            try:
                if not np.isnan(parse_number(cell)):
                    seen.add(name)
            except NotANumber:
                reasons.setdefault(name, f"{str(cell)[:40]!r} in {row.place}")
            if name in times:
                try:
                    times[name].append(parse_time(cell))
                except ValueError:
                    del times[name]
        known = seen | reasons.keys()
        if row.index + 1 >= (SNIFFED_ROWS if len(known) == len(names) else MAX_SNIFFED_ROWS):
            break
    found = {name: reasons.get(name, "empty") for name in names if name in reasons or name not in seen}
    return found, [name for name, values in times.items() if _may_be_time(np.array(values), is_date=name in reasons)]


def _may_be_time(values: np.ndarray, is_date: bool) -> bool:
    """Whether dates rise from row to row, or numbers rise by the same step."""
    rises = np.diff(values)
    return len(rises) > 1 and bool((rises > 0).all() and (is_date or np.allclose(rises, rises[0])))


# ---- rows -----------------------------------------------------------------------------------------------------------


class _Gathered:
    """The rows of one series so far."""

    def __init__(self) -> None:
        self.values, self.given, self.runs = array("d"), array("b"), array("q")
        self.times: array | None = None
        self.last_time: tuple[Any, str] = (None, "")  # as it stands in the table, and where
        self.file = -1  # of the last row


class _Reader:
    """Gathers rows by series, and checks that time goes forward.

    Without a series column, all rows of a file are of one series, and a file whose first time comes after the last of
    the file before goes on with that one's. Parts of one table, by their names, follow on one another as well.
    """

    def __init__(self, options: Any, columns: tuple[str, ...]) -> None:
        self.options, self.columns = options, columns
        self._gathered: dict[str, _Gathered] = {}
        self._current = ""  # the series, where no column names it
        self._file, self._field, self._path, self._goes_on = -1, "", Path(), False
        self._named: list[str] = []  # options that name a column, in the order of a row's last values
        self._is_date: bool | None = None

    def begin_file(self, field: str, path: Path) -> list[str]:
        """Begin with the rows of a file; the names of the columns to read of it."""
        self._goes_on = self._field == field and bool(_SHARD.search(path.name) and _SHARD.search(self._path.name))
        self._file, self._field, self._path = self._file + 1, field, path
        named = [option for option in NAMED_COLUMNS if getattr(self.options, option)]
        self._named = [option for option in named if option != "split_column" or field == "path"]
        return [*self.columns, *(getattr(self.options, option) for option in self._named)]

    def add_row(self, row: Any) -> None:
        cells = row.values[: len(self.columns)]
        named = dict(zip(self._named, row.values[len(self.columns) :], strict=True))
        time = self._parse_time(named["time_column"], row.place) if "time_column" in named else None
        name = self._name_series(named, time, row.place)
        rows = self._gathered.setdefault(name, _Gathered())
        is_new_file = rows.file != self._file and not self._goes_on
        follows = not is_new_file
        if time is not None:
            if rows.times is None:
                rows.times = array("q" if self._is_date else "d")
            follows = not rows.times or time > rows.times[-1]
            if not follows and not is_new_file:
                raise self._time_error(rows, time, named, row.place)
            rows.times.append(time)
            rows.last_time = named["time_column"], row.place
        if not follows or not rows.given:
            rows.runs.append(len(rows.given))
        rows.file = self._file
        rows.values.extend(self._parse_cells(cells, row.place))
        rows.given.append(self._given_split(named, row))

    def _parse_time(self, cell: Any, place: str) -> float | int:
        prefix = f"{place}: task.time_column={self.options.time_column}: the time"
        try:
            time = parse_time(cell)
        except ValueError as error:
            raise ValueError(f"{prefix} {error}") from None
        if self._is_date is None:
            self._is_date = isinstance(time, int)
        if self._is_date != isinstance(time, int):
            kinds = ("a number", "a date")
            raise ValueError(
                f"{prefix} is {str(cell)!r}, {kinds[not self._is_date]} after {kinds[self._is_date]} in the rows "
                f"before: write all in one way"
            )
        return time

    def _name_series(self, named: Mapping[str, Any], time: float | None, place: str) -> str:
        if "series_column" in named:
            name = named["series_column"]
            if name is None or not str(name).strip():
                raise ValueError(f"{place}: task.series_column={self.options.series_column}: the cell is empty")
            return str(name)
        rows = self._gathered.get(self._current)
        follows = rows is not None and rows.times is not None and time is not None and time > rows.times[-1]
        if rows is None or (rows.file != self._file and not self._goes_on and not follows):
            self._current = self._path.name if self._path.name not in self._gathered else str(self._path)
        return self._current

    def _time_error(self, rows: _Gathered, time: float, named: Mapping[str, Any], place: str) -> ValueError:
        assert rows.times is not None
        text, earlier = rows.last_time
        how = "is that of" if time == rows.times[-1] else f"comes before {text} in"
        of = f" of the series {named['series_column']}" if "series_column" in named else ""
        hint = "" if of else "; if rows are of several series, task.series_column names the column that says of which"
        return ValueError(
            f"{place}: task.time_column={self.options.time_column}: the time {named['time_column']}{of} {how} "
            f"{earlier}: sort the rows by time, each time once{hint}"
        )

    def _parse_cells(self, cells: Sequence[Any], place: str) -> list[float]:
        found = []
        for column, cell in zip(self.columns, cells, strict=True):
            try:
                found.append(parse_number(cell))
            except NotANumber as error:
                raise ValueError(f"{place}: the column {column} {error}") from None
        return found

    def _given_split(self, named: Mapping[str, Any], row: Any) -> int:
        given = splits.FIELD_SPLITS.get(self._field, "")
        if not given and (name := named.get("split_column") or row.split):
            given = splits.canonical_split(name, row.place)
        return splits.SPLITS.index(given) if given else 0

    def all_series(self) -> list[SeriesRows]:
        return [
            SeriesRows(
                name,
                np.array(rows.values).reshape(-1, len(self.columns)),
                None if rows.times is None else np.array(rows.times),
                np.array(rows.given, np.int8),
                np.array(rows.runs, np.int64),
            )
            for name, rows in self._gathered.items()
        ]
