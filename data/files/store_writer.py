"""Writing of prepared records, shard by shard, so that a killed preparation goes on where it was."""

import contextlib
import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

SPLITS: tuple[str, ...] = ("train", "validation", "test")
CHECKPOINT_BYTES = 64 << 20  # of the source, between two checkpoints of its first GiB
FORMAT = 1
MANIFEST = "manifest.json"
_PROGRESS = "progress.json"

Progress = Callable[[int, int], Any]  # called with the bytes read and the bytes in all


class StoreWriter:
    """Writer of the records of a store, into its unfinished `folder`, from where an earlier writer was stopped.

    `resumed` is what the last checkpoint kept, None for a new store: the caller goes on reading its source there, and
    records appended after that checkpoint are gone. Where checkpoints lie decides which records share a file; set them
    where `is_checkpoint_due` says, which looks at the source alone, and a store that was killed and went on has the
    same bytes as any other. `progress` is called with the bytes of the source that were read, and `total_bytes`, which
    the caller sets to the bytes of all its readings of the source.
    """

    def __init__(self, folder: Path, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> None:
        self.folder, self._progress, self.total_bytes = folder, progress, 0
        self._shards: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
        self._open: dict[str, _Shard] = {}
        self.resumed: Any = None
        self._last_checkpoint = 0  # how much of the source was read
        folder.mkdir(parents=True, exist_ok=True)
        self._restore()

    def _restore(self) -> None:
        """Take over what the last checkpoint lists, and remove everything else."""
        progress = read_checked(self.folder / _PROGRESS)
        if (
            progress is not None
            and progress["splits"].keys() == self._shards.keys()
            and not find_missing_file(self.folder, progress["splits"])
        ):
            self._shards = progress["splits"]
            self.resumed, self._last_checkpoint = progress["state"], progress["done"]
        known = {_PROGRESS, *(shard["file"] for shards in self._shards.values() for shard in shards)}
        for path in self.folder.iterdir():
            if path.name not in known or self.resumed is None:
                path.unlink()

    def append(self, split: str, record: bytes) -> None:
        """Add a record to a split. Raises OSError if it can't be written."""
        shard = self._open.get(split)
        if shard is None:
            name = f"{split}-{len(self._shards[split]):05d}.array_record"
            shard = self._open[split] = _Shard(self.folder / name)
        shard.write(record)

    def count(self, split: str) -> int:
        """Number of records of a split so far."""
        pending = self._open[split].records if split in self._open else 0
        return sum(shard["records"] for shard in self._shards[split]) + pending

    def is_checkpoint_due(self, done: int, bytes_read: int | None = None) -> bool:
        """Whether so much of the source was read since the last checkpoint that another is worth its files.

        A checkpoint every 64 MiB, and from 1 GiB on every sixteenth of what was read: a kill costs little of what was
        done, and 100 GiB have a hundred files and not 1,600. `done` is what was read so far, in bytes or characters, by
        a count that is the same however the source is read; it counts on in a source that is read twice. `bytes_read`
        is what the progress shows, if it differs.
        """
        if self._progress is not None:
            self._progress(done if bytes_read is None else bytes_read, self.total_bytes)
        return done - self._last_checkpoint >= max(CHECKPOINT_BYTES, self._last_checkpoint // 16)

    def checkpoint(self, state: Any, done: int) -> None:
        """Keep all records so far, and `state` (plain JSON), which says where the source is to be read on."""
        self._close_shards()
        self._last_checkpoint = done
        write_checked(self.folder / _PROGRESS, {"state": state, "done": done, "splits": self._shards})

    def finish(self, content: Mapping[str, Any]) -> None:
        """Write the manifest, with `content` (plain JSON), and nothing can be added any more."""
        self._close_shards()
        write_checked(self.folder / MANIFEST, {"format": FORMAT, "content": content, "splits": self._shards})
        (self.folder / _PROGRESS).unlink(missing_ok=True)

    def _close_shards(self) -> None:
        while self._open:
            split, shard = self._open.popitem()
            self._shards[split].append(shard.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Let go of the files after an error. What was appended since the last checkpoint is removed when the next
        writer begins; without any checkpoint the folder is removed."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.popitem()[1].close()
        if error is not None and not (self.folder / _PROGRESS).exists():
            with contextlib.suppress(OSError):
                for path in self.folder.iterdir():
                    path.unlink()
                self.folder.rmdir()


class NullWriter:
    """A writer that keeps nothing, to see what would be written."""

    resumed, total_bytes = None, 0

    def append(self, split: str, record: bytes) -> None:
        """Forget a record."""

    def is_checkpoint_due(self, done: int, bytes_read: int | None = None) -> bool:
        """Never."""
        return False


class _Shard:
    """One ArrayRecord file that is being written."""

    def __init__(self, path: Path):
        array_record: Any = importlib.import_module("array_record.python.array_record_module")
        self.path, self.records, self.record_bytes = path, 0, 0
        with _runtime_error_as_os_error(path):
            self._writer = array_record.ArrayRecordWriter(str(path), "group_size:1,uncompressed")

    def write(self, record: bytes) -> None:
        with _runtime_error_as_os_error(self.path):
            self._writer.write(record)
        self.records += 1
        self.record_bytes += len(record)

    def close(self) -> dict[str, Any]:
        """Bring the file to the disk, and return what the manifest says about it."""
        with _runtime_error_as_os_error(self.path):
            self._writer.close()
        with self.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        return {
            "file": self.path.name, "records": self.records, "bytes": self.record_bytes, "size": size, "sha256": sha256
        }  # fmt: skip


def find_missing_file(folder: Path, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Name of the first file that isn't there or has another size than listed; empty if there is none."""
    for shards in splits.values():
        for shard in shards:
            path = folder / shard["file"]
            if not path.exists() or path.stat().st_size != shard["size"]:
                return shard["file"]
    return ""


@contextlib.contextmanager
def _runtime_error_as_os_error(path: Path) -> Iterator[None]:
    """ArrayRecord raises RuntimeError where the disk is full or can't be written."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"{path} can't be written: {str(error).splitlines()[0][:160]}") from None


def write_checked(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as JSON with a checksum, whole or not at all, and bring it to the disk."""
    text = json.dumps(value)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"checksum": hashlib.sha256(text.encode()).hexdigest()}) + "\n" + text + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def read_checked(path: Path) -> dict[str, Any] | None:
    """Read what `write_checked` wrote; None if it isn't there or isn't as it was written."""
    try:
        checksum, text = path.read_text(encoding="utf-8").split("\n", 1)
        if json.loads(checksum)["checksum"] == hashlib.sha256(text.removesuffix("\n").encode()).hexdigest():
            return json.loads(text)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return None


def sync_folder(folder: Path) -> None:
    """Bring to the disk which files a folder has."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
