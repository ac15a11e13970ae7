"""Prepared records on disk, read at random places.

A finished store is a folder with a manifest and, for each split, ArrayRecord files:

    FOLDER/manifest.json                the content, and for each file its records, size and sha256
    FOLDER/train-00000.array_record …

It is filled under the name FOLDER.unfinished, which nobody reads, and renamed at the end. Records are not compressed,
one to a chunk (`group_size:1`), so that one record is one read; ArrayRecord carries a hash of each chunk and checks it
at every read.
"""

import contextlib
import fcntl
import hashlib
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.files.store_writer import (
    FORMAT,
    MANIFEST,
    SPLITS,
    Progress,
    StoreWriter,
    find_missing_file,
    read_checked,
    sync_folder,
)

_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # what ArrayRecord advises for random access
_READER_BUFFER = 16 << 10  # bytes
_RANGE = 256  # records read at once where all are wanted


class Store:
    """Records of a finished store, read at random places.

    Raises ValueError, in one line, for a manifest or a file that isn't as it was written: damage inside of a file is
    noticed when the record is read, by its hash. Safe to read from several threads, and to pickle.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.is_new = folder, False  # is_new: prepared by this process, just now
        manifest = read_checked(folder / MANIFEST)
        if manifest is None or manifest.get("format") != FORMAT:
            raise self._damage(f"{MANIFEST} is missing, damaged or of another version of this code")
        self.content: dict[str, Any] = manifest["content"]
        self._shards: dict[str, list[dict[str, Any]]] = manifest["splits"]
        if missing := find_missing_file(folder, self._shards):
            raise self._damage(f"{missing} is missing or has another size")
        self._ends = {
            split: np.cumsum([shard["records"] for shard in shards], dtype=np.int64)
            for split, shards in self._shards.items()
        }
        self._readers: dict[str, Any] = {}
        self._lock = threading.Lock()

    def count(self, split: str) -> int:
        """Number of records of a split."""
        return int(self._ends[split][-1]) if len(self._ends[split]) else 0

    def bytes_of(self, split: str) -> int:
        """Bytes of all records of a split."""
        return sum(shard["bytes"] for shard in self._shards[split])

    def read(self, split: str, indices: np.ndarray) -> list[bytes]:
        """Read the records at `indices` of a split, in that order. Raises IndexError for one that isn't there."""
        return [records[0] for records in self.read_ranges(split, indices, np.ones_like(indices))]

    def read_ranges(self, split: str, starts: np.ndarray, counts: np.ndarray) -> list[list[bytes]]:
        """Read `counts[i]` ≥ 1 records from `starts[i]` on, for each i.

        ArrayRecord reads a range in microseconds; a list of indices takes it a time that grows with the file.
        """
        starts, stops = np.asarray(starts, np.int64), np.asarray(starts, np.int64) + counts
        if len(starts) and (starts.min() < 0 or stops.max() > self.count(split)):
            raise IndexError(f"{self.folder}: {split} has {self.count(split)} records")
        ends = self._ends[split]
        first = np.searchsorted(ends, starts, side="right")
        begins = np.concatenate([[0], ends[:-1]])[first] if len(starts) else starts
        inside = stops <= ends[first] if len(starts) else starts
        readers = [self._reader(split, shard) for shard in range(len(ends))] if len(starts) > 8 else None
        result = []
        try:
            for shard, begin, start, stop, is_inside in zip(
                first.tolist(), begins.tolist(), starts.tolist(), stops.tolist(), inside.tolist(), strict=True
            ):
                reader = readers[shard] if readers else self._reader(split, shard)
                if is_inside:
                    result.append(reader.read(start - begin, stop - begin))
                else:
                    result.append(self._read_across(split, shard, start, stop))
        except RuntimeError as error:
            raise self._damage(str(error)) from None
        return result

    def _read_across(self, split: str, shard: int, start: int, stop: int) -> list[bytes]:
        """Records `start` to `stop`, which lie in several files from the one numbered `shard` on."""
        records: list[bytes] = []
        while start < stop:
            end = int(self._ends[split][shard])
            begin = end - self._shards[split][shard]["records"]
            if start < end:
                records += self._reader(split, shard).read(start - begin, min(stop, end) - begin)
                start = min(stop, end)
            shard += 1
        return records

    def read_all(self, split: str) -> Iterator[bytes]:
        """Read all records of a split, in order, with a few in memory at a time."""
        total = self.count(split)
        for start in range(0, total, _RANGE):
            yield from self.read_ranges(split, np.array([start]), np.array([min(_RANGE, total - start)]))[0]

    def check(self) -> None:
        """Compare the sha256 of every file with the manifest: slow, and needed only to know before training."""
        for shards in self._shards.values():
            for shard in shards:
                with (self.folder / shard["file"]).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != shard["sha256"]:
                        raise self._damage(f"{shard['file']} holds something else, by its sha256")

    def _reader(self, split: str, shard: int) -> Any:
        """Reader of a file; all stay open, each with a buffer of a few KiB and the places of its records."""
        stated = self._shards[split][shard]
        reader = self._readers.get(stated["file"])
        if reader is None:
            array_record: Any = importlib.import_module("array_record.python.array_record_module")
            with self._lock:
                try:
                    reader = array_record.ArrayRecordReader(
                        str(self.folder / stated["file"]), _READER_OPTIONS, file_reader_buffer_size=_READER_BUFFER
                    )
                    records = reader.num_records()
                except RuntimeError as error:
                    raise self._damage(str(error)) from None
                if records != stated["records"]:  # 0 of a file that lost its end, and the error only at closing
                    raise self._damage(f"{stated['file']} has another number of records")
                self._readers[stated["file"]] = reader
        return reader

    def _damage(self, what: str) -> ValueError:
        first_line = what.splitlines()[0][:160]
        return ValueError(f"{self.folder} can't be read: delete it and it is prepared anew ({first_line})")

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["folder"])


def open_or_prepare(
    folder: Path,
    prepare: Callable[[StoreWriter], Mapping[str, Any]],
    progress: Progress | None = None,
    announce: Callable[[], Any] = lambda: None,
    splits: Sequence[str] = SPLITS,
) -> Store:
    """Open the store in `folder`; if it isn't there, let `prepare` fill it and return its content.

    `announce` is called before that. Of two processes at once the second waits for the first, says so on stderr, and
    reads what that wrote. Raises ValueError for a damaged store and OSError for a folder that can't be written.
    """
    unfinished, is_new = folder.with_name(f"{folder.name}.unfinished"), False
    while not folder.exists():
        unfinished.mkdir(parents=True, exist_ok=True)
        with _lock_folder(unfinished) as is_ours:
            if not is_ours:
                continue
            if folder.exists():  # another process was faster
                with contextlib.suppress(OSError):
                    unfinished.rmdir()
                continue
            if read_checked(unfinished / MANIFEST) is None:  # else a kill came between the manifest and the rename
                announce()
                with StoreWriter(unfinished, splits, progress) as writer:
                    writer.finish(prepare(writer))
            unfinished.rename(folder)
            sync_folder(folder.parent)
            is_new = True
    store = Store(folder)
    store.is_new = is_new
    return store


@contextlib.contextmanager
def _lock_folder(folder: Path) -> Iterator[bool]:
    """Wait until no other process holds `folder`; whether it is still there by then. A killed process holds nothing."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # renamed meanwhile
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that prepares {folder.with_suffix('')}", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # the file system has no locks
            pass
        yield folder.exists() and os.path.samestat(os.fstat(handle), folder.stat())
    finally:
        os.close(handle)
