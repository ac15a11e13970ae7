"""Reading of time series from a user's tables: numbers, times and splits, row by row, gathered by series."""

import dataclasses
import re
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int8, Int64

from data.files import splits
from data.files.columns import ColumnRequest
from data.files.series_columns import (
    NAMED_COLUMNS,
    NotANumber,
    Sources,
    choose_columns,
    files_by_split,
    parse_number,
)
from data.files.sources import reading_notes
from data.files.stamps import check_unchanged, take_stamps
from data.files.tables import read_file_rows
from data.files.time_axis import Times, parse_time

FIELDS = ("path", *splits.FIELD_SPLITS)
_INFINITE = {float("inf"), float("-inf")}
_SHARD = re.compile(r"-\d+-of-\d+\.")


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
    reader, counts = _Reader(options, columns), Counter[str]()
    bytes_before, is_whole = 0, True
    for field in FIELDS:
        number = 0
        for path, split in files_by_split(field, sources.get(field, ()), counts):
            stamps = take_stamps([path])
            for row in read_file_rows(ColumnRequest(field, path, reader.begin_file(field, path, split), counts), 0):
                number += 1
                if limit is not None and number > limit:
                    is_whole = False
                    break
                reader.add_row(row)
                if report is not None and number % 1000 == 0:
                    report(bytes_before + row[3])
            check_unchanged(stamps)
            bytes_before += stamps[0].size
    return SeriesTable(columns, reader.all_series(), is_whole, [*notes, *reading_notes(counts)])


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
        self._file, self._begun, self._goes_on = -1, ("", 0, Path()), False  # field, split and path
        self._places: dict[str, int] = {}  # of the named columns among a row's values
        self._is_date: bool | None = None

    def begin_file(self, field: str, path: Path, split: int) -> list[tuple[str, str]]:
        """Begin with the rows of a file; the columns to read of it, each with the option that names it."""
        *before, last = self._begun
        is_part = bool(_SHARD.search(path.name) and _SHARD.search(last.name))
        self._goes_on = is_part and [field, split] == before
        self._file, self._begun = self._file + 1, (field, split, path)
        named = [option for option in NAMED_COLUMNS if getattr(self.options, option)]
        named = [option for option in named if option != "split_column" or field == "path"]
        self._places = {option: len(self.columns) + i for i, option in enumerate(named)}
        values = [("columns" if column in self.options.columns else "", column) for column in self.columns]
        return values + [(option, getattr(self.options, option)) for option in named]

    def add_row(self, row: tuple[int, str, tuple[Any, ...], int]) -> None:
        _, place, cells, _ = row
        time_place = self._places.get("time_column")
        time = None if time_place is None else self._parse_time(cells[time_place], place)
        rows = self._find_series(cells, time, place)
        is_new_file = rows.file != self._file and not self._goes_on
        follows = not is_new_file
        if time_place is not None and time is not None:
            if rows.times is None:
                rows.times = array("q" if self._is_date else "d")
            follows = not rows.times or time > rows.times[-1]
            if not follows and not is_new_file:
                raise self._time_error(rows, time, cells, place)
            rows.times.append(time)
            rows.last_time = cells[time_place], place
        if not follows or not rows.given:
            rows.runs.append(len(rows.given))
        rows.file = self._file
        rows.values.fromlist(self._parse_cells(cells[: len(self.columns)], place))
        rows.given.append(self._given_split(cells, place))

    def _parse_time(self, cell: Any, place: str) -> float | int:
        try:
            time = parse_time(cell)
        except ValueError as error:
            raise ValueError(f"{place}: task.time_column={self.options.time_column}: the time {error}") from None
        is_date = isinstance(time, int)
        if self._is_date is None:
            self._is_date = is_date
        if self._is_date != is_date:
            kinds = ("a number", "a date")
            raise ValueError(
                f"{place}: task.time_column={self.options.time_column}: the time is {str(cell)!r}, {kinds[is_date]} "
                f"after {kinds[not is_date]} in the rows before: write all in one way"
            )
        return time

    def _find_series(self, cells: Sequence[Any], time: float | None, place: str) -> _Gathered:
        if "series_column" in self._places:
            name = str(cells[self._places["series_column"]] or "")
            if not name.strip():
                raise ValueError(f"{place}: task.series_column={self.options.series_column}: the cell is empty")
            if name not in self._gathered:
                self._gathered[name] = _Gathered()
            return self._gathered[name]
        rows = self._gathered.get(self._current)
        if rows is not None and (rows.file == self._file or self._goes_on):
            return rows
        if rows is None or rows.times is None or time is None or time <= rows.times[-1]:
            path = self._begun[2]
            self._current = path.name if path.name not in self._gathered else str(path)
            rows = self._gathered[self._current] = _Gathered()
        return rows

    def _time_error(self, rows: _Gathered, time: float, cells: Sequence[Any], place: str) -> ValueError:
        assert rows.times is not None
        text, earlier = rows.last_time
        how = "is that of" if time == rows.times[-1] else f"comes before {text} in"
        of, hint = "", "; if rows are of several series, task.series_column names the column that says of which"
        if "series_column" in self._places:
            of, hint = f" of the series {cells[self._places['series_column']]}", ""
        return ValueError(
            f"{place}: task.time_column={self.options.time_column}: the time {cells[self._places['time_column']]}{of} "
            f"{how} {earlier}: sort the rows by time, each time once{hint}"
        )

    def _parse_cells(self, cells: Sequence[Any], place: str) -> list[float]:
        with suppress(TypeError, ValueError, OverflowError):  # nearly always all of a row is numbers
            found = list(map(float, cells))
            if not (_INFINITE.intersection(found) or "_" in "".join(map(str, cells))):
                return found
        found = []
        for column, cell in zip(self.columns, cells, strict=True):
            try:
                found.append(parse_number(cell))
            except NotANumber as error:
                raise ValueError(f"{place}: the column {column} {error}") from None
        return found

    def _given_split(self, cells: Sequence[Any], place: str) -> int:
        _, split, _ = self._begun
        if split or "split_column" not in self._places:
            return split
        name = cells[self._places["split_column"]]
        return splits.SPLITS.index(splits.canonical_split(name, place)) if name else 0

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
