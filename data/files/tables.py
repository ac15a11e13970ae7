"""Rows of tables, one after the other: CSV, TSV, JSON lines, Parquet, Arrow, ArrayRecord.

Values of CSV and TSV are text as it stands ("NA" and "001" stay what they are); others have the types of the file, with
None for a null. CSV has quotes, which may hold commas and line ends; TSV has none, so that a quote is a character.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.files import columnar
from data.files.columns import ColumnRequest, FileRows, Row, name_paths
from data.files.fasta import read_fasta as read_fasta
from data.files.formats import data_suffix, file_splits
from data.files.sources import MAX_LINE, Counts, add_count, read_lines
from data.files.splits import known_split
from data.files.stamps import check_unchanged, take_stamps

_EMPTY_LINES = "Empty lines of tables skipped"


def read_rows(
    field: str,
    paths: Sequence[Path],
    columns: Sequence[str] | Mapping[str, str],
    start_row: int = 0,
    counts: Counts | None = None,
) -> Iterator[Row]:
    """Read the rows of all files, from the one numbered `start_row` on, in memory that doesn't grow with them.

    Args:
      field: of the config, which names the files; errors speak of `task.FIELD`.
      paths: the files; their rows are numbered in this order.
      columns: names of columns, or such names by the config field that each is given in, which errors then name. In
        JSON, Parquet and Arrow, `a.b` is the value b in the column a.
      start_row: number of the first row that is given.
      counts: where things are counted that are not kept as they stand, for `sources.reading_notes`.

    Raises ValueError, in one line with the place, for what is not in order, and for a file that changes meanwhile.
    """
    wanted = list(columns.items()) if isinstance(columns, Mapping) else [("", column) for column in columns]
    index, bytes_before = 0, 0
    check_same_kind(field, paths)
    for path, name in zip(paths, file_splits(paths), strict=True):
        stamps, split = take_stamps([path]), known_split(name, counts if index >= start_row else None)
        if split is None:
            continue
        rows = read_file_rows(ColumnRequest(field, path, wanted, counts), max(0, start_row - index))
        try:
            while True:
                number, place, values, bytes_read = next(rows)
                yield Row(values, place, index + number, bytes_before + bytes_read, split)
        except StopIteration as end:
            index += end.value
        check_unchanged(stamps)
        bytes_before += stamps[0].size
    if index == 0:
        raise ValueError(f"task.{field}={name_paths(paths)}: it has no rows, only a header at most")


def read_file_rows(request: ColumnRequest, start: int) -> FileRows:
    """Read the rows of one file. Raises ValueError for a file of another kind."""
    suffix = data_suffix(request.path)
    if suffix not in _READERS:
        raise ValueError(f"{request.what}: not a table that can be read here: {' '.join(_READERS)}")
    return _READERS[suffix](request, start)


def column_names(field: str, path: Path) -> list[str]:
    """Names of the columns of a file, as its header, its schema or its first row has them."""
    request, suffix = ColumnRequest(field, path, ()), data_suffix(path)
    if suffix in (".csv", ".tsv"):
        return next(_delimited_rows(request))[1]
    if suffix in (".jsonl", ".ndjson"):
        line = next((line for line, _ in read_lines(path, request.what) if line.strip()), "{}")
        return list(_parse_object(line, f"{path.name}, line 1"))
    if suffix in (".array_record", ".parquet", ".arrow"):
        return columnar.list_columns(request)
    raise ValueError(f"{request.what}: not a table that can be read here: {' '.join(_READERS)}")


def class_names(field: str, path: Path, column: str) -> tuple[str, ...]:
    """Names of the classes that numbers in a column of Arrow, Parquet or ArrayRecord stand for; () if there are none.

    Hugging Face's datasets and tensorflow-datasets keep them beside the data.
    """
    is_columnar = data_suffix(path) in (".array_record", ".parquet", ".arrow")
    return columnar.list_classes(ColumnRequest(field, path, ()), column) if is_columnar else ()


def check_same_kind(field: str, paths: Sequence[Path]) -> None:
    """Raise ValueError for files of several kinds, which have no columns in common to be read by."""
    kinds = sorted({data_suffix(path) for path in paths})
    if len(kinds) > 1:
        raise ValueError(
            f"task.{field}={name_paths(paths)}: {' and '.join(kinds)} files are mixed: give those of one kind, as "
            f"{paths[0].parent}/*{kinds[0]}"
        )


# ---- text -----------------------------------------------------------------------------------------------------------


def _delimited_rows(request: ColumnRequest, start: int = 0) -> Iterator[tuple[int, list[str], int]]:
    """Number (0 for the header), fields and bytes read of each row of a CSV or TSV.

    Nothing is counted that stands before the row `start`, counted without the header: whoever goes on has counted it.
    """
    quoting = {"quoting": csv.QUOTE_NONE, "delimiter": "\t"} if data_suffix(request.path) == ".tsv" else {}
    csv.field_size_limit(MAX_LINE)
    bytes_read = 0

    def lines() -> Iterator[str]:
        nonlocal bytes_read
        for line, done in read_lines(request.path, request.what, None if start else request.counts):
            bytes_read = done
            yield line

    reader, number = csv.reader(lines(), strict=True, **quoting), 0
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            where = f"row {number}" if number else "the header"
            raise ValueError(
                f"{request.path.name}, {where} (line {reader.line_num}): {error}: is a quote open, or single in a "
                f"quoted field?"
            ) from None
        if fields is None:
            return
        if not fields:
            if not start or number > start:
                add_count(request.counts, _EMPTY_LINES)
            continue
        yield number, fields, bytes_read
        number += 1


def _read_delimited(request: ColumnRequest, start: int) -> FileRows:
    rows = _delimited_rows(request, start)
    _, header, _ = next(rows, (0, [], 0))
    number, name, is_raw = 0, request.path.name, data_suffix(request.path) == ".tsv"
    if len(header) == 1 and (other := next((mark for mark in "\t;|" if mark in header[0]), "")):
        raise ValueError(
            f"{request.what}: the header is one column, {header[0]!r}, as if {other!r} were the separator: "
            f"it is a comma in .csv, and a tab in .tsv"
        )
    chosen = request.find_columns(header)
    for number, fields, bytes_read in rows:
        if len(fields) != len(header):
            hint = "quote a field that holds a separator" if len(fields) > len(header) else "write empty ones too"
            hint = "no field of a TSV holds a tab or a line end: write empty ones too, or a CSV" if is_raw else hint
            raise ValueError(f"{name}, row {number}: {len(fields)} where the header has {len(header)} fields: {hint}")
        if number > start:
            values = tuple(fields[i] for i in chosen)
            if is_raw and any(value[:1] == value[-1:] == '"' for value in values):
                add_count(request.counts, "Fields of TSV in quotes, which are kept since TSV has none")
            yield number - 1, f"{name}, row {number}", values, bytes_read
    return number


def _read_json_lines(request: ColumnRequest, start: int) -> FileRows:
    number, name = 0, request.path.name
    counts = None if start else request.counts
    for line_number, (line, bytes_read) in enumerate(read_lines(request.path, request.what, counts), 1):
        if not line.strip():
            if number >= start:
                add_count(request.counts, _EMPTY_LINES)
            continue
        if number >= start:
            place = f"{name}, line {line_number}"
            row = _parse_object(line, place)
            yield (
                number,
                place,
                tuple(request.pick_value(row, *column, place) for column in request.columns),
                bytes_read,
            )
        number += 1
    return number


def _parse_object(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON ({error.msg}, column {error.colno}): write one object a line") from None
    except RecursionError:
        raise ValueError(f"{place}: the JSON is nested too deeply: write one flat object a line") from None
    except ValueError:  # of a number with thousands of digits
        raise ValueError(f"{place}: the JSON has a number of too many digits: write it as text") from None
    if not isinstance(row, dict):
        raise ValueError(f'{place}: not a JSON object: write one a line, as {{"text": "…"}}')
    return row


_READERS = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": columnar.read_parquet,
    ".arrow": columnar.read_arrow,
    ".array_record": columnar.read_records,
}
