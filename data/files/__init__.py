"""A user's own files as the data of a task, named by `task.path` in a config.

`load_files("text", {"path": "notes.txt", "tokenizer": "characters"}, data_dir)` finds the files, and prepares them once
in a folder that is named after their contents and the options: other contents, or another tokenizer, get another one.

A kind of files is a module in `KINDS`, by the name of the task that it is for. It holds

  VERSION                           raised when what it prepares changes
  Options                           frozen dataclass of the fields of `config.task` that are its own; all others go to
                                    the task. `Options.path_fields` names those that hold paths, `Options.load_fields`
                                    those that change no record (by default "stream"), `Options.suffixes` the files
                                    that are taken from a folder (by default all that are known)
  prepare(options, sources, writer) writes the records, and returns what the manifest keeps as its "content"
  load(options, store)              what a task is built from: `FileData`
  describe(options, sources, limit) what it would prepare, in lines, from the beginning of the files

Modules are imported only when a path is given.
"""

import dataclasses
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Int64

from tasks.base import suggest_name

# Task: module of the files that it can be built from.
KINDS = {
    "text": "data.files.text",
    "classification": "data.files.labelled",
    "parallel_text": "data.files.pairs",
    "series": "data.files.series",
}
Progress = Callable[[int, int], Any]  # called with the bytes read and the bytes in all


class RowSource(Protocol):
    """Training rows that stay on disk, read by number."""

    def gather(self, ids: Int64[np.ndarray, "n"], max_length: int) -> Any:
        """The rows `ids`, as numpy arrays [n, …] in what the task's own `gather` gives."""
        ...


class FileData(NamedTuple):
    """What a task is built from: keyword arguments, and its training rows where these stay on disk."""

    arguments: dict[str, Any]
    rows: RowSource | None = None


def has_files(task: Mapping[str, Any]) -> bool:
    """Whether the fields of a task name files of the user."""
    return "path" in task


def load_files(
    name: str, fields: Mapping[str, Any], data_dir: str | Path, make_progress: Callable[[str], Progress] | None = None
) -> FileData:
    """Load the files that `fields` name as data of the task `name`; prepare them below `data_dir` if they are not yet.

    Args:
      name: of the task, one of `KINDS`.
      fields: the options of its kind; `task_fields` separates them from the task's own.
      data_dir: where prepared data are kept.
      make_progress: gives the function that shows the progress of a preparation, from its title.

    Raises:
      ValueError: an option or a file is not what it should be, in one line.
      OSError: a file can't be found, read or written.
    """
    from data.files import sources, store

    kind, options, files, skipped, stamps, fingerprint, folder = _locate(name, fields, data_dir)

    def write_records(writer: Any) -> dict[str, Any]:
        content = kind.prepare(options, files, writer)
        sources.check_unchanged(stamps)
        notes = [*sources.skipped_notes(skipped), *content.get("notes", ())]
        return {**content, "notes": notes, "fingerprint": fingerprint}

    progress = make_progress(f"preparing {options.path}") if make_progress else None
    announcement = f"preparing {options.path} in {folder}"
    prepared = store.open_or_prepare(folder, write_records, progress, lambda: print(announcement, file=sys.stderr))
    if prepared.is_new:
        for note in prepared.content.get("notes", ()):
            print(f"{options.path}: {note}", file=sys.stderr)
    return kind.load(options, prepared)


def files_fingerprint(name: str, fields: Mapping[str, Any], data_dir: str | Path) -> str:
    """16 digits that stand for the contents of the files, the options and the code that prepares them.

    Nothing is prepared for it. Raises as `load_files`.
    """
    return _locate(name, fields, data_dir).fingerprint


def is_prepared(name: str, fields: Mapping[str, Any], data_dir: str | Path) -> bool:
    """Whether `load_files` would find these files prepared, and write nothing. Raises as `files_fingerprint`."""
    return _locate(name, fields, data_dir).folder.exists()


def read_content(name: str, fields: Mapping[str, Any], data_dir: str | Path) -> dict[str, Any]:
    """What is kept of the preparation of these files: counts, classes, notes. Raises as `load_files`, if need be."""
    from data.files import store

    return store.Store(_locate(name, fields, data_dir).folder).content


class _Location(NamedTuple):
    """A user's files, those of folders that are left out, what stands for them, and where they are prepared."""

    kind: Any
    options: Any
    files: dict[str, list[Path]]
    skipped: list[Path]
    stamps: list[Any]  # of the files, taken before they are hashed
    fingerprint: str
    folder: Path


def _locate(name: str, fields: Mapping[str, Any], data_dir: str | Path) -> _Location:
    """Find the files that `fields` name, and the folder of their contents and options below `data_dir`."""
    from data.files import sources

    kind, options = parse_options(name, fields)
    files = find_sources(options, data_dir, skipped := [])
    stamps = sources.take_stamps([path for paths in files.values() for path in paths])
    root = Path(data_dir).expanduser().absolute() / "files"
    fingerprint = _fingerprint(kind, options, files, root)
    return _Location(kind, options, files, skipped, stamps, fingerprint, root / f"{_stem(options.path)}-{fingerprint}")


def parse_options(name: str, fields: Mapping[str, Any]) -> tuple[Any, Any]:
    """The module of a kind of files, and its Options from `fields`. Raises ValueError for a field that it lacks."""
    if name not in KINDS:
        raise ValueError(
            f"task.path: the task {name} takes no files; {suggest_name(name, KINDS)}those that do are "
            f"{', '.join(KINDS)}"
        )
    kind: Any = importlib.import_module(KINDS[name])
    known = {field.name for field in dataclasses.fields(kind.Options)}
    own = {field: value for field, value in fields.items() if field in known}
    if not own.get("path"):
        raise ValueError("task.path: name a file, a folder or a pattern, as --config.task.path=notes.txt")
    return kind, kind.Options(**own)


def task_fields(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `fields` that belong to the task itself and not to its files."""
    _, options = parse_options(name, fields)
    own = {field.name for field in dataclasses.fields(options)}
    return {field: value for field, value in fields.items() if field not in own and field != "name"}


def path_fields(task: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a task that hold paths: their contents count in a run's key, and not their names."""
    if not has_files(task) or task["name"] not in KINDS:
        return ()
    fields = importlib.import_module(KINDS[task["name"]]).Options.path_fields
    return (*fields, *(name for name in ("tokenizer",) if str(task.get(name, "")).endswith(".json")))


def find_sources(
    options: Any, data_dir: str | Path | None = None, skipped: list[Path] | None = None
) -> dict[str, list[Path]]:
    """The files of every path that is given, by field. Raises as `sources.find_files`.

    A path `tfds:NAME` is looked for in `data_dir`, which is that of tensorflow-datasets by default. Files of folders
    that are of no kind that can be read are added to `skipped`.
    """
    from data.files import sources

    given = {field: getattr(options, field) for field in options.path_fields}
    suffixes = getattr(options, "suffixes", None)
    return {
        field: sources.find_files(field, path, suffixes, data_dir, skipped) for field, path in given.items() if path
    }


def _fingerprint(kind: Any, options: Any, files: Mapping[str, Sequence[Path]], root: Path) -> str:
    from data.files import sources

    values = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.name not in (*options.path_fields, *getattr(options, "load_fields", ("stream",)))
    }
    contents = {field: sources.content_hash(paths, root) for field, paths in files.items()}
    identity = {"kind": kind.__name__, "version": kind.VERSION, "options": values, "contents": contents}
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=list).encode()).hexdigest()[:16]


def _stem(path: str) -> str:
    """A folder's name that a person knows the file by."""
    stem = Path(path).name.split(".")[0] or Path(path).name
    return re.sub(r"[^\w-]+", "_", stem)[:40].strip("_") or "files"
