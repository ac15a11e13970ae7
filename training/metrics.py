"""The metrics of a run: one JSON object a line, append-only."""

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
    """Appends one JSON object a line, with its checksum. A line that a killed process left unfinished is cut off
    first."""

    def __init__(self, path: Path):
        if path.exists():
            whole = path.read_bytes()
            kept = whole[: whole.rfind(b"\n") + 1]
            if len(kept) < len(whole):
                with path.open("r+b") as file:
                    file.truncate(len(kept))
        self.path, self.file = path, path.open("a")

    def write_row(self, **row: Any) -> None:
        with with_path(self.path):
            self.file.write(to_json_line(row) + "\n")
            self.file.flush()

    def flush_to_disk(self) -> None:
        """Until all rows are on the disk itself. Raises OSError."""
        with with_path(self.path):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows in order of step. Of rows with the same step and split the last counts: a resumed run repeats some.

    A last line without its end, which a kill cut off, is passed over. Raises ValueError, naming the line, for any other
    that is not as it was written.
    """
    rows, _, damage = read_json_lines(path, ROW_SCHEMA)
    if damage:
        raise ValueError(f"{damage}; put the file back from a copy, or start anew in another directory")
    last = {(row["step"], row["split"]): row for row in rows}
    return [last[at] for at in sorted(last, key=lambda at: at[0])]


def read_json_lines(path: Path, schema: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int, str]:
    """The objects that `MetricWriter` wrote before the first line that is not as it was written, how many bytes they
    take, and what is wrong with that line, if there is one. A last line without its end is none."""
    whole = path.read_bytes() if path.exists() else b""
    rows, size = [], 0
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            rows.append(parse_json(line, schema))
        except ValueError as error:
            return rows, size, f"{path}: line {number} is damaged ({error})"
        size += len(line) + 1
    return rows, size, ""
