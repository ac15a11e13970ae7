"""Files as they lie on a disk: found by path, stamped, hashed, unpacked and decoded, in memory of a fixed size.

What a file holds goes by its suffix, without that of a compression: `corpus.jsonl.gz` is JSON lines.
"""

import errno
import glob
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

CODECS = {".gz": "gzip", ".zst": "zstd"}
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".array_record")
FASTA_SUFFIXES = (".fasta", ".fa", ".faa", ".fna")
TOKEN_SUFFIXES = (".bin", ".npy")
TEXT_SUFFIXES = (
    ".txt", ".text", ".md", ".rst", ".tex", ".org", ".adoc", ".html", ".htm", ".xml", ".json", ".yaml", ".yml",
    ".toml", ".ini", ".cfg", ".log", ".srt", ".vtt", ".abc", ".py", ".pyi", ".ipynb", ".c", ".h", ".cc", ".cpp", ".hpp",
    ".cu", ".cs", ".java", ".kt", ".scala", ".js", ".jsx", ".ts", ".tsx", ".css", ".go", ".rs", ".rb", ".php", ".pl",
    ".r", ".jl", ".lua", ".hs", ".ml", ".swift", ".sh", ".sql", ".f90", ".m", ".lisp", ".clj", ".ex", ".erl",
)  # fmt: skip
KNOWN_SUFFIXES = (*TEXT_SUFFIXES, *TABLE_SUFFIXES, *FASTA_SUFFIXES, *TOKEN_SUFFIXES)
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
MAX_LINE = 2**26  # characters of a line or a document that is read as one piece
# What Hugging Face's datasets and tensorflow-datasets leave beside their data.
_METADATA = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json", "features.json"}
_CHUNK = 2**18  # bytes read at once
_SETTLED = 2_000_000_000  # nanoseconds after which a file that was changed is told from what it was by its times

# How often what was met while files were read, for `reading_notes`. JSON can hold it, so that whoever goes on reading
# later also goes on counting.
Counts = MutableMapping[str, int]


def data_suffix(path: Path) -> str:
    """Suffix that says what a file holds, such as ".csv" of data.csv.gz; lower case, and "" if there is none."""
    if found := re.fullmatch(r".+(\.array_record)-\d+-of-\d+", path.name):
        return found[1]
    name = Path(path.name)
    return (Path(name.stem) if name.suffix.lower() in CODECS else name).suffix.lower()


def file_split(path: Path) -> str:
    """Name of the split that a file belongs to by the folder of Hugging Face's DatasetDict that it lies in, or by its
    name as tensorflow-datasets gives it; "" for any other file."""
    if found := re.fullmatch(r".+-([^-]+)\.array_record-\d+-of-\d+", path.name):
        return found[1]
    return path.parent.name if (path.parent.parent / "dataset_dict.json").is_file() else ""


# ---- finding --------------------------------------------------------------------------------------------------------


def find_files(
    field: str, path: str, suffixes: Sequence[str] | None = None, data_dir: str | Path | None = None
) -> list[Path]:
    """Files that the config field `task.FIELD` names with `path`, sorted.

    `path` is a file, a folder, a glob pattern, or `tfds:NAME`. In folders, and below them, only files with one of the
    `suffixes` are taken (`KNOWN_SUFFIXES` by default), and none whose name begins with a point. `data_dir` is where
    tensorflow-datasets' own sets were prepared.

    Raises FileNotFoundError, PermissionError or ValueError, in one line.
    """
    what = f"task.{field}={path}"
    if path.startswith("tfds:"):
        return _find_prepared(what, path.removeprefix("tfds:"), data_dir)
    named, known = Path(path).expanduser(), tuple(suffixes or KNOWN_SUFFIXES)
    if _exists(what, named):
        found = _walk_folder(what, named, known) if named.is_dir() else [named]
        if not found:
            raise ValueError(f"{what}: the folder has no file that can be read: known are {_list_suffixes(known)}")
    elif glob.has_magic(path):
        matches = [Path(match) for match in sorted(glob.glob(str(named), recursive=True))]
        found = [
            file for match in matches for file in (_walk_folder(what, match, known) if match.is_dir() else [match])
        ]
        if not found:
            raise FileNotFoundError(f"{what}: no file matches this pattern")
    else:
        raise FileNotFoundError(f"{what}: there is no such file or folder")
    found = list(dict.fromkeys(found))
    for file in found:
        if not os.access(file, os.R_OK):
            raise PermissionError(f"{what}: {file} may not be read: change its permissions")
        if suffixes and data_suffix(file) not in suffixes:
            raise ValueError(f"{what}: {file.name} is of no kind that can be read here: {_list_suffixes(suffixes)}")
    if not any(file.stat().st_size for file in found):
        raise ValueError(f"{what}: the file is empty" if len(found) == 1 else f"{what}: all files are empty")
    return found


def _exists(what: str, path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # no permission on the way, or a name that is too long
        kind = PermissionError if error.errno == errno.EACCES else FileNotFoundError
        raise kind(f"{what}: {error.strerror}: give a file that can be read") from None


def _walk_folder(what: str, folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """All files below `folder` with one of the suffixes, sorted; only what state.json lists where datasets left one."""

    def refuse(error: OSError) -> None:
        raise PermissionError(f"{what}: {error.filename} may not be read: change its permissions") from None

    found, visited = [], set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "state.json" in names and (listed := _saved_shards(Path(parent))):
            found += listed
        else:
            names = [name for name in names if not name.startswith(".") and name not in _METADATA]
            found += [Path(parent, name) for name in names if data_suffix(Path(name)) in suffixes]
    return sorted(found)


def _saved_shards(folder: Path) -> list[Path]:
    """Files of a data set that Hugging Face's `save_to_disk` left in `folder`, in their order; [] if it is none."""
    try:
        listed = [
            folder / entry["filename"] for entry in json.loads((folder / "state.json").read_bytes())["_data_files"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    for path in listed:
        if not path.is_file():
            raise FileNotFoundError(f"{folder}: {path.name} is missing, which state.json lists: save the data set anew")
    return listed


def _find_prepared(what: str, name: str, data_dir: str | Path | None) -> list[Path]:
    """ArrayRecord files of a data set of tensorflow-datasets: of its highest version, if none is named."""
    root = Path(data_dir or "~/tensorflow_datasets").expanduser()
    base, _, version = name.partition(":")
    folder = root / base / version
    prepared = [info.parent for info in folder.rglob("dataset_info.json") if "incomplete." not in str(info)]
    if not prepared:
        raise FileNotFoundError(
            f"{what}: no such data set is in {root}: prepare it with file_format='array_record' "
            f"(pip install -e '.[tfds-full]', with a network), or give the data_dir that has it"
        )
    if len({info.parent for info in prepared}) > 1:
        configs = ", ".join(sorted(f"tfds:{info.parent.relative_to(root)}" for info in prepared))
        raise ValueError(f"{what}: several are there: name one, as {configs}")
    newest = max(prepared, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
    files = sorted(path for path in newest.iterdir() if data_suffix(path) == ".array_record")
    if not files:
        raise ValueError(f"{what}: {newest} holds no ArrayRecord files: prepare it with file_format='array_record'")
    return files


def _list_suffixes(suffixes: Iterable[str]) -> str:
    return " ".join(suffix for suffix in suffixes if suffix) + ", each also with .gz or .zst"


# ---- stamps and hashes ----------------------------------------------------------------------------------------------


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
    """SHA-256 over the contents of files in their order, what kind each is, and its `file_split`; not their names.

    It is remembered below `cache_dir` by the files' stamps, unless a file was changed less than 2 s before it was read:
    it may then change again with the same times. Raises ValueError for a file that changes meanwhile.
    """
    stamps = take_stamps(paths)
    name = hashlib.sha256("\0".join(stamp.path for stamp in stamps).encode(errors="surrogateescape")).hexdigest()[:32]
    cache = Path(cache_dir).expanduser() / "hashes" / f"{name}.json"
    known = _read_cache(cache)
    total, kept = hashlib.sha256(), {}
    for path, stamp in zip(paths, stamps, strict=True):
        sha256 = known.get(stamp)
        began = time.time_ns()
        if sha256 is None:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            check_unchanged([stamp])
        if stamp in known or max(stamp.mtime_ns, stamp.ctime_ns) < began - _SETTLED:
            kept[stamp] = sha256
        total.update(f"{_content_kind(path)} {file_split(path)} {stamp.size} {sha256}\n".encode())
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


# ---- reading --------------------------------------------------------------------------------------------------------


class _Unpacked(io.RawIOBase):
    """A file's contents, decompressed if its suffix says so. `bytes_read` counts those of the file itself."""

    def __init__(self, path: Path):
        super().__init__()
        self._path, self._file, self._stream = path, path.open("rb"), None
        if codec := CODECS.get(path.suffix.lower()):
            import pyarrow

            self._stream = pyarrow.CompressedInputStream(self._file, codec)

    @property
    def bytes_read(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._stream is None:
            return self._file.readinto(buffer)
        try:
            contents = self._stream.read(len(buffer))
        except OSError as error:
            if error.errno:  # of the disk, and not of what lies on it
                raise
            how = str(error).splitlines()[0]
            raise ValueError(f"{self._path}: the file is damaged, or not whole ({how}): fetch it again") from None
        buffer[: len(contents)] = contents
        return len(contents)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_source(path: Path) -> BinaryIO:
    """Open a file to be read from its beginning, decompressed if its suffix is .gz or .zst.

    Reading raises ValueError, in one line, where the compressed data are damaged or end too early.
    """
    return io.BufferedReader(_Unpacked(path), _CHUNK)


def read_chunks(path: Path, name: str | None = None, counts: Counts | None = None) -> Iterator[tuple[str, int]]:
    """Pieces of a UTF-8 text as they come, and the bytes of the file read so far. `name` is what errors call it.

    A byte order mark at the beginning is dropped and counted. Line ends stay as they are. Raises ValueError, with the
    place of the byte, for a NUL and for what is not UTF-8.
    """
    with _Unpacked(path) as file:
        rest, offset = b"", 0
        while True:
            chunk = file.read(_CHUNK) or b""
            if offset == 0 and not rest and chunk.startswith(b"\xef\xbb\xbf"):
                add_count(counts, "Byte order marks dropped")
                chunk, offset = chunk[3:], 3
            whole = rest + chunk
            cut = _character_end(whole) if chunk else len(whole)
            if cut:
                yield decode_utf8(whole[:cut], name or str(path), offset), file.bytes_read
            rest, offset = whole[cut:], offset + cut
            if not chunk:
                return


def decode_utf8(contents: bytes, name: str, offset: int = 0) -> str:
    """Decode bytes that begin at `offset` of the source `name`.

    Raises ValueError, with the place of the byte and what to do, for a NUL and for what is not UTF-8.
    """
    if offset == 0 and contents[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{name}: the text is UTF-16: convert it, as with iconv -f UTF-16 -t UTF-8")
    try:
        text = contents.decode()
    except UnicodeDecodeError as error:
        place, byte = offset + error.start, contents[error.start]
        raise ValueError(
            f"{name}: byte {place:,} (0x{byte:02x}) is not UTF-8: convert the text, as with iconv -f LATIN1 -t UTF-8"
        ) from None
    if (place := contents.find(0)) >= 0:
        raise ValueError(f"{name}: byte {offset + place:,} is NUL, which no text has: remove it, as with tr -d '\\000'")
    return text


def _character_end(contents: bytes) -> int:
    """Length of `contents` without a character at the end that may go on."""
    for back in range(1, min(4, len(contents) + 1)):
        byte = contents[-back]
        if byte & 0xC0 != 0x80:  # the first byte of a character
            length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(contents) - back if length > back else len(contents)
    return len(contents)


def read_lines(path: Path, name: str | None = None, counts: Counts | None = None) -> Iterator[tuple[str, int]]:
    """Lines of a UTF-8 text with their ends as they are, and the bytes of the file read so far.

    Raises as `read_chunks`, and for a line of more than `MAX_LINE` characters.
    """
    rest, bytes_read = "", 0
    for chunk, bytes_read in read_chunks(path, name, counts):
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            yield line + "\n", bytes_read
        if len(rest) > MAX_LINE:
            raise ValueError(f"{name or path}: a line has more than {MAX_LINE:,} characters: break it, or give a text")
    if rest:
        yield rest, bytes_read


def add_count(counts: Counts | None, what: str, number: int = 1) -> None:
    """Add to the count of `what`, if anything is counted."""
    if counts is not None and number:
        counts[what] = counts.get(what, 0) + number


def reading_notes(counts: Counts) -> list[str]:
    """What was met while files were read and isn't kept as it was, with how often."""
    return [f"{what}: {number:,}." for what, number in counts.items() if number]
