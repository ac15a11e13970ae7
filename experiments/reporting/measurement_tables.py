"""Tables of records that are measurements in words: docs/own-data.md, docs/recipes.md."""

from experiments.ablation.record_files import RECORDS_DIR, read_record
from experiments.reporting.html_report import markdown_table
from experiments.reporting.publishing import Publication


def build_streaming() -> Publication:
    """Return the table of training on a gigabyte of text from disk. Raises ValueError for a missing record."""
    return {"streaming": _measurement_table("streaming", "python -m experiments.benchmarks.streaming")}


def build_sharding() -> Publication:
    """Return the table of parameters spread over devices. Raises ValueError for a missing record."""
    return {"sharding": _measurement_table("sharding", "python -m experiments.benchmarks.sharded")}


def _measurement_table(name: str, command: str) -> str:
    record = RECORDS_DIR / f"{name}.csv"
    rows = read_record(record)
    if not rows:
        raise ValueError(f"{record} is missing; {command} makes it")
    cells = [[row["what"], row["of"], f"{row['value']} {row['unit']}".strip()] for row in rows]
    return markdown_table(["measured", "of", "value"], cells)
