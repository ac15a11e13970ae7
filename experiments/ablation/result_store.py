"""Results of trials in a folder, found by key, safe against kills, full disks and damage.

The folder holds `cells.jsonl`, one line per finished trial and only ever appended to, and `groups/`, one run of
training for each group of trials. The results of a group are appended in one write; each line has its place in the
group and a checksum. If a kill cuts the write short, none of the group's results count: the group is read again from
its own directory.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.ablation.trials import TRIAL_SCHEMA, TrialResult
from training import files
from training.workdir import LAST_REVISION_OF_OLD_FIELDS

STORE_FORMAT = 2  # raised when an older program can no longer read the folder; format 1 had no checksums

_FOLDER_SCHEMA = {"type": "object", "required": ["format"], "properties": {"format": {"type": "integer", "minimum": 1}}}


class ResultStore:
    """Results by key. A later line of the same trial overwrites its fields and adds to its metrics."""

    def __init__(self, folder: Path, require_checksums: bool = True):
        """Read `folder`/cells.jsonl. Raises ValueError, in one line, for damage and for older revisions."""
        self.folder, self.path = folder, folder / "cells.jsonl"
        self.results: dict[str, TrialResult] = {}
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]  # what follows is a line that a kill cut off
        group: list[Any] = []
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            if b'"model.inner"' in line:
                raise ValueError(
                    f"{folder} was written by an older revision (its configs have `model.inner` where this one has "
                    f"`model.hidden_size`); check out {LAST_REVISION_OF_OLD_FIELDS} to go on with it, or give another "
                    f"--workdir"
                )
            try:
                result = parse_result(line, require_checksums)
            except ValueError as error:
                raise ValueError(
                    f"{self.path}: line {number} is damaged ({error}); delete that line, and its group gives it again"
                ) from None
            place, size = result.pop("place", 0), result.pop("of", 1)
            if place != len(group):  # the rest of the previous group is missing, or the beginning of this one
                group = []
            if place == len(group):
                group.append(result)
            if len(group) == size:
                for member in group:
                    self.merge_result(member)
                group = []
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))

    def merge_result(self, result: TrialResult) -> None:
        """Keep a result in memory. A measure taken with another VERSION replaces what was there."""
        known: Mapping[str, Any] = self.results.get(result["key"], {"metrics": {}})
        measured = result.get("measured", {})
        kept = {name: value for name, value in known["metrics"].items() if name.split("@")[0] not in measured}
        merged: TrialResult = {**result, "metrics": {**kept, **result["metrics"]}}
        merged["measured"] = {**known.get("measured", {}), **measured}
        self.results[result["key"]] = merged

    def append_results(self, results: Sequence[TrialResult]) -> None:
        """Append the results of a group in one write. Raises OSError where the disk does not take them."""
        lines = [files.to_json_line({**result, "place": i, "of": len(results)}) for i, result in enumerate(results)]
        data = "".join(f"{line}\n" for line in lines).encode()
        with files.with_path(self.path), self.path.open("ab", buffering=0) as file:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        for result in results:
            self.merge_result(files.to_jsonable(result))


def parse_result(line: bytes, require_checksum: bool) -> Any:
    """The result on a line of cells.jsonl. Raises ValueError where it is none, or its key is not that of its config."""
    required = [*TRIAL_SCHEMA["required"], *(["checksum"] if require_checksum else [])]
    result = files.parse_json(line, {**TRIAL_SCHEMA, "required": required})
    config = result["config"]
    if files.fingerprint(config) != result["key"]:
        raise ValueError("its key is not that of its config")
    for name in ("seed", "learning_rate"):
        if config.get(name) != result[name]:
            raise ValueError(f"its {name} is not that of its config")
    return result


@contextlib.contextmanager
def open_store(folder: Path) -> Iterator[ResultStore]:
    """The store in `folder`, locked against other processes, brought to the present format.

    Raises ValueError, in one line, where it is in use, damaged or written by a newer program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with files.lock_directory(folder):
        path, lines_path = folder / "format.json", folder / "cells.jsonl"
        version = files.read_json(path, _FOLDER_SCHEMA)["format"] if path.exists() else 1
        if version > STORE_FORMAT:
            raise ValueError(
                f"{folder} was written by a newer version of this program (format {version}, this one reads "
                f"{STORE_FORMAT}); update, or give another --workdir"
            )
        store = ResultStore(folder, require_checksums=version == STORE_FORMAT)
        if version < STORE_FORMAT:
            if lines_path.exists():
                lines = [line for line in lines_path.read_bytes().split(b"\n") if line]
                lines = [files.to_json_line(files.parse_json(line, TRIAL_SCHEMA)) for line in lines]
                files.write_atomically(lines_path, "".join(f"{line}\n" for line in lines).encode())
            files.write_json(path, {"format": STORE_FORMAT})
        yield store
