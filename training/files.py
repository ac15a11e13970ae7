"""JSON and CSV files that are written whole, carry a checksum, and are checked when they are read."""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import math
import os
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DELETE_HINT = "delete it and the same command writes it anew"

# JSON Schemas of the files that a run leaves. A file may have more fields. Files of older code have no checksum; their
# VERSIONs say what they are.
_NUMBER_LIST_SCHEMA = {"type": "array", "items": {"type": "number"}}
CONFIG_SCHEMA = {
    "type": "object",
    "required": ["task", "model", "optimizer", "training", "ensemble", "versions"],
    "properties": {
        **{part: {"type": "object"} for part in ("optimizer", "training", "ensemble", "versions")},
        "task": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        "model": {"type": "object", "required": ["mixer"], "properties": {"mixer": {"type": "string"}}},
    },
}
GROUP_SCHEMA = {
    "type": "object",
    "required": ["mode", "devices", "shards", "seeds", "learning_rates"],
    "properties": {
        "mode": {"enum": ["map", "vmap"]},
        "devices": {"type": "integer", "minimum": 1},
        "shards": {"type": "integer", "minimum": 1},
        "params": {"type": "integer", "minimum": 1},
        "seeds": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        **dict.fromkeys(("learning_rates", "weight_decays", "momenta"), _NUMBER_LIST_SCHEMA),
    },
}
RESULT_SCHEMA = {
    "type": "object",
    "required": ["key", "status", "metric", "members", "cost", "seconds", "steps"],
    "properties": {"members": {"type": "array", "items": {"type": "object"}, "minItems": 1}},
}
ENVIRONMENTS_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["revision", "source_changed", "device", "packages"],
        "properties": {
            "revision": {"type": "string"},
            "source_changed": {"type": "boolean"},
            "device": {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string"}}},
            "packages": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
}
TASK_SCHEMA = {
    "type": "object",
    "required": ["fields"],
    "properties": {"fields": {"type": "object", "additionalProperties": {"type": "object"}}},
}


def lists_to_tuples(value: Any) -> Any:
    """Return a value of JSON with tuples, which can be hashed, in the place of its lists."""
    return tuple(map(lists_to_tuples, value)) if isinstance(value, list) else value


def to_jsonable(value: Any) -> Any:
    """Convert `value` to what JSON can hold: arrays to lists, NaN and infinity to null."""
    if isinstance(value, Mapping):
        return {str(k): to_jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_jsonable(v) for v in value]
    if hasattr(value, "tolist"):
        return to_jsonable(np.asarray(value).tolist())
    if isinstance(value, float):
        # Nine digits tell any two float32 apart.
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value


@contextlib.contextmanager
def with_path(path: Path) -> Iterator[None]:
    """Add `path` to OSErrors from inside that name no file, as those of a full disk do."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` by a rename, so that neither a reader nor a crash sees half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with with_path(path):
        try:
            part.write_bytes(data)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically; an object gets a checksum."""
    value = to_jsonable(value)
    value = add_checksum(value) if isinstance(value, dict) else value
    write_atomically(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def to_json_line(value: Mapping[str, Any]) -> str:
    """Format an object as one line of JSON with a checksum."""
    return json.dumps(add_checksum(to_jsonable(value)))


def add_checksum(value: Mapping[str, Any]) -> dict[str, Any]:
    """Add to an object of plain JSON the fingerprint of its fields, as "checksum"."""
    return {**value, "checksum": fingerprint(value)}


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table to `path` atomically."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(path, text.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table, as text by column; none if there is no file yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_no_rows_lost(
    path: Path,
    new_rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    weight: Callable[[Mapping[str, Any]], float] = lambda row: 1,
) -> None:
    """Check that `new_rows`, which are to replace the table at `path`, lose nothing that it holds.

    Rows with the same values in `columns` belong together; the sum of their `weight` may not fall. Raises ValueError,
    in one line, which names the first values that would be lost.
    """
    surplus: dict[tuple[str, ...], float] = defaultdict(float)
    for row in read_csv(path):
        surplus[_column_values(row, columns)] += weight(row)
    for row in new_rows:
        surplus[_column_values(row, columns)] -= weight(row)
    lost = [values for values, left in surplus.items() if left > 0]
    if lost:
        first = ", ".join(f"{name}={value}" for name, value in zip(columns, lost[0], strict=True) if value)
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ValueError(
            f"{path} holds more than what would take its place: {first}{more}; run that too, or delete the file first "
            f"to begin it anew"
        )


def _column_values(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row.get(name, "")) for name in names)


def read_json(path: Path, schema: Mapping[str, Any] | None = None, hint: str = DELETE_HINT) -> Any:
    """Read what `write_json` wrote, without its checksum.

    Raises ValueError, in one line that ends with `hint`, if the file is not as it was written, or does not conform to
    `schema` (JSON Schema).
    """
    try:
        return parse_json(path.read_bytes(), schema or {})
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {hint}") from None


def parse_json(text: bytes, schema: Mapping[str, Any]) -> Any:
    """Parse a JSON value, and remove the checksum of an object.

    Raises ValueError, in one line, if it is no JSON, is nested too deep, does not conform to `schema`, or has a wrong
    checksum.
    """
    import jsonschema  # slow to import, and not needed for --help

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        value = json.loads(text, parse_constant=refuse)
        for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
            place = "".join(f"{part}: " for part in error.path)
            raise ValueError(f"{place}{textwrap.shorten(error.message, 120, placeholder='…')}")
        if isinstance(value, dict) and "checksum" in value and value.pop("checksum") != fingerprint(value):
            raise ValueError("its checksum is that of something else")
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


@contextlib.contextmanager
def lock_directory(directory: Path, *, shared: bool = False) -> Iterator[None]:
    """Lock `directory` for this process. The system releases it when the process ends, however it ends.

    Several processes can hold it `shared`, to read what is there, while none holds it alone. Raises ValueError, in one
    line, if another process holds it.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{directory} is in use by another process; wait for it or give another") from None
        except OSError:  # the file system has no locks
            pass
        yield
    finally:
        os.close(handle)


def fingerprint(fields: Mapping[str, Any]) -> str:
    """A hash of fields, independent of their order: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(to_jsonable(fields), sort_keys=True).encode()).hexdigest()[:16]


def flatten_dict(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts: {"model": {"depth": 2}} becomes {"model.depth": 2}."""
    flat = {}
    for name, value in tree.items():
        flat |= flatten_dict(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
