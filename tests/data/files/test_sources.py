"""Files as they lie on a disk: found, stamped, hashed, unpacked, decoded."""

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.files import sources, stamps
from data.files.sources import check_unchanged, content_hash, find_files, open_source, read_chunks, take_stamps

LONG_AGO = 1_600_000_000


def write_file(path: Path, contents: bytes | str = "text", age: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    if age:
        os.utime(path, (LONG_AGO, LONG_AGO))
    return path


# ---- finding --------------------------------------------------------------------------------------------------------


def test_a_file_a_folder_and_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = ("b/c.md", "a.txt", "b/a.py.gz", "b/deep/x.TXT")
    files = {name: write_file(tmp_path / name) for name in names}
    for name in (".hidden.txt", ".git/config.txt", "b/picture.png", "b/deep/library.so"):
        write_file(tmp_path / name)
    assert find_files("path", str(tmp_path / "a.txt")) == [files["a.txt"]]
    skipped: list[Path] = []
    assert find_files("path", str(tmp_path), skipped=skipped) == sorted(files.values())
    assert [path.name for path in skipped] == ["picture.png", "library.so"]
    assert sources.skipped_notes(skipped) == [
        "Files of folders left out, since they are of a kind that is not read here (.png, .so): 2."
    ]
    assert sources.skipped_notes([]) == []
    assert find_files("path", f"{tmp_path}/**/*.md") == [files["b/c.md"]]
    assert find_files("path", f"{tmp_path}/[ab]*") == [files["a.txt"], *sorted((tmp_path / "b").rglob("*.[mpT][dyX]*"))]
    assert find_files("path", str(tmp_path), [".md"]) == [files["b/c.md"]]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_files("path", "~/a.txt") == [files["a.txt"]]


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path):
    file = write_file(tmp_path / "data[1].txt")
    assert find_files("path", str(file)) == [file]


def test_a_link_to_a_folder_above_ends(tmp_path: Path):
    file = write_file(tmp_path / "a" / "a.txt")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert find_files("path", str(tmp_path)) == [file]


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("nothing.txt", FileNotFoundError, "there is no such file or folder"),
        ("*.nothing", FileNotFoundError, "no file matches this pattern"),
        ("empty.txt", ValueError, "the file is empty"),
        ("empty/", ValueError, "all files are empty"),
        (
            "pictures/",
            ValueError,
            "the folder has no file of a known kind: .txt (also .gz, .zst)",
        ),
        ("tfds:nothing", FileNotFoundError, "no such data set is in"),
        ("a" * 300, FileNotFoundError, "File name too long: give a file that can be read"),
        (
            "array.json",
            ValueError,
            "can be read here: .txt (also .gz, .zst); write one object a line in FILE.jsonl, as jq",
        ),
        ("table.csv", ValueError, "table.csv is of no kind that can be read here: .txt (also .gz, .zst)"),
    ],
)
def test_what_can_not_be_found_is_one_line(
    path: str, error: type[Exception], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("empty.txt", "empty/a.txt", "empty/b.txt"):
        write_file(tmp_path / name, "")
    for name in ("pictures/a.png", "table.csv", "array.json"):
        write_file(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=f"^task.validation_path={re.escape(path)}: .*{re.escape(says)}") as raised:
        find_files("validation_path", path, [".txt"], tmp_path)
    assert "\n" not in str(raised.value)


def test_empty_files_among_others_are_no_error(tmp_path: Path):
    write_file(tmp_path / "__init__.py", "")
    write_file(tmp_path / "a.py")
    assert len(find_files("path", str(tmp_path))) == 2


@pytest.mark.parametrize("name", ["closed", "closed/a.txt", "", "open.txt"])
def test_what_may_not_be_read_is_one_line(name: str, tmp_path: Path):
    closed = write_file(tmp_path / "closed" / "a.txt").parent
    for path in (write_file(tmp_path / "open.txt"), closed):
        path.chmod(0)
    try:
        if os.access(closed, os.R_OK):
            pytest.skip("root may read everything")
        with pytest.raises(PermissionError, match=r"^task.path=.*: .*(may not be read|can be read)"):
            find_files("path", str(tmp_path / name))
    finally:
        closed.chmod(0o700)


def test_the_suffix_is_that_below_the_compression():
    suffixes = {"a.csv.gz": ".csv", "A.JSONL.ZST": ".jsonl", "a.v1.txt": ".txt", "Makefile": "", ".gz": "", "a.gz": "",
                "x-train.array_record-00000-of-00001": ".array_record"}  # fmt: skip
    assert {name: sources.data_suffix(Path(name)) for name in suffixes} == suffixes


# ---- stamps and hashes ----------------------------------------------------------------------------------------------


def test_a_hash_is_of_contents_and_their_order_and_kind(tmp_path: Path):
    a, b = write_file(tmp_path / "a.txt", "one"), write_file(tmp_path / "b.md", "two")
    copies = [write_file(tmp_path / "elsewhere" / "x.txt", "one"), write_file(tmp_path / "y.txt", "two")]
    known = content_hash([a, b], tmp_path / "cache")
    assert content_hash(copies, tmp_path / "cache") == known
    assert content_hash([b, a], tmp_path / "cache") != known
    assert content_hash([a, write_file(tmp_path / "b.csv", "two")], tmp_path / "cache") != known
    assert content_hash([write_file(tmp_path / "ab.txt", "onetwo")], tmp_path / "cache") != known


def test_a_hash_is_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = write_file(tmp_path / "a.txt", "one", age=True)
    now = stamps.time.time_ns() + 10**10
    monkeypatch.setattr(stamps.time, "time_ns", lambda: now)  # so that its ctime is old enough, too
    read, digest = [], stamps.hashlib.file_digest
    monkeypatch.setattr(stamps.hashlib, "file_digest", lambda *given: read.append(given) or digest(*given))
    known = content_hash([file], tmp_path / "cache")
    assert content_hash([file], tmp_path / "cache") == known
    assert len(read) == 1
    write_file(file, "two", age=True)  # the same size and time of change: the ctime tells
    assert content_hash([file], tmp_path / "cache") != known
    (cached,) = (tmp_path / "cache" / "hashes").iterdir()
    cached.write_text("[[1], 2")
    write_file(file, "one", age=True)
    assert content_hash([file], tmp_path / "cache") == known


def test_a_hash_of_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path):
    file = write_file(tmp_path / "a.txt", "one")
    content_hash([file], tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_hash_needs_no_folder_that_can_be_written(tmp_path: Path):
    file = write_file(tmp_path / "a.txt", "one", age=True)
    assert content_hash([file], file / "no_folder") == content_hash([file], tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.open("a").write("more"), "has grown by 4 bytes"),
        (lambda path: path.write_text("t"), "is another now"),
        (lambda path: write_file(path.with_name("b"), "text", age=True).replace(path), "is another now"),
        (lambda path: path.unlink(), "was removed while it was read"),
    ],
)
def test_a_changed_file_is_noticed(change: Callable, says: str, tmp_path: Path):
    file = write_file(tmp_path / "a.txt", "text", age=True)
    before = take_stamps([file])
    file.chmod(0o600)
    os.link(file, tmp_path / "link")
    check_unchanged(before)
    change(file)
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))} .*{says}"):
        check_unchanged(before)


# ---- reading --------------------------------------------------------------------------------------------------------

PACK = {
    ".gz": gzip.compress,
    ".zst": lambda contents: pyarrow.compress(contents, codec="zstd", asbytes=True),
    "": lambda contents: contents,
}


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_files_are_unpacked(suffix: str, tmp_path: Path):
    contents = os.urandom(3_000_000)
    file = write_file(
        tmp_path / f"a.bin{suffix}", PACK[suffix](contents[:1_000_000]) + PACK[suffix](contents[1_000_000:])
    )
    with open_source(file) as opened:
        assert opened.read(10) + opened.read() == contents


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "tail"])
def test_damaged_compression_is_one_line(suffix: str, damage: str, tmp_path: Path):
    packed = PACK[suffix](b"line\n" * 10_000)
    packed = {"cut": packed[: len(packed) // 2], "garbage": b"not packed" * 9, "tail": packed + b"more bytes"}[damage]
    file = write_file(tmp_path / f"a.txt{suffix}", packed)
    with pytest.raises(
        ValueError, match=rf"^{re.escape(str(file))}: the file is damaged, or not whole \(.+\): fetch it"
    ):
        list(read_chunks(file))


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.integers(1, 7))
def test_text_is_the_same_in_chunks_of_any_size(text: str, size: int):
    from unittest import mock

    class Source:
        bytes_read = 0

        def __init__(self, path: object):
            self.rest = text.encode()

        def read(self, count: int) -> bytes:
            found, self.rest = self.rest[:size], self.rest[size:]
            return found

        def __enter__(self) -> "Source":
            return self

        def __exit__(self, *_: object) -> None: ...

    with mock.patch.object(sources, "_Unpacked", Source):
        read = "".join(chunk for chunk, _ in read_chunks(Path("x")))
        lines = [line for line, _ in sources.read_lines(Path("x"))]
    if not text.startswith("\ufeff"):
        assert read == text
        assert lines == re.findall(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+\Z", text)


def test_a_byte_order_mark_is_dropped_and_counted(tmp_path: Path):
    counts: dict[str, int] = {}
    file = write_file(tmp_path / "a.txt", "\ufeffHellö\n")
    assert "".join(chunk for chunk, _ in read_chunks(file, counts=counts)) == "Hellö\n"
    assert sources.reading_notes(counts) == ["Byte order marks dropped: 1."]


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (b"caf\xe9\nna\xefve\n", r"byte 3 \(0xe9\) is not UTF-8: convert the text, as with iconv -f LATIN1 -t UTF-8$"),
        (
            b"abc\xe9 caf\xc3\xa9",
            r"byte 3 \(0xe9\), in its line 1 is not UTF-8, and other bytes are: the text is mixed",
        ),
        ("é\n".encode() * 200_000 + b"caf\xe9\n", r"byte 600,003 \(0xe9\) is not UTF-8, and other bytes are: .* don't"),
        (
            "é\né".encode()[:-1],
            r"byte 3 \(0xc3\): the text ends within a character, as if it were cut: fetch it again$",
        ),
        (b"PK\x03\x04\x14\0\x06\0", r"it is no text, but a zip archive, or a document packed as one \(docx, xlsx"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "it is no text, but a PDF: extract its text, as with pdftotext$"),
        (gzip.compress(b"text", mtime=0), r"it is no text, but compressed by gzip: name it as such, as FILE.txt.gz$"),
        (b"\x89PNG\r\n\x1a\n", r"it is no text, but a picture \(PNG\): leave it out$"),
        (b"\xef\xbb\xbfab\xff", r"byte 5 \(0xff\) is not UTF-8"),
        (b"x" * (2**20 - 1) + b"\xc3(", r"byte 1,048,575 \(0xc3\) is not UTF-8"),
        (b"ab\xe2\x82", r"byte 2 \(0xe2\): the text ends within a character, .*; if all of it is there, convert it"),
        (b"ab\0c", "byte 2 is NUL, which no text has: remove it"),
        ("text".encode("utf-16"), "the text is UTF-16: convert it, as with iconv -f UTF-16 -t UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(contents: bytes, says: str, tmp_path: Path):
    file = write_file(tmp_path / "a.txt", contents)
    with pytest.raises(ValueError, match=f"^task.path=a.txt: {says}"):
        list(read_chunks(file, "task.path=a.txt"))


@pytest.mark.parametrize("text", ["PK is a name", "BZh and more", "GIF89 is a format\n", "PAR1 ARROW1", "%PD"])
def test_texts_that_begin_like_other_files_are_texts(text: str, tmp_path: Path):
    assert [chunk for chunk, _ in read_chunks(write_file(tmp_path / "a.txt", text))] == [text]
