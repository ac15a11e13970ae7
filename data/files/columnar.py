"""Rows of binary tables: Parquet, Arrow in both of its formats, and ArrayRecord as tensorflow-datasets writes it."""

import importlib
import json
import math
import mmap
from collections.abc import Iterator
from typing import Any

from data.files.columns import ColumnRequest, FileRows
from data.files.formats import CODECS, data_suffix
from data.files.sources import decode_utf8

_BATCH_BYTES = 2**22  # of a batch of rows that is turned into Python's objects, about


def list_columns(request: ColumnRequest) -> list[str]:
    """Names of the columns of a file."""
    return sorted(_record_features(request)) if _is_record(request) else _open_schema(request).names


def list_classes(request: ColumnRequest, column: str) -> tuple[str, ...]:
    """Names of the classes that the numbers in a column stand for, as tensorflow-datasets or Hugging Face's datasets
    left them; () if there are none."""
    if _is_record(request):
        return tuple(getattr(_record_features(request).get(column), "names", None) or ())
    try:
        info = json.loads((_open_schema(request).metadata or {})[b"huggingface"])
        return tuple(info["info"]["features"][column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def read_parquet(request: ColumnRequest, start: int) -> FileRows:
    """Read the rows of a Parquet file."""
    file = _open_parquet(request)
    metadata, number = file.metadata, 0
    share = request.path.stat().st_size / max(metadata.num_rows, 1)
    columns = _top_columns(request, file.schema_arrow)
    for group in range(metadata.num_row_groups):
        rows, size = metadata.row_group(group).num_rows, metadata.row_group(group).total_byte_size
        if number + rows <= start:
            number += rows
            continue
        batches = file.iter_batches(_batch_rows(size, rows), row_groups=[group], columns=columns, use_threads=False)
        for batch in _guard_batches(request, batches):
            yield from _batch_values(request, batch, number, start, lambda row: int(share * row))
            number += batch.num_rows
    return metadata.num_rows


def read_arrow(request: ColumnRequest, start: int) -> FileRows:
    """Read the rows of an Arrow file, of the IPC file format or the stream format."""
    schema, batches, mapping = _open_arrow(request)
    _top_columns(request, schema)
    number = 0
    for batch, bytes_read in _guard_batches(request, batches):
        step = _batch_rows(batch.get_total_buffer_size(), batch.num_rows)
        for first in range(0, batch.num_rows, step):
            part = batch.slice(first, step)
            if number + part.num_rows > start:
                yield from _batch_values(request, part, number, start, lambda _, done=bytes_read: done)
            number += part.num_rows
            mapping.madvise(mmap.MADV_DONTNEED)  # pages that were read would else count as memory of the process
    return number


def _is_record(request: ColumnRequest) -> bool:
    return data_suffix(request.path) == ".array_record"


def _open_schema(request: ColumnRequest) -> Any:
    is_parquet = data_suffix(request.path) == ".parquet"
    return _open_parquet(request).schema_arrow if is_parquet else _open_arrow(request)[0]


def _open_parquet(request: ColumnRequest) -> Any:
    import pyarrow
    import pyarrow.parquet

    _refuse_packed(request)
    try:
        file = pyarrow.parquet.ParquetFile(
            request.path,
            buffer_size=2**20,  # bytes of a column that are read at once, and not all of its row group,
            pre_buffer=False,  # which holds only without this
            page_checksum_verification=True,
        )
        _check_names(file.schema_arrow)
        return file
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(request, error) from None


def _open_arrow(request: ColumnRequest) -> tuple[Any, Iterator[tuple[Any, int]], mmap.mmap]:
    """Schema of an Arrow file of either format, its batches with the bytes read, and the mapping that they lie in."""
    import pyarrow

    _refuse_packed(request)
    try:
        with request.path.open("rb") as opened:
            mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        source = pyarrow.BufferReader(pyarrow.py_buffer(mapping))
        if mapping[:6] == b"ARROW1":
            file = pyarrow.ipc.open_file(source)
            count, size = file.num_record_batches, len(mapping)
            _check_names(file.schema)
            return file.schema, ((file.get_batch(i), size * (i + 1) // count) for i in range(count)), mapping
        stream = pyarrow.ipc.open_stream(source)
        _check_names(stream.schema)
        return stream.schema, ((batch, source.tell()) for batch in stream), mapping
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(request, error) from None


def _check_names(schema: Any) -> None:
    """Raise UnicodeDecodeError, a ValueError, for names of columns that are no text, as in a damaged file."""
    _ = schema.names


def _refuse_packed(request: ColumnRequest) -> None:
    if request.path.suffix.lower() in CODECS:
        raise ValueError(f"{request.what}: unpack it first: such a file is read from several places at once")


def _guard_batches(request: ColumnRequest, batches: Iterator[Any]) -> Iterator[Any]:
    """The batches, with one line for a damaged one."""
    import pyarrow

    try:
        yield from batches
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(request, error) from None


def _damaged(request: ColumnRequest, error: Exception) -> ValueError:
    return ValueError(f"{request.what}: the file is damaged, or of another kind ({str(error).splitlines()[0]})")


def _top_columns(request: ColumnRequest, schema: Any) -> list[str]:
    """The columns of a schema that hold what is wanted; for a.b it is a, if there is no column a.b itself."""
    top = []
    for option, column in request.columns:
        outer = column if column in schema.names else column.partition(".")[0]
        top.append((option, outer if outer in schema.names else column))
    request._replace(columns=top).find_columns(schema.names)
    return list(dict.fromkeys(column for _, column in top))


def _batch_rows(size: int, rows: int) -> int:
    """How many rows are turned into Python's objects at once."""
    return max(1, min(8192, math.ceil(_BATCH_BYTES * rows / max(size, 1))))


def _batch_values(request: ColumnRequest, batch: Any, number: int, start: int, bytes_read: Any) -> Iterator[Any]:
    names = batch.schema.names
    values = []
    for option, column in request.columns:
        outer, _, inner = (column, "", "") if column in names else column.partition(".")
        cells = _python_values(request, batch.column(names.index(outer)), outer, number)
        if not inner:
            values.append(cells)
        else:
            values.append(
                [
                    None if cell is None else request.pick_value(cell, option, inner, f"{request.path.name}, row {row}")
                    for row, cell in enumerate(cells, number + 1)
                ]
            )
    for offset, row in enumerate(zip(*values, strict=True), number):
        if offset >= start:
            yield offset, f"{request.path.name}, row {offset + 1}", row, bytes_read(offset + 1)


def _python_values(request: ColumnRequest, column: Any, name: str, number: int) -> list[Any]:
    """Values of a column whose first row is `number`. Raises ValueError for those that can't be, and for damage."""
    import pyarrow

    try:
        column.validate(full=True)  # or else offsets in a damaged file would be followed out of the memory
        return column.to_pylist()
    except pyarrow.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise _damaged(request, error) from None
        what = "text that is not UTF-8"
    except (ValueError, OverflowError):
        what = "times with nanoseconds, or of no calendar: round them to microseconds"
    rows = f"in one of the rows {number + 1:,} to {number + len(column):,}"
    raise ValueError(f"{request.what}: column {name!r} holds, {rows}, {what}")


def read_records(request: ColumnRequest, start: int) -> FileRows:
    """Read the records of a file of tensorflow-datasets, whose features.json says what they hold."""
    array_record_module: Any = importlib.import_module("array_record.python.array_record_module")
    features = _record_features(request)
    request.find_columns(sorted(features))
    try:
        reader = array_record_module.ArrayRecordReader(str(request.path), options="")
        if not reader.ok():  # a file that is cut, or none at all, opens without a word and has 0 records
            raise RuntimeError("its end is missing")
        count = reader.num_records()
        share = request.path.stat().st_size / max(count, 1)
        for first in range(start, count, 256):
            for number, record in enumerate(reader.read(first, min(first + 256, count)), first):
                place = f"{request.path.name}, row {number + 1}"
                yield number, place, _decode_record(request, features, record, place), int(share * (number + 1))
    except (RuntimeError, IndexError) as error:
        raise _damaged(request, error) from None
    return count


def _decode_record(request: ColumnRequest, features: Any, record: bytes, place: str) -> tuple[Any, ...]:
    """Values of the columns: text as strings, numbers as Python's, arrays as they are."""
    try:
        example = features.deserialize_example_np(record)
    except Exception as error:  # whatever a feature raises that needs TensorFlow, or that isn't what is there
        why = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{request.what}: {place} can't be read: {why[0]}") from None
    values = (example[column] for _, column in request.columns)
    values = (value.item() if getattr(value, "ndim", None) == 0 else value for value in values)
    name = f"{request.what}: {place}"
    return tuple(decode_utf8(value, name) if isinstance(value, bytes) else value for value in values)


def _record_features(request: ColumnRequest) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(request.path.parent).info.features
    except Exception as error:  # of JSON, protobuf or tensorflow-datasets itself
        raise _damaged(request, error) from None
