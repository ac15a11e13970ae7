"""The table of training on a gigabyte of text from disk: docs/own-data.md."""

from experiments.ablation.record_files import RECORDS_DIR, read_record
from experiments.reporting.html_report import markdown_table
from experiments.reporting.publishing import Publication

RECORD = RECORDS_DIR / "streaming.csv"


def build_streaming() -> Publication:
    """Return the table. Raises ValueError if the record is missing or damaged."""
    rows = read_record(RECORD)
    if not rows:
        raise ValueError(f"{RECORD} is missing; python -m experiments.benchmarks.streaming makes it")
    cells = [[row["what"], row["of"], f"{row['value']} {row['unit']}".strip()] for row in rows]
    return {"streaming": markdown_table(["measured", "of", "value"], cells)}
