"""Documents of text corpora, one after the other, in memory that doesn't grow with the files."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data.files import tables
from data.files.columns import ColumnRequest, name_paths
from data.files.formats import FASTA_SUFFIXES, JSON_HINT, TABLE_SUFFIXES, TOKEN_SUFFIXES, data_suffix, file_splits
from data.files.sources import MAX_LINE, Counts, add_count, open_source, read_chunks, read_lines, text_size
from data.files.splits import canonical_split, known_split
from data.files.stamps import check_unchanged, take_stamps

PIECE = 2_000  # characters of a piece of a text, at least: a split should hold runs of context
MIN_PIECE = 200  # the same, of a text so short that it would make few pieces
PIECES = 64  # as many as a short text is cut into, about
MAX_WHOLE_FILE = 2**23  # bytes of a file that "auto" takes for one document
MIN_FILES = 64  # files that "auto" takes for one document each
_LINE_END = re.compile(r"\r\n?|\n")
_BLANK_LINES = re.compile(r"(?:\r\n?|\n)(?:[ \t]*(?:\r\n?|\n))+")
_OBJECTS = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*\{")
_SENTENCE_ENDS = (". ", "! ", "? ", ".” ", '." ', "。", "！", "？")


class Document(NamedTuple):
    """A piece of text that belongs to one split as a whole.

    `split` is the one that is given, or "". `position` is the number of its file, and its own among the file's
    documents; `bytes_read` are those of all files so far.
    """

    text: str
    split: str
    position: tuple[int, int]
    bytes_read: int


def read_documents(
    field: str,
    paths: Sequence[Path],
    column: str = "text",
    document: str = "auto",
    split_column: str = "",
    start: tuple[int, int] | None = None,
    counts: Counts | None = None,
) -> Iterator[Document]:
    """Read the documents of all files, from the position `start` on: (i, j + 1) goes on after (i, j).

    Args:
      field: of the config, which names the files; errors speak of `task.FIELD`.
      paths: the files, in the order of their numbers.
      column: of a table, where each row is a document.
      document: of a text: "file", "paragraph" (between blank lines), "line", or "auto": each file of 64 or more that
        are not large; otherwise pieces that end at blank lines and have at least 2,000 characters, or fewer where the
        text is short. Joined, they are the text.
      split_column: of a table, which says train, validation or test.
      start: position of the first document that is given.
      counts: where things are counted that are not kept as they stand, for `sources.reading_notes`.

    Line ends of Windows and of old Macs become "\\n" and are counted, as are empty documents, which are left out.

    Raises ValueError, in one line with the place, for what is not in order, and for a file that changes meanwhile.
    """
    is_table = check_same_form(field, paths)
    if is_table and document != "auto":
        raise ValueError(
            f"task.document={document}: {paths[0].name} is a table, and each row is a document: leave it out"
        )
    if split_column and not is_table:
        raise ValueError(
            f"task.split_column={split_column}: {paths[0].name} is no table: give validation_path, test_path"
        )
    if column != "text" and not is_table:
        raise ValueError(f"task.column={column}: {paths[0].name} is no table, but a text by its suffix: leave it out")
    form = document if is_table else choose_document(document, paths)
    least = piece_length(paths)
    first_file, first_document = start or (0, 0)
    bytes_before = 0
    found = start is not None
    for file, (path, name) in enumerate(zip(paths, file_splits(paths), strict=True)):
        if file < first_file:
            bytes_before += path.stat().st_size
            continue
        skipped = first_document if file == first_file else 0
        stamps, split = take_stamps([path]), known_split(name, None if skipped else counts)
        if split is None:
            continue
        if is_table:
            rows = _read_table(field, path, column, split_column, skipped, counts)
        else:
            rows = _read_text(field, path, form, least, skipped, counts)
        for number, text, given, bytes_read in rows:
            found = True
            text = _normalize_text(text, counts)
            yield Document(text, given or split, (file, number), bytes_before + bytes_read)
        check_unchanged(stamps)
        bytes_before += stamps[0].size
    if not found:
        where = f": all rows of task.column={column} are empty" if is_table else ""
        raise ValueError(f"task.{field}={name_paths(paths)}: there is no text in it{where}")


def check_same_form(field: str, paths: Sequence[Path]) -> bool:
    """Whether the files are tables and not texts. Raises ValueError if they are both, or neither."""
    suffixes = {data_suffix(path) for path in paths}
    if other := suffixes & {*TOKEN_SUFFIXES, *FASTA_SUFFIXES}:
        raise ValueError(f"task.{field}={name_paths(paths)}: a {min(other)} file is no text")
    if suffixes & set(TABLE_SUFFIXES):
        tables.check_same_kind(field, paths)
        return True
    if suffixes == {".json"} and len(paths) == 1:
        with open_source(paths[0]) as file:
            if _OBJECTS.match(file.read(4096)):
                raise ValueError(
                    f"task.{field}={paths[0]}: it is an array of JSON objects: {JSON_HINT}; to learn the JSON "
                    f"itself, name it FILE.txt"
                )
    return False


def choose_document(document: str, paths: Sequence[Path]) -> str:
    """What a document of texts is: "file", "piece", "paragraph" or "line"."""
    if document not in ("auto", "file", "paragraph", "line"):
        raise ValueError(f"task.document={document}: one of auto, file, paragraph, line")
    if document != "auto":
        return document
    is_many = len(paths) >= MIN_FILES
    return (
        "file" if is_many and all(text_size(path, MAX_WHOLE_FILE + 1) <= MAX_WHOLE_FILE for path in paths) else "piece"
    )


def piece_length(paths: Sequence[Path]) -> int:
    """Characters that a piece has at least: fewer than 2,000 where the texts are so short that they'd be few pieces.

    Equal texts have pieces of the same length, compressed or not.
    """
    size = 0
    for path in paths:
        size += text_size(path, PIECE * PIECES - size)
        if size >= PIECE * PIECES:
            break
    return min(PIECE, max(MIN_PIECE, size // PIECES))


_Found = Iterator[tuple[int, str, str, int]]  # number in the file, text, given split, bytes read of the file


def _read_table(field: str, path: Path, column: str, split_column: str, start: int, counts: Counts | None) -> _Found:
    columns = {"column": column, **({"split_column": split_column} if split_column else {})}
    request = ColumnRequest(field, path, list(columns.items()), counts)
    for number, place, (text, *given), bytes_read in tables.read_file_rows(request, start):
        if not isinstance(text, str | None):
            raise ValueError(f"task.column={column}: {place} holds {type(text).__name__} and no text")
        if not text:
            add_count(counts, "Rows without text left out")
            continue
        if "\0" in text:
            raise ValueError(f"task.column={column}: {place} holds a NUL, which no text has: remove it")
        _check_encodable(text, f"task.column={column}: {place}")
        yield number, text, canonical_split(given[0], place) if given else "", bytes_read


def _check_encodable(text: str, place: str) -> None:
    """Raise ValueError for half a character, as JSON may write one."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"{place} holds {half!r}, half a character (a lone surrogate): write it whole") from None


def _read_text(field: str, path: Path, form: str, least: int, start: int, counts: Counts | None) -> _Found:
    name, all_counts = f"task.{field}={path}", counts
    counts = None if start else counts  # what stands at the beginning of the file was counted then
    if form == "line":
        found = ((line.removesuffix("\n").removesuffix("\r"), read) for line, read in read_lines(path, name, counts))
    elif form == "file":
        found = _read_whole(path, name, counts)
    elif form == "paragraph":
        found = _cut_paragraphs(path, name, counts)
    else:
        found = _cut_pieces(read_chunks(path, name, counts), least)
    number = -1
    for text, bytes_read in found:
        if not text:
            continue
        number += 1
        if number >= start:
            yield number, text, "", bytes_read
    if number < 0:
        add_count(all_counts, "Empty files left out")


def _read_whole(path: Path, name: str, counts: Counts | None) -> Iterator[tuple[str, int]]:
    parts, length, bytes_read = [], 0, 0
    for part, done in read_chunks(path, name, counts):
        parts.append(part)
        length, bytes_read = length + len(part), done
        if length > MAX_LINE:
            raise ValueError(f"{name}: the file has more than {MAX_LINE:,} characters: set task.document=paragraph")
    yield "".join(parts), bytes_read


def _cut_paragraphs(path: Path, name: str, counts: Counts | None) -> Iterator[tuple[str, int]]:
    lines, length, bytes_read = [], 0, 0
    for line, bytes_read in read_lines(path, name, counts):
        if line.strip():
            lines.append(line)
            length += len(line)
            if length > MAX_LINE:
                raise ValueError(f"{name}: a paragraph has more than {MAX_LINE:,} characters: set task.document=line")
        elif lines:
            yield "".join(lines).rstrip("\r\n"), bytes_read
            lines, length = [], 0
    if lines:
        yield "".join(lines).rstrip("\r\n"), bytes_read


def _cut_pieces(chunks: Iterator[tuple[str, int]], least: int) -> Iterator[tuple[str, int]]:
    """Cut a text into pieces of `least` to 4 · `least` characters (the last may be shorter), wherever chunks end."""
    most, text, bytes_read = 4 * least, "", 0
    for chunk, bytes_read in chunks:
        text, begin = text + chunk, 0
        while len(text) - begin > most + least:
            end = _piece_end(text, begin, least, most)
            yield text[begin:end], bytes_read
            begin = end
        text = text[begin:]
    begin = 0
    while begin < len(text):
        end = _piece_end(text, begin, least, most)
        if len(text) - end < least // 2:
            end = len(text)
        yield text[begin:end], bytes_read
        begin = end


def _piece_end(text: str, begin: int, least: int, most: int) -> int:
    """Where the piece that begins there ends: at the first blank lines after `least` characters; without any, at the
    first end of a line, or of a sentence, or of a word, so that a short text makes enough pieces for three splits.
    Never within a CRLF."""
    low, high = begin + least, min(begin + most, len(text))
    if low >= high:
        return high
    if found := _BLANK_LINES.search(text, low, high) or _LINE_END.search(text, low, high):
        high = found.end()
    else:
        for marks in (_SENTENCE_ENDS, (" ",)):
            ends = [place + len(mark) for mark in marks if (place := text.find(mark, low, high)) >= 0]
            if ends:
                high = min(ends)
                break
    return high + (text[high - 1 : high + 1] == "\r\n")


def _normalize_text(text: str, counts: Counts | None) -> str:
    if "\r" not in text:
        return text
    windows = text.count("\r\n")
    add_count(counts, "Windows line ends (CRLF) changed to LF", windows)
    add_count(counts, "Line ends of old Macs (CR) changed to LF", text.count("\r") - windows)
    return text.replace("\r\n", "\n").replace("\r", "\n")
