"""Whether files are what they were: stamps, which cost no reading, and hashes of contents, which are remembered."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data.files.formats import CODECS, FASTA_SUFFIXES, TABLE_SUFFIXES, TOKEN_SUFFIXES, data_suffix, file_splits

_SETTLED = 2_000_000_000  # nanoseconds after which a file that was changed is told from what it was by its times


class SourceStamp(NamedTuple):
    """What tells a file from what it was, without reading it. Times are in nanoseconds."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def take_stamps(paths: Iterable[Path]) -> list[SourceStamp]:
    """Stamps of files as they are now."""
    found = [(path, path.stat()) for path in paths]
    return [SourceStamp(str(path.absolute()), s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in found]


def check_unchanged(stamps: Iterable[SourceStamp]) -> None:
    """Raise ValueError, in one line, for a file that is not what it was when the stamps were taken.

    New permissions or another link to a file change its ctime alone, and are no change.
    """
    for stamp in stamps:
        try:
            (now,) = take_stamps([Path(stamp.path)])
        except OSError as error:
            raise ValueError(f"{stamp.path} was removed while it was read ({error.strerror}): put it back") from None
        if now[:-1] != stamp[:-1]:
            how = f"has grown by {now.size - stamp.size:,} bytes" if now.size > stamp.size else "is another now"
            raise ValueError(f"{stamp.path} changed while it was read: it {how}; start again when it is complete")


def content_hash(paths: Sequence[Path], cache_dir: str | Path) -> str:
    """SHA-256 over the contents of files in their order, what kind each is, and its split by `file_splits`.

    It is remembered below `cache_dir` by the files' stamps, unless a file was changed less than 2 s before it was read:
    it may then change again with the same times. Raises ValueError for a file that changes meanwhile.
    """
    stamps = take_stamps(paths)
    name = hashlib.sha256("\0".join(stamp.path for stamp in stamps).encode(errors="surrogateescape")).hexdigest()[:32]
    cache = Path(cache_dir).expanduser() / "hashes" / f"{name}.json"
    known = _read_cache(cache)
    total, kept = hashlib.sha256(), {}
    for path, stamp, split in zip(paths, stamps, file_splits(paths), strict=True):
        sha256 = known.get(stamp)
        began = time.time_ns()
        if sha256 is None:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            check_unchanged([stamp])
        if stamp in known or max(stamp.mtime_ns, stamp.ctime_ns) < began - _SETTLED:
            kept[stamp] = sha256
        total.update(f"{_content_kind(path)} {split} {stamp.size} {sha256}\n".encode())
    if kept and kept != known:
        _write_cache(cache, kept)
    return total.hexdigest()


def _content_kind(path: Path) -> str:
    """What a file is read as: one text is as good as another."""
    suffix = data_suffix(path)
    kind = suffix if suffix in (*TABLE_SUFFIXES, *FASTA_SUFFIXES, *TOKEN_SUFFIXES) else "text"
    return kind + (path.suffix.lower() if path.suffix.lower() in CODECS else "")


def _read_cache(cache: Path) -> dict[SourceStamp, str]:
    try:
        return {SourceStamp(*stamp): sha256 for stamp, sha256 in json.loads(cache.read_bytes())}
    except (OSError, ValueError, TypeError):  # not there, or not what was written
        return {}


def _write_cache(cache: Path, known: dict[SourceStamp, str]) -> None:
    """Keep what is known, whole or not at all; where it can't be written, it is hashed again next time."""
    unfinished = cache.with_suffix(f".{os.getpid()}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(list(known.items())))
        unfinished.replace(cache)
    except OSError:
        unfinished.unlink(missing_ok=True)
