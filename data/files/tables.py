"""Rows of tables, one after the other: CSV, TSV, JSON lines, Parquet, Arrow, ArrayRecord.

Values of CSV and TSV are text as it stands ("NA" and "001" stay what they are); others have the types of the file, with
None for a null, and in JSON lines for a key that a row lacks.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data.files import columnar, text_tables
from data.files.columns import ColumnRequest, FileRows, Row, name_paths
from data.files.fasta import read_fasta as read_fasta
from data.files.formats import JSON_HINT, data_suffix, file_splits
from data.files.sources import Counts
from data.files.splits import known_split
from data.files.stamps import check_unchanged, take_stamps


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
        raise _not_a_table(request)
    return _READERS[suffix](request, start)


def _not_a_table(request: ColumnRequest) -> ValueError:
    hint = f"; {JSON_HINT}" if data_suffix(request.path) == ".json" else ""
    return ValueError(f"{request.what}: not a table that can be read here: {' '.join(_READERS)}{hint}")


def column_names(field: str, path: Path) -> list[str]:
    """Names of the columns of a file, as its header or its schema has them, or the first rows of JSON lines."""
    request, suffix = ColumnRequest(field, path, ()), data_suffix(path)
    if suffix in (".csv", ".tsv"):
        return text_tables.read_header(request)
    if suffix in (".jsonl", ".ndjson"):
        return text_tables.list_keys(request)
    if suffix in (".array_record", ".parquet", ".arrow"):
        return columnar.list_columns(request)
    raise _not_a_table(request)


def field_separator(field: str, path: Path) -> str:
    """What stands between the fields of a file: "," or another of CSV, a tab of TSV, "" of what is neither."""
    is_delimited = data_suffix(path) in (".csv", ".tsv")
    return text_tables.find_separator(ColumnRequest(field, path, ())) if is_delimited else ""


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


_READERS = {
    ".csv": text_tables.read_delimited,
    ".tsv": text_tables.read_delimited,
    ".jsonl": text_tables.read_json_lines,
    ".ndjson": text_tables.read_json_lines,
    ".parquet": columnar.read_parquet,
    ".arrow": columnar.read_arrow,
    ".array_record": columnar.read_records,
}
