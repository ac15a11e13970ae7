"""The benchmark's rows: their columns, and the file in the work directory that keeps them as they come."""

import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict


class BenchmarkRow(TypedDict, total=False):
    """One library's time of one cell, or another measurement. The record has these columns in this order."""

    section: str
    what: str
    mixer: str
    library: str
    length: int
    width: int
    batch: int
    dtype: str
    options: str  # of the mixer, as "name=value"
    seconds: float  # of a step or token: the median, and with `low` and `high` the quartiles
    low: float
    high: float
    ratio: float  # to the faster of this project's variants: median and quartiles of pairs timed in turn
    ratio_low: float
    ratio_high: float
    compile_seconds: float
    products: float  # FLOPs of matrix products in a step; in the section "rates" FLOP/s
    others: float  # all other FLOPs
    bytes: float  # moved by a step at least; in the section "rates" bytes/s
    share: float  # of the roofline
    parameters: int
    temporary_bytes: int  # of the compiled program
    peak_bytes: int  # of the process
    note: str


COLUMNS = list(BenchmarkRow.__annotations__)
KEY_COLUMNS = COLUMNS[: COLUMNS.index("seconds")]  # what tells a row from every other
KEY = "key"  # of the cell, in the work directory only
TEXT_COLUMNS = {KEY, *(name for name, kind in typing.get_type_hints(BenchmarkRow).items() if kind is str)}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows that a run kept: a cell's rows on one line, or one row a line as older versions wrote them.

    Raises ValueError, in one line that names the file and the line, for anything else.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            value = json.loads(line)
            of_line = value.get("rows", [value])
            valid = all(map(_is_valid, of_line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            valid, of_line = False, []
        if not valid:
            raise ValueError(f"{path}: line {number} is damaged; delete that line, and what it held is run again")
        rows += of_line
    return rows


def _is_valid(row: Mapping[str, Any]) -> bool:
    return {"section", KEY} <= set(row) <= {*COLUMNS, KEY} and all(
        isinstance(value, str if name in TEXT_COLUMNS else float | int | None) for name, value in row.items()
    )


def has_time(row: Mapping[str, Any]) -> bool:
    """Whether the row's cell could be timed."""
    return row.get("seconds", "") != ""


def format_fields(row: Mapping[str, Any]) -> list[str]:
    """A row's fields as the record has them."""
    return [_format_value(row.get(name, "")) for name in COLUMNS]


def _format_value(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
