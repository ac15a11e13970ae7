"""metrics.jsonl, the log of a run: one JSON object per line, append-only."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.files import parse_json, to_json_line, with_path

ROW_SCHEMA = {
    "type": "object",
    "required": ["step", "split", "checksum"],
    "properties": {"step": {"type": "integer"}, "split": {"type": "string"}},
}


class MetricWriter:
    """Appends rows, each a JSON object with a checksum.

    A line that a killed process left unfinished is cut off first.
    """

    def __init__(self, path: Path):
        if path.exists():
            content = path.read_bytes()
            complete = content[: content.rfind(b"\n") + 1]
            if len(complete) < len(content):
                with path.open("r+b") as file:
                    file.truncate(len(complete))
        self.path, self.file = path, path.open("a")

    def write_row(self, **row: Any) -> None:
        """Append a row. Raises OSError."""
        with with_path(self.path):
            self.file.write(to_json_line(row) + "\n")
            self.file.flush()

    def flush_to_disk(self) -> None:
        """Wait until all rows are on the disk itself. Raises OSError."""
        with with_path(self.path):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows, sorted by step.

    If several have the same step and split, the last one counts: a resumed run repeats some.
    A last line that a kill cut off is ignored. Raises ValueError, naming the line, for any other that is damaged.
    """
    rows, _, damage = read_json_lines(path, ROW_SCHEMA)
    if damage:
        raise ValueError(f"{damage}; put the file back from a copy, or start anew in another directory")
    last = {(row["step"], row["split"]): row for row in rows}
    return [last[key] for key in sorted(last, key=lambda key: key[0])]


def read_json_lines(path: Path, schema: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int, str]:
    """Read the rows before the first damaged line.

    Returns them, their size in bytes, and what is wrong with that line; "" if none is damaged. A last line that a kill
    cut off counts as none.
    """
    content = path.read_bytes() if path.exists() else b""
    rows, size = [], 0
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            rows.append(parse_json(line, schema))
        except ValueError as error:
            return rows, size, f"{path}: line {number} is damaged ({error})"
        size += len(line) + 1
    return rows, size, ""
