"""Documents of text corpora of every kind: exact, resumable, the same wherever chunks end."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from data.builder import RecordBuilder
from data.files import documents, sources
from data.files.documents import _cut_pieces, choose_document, piece_length, read_documents
from data.files.sources import find_files, reading_notes
from data.files.tables import read_rows

PARAGRAPHS = [f"Paragraph {i}. " + "Words of it, and more. " * (i % 30) for i in range(400)]


def texts_of(path: Path, **options: Any) -> list[str]:
    return [document.text for document in read_documents("path", find_files("path", str(path)), **options)]


# ---- texts ----------------------------------------------------------------------------------------------------------


def test_pieces_end_at_blank_lines_and_are_the_text(tmp_path: Path):
    text = "\n\n\n".join(PARAGRAPHS)
    (tmp_path / "a.txt").write_text(text)
    pieces = texts_of(tmp_path / "a.txt")
    assert "".join(pieces) == text
    assert len(pieces) > documents.PIECES / 2
    assert all(piece.endswith("\n\n\n") for piece in pieces[:-1])
    assert all(len(piece) >= piece_length([tmp_path / "a.txt"]) for piece in pieces[:-1])


@pytest.mark.parametrize("count", [1, documents.MIN_FILES])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_equal_texts_are_equal_documents_however_they_are_packed(
    suffix: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(documents, "MAX_WHOLE_FILE", 2**17)
    plain = [tmp_path / f"{i:02}.txt" for i in range(count)]
    packed = [path.with_name(path.name + suffix) for path in plain]
    for text in ("\n\n".join(PARAGRAPHS[:60]), "\n\n".join(PARAGRAPHS)):
        for path, other in zip(plain, packed, strict=True):
            path.write_text(text)
            with pa.CompressedOutputStream(str(other), "gzip" if suffix == ".gz" else "zstd") as file:
                file.write(text.encode())
        read, again = (list(read_documents("path", paths)) for paths in (plain, packed))
        assert [(d.text, d.position) for d in read] == [(d.text, d.position) for d in again]


@given(
    st.lists(st.sampled_from(["word ", "x" * 50, "\n", "\n\n", "\r\n", "\r", " \t\n", "End. ", "é。"]), max_size=300),
    st.integers(1, 400),
)
def test_pieces_are_the_text_wherever_chunks_end(parts: list[str], size: int):
    text = "".join(parts)
    chunks = [(text[i : i + size], i) for i in range(0, len(text), size)]
    pieces = [piece for piece, _ in _cut_pieces(iter(chunks), 20)]
    assert "".join(pieces) == text
    assert pieces == [piece for piece, _ in _cut_pieces(iter([(text, 0)]), 20)]
    assert all(pieces)
    assert all(len(piece) >= 20 for piece in pieces[:-1])
    assert all(len(piece) <= 4 * 20 + 10 for piece in pieces)
    assert not any(piece.endswith("\r") and after.startswith("\n") for piece, after in itertools.pairwise(pieces))


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("A line of it.\n" * 3000, "\n"),
        ("A sentence of it. " * 3000, ". "),
        ("words " * 8000, " "),
        ("x" * 40_000, "x"),
    ],
)
def test_a_long_text_without_blank_lines_is_cut_where_lines_sentences_or_words_end(text: str, end: str, tmp_path: Path):
    (tmp_path / "a.txt").write_text(text)
    pieces = texts_of(tmp_path / "a.txt")
    assert "".join(pieces) == text
    assert len(pieces) > 10
    assert all(piece.endswith(end) for piece in pieces)


def test_paragraphs_and_lines(tmp_path: Path):
    (tmp_path / "a.txt").write_text("One\ntwo \n \n\nthree\n")
    assert texts_of(tmp_path / "a.txt", document="paragraph") == ["One\ntwo ", "three"]
    assert texts_of(tmp_path / "a.txt", document="line") == ["One", "two ", " ", "three"]
    assert texts_of(tmp_path / "a.txt", document="file") == ["One\ntwo \n \n\nthree\n"]


def test_many_small_files_are_a_document_each(tmp_path: Path):
    paths = [tmp_path / f"{i:02}.txt" for i in range(documents.MIN_FILES)]
    for i, path in enumerate(paths):
        path.write_text(f"Text {i}\n\n" * 1000 if i else "")
    counts: dict[str, int] = {}
    read = list(read_documents("path", paths, counts=counts))
    assert [document.position for document in read] == [(i, 0) for i in range(1, len(paths))]
    assert reading_notes(counts) == ["Empty files left out: 1."]
    assert choose_document("auto", paths[1:]) == "piece"


@pytest.mark.parametrize("form", ["auto", "paragraph", "line", "table"])
def test_reading_goes_on_anywhere(form: str, tmp_path: Path):
    """And so does counting: what is counted before and after is what is counted in one go."""
    suffix = "csv" if form == "table" else "txt"
    for i in range(3):
        parts = [f"{i} {text}" for text in PARAGRAPHS[:40]]
        lines = [f'"{part}"\n' if part else part for part in parts] if form == "table" else parts
        text = "\n" + "text\n" * (form == "table") + "\n\n".join([*lines, '""', "", *lines])
        (tmp_path / f"{i}.{suffix}").write_text("\ufeff" + text, newline="\r\n")
    paths, counts = find_files("path", str(tmp_path)), {}
    options: dict[str, Any] = {"document": "auto" if form == "table" else form}
    whole = list(read_documents("path", paths, counts=counts, **options))
    read = [document.bytes_read for document in whole]
    assert read == sorted(read)
    assert read[-1] == sum(path.stat().st_size for path in paths)
    for i in (0, 1, len(whole) // 2, len(whole) - 1):
        again, before = read_documents("path", paths, counts=(both := {}), **options), []
        before = [next(again) for _ in range(i)]
        file, number = before[-1].position if before else (0, -1)
        after = list(read_documents("path", paths, start=(file, number + 1), counts=both, **options))
        assert before + after == whole
        assert both == counts
    assert list(read_documents("path", paths, start=(2, 10**6), **options)) == []


@pytest.mark.parametrize("form", ["auto", "paragraph", "line"])
def test_the_line_ends_of_old_macs_are_line_ends(form: str, tmp_path: Path):
    text = "\n\n".join(PARAGRAPHS) + "\n"
    (tmp_path / "new.txt").write_text(text)
    (tmp_path / "old.txt").write_text(text, newline="\r")
    counts: dict[str, int] = {}
    assert texts_of(tmp_path / "old.txt", document=form, counts=counts) == texts_of(tmp_path / "new.txt", document=form)
    if form == "auto":
        assert reading_notes(counts) == [f"Line ends of old Macs (CR) changed to LF: {text.count(chr(10)):,}."]


def test_rows_without_a_text_are_left_out_and_counted(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"other": 1}\n{"text": null}\n{"text": "b"}\n')
    counts: dict[str, int] = {}
    assert texts_of(tmp_path / "a.jsonl", counts=counts) == ["a", "b"]
    assert counts == {"Rows without the key text, which is taken for a null": 1, "Rows without text left out": 2}


def test_windows_line_ends_are_counted(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\n\r\nthree\n")
    counts: dict[str, int] = {}
    assert [d.text for d in read_documents("path", [tmp_path / "a.txt"], counts=counts)] == ["one\ntwo\n\nthree\n"]
    assert reading_notes(counts) == ["Windows line ends (CRLF) changed to LF: 3."]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("a.txt", {"document": "page"}, "^task.document=page: one of auto, file, paragraph, line$"),
        ("a.txt", {"column": "body"}, "^task.column=body: a.txt is no table, but a text by its suffix: leave it out$"),
        ("a.txt", {"split_column": "s"}, "^task.split_column=s: a.txt is no table: give validation_path, test_path$"),
        ("a.jsonl", {"document": "line"}, "^task.document=line: a.jsonl is a table, and each row is a document"),
        ("a.jsonl", {"column": "n"}, r"^task.column=n: a.jsonl, line 1 holds int and no text$"),
        ("a.jsonl", {"column": "null"}, r"a.jsonl: there is no text in it: all rows of task.column=null are empty$"),
        ("a.jsonl", {"column": "nul"}, r"^task.column=nul: a.jsonl, line 1 holds a NUL, which no text has"),
        ("a.jsonl", {"column": "half"}, r"^task.column=half: a.jsonl, line 1 holds '\\ud800', half a character"),
        (
            "a.jsonl",
            {"column": "no"},
            r"^task.column=no: a.jsonl has no such column; it has n, null, nul, half",
        ),
        ("a.jsonl", {"split_column": "s", "column": "s"}, r"^a.jsonl, line 1: the split is 'holdout': write train, va"),
        ("a.fasta", {}, r"^task.path=.*: a .fasta file is no text"),
        ("blank.txt", {}, r"^task.path=.*blank.txt: there is no text in it"),
        (
            "a.json",
            {},
            r"^task.path=.*a.json: it is an array of JSON objects: write one object a line in FILE.jsonl, as jq",
        ),
        (
            "b.jsonl",
            {},
            r"^b.jsonl, line 1: it begins an array, and not a JSON object: write one object a line in FILE",
        ),
        ("null.parquet", {"column": "n"}, r"^task.column=n: null.parquet, row 1 holds int and no text$"),
    ],
)
def test_bad_corpora_are_one_line(name: str, options: dict[str, str], says: str, tmp_path: Path):
    row = {"n": 1, "null": None, "nul": "a\0", "half": "\ud800", "s": "holdout"}
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.fasta").write_text(">a\nAC")
    (tmp_path / "blank.txt").write_text("\n")
    for array in ("a.json", "b.jsonl"):
        (tmp_path / array).write_text('[\n  {"text": "a"},\n  {"text": "b"}\n]\n')
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    pyarrow.parquet.write_table(pa.table({"text": ["a", None], "n": [1, 2]}), tmp_path / "null.parquet")
    options = {"document": "line", **options} if name == "blank.txt" else options
    with pytest.raises(ValueError, match=says) as raised:
        texts_of(tmp_path / name, **options)
    assert "\n" not in str(raised.value)


def test_texts_and_tables_are_not_mixed(tmp_path: Path):
    (tmp_path / "README.md").write_text("text")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ValueError, match=r": .jsonl and .md files are mixed: give those of one kind, as .*/\*\.jsonl$"):
        texts_of(tmp_path)


def test_a_corpus_that_grows_while_it_is_read_is_noticed(tmp_path: Path):
    (tmp_path / "a.txt").write_text("\n\n".join(PARAGRAPHS))
    read = read_documents("path", [tmp_path / "a.txt"])
    next(read)
    with (tmp_path / "a.txt").open("a") as file:
        file.write("and more")
    with pytest.raises(ValueError, match=r"a.txt changed while it was read: it has grown by 8 bytes"):
        list(read)


def test_a_text_without_an_end_is_refused_where_it_must_be_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.txt").write_text("x" * 5000)
    for module in (documents, sources):
        monkeypatch.setattr(module, "MAX_LINE", 1000)
    for form, says in (("file", "the file"), ("paragraph", "a line"), ("line", "a line")):
        with pytest.raises(ValueError, match=f"a.txt: {says} has more than 1,000 characters: "):
            texts_of(tmp_path / "a.txt", document=form)
    assert "".join(texts_of(tmp_path / "a.txt")) == "x" * 5000


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_a_split_column(tmp_path: Path):
    rows = [{"body": f"text {i}", "part": part} for i, part in enumerate(("Train", "dev", "test", "train"))]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"body": "", "part": "test"}]))
    counts: dict[str, int] = {}
    read = list(read_documents("path", [tmp_path / "a.jsonl"], "body", split_column="part", counts=counts))
    assert [document.split for document in read] == ["train", "validation", "test", "train"]
    assert counts == {"Rows without text left out": 1}
    start = read[2].position
    assert list(read_documents("path", [tmp_path / "a.jsonl"], "body", split_column="part", start=start)) == read[2:]


def save_to_disk(folder: Path, shards: list[list[str]]) -> None:
    """What Hugging Face's datasets leaves there."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(shards):05}.arrow" for i in range(len(shards))]
    for name, texts in zip(names, shards, strict=True):
        table = pa.table({"text": texts})
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"text": {"dtype": "string"}}}))


def test_a_folder_of_hugging_face(tmp_path: Path):
    save_to_disk(tmp_path / "set", [["a", "b", "c"], ["d"]])
    (tmp_path / "set" / "cache-0123.arrow").write_bytes(b"of a filter that was tried, which is no part of the set")
    read = list(read_documents("path", find_files("path", str(tmp_path / "set"))))
    assert [(document.text, document.split) for document in read] == [(text, "") for text in "abcd"]
    (tmp_path / "set" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(FileNotFoundError, match=r"data-00001-of-00002.arrow is missing, which state.json lists"):
        find_files("path", str(tmp_path / "set"))


def test_splits_of_hugging_face_are_given(tmp_path: Path):
    for split, texts in {"train": ["a", "b"], "test": ["c"], "unsupervised": ["d"]}.items():
        save_to_disk(tmp_path / "set" / split, [texts])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test", "unsupervised"]}')
    files, counts = find_files("path", str(tmp_path / "set")), {}
    read = list(read_documents("path", files, counts=counts))
    assert [(document.text, document.split) for document in read] == [("c", "test"), ("a", "train"), ("b", "train")]
    assert reading_notes(counts) == [
        "Files that are test by their name or folder: 1.",
        "Files that are train by their name or folder: 1.",
        "Files of the split unsupervised left out, which is none of train, validation and test: 1.",
    ]
    for i in range(len(read)):
        again = {}
        reading = read_documents("path", files, counts=again)
        before = [next(reading) for _ in range(i + 1)]
        file, number = before[-1].position
        assert [*before, *read_documents("path", files, start=(file, number + 1), counts=again)] == read
        assert again == counts
    rows = list(read_rows("path", files, ["text"]))
    assert [(row.values[0], row.split) for row in rows] == [(document.text, document.split) for document in read]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.jsonl", "dev.jsonl", "TEST.jsonl"), ("train", "validation", "test")),
        (("train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl", "test-00000-of-00001-0af3.jsonl"),
         ("train", "train", "test")),
        (("test.jsonl", "extra.jsonl", "train.jsonl"), ("", "", "")),
        (("test.jsonl", "dev.jsonl"), ("", "")),
        (("train.jsonl",), ("",)),
        (("data-00000-of-00002.jsonl", "data-00001-of-00002.jsonl"), ("", "")),
        (("train-0-of-1.jsonl", "test-0-of-1.jsonl", "unsupervised-0-of-1.jsonl"), ("train", "test")),
    ],
)  # fmt: skip
def test_files_that_are_all_named_after_splits(names: tuple[str, ...], splits: tuple[str, ...], tmp_path: Path):
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_text('{"text": "a"}\n')
    assert tuple(document.split for document in read_documents("path", paths)) == splits
    assert tuple(row.split for row in read_rows("path", paths, ["text"])) == splits


class Sayings(RecordBuilder):
    """A set of tensorflow-datasets as a user may have prepared it."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES: Mapping[str, Any] = {"said": tfds.features.Text(), "n": tfds.features.Scalar(np.int32)}

    @staticmethod
    def generate_records() -> list[tuple[str, int, dict[str, Any]]]:
        return [(split, i, {"said": f"{split} é{i}", "n": i}) for split in ("train", "test") for i in range(5)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    Sayings.name = "sayings"
    root = tmp_path_factory.mktemp("tfds")
    Sayings(data_dir=root, file_format="array_record").download_and_prepare()
    return root


def test_a_set_that_tensorflow_datasets_has_prepared(prepared: Path):
    files = find_files("path", "tfds:sayings", data_dir=prepared)
    read = list(read_documents("path", files, column="said"))
    expected = {(f"{split} é{i}", split) for split in ("train", "test") for i in range(5)}
    assert {(document.text, document.split) for document in read} == expected
    assert list(read_documents("path", files, column="said", start=read[3].position)) == read[3:]
    assert find_files("path", "tfds:sayings:1.0.0", data_dir=prepared) == files
    rows = list(read_rows("path", files, {"label_column": "n", "sequence_column": "said"}))
    assert all(isinstance(row.values[0], int) and row.values[1].endswith(str(row.values[0])) for row in rows)


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("sayings", "text", r"^task.column=text: sayings-test.array_record-.* has no such column; it has n, said$"),
        ("sayings", "n", r"^task.column=n: sayings-test.array_record-00000-of-00001, row 1 holds int and no text$"),
    ],
)
def test_a_feature_that_is_missing_or_no_text(name: str, column: str, says: str, prepared: Path):
    with pytest.raises(ValueError, match=says):
        list(read_documents("path", find_files("path", f"tfds:{name}", data_dir=prepared), column=column))


def test_a_set_that_is_damaged_or_not_in_array_record(prepared: Path, tmp_path: Path):
    (tmp_path / "other" / "1.0.0").mkdir(parents=True)
    (tmp_path / "other" / "1.0.0" / "dataset_info.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds no ArrayRecord files: prepare it with file_format='array_record'"):
        find_files("path", "tfds:other", data_dir=tmp_path)
    for file in (prepared / "sayings" / "1.0.0").iterdir():
        contents = file.read_bytes()
        is_record = ".array_record-" in file.name
        (tmp_path / "sayings" / "1.0.0").mkdir(parents=True, exist_ok=True)
        contents = contents[: len(contents) // 2] if is_record else contents
        (tmp_path / "sayings" / "1.0.0" / file.name).write_bytes(contents)
    with pytest.raises(ValueError, match=r"the file is damaged, or of another kind") as raised:
        list(read_documents("path", find_files("path", "tfds:sayings", data_dir=tmp_path), column="said"))
    assert "\n" not in str(raised.value)
