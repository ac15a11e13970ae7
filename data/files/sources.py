"""Files as they lie on a disk: found by path, unpacked and decoded, in memory of a fixed size."""

import errno
import glob
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from data.files.encodings import character_end, check_is_text
from data.files.encodings import decode_utf8 as decode_utf8
from data.files.formats import CODECS, JSON_HINT, KNOWN_SUFFIXES, METADATA_FILES
from data.files.formats import FASTA_SUFFIXES as FASTA_SUFFIXES
from data.files.formats import SPLIT_NAMES as SPLIT_NAMES
from data.files.formats import TABLE_SUFFIXES as TABLE_SUFFIXES
from data.files.formats import TEXT_SUFFIXES as TEXT_SUFFIXES
from data.files.formats import TOKEN_SUFFIXES as TOKEN_SUFFIXES
from data.files.formats import data_suffix as data_suffix
from data.files.formats import file_splits as file_splits
from data.files.stamps import SourceStamp as SourceStamp
from data.files.stamps import check_unchanged as check_unchanged
from data.files.stamps import content_hash as content_hash
from data.files.stamps import take_stamps as take_stamps

MAX_LINE = 2**26  # characters of a line or a document that is read as one piece
_CHUNK = 2**18  # bytes read at once
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")

# How often what was met while files were read, for `reading_notes`. JSON can hold it, so that whoever goes on reading
# later also goes on counting.
Counts = MutableMapping[str, int]


# ---- finding --------------------------------------------------------------------------------------------------------


def find_files(
    field: str,
    path: str,
    suffixes: Sequence[str] | None = None,
    data_dir: str | Path | None = None,
    skipped: list[Path] | None = None,
) -> list[Path]:
    """Files that the config field `task.FIELD` names with `path`, sorted.

    `path` is a file, a folder, a glob pattern, or `tfds:NAME`. In folders, and below them, only files with one of the
    `suffixes` are taken (`KNOWN_SUFFIXES` by default), and none whose name begins with a point; other files are added
    to `skipped`. `data_dir` is where tensorflow-datasets' own sets were prepared.

    Raises FileNotFoundError, PermissionError or ValueError, in one line.
    """
    what = f"task.{field}={path}"
    if path.startswith("tfds:"):
        return _find_prepared(what, path.removeprefix("tfds:"), data_dir)
    named, known = Path(path).expanduser(), tuple(suffixes or KNOWN_SUFFIXES)
    if _exists(what, named):
        found = _walk_folder(what, named, known, skipped) if named.is_dir() else [named]
        if not found:
            hint = "" if suffixes else "; a pattern, as FOLDER/*, takes any text"
            raise ValueError(f"{what}: the folder has no file of a known kind: {_list_suffixes(known)}{hint}")
    elif glob.has_magic(path):
        matches = [Path(match) for match in sorted(glob.glob(str(named), recursive=True))]
        found = []
        for match in matches:
            found.extend(_walk_folder(what, match, known, skipped) if match.is_dir() else [match])
        if not found:
            raise FileNotFoundError(f"{what}: no file matches this pattern")
    else:
        raise FileNotFoundError(f"{what}: there is no such file or folder")
    found = list(dict.fromkeys(found))
    for file in found:
        if not os.access(file, os.R_OK):
            raise PermissionError(f"{what}: {file} may not be read: change its permissions")
        if suffixes and data_suffix(file) not in suffixes:
            hint = f"; {JSON_HINT}" if data_suffix(file) == ".json" else ""
            raise ValueError(
                f"{what}: {file.name} is of no kind that can be read here: {_list_suffixes(suffixes)}{hint}"
            )
    if not any(file.stat().st_size for file in found):
        raise ValueError(f"{what}: the file is empty" if len(found) == 1 else f"{what}: all files are empty")
    return found


def skipped_notes(skipped: Sequence[Path]) -> list[str]:
    """That files of folders are left out since they are of no kind that can be read, in a sentence."""
    if not skipped:
        return []
    kinds = sorted({data_suffix(path) or path.name for path in skipped})
    shown = ", ".join(kinds[:8]) + (" …" if len(kinds) > 8 else "")
    return [f"Files of folders left out, since they are of a kind that is not read here ({shown}): {len(skipped):,}."]


def _exists(what: str, path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # no permission on the way, or a name that is too long
        kind = PermissionError if error.errno == errno.EACCES else FileNotFoundError
        raise kind(f"{what}: {error.strerror}: give a file that can be read") from None


def _walk_folder(what: str, folder: Path, suffixes: Sequence[str], skipped: list[Path] | None) -> list[Path]:
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
            names = [name for name in names if not name.startswith(".") and name not in METADATA_FILES]
            files = [Path(parent, name) for name in sorted(names)]
            found += [file for file in files if data_suffix(file) in suffixes]
            if skipped is not None:
                skipped += [file for file in files if data_suffix(file) not in suffixes]
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
            f"{what}: no such data set is in {root}: with pip install -e '.[tfds-full]', tfds.builder({name!r}, "
            f"data_dir={str(root)!r}, file_format='array_record').download_and_prepare() puts it there"
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
    texts = [suffix for suffix in suffixes if suffix in TEXT_SUFFIXES]
    others = [suffix for suffix in suffixes if suffix and suffix not in texts]
    return " ".join([*texts[:4], *(["and other texts,"] if len(texts) > 4 else []), *others]) + " (also .gz, .zst)"


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


def text_size(path: Path, limit: int) -> int:
    """Bytes of a file when it is unpacked, or a number of at least `limit` where there are as many or more."""
    if path.suffix.lower() not in CODECS:
        return path.stat().st_size
    size = 0
    with _Unpacked(path) as file:
        while size < limit and (chunk := file.read(_CHUNK)):
            size += len(chunk)
    return size


def read_chunks(path: Path, name: str | None = None, counts: Counts | None = None) -> Iterator[tuple[str, int]]:
    """Pieces of a UTF-8 text as they come, and the bytes of the file read so far. `name` is what errors call it.

    A byte order mark at the beginning is dropped and counted. Line ends stay as they are. Raises ValueError, with the
    place of the byte, for a NUL and for what is not UTF-8, and for a file that begins as one of another kind.
    """
    name = name or str(path)
    with _Unpacked(path) as file:
        rest, offset, has_multibyte = b"", 0, False
        while True:
            chunk = file.read(_CHUNK) or b""
            if offset == 0 and not rest and chunk.startswith(b"\xef\xbb\xbf"):
                add_count(counts, "Byte order marks dropped")
                chunk, offset = chunk[3:], 3
            whole = rest + chunk
            if offset in (0, 3):
                check_is_text(whole, name)
            cut = character_end(whole) if chunk else len(whole)
            if cut:
                text = decode_utf8(whole[:cut], name, offset, has_multibyte, is_last=not chunk)
                has_multibyte = has_multibyte or not text.isascii()
                yield text, file.bytes_read
            rest, offset = whole[cut:], offset + cut
            if not chunk:
                return


def read_lines(path: Path, name: str | None = None, counts: Counts | None = None) -> Iterator[tuple[str, int]]:
    """Lines of a UTF-8 text with their ends (LF, CRLF, CR) as they are, and the bytes of the file read so far.

    Raises as `read_chunks`, and for a line of more than `MAX_LINE` characters.
    """
    rest, bytes_read = "", 0
    for chunk, bytes_read in read_chunks(path, name, counts):
        text = rest + chunk
        if "\r" in text:
            lines = _LINE.findall(text)
            rest = "" if lines[-1].endswith("\n") else lines.pop()  # also where a CR may be half of a CRLF
        else:
            *lines, rest = text.split("\n")
            lines = [line + "\n" for line in lines]
        for line in lines:
            yield line, bytes_read
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
