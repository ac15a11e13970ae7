"""Which columns of a user's tables are the values of time series, and what number a cell holds."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.files import splits, tables
from data.files.columns import ColumnRequest, list_names, name_paths
from data.files.formats import file_splits
from data.files.sources import Counts
from data.files.tables import read_file_rows
from data.files.time_axis import parse_time

NAMED_COLUMNS = ("time_column", "series_column", "split_column")  # options that name a column which holds no values
MISSING = ("", "nan", "na", "n/a", "null", "none")  # how a table says that a value is missing, in any case
SNIFFED_ROWS = 100  # by which columns of numbers are told from others
MAX_SNIFFED_ROWS = 10_000  # where a column has no value in those
_COMMAS = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d*),\d+(?:[eE][+-]?\d+)?")  # 0,5 and 1.234,5
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")

Sources = Mapping[str, Sequence[Path]]


class NotANumber(ValueError):
    """A cell that holds no number that can be used."""


class OtherCell(NamedTuple):
    """The first cell of a column that holds no number: its value, where it stands, and what is wrong with it."""

    value: str
    place: str
    error: str

    @property
    def is_date(self) -> bool:
        try:
            parse_time(self.value)
        except ValueError:
            return False
        return True

    @property
    def remark(self) -> str:
        comma = self.error.partition("a decimal comma")
        return f"{self.value!r} in {self.place}{', ' + ''.join(comma[1:]) if comma[1] else ''}"


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
        if _COMMAS.fullmatch(cell):
            point = cell.replace(".", "").replace(",", ".")
            thousands = f", or {cell.replace(',', '')} if it parts thousands" if _THOUSANDS.fullmatch(cell) else ""
            raise NotANumber(f"is {cell!r}, which has a decimal comma: write {point} with a point{thousands}")
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise NotANumber(f"is {str(cell)[:40]!r}, which is no number") from None
    if number in (np.inf, -np.inf):
        raise NotANumber(f"is {str(cell)!r}: leave it empty if the value is missing")
    return number


def choose_columns(options: Any, sources: Sources) -> tuple[tuple[str, ...], list[str]]:
    """The columns of values, and sentences about those that were left out.

    Raises ValueError for a column that the first file lacks, and where no column holds numbers.
    """
    files = [path for path, _ in files_by_split("path", sources["path"])]
    if not files:
        raise ValueError(f"task.path={options.path}: no file is of training, validation or test")
    path = files[0]
    names = tables.column_names("path", path)
    if names and all(map(_is_number, names)):
        raise ValueError(
            f"task.path={path}: the first row holds numbers, {list_names(names)}, and no names of columns: write a "
            f"header above it"
        )
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
    reasons, rising, seen = _sniff_columns(files, candidates)
    columns = tuple(name for name in candidates if name not in reasons)
    if not columns:
        raise ValueError(f"task.path={path}: no column holds numbers: {_first_cell(reasons, seen)}{list_names(names)}")
    left = [f"{name} ({cell.remark if cell else 'empty'})" for name, cell in reasons.items()]
    left += ["a column without a name"] if any(not name.strip() for name in names) else []
    notes = [f"Left out: {', '.join(left)}; task.columns names those that are wanted."] if left else []
    if rising and not options.time_column and not options.series_column:
        notes.append(
            f"{rising[0]} rises from row to row: if it is the time, name it by task.time_column={rising[0]}, so that "
            f"missing rows are noticed."
        )
    return _check_targets(options, columns), notes


def _first_cell(reasons: Mapping[str, OtherCell | None], seen: set[str]) -> str:
    """Which cell to mend: of a column that has numbers too, else of one with decimal commas, else of one without dates.

    Ends with the words before a list of the columns.
    """
    cells = [(name, cell) for name, cell in reasons.items() if cell]
    if not cells:
        return "all cells are empty; it has "
    name, cell = min(
        cells,
        key=lambda one: (one[0] not in seen, "decimal comma" not in one[1].error, one[1].is_date, cells.index(one)),
    )
    mend = "; other rows hold numbers: mend it, or leave it empty if the value is missing" if name in seen else ""
    return f"{cell.place}: the column {name} {cell.error}{mend}; it has "


def _is_number(name: str) -> bool:
    try:
        return not np.isnan(parse_number(name))
    except NotANumber:
        return False


def _check_targets(options: Any, columns: tuple[str, ...]) -> tuple[str, ...]:
    for name in options.target_columns:
        if name not in columns:
            raise ValueError(
                f"task.target_columns={name}: must be one of the columns that are read, {', '.join(columns)}: name it "
                f"in task.columns too"
            )
    return columns


def _sniff_columns(
    files: Sequence[Path], names: Sequence[str]
) -> tuple[dict[str, OtherCell | None], list[str], set[str]]:
    """From the first rows: columns that are not taken for numbers, with the cell that says why, None where all are
    empty; columns that may be the time; and columns in which some number stands.

    Raises ValueError where there are no rows.
    """
    reasons: dict[str, OtherCell] = {}
    seen: set[str] = set()
    times: dict[str, list[float]] = {name: [] for name in names}
    requests = (ColumnRequest("path", path, [("", name) for name in names]) for path in files)
    number = 0
    for _, place, values, _ in chain.from_iterable(read_file_rows(request, 0) for request in requests):
        number += 1
        for name, cell in zip(names, values, strict=True):
            try:
                if not np.isnan(parse_number(cell)):
                    seen.add(name)
            except NotANumber as error:
                reasons.setdefault(name, OtherCell(str(cell)[:40], place, str(error)))
            if name in times:
                try:
                    times[name].append(parse_time(cell))
                except ValueError:
                    del times[name]
        known = seen | reasons.keys()
        if number >= (SNIFFED_ROWS if len(known) == len(names) else MAX_SNIFFED_ROWS):
            break
    if not number:
        raise ValueError(f"task.path={name_paths(files)}: it has no rows, only a header at most")
    found = {name: reasons.get(name) for name in names if name in reasons or name not in seen}
    rising = [name for name, values in times.items() if _may_be_time(np.array(values), is_date=name in reasons)]
    return found, rising, seen


def _may_be_time(values: np.ndarray, is_date: bool) -> bool:
    """Whether dates rise from row to row, or numbers rise by the same step."""
    rises = np.diff(values)
    return len(rises) > 1 and bool((rises > 0).all() and (is_date or np.allclose(rises, rises[0])))


def files_by_split(field: str, paths: Sequence[Path], counts: Counts | None = None) -> list[tuple[Path, int]]:
    """The files of a field that are of a split, and the number of that: training first, since others follow on it."""
    tables.check_same_kind(field, paths)
    given = splits.FIELD_SPLITS.get(field, "")
    found = [
        (path, splits.SPLITS.index(given or split or "train"))
        for path, name in zip(paths, file_splits(paths), strict=True)
        if (split := splits.known_split(name, counts)) is not None
    ]
    return sorted(found, key=lambda file: file[1])
