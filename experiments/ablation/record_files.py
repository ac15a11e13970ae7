"""CSV tables of results with a checksum in every row, so that damage is noticed.

  python -m experiments.ablation.record_files FILE.csv ...  give a table as it stands its checksums: it has none, or
                                                      one that was changed by hand

A record's last column is `check`: eight hex digits of a sha256 over the header and the other fields of the line; in the
last line, over the checksums of all lines before it too, so a table that lost lines is not taken for a whole one.
"""

import csv
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training import files

RECORDS_DIR = Path(__file__).parents[1] / "records"
CHECKSUM_COLUMN = "check"
RESTORE_HINT = "take it from git again, or make it anew"


def short_digest(text: str) -> str:
    """Eight hex digits of the sha256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def row_checksum(header: Sequence[str], fields: Sequence[str], previous_checksums: Sequence[str] | None = None) -> str:
    """The checksum of a row under this header; that of the last row covers the `previous_checksums` too."""
    return short_digest(
        json.dumps([list(header), list(fields), None if previous_checksums is None else list(previous_checksums)])
    )


def format_field(value: Any) -> str:
    """A field as the csv module writes it; None is empty."""
    return "" if value is None else str(value)


def write_record(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with its checksums. Raises ValueError for one without lines, which could not be read."""
    fields = [[format_field(value) for value in row] for row in rows]
    if not fields:
        raise ValueError(f"{path}: a record has a line at least")
    checks = [row_checksum(header, row) for row in fields[:-1]]
    checks.append(row_checksum(header, fields[-1], checks))
    files.write_csv(path, [*header, CHECKSUM_COLUMN], [[*row, one] for row, one in zip(fields, checks, strict=True)])


def read_record(path: Path) -> list[dict[str, str]]:
    """The rows of a record, without their checksums; none where there is no file yet.

    Raises ValueError, in one line that names file and line, for anything but what `write_record` wrote.
    """
    if not path.exists():
        return []
    header, rows = _read_fields(path)
    if header[-1] != CHECKSUM_COLUMN:
        raise ValueError(
            f"{path} has no column of checksums: {RESTORE_HINT}, or, if it is right as it stands, give it one with "
            f"python -m experiments.ablation.record_files {path}"
        )
    header, checks = header[:-1], [fields.pop() for fields in rows]
    for number, (fields, check) in enumerate(zip(rows[:-1], checks, strict=False), 2):
        if check != row_checksum(header, fields):
            raise ValueError(f"{path}: line {number} is damaged, by its checksum: {RESTORE_HINT}")
    if checks[-1] == row_checksum(header, rows[-1]):
        raise ValueError(f"{path} is cut behind line {len(rows) + 1}: {RESTORE_HINT}")
    if checks[-1] != row_checksum(header, rows[-1], checks[:-1]):
        raise ValueError(f"{path}: the last line is damaged, by its checksum, or lines are missing, doubled or "
                         f"in another order: {RESTORE_HINT}")  # fmt: skip
    return [dict(zip(header, fields, strict=True)) for fields in rows]


def read_unsigned_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table written by hand, without checksums. Raises ValueError, in one line, where one is cut."""
    header, rows = _read_fields(path)
    return [dict(zip(header, fields, strict=True)) for fields in rows]


def _read_fields(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, each with as many fields. Raises ValueError, in one line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file, strict=True)
    except (ValueError, csv.Error) as error:  # not text, no CSV, or not even a header
        raise ValueError(f"{path} is damaged ({str(error).splitlines()[0]}): {RESTORE_HINT}") from None
    if not header or not rows:
        raise ValueError(f"{path} is damaged (it has no lines): {RESTORE_HINT}")
    for number, fields in enumerate(rows, 2):
        if len(fields) != len(header):
            raise ValueError(f"{path}: line {number} has {len(fields)} fields and not {len(header)}: {RESTORE_HINT}")
    return header, rows


def replace_rows(
    path: Path,
    new_rows: Sequence[Mapping[str, Any]],
    key_columns: Sequence[str],
    sort_key: Callable[[Any], Any] | None = None,
) -> None:
    """Replace the rows in `path` that agree with one of `new_rows` in `key_columns` by the new rows:
    behind the rest, or all of them sorted by `sort_key`. Raises ValueError where they are fewer than those they
    replace, or lack a column.
    """
    if not new_rows:
        raise ValueError(f"{path}: there is no row to write")

    def row_key(row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(format_field(row[name]) for name in key_columns)

    done, old = {row_key(row) for row in new_rows}, read_record(path)
    rows = [*(row for row in old if row_key(row) not in done), *new_rows]
    files.check_no_rows_lost(path, rows, key_columns)
    if old and (missing := [name for name in old[0] if name not in new_rows[0]]):
        raise ValueError(f"{path} has a column {missing[0]}, which the new rows lack; delete it to begin it anew")
    rows = sorted(rows, key=sort_key) if sort_key else rows
    header = list(dict.fromkeys(name for row in rows for name in row))  # a column may be younger than some rows
    write_record(path, header, [[row.get(name, "") for name in header] for row in rows])


def sign_record(path: Path) -> None:
    """Write the checksums of a table as it stands."""
    header, rows = _read_fields(path)
    if header[-1] == CHECKSUM_COLUMN:
        header, rows = header[:-1], [fields[:-1] for fields in rows]
    write_record(path, header, rows)


if __name__ == "__main__":
    from training import cli

    cli.report_errors(lambda: [sign_record(Path(name)) for name in sys.argv[1:]])
