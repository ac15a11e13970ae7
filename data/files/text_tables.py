"""Rows of tables that are texts: CSV, TSV, JSON lines.

CSV has quotes, which may hold commas and line ends; TSV has none, so that a quote is a character. Where the header of a
CSV has no comma, but semicolons or tabs, as Excel writes them in much of Europe, these are what separates its fields.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from data.files.columns import ColumnRequest, FileRows
from data.files.formats import JSON_HINT, data_suffix
from data.files.sources import MAX_LINE, add_count, read_lines

_EMPTY_LINES = "Empty lines of tables skipped"
_QUOTES = (
    "Fields of TSV in quotes, which are kept since TSV has none (if the file is named .csv, they are undone, and tabs "
    "separate its fields as well)"
)
_NAMED_ROWS = 100  # of JSON lines, whose keys are the columns there are
_SEPARATORS = {";": "semicolons", "\t": "tabs"}


# ---- CSV, TSV -------------------------------------------------------------------------------------------------------


def read_header(request: ColumnRequest) -> list[str]:
    """Names of the columns of a CSV or TSV."""
    return next(_delimited_rows(request), (0, [], 0))[1]


def find_separator(request: ColumnRequest) -> str:
    """What stands between the fields of a CSV or TSV."""
    header = next((line for line, _ in read_lines(request.path, request.what) if line.strip()), "")
    return _choose_separator(request, header)


def _choose_separator(request: ColumnRequest, header: str) -> str:
    if data_suffix(request.path) == ".tsv":
        return "\t"
    unquoted = re.sub(r'"[^"]*"?', "", header)
    likely = max(_SEPARATORS, key=unquoted.count)
    return likely if likely in unquoted and "," not in unquoted else ","


def _delimited_rows(request: ColumnRequest, start: int = 0) -> Iterator[tuple[int, list[str], int]]:
    """Number (0 for the header), fields and bytes read of each row of a CSV or TSV.

    Nothing is counted that stands before the row `start`, counted without the header: whoever goes on has counted it.
    """
    separator, quoting = find_separator(request), csv.QUOTE_MINIMAL
    if data_suffix(request.path) == ".tsv":
        quoting = csv.QUOTE_NONE
    elif separator in _SEPARATORS and not start:
        add_count(
            request.counts,
            f"Files of CSV read with {_SEPARATORS[separator]} between fields, since the header has them and no comma",
        )
    csv.field_size_limit(MAX_LINE)
    bytes_read = 0

    def lines() -> Iterator[str]:
        nonlocal bytes_read
        for line, done in read_lines(request.path, request.what, None if start else request.counts):
            bytes_read = done
            yield line

    reader, number = csv.reader(lines(), strict=True, delimiter=separator, quoting=quoting), 0
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


def read_delimited(request: ColumnRequest, start: int) -> FileRows:
    """Read the rows of a CSV or TSV."""
    rows = _delimited_rows(request, start)
    _, header, _ = next(rows, (0, [], 0))
    number, name, is_raw = 0, request.path.name, data_suffix(request.path) == ".tsv"
    if len(header) == 1 and (other := next((mark for mark in "\t;|" if mark in header[0]), "")):
        raise ValueError(
            f"{request.what}: the header is one column, {header[0]!r}, as if {other!r} were the separator: "
            f"it is a comma, a semicolon or a tab in .csv, and a tab in .tsv"
        )
    chosen = request.find_columns(header)
    for number, fields, bytes_read in rows:
        if len(fields) != len(header):
            hint = "quote a field that holds a separator" if len(fields) > len(header) else "write empty ones too"
            if is_raw:
                hint = "no field of a TSV holds a tab or a line end: write empty ones too, or name it .csv if it quotes"
            raise ValueError(f"{name}, row {number}: {len(fields)} where the header has {len(header)} fields: {hint}")
        if number > start:
            values = tuple(fields[i] for i in chosen)
            if is_raw and any(value[:1] == value[-1:] == '"' for value in values):
                add_count(request.counts, _QUOTES)
            yield number - 1, f"{name}, row {number}", values, bytes_read
    return number


# ---- JSON lines -----------------------------------------------------------------------------------------------------


def list_keys(request: ColumnRequest) -> list[str]:
    """Keys of the first rows of JSON lines."""
    rows = islice(_json_objects(request), _NAMED_ROWS)
    return list(dict.fromkeys(key for _, _, row, _ in rows for key in row))


def read_json_lines(request: ColumnRequest, start: int) -> FileRows:
    """Read the rows of JSON lines. A key that a row lacks is a null, and counted, unless no row has it."""
    _check_keys(request)
    number = -1
    for number, place, row, bytes_read in _json_objects(request, start):
        if row is not None:
            values = []
            for _, column in request.columns:
                found, value = _find_value(row, column)
                values.append(value)
                if not found:
                    add_count(request.counts, f"Rows without the key {column}, which is taken for a null")
            yield number, place, tuple(values), bytes_read
    return number + 1


def _json_objects(request: ColumnRequest, start: int = 0) -> Iterator[tuple[int, str, Any, int]]:
    """Number, place, object and bytes read of each row. Before the row `start` objects are None, and nothing counts."""
    number, counts = 0, None if start else request.counts
    for line_number, (line, bytes_read) in enumerate(read_lines(request.path, request.what, counts), 1):
        if line.strip():
            place = f"{request.path.name}, line {line_number}"
            yield number, place, _parse_object(line, place) if number >= start else None, bytes_read
            number += 1
        elif number >= start:
            add_count(request.counts, _EMPTY_LINES)


def _check_keys(request: ColumnRequest) -> None:
    """Raise ValueError for a column that no row has, with those of the first rows."""
    missing, names = list(request.columns), dict[str, None]()
    number = -1
    for number, _, row, _ in _json_objects(request._replace(counts=None)):
        missing = [(option, column) for option, column in missing if not _find_value(row, column)[0]]
        if not missing:
            return
        if number < _NAMED_ROWS:
            names.update(dict.fromkeys(row))
            for _, column in missing:
                outer, _, inner = column.partition(".")
                if inner and isinstance(row.get(outer), Mapping):
                    names.update(dict.fromkeys(f"{outer}.{key}" for key in row[outer]))
    if number >= 0:
        request._replace(columns=missing).find_columns(list(names))


def _find_value(row: Mapping[str, Any], column: str) -> tuple[bool, Any]:
    """Whether a row has a column, or a.b in nested objects, and its value."""
    if column in row:
        return True, row[column]
    outer, _, inner = column.partition(".")
    return _find_value(row[outer], inner) if inner and isinstance(row.get(outer), Mapping) else (False, None)


def _parse_object(line: str, place: str) -> dict[str, Any]:
    if line.lstrip().startswith("[") and place.endswith(", line 1"):
        raise ValueError(f"{place}: it begins an array, and not a JSON object: {JSON_HINT}")
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
