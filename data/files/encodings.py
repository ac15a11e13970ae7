"""Bytes as the text they are, or in one line why they are none."""

# How files begin that are no text: what they are, and what to do.
_DOCUMENT = "save it as plain text (UTF-8), or a table as CSV"
_BINARIES = (
    (b"PK\x03\x04", "a zip archive, or a document packed as one (docx, xlsx, odt, epub)", _DOCUMENT),
    (b"\xd0\xcf\x11\xe0", "an old Office document (doc, xls)", _DOCUMENT),
    (b"%PDF-", "a PDF", "extract its text, as with pdftotext"),
    (b"\x1f\x8b", "compressed by gzip", "name it as such, as FILE.txt.gz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "name it as such, as FILE.txt.zst"),
    (b"BZh", "compressed by bzip2", "unpack it"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"PAR1", "a Parquet file", "name it FILE.parquet"),
    (b"ARROW1", "an Arrow file", "name it FILE.arrow"),
    (b"\x93NUMPY", "a NumPy array", "name it FILE.npy if it holds tokens"),
    (b"\x89HDF", "an HDF5 file", "write what it holds as CSV or Parquet"),
    (b"SQLite format 3\0", "an SQLite database", "write a table of it as CSV"),
    (b"\x89PNG", "a picture (PNG)", "leave it out"),
    (b"\xff\xd8\xff", "a picture (JPEG)", "leave it out"),
    (b"GIF8", "a picture (GIF)", "leave it out"),
    (b"\x7fELF", "a program (ELF)", "leave it out"),
)


def check_is_text(beginning: bytes, name: str) -> None:
    """Raise ValueError for a file that begins as one of another kind, with what it is and what to do."""
    for magic, what, hint in _BINARIES:
        if beginning.startswith(magic) and (not magic.isascii() or _is_binary(beginning)):
            raise ValueError(f"{name}: it is no text, but {what}: {hint}")


def _is_binary(contents: bytes) -> bool:
    """Whether bytes that begin like a text go on like none. A PDF need not, if it is short."""
    return contents.startswith(b"%PDF-") or any(byte < 9 or 13 < byte < 27 for byte in contents[:4096])


def decode_utf8(contents: bytes, name: str, offset: int = 0, has_multibyte: bool = False, is_last: bool = True) -> str:
    """Decode bytes that begin at `offset` of the source `name`.

    `has_multibyte` says that characters of several bytes came before them, and `is_last` that nothing comes after.
    Raises ValueError, with the place of the byte and what to do, for a NUL and for what is not UTF-8.
    """
    if offset == 0 and contents[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{name}: the text is UTF-16: convert it, as with iconv -f UTF-16 -t UTF-8")
    try:
        text = contents.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: {_explain_error(error, offset, has_multibyte, is_last)}") from None
    if (place := contents.find(0)) >= 0:
        raise ValueError(f"{name}: byte {offset + place:,} is NUL, which no text has: remove it, as with tr -d '\\000'")
    return text


def _explain_error(error: UnicodeDecodeError, offset: int, has_multibyte: bool, is_last: bool) -> str:
    """What is wrong with bytes that are no UTF-8, and what to do: converting UTF-8 once more would spoil it."""
    contents = error.object
    has_multibyte = has_multibyte or not contents[: error.start].isascii()
    where = f"byte {offset + error.start:,} (0x{contents[error.start]:02x})"
    if is_last and error.reason == "unexpected end of data" and error.end == len(contents):
        other = "" if has_multibyte else "; if all of it is there, convert it, as with iconv -f LATIN1 -t UTF-8"
        return f"{where}: the text ends within a character, as if it were cut: fetch it again{other}"
    rest = contents[error.start :].decode(errors="replace")
    wrong = rest.count("\ufffd")
    right = sum(not character.isascii() for character in rest) - wrong
    if has_multibyte or right >= wrong:
        line = contents.count(b"\n", 0, error.start) + 1
        near = f", in its line {line:,}" if offset in (0, 3) else ""
        return (
            f"{where}{near} is not UTF-8, and other bytes are: the text is mixed, as where files of two encodings were "
            f"joined: mend or remove that place, and don't convert the whole"
        )
    return f"{where} is not UTF-8: convert the text, as with iconv -f LATIN1 -t UTF-8"


def character_end(contents: bytes) -> int:
    """Length of `contents` without a character at the end that may go on."""
    for back in range(1, min(4, len(contents) + 1)):
        byte = contents[-back]
        if byte & 0xC0 != 0x80:  # the first byte of a character
            length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(contents) - back if length > back else len(contents)
    return len(contents)
