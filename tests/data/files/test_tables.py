"""Rows of tables of every kind, and what is refused."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.files.fasta import read_labels
from data.files.tables import class_names, column_names, field_separator, read_fasta, read_rows

ROWS = [("001", "NA"), ("a,b", 'says "x"'), ("two\nlines", "é"), ("", "x")]


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("sequence", "label"), *rows])


def write_json_lines(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    path.write_text("".join(json.dumps(dict(zip(("sequence", "label"), row, strict=True))) + "\n" for row in rows))


def make_table(rows: Sequence[Sequence[Any]]) -> pa.Table:
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(("sequence", "label"))})


def write_parquet(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    pyarrow.parquet.write_table(make_table(rows), path, row_group_size=3)


def write_stream(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    table = make_table(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def write_ipc_file(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    table = make_table(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


WRITERS: Mapping[str, tuple[str, Callable]] = {
    "csv": ("a.csv", write_csv),
    "jsonl": ("a.jsonl", write_json_lines),
    "parquet": ("a.parquet", write_parquet),
    "stream": ("a.arrow", write_stream),
    "file": ("b.arrow", write_ipc_file),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_come_as_they_were_written(kind: str, tmp_path: Path):
    name, write = WRITERS[kind]
    write(tmp_path / name, ROWS)
    rows = list(read_rows("path", [tmp_path / name], ["label", "sequence"]))
    assert [row.values for row in rows] == [(label, sequence) for sequence, label in ROWS]
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert rows[2].place == f"{name}, {'line' if kind == 'jsonl' else 'row'} 3"
    assert column_names("path", tmp_path / name) == ["sequence", "label"]
    read = [row.bytes_read for row in rows]
    assert read == sorted(read)
    assert 0 < read[-1] <= (tmp_path / name).stat().st_size


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("start", range(10))
def test_reading_goes_on_anywhere(kind: str, start: int, tmp_path: Path):
    """And so does counting: what is counted before and after is what is counted in one go."""
    name, write = WRITERS[kind]
    paths = [tmp_path / f"{split}{name[1:]}" for split in ("train", "test")]
    for path in paths:
        write(path, ROWS)
        if kind in ("csv", "jsonl"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\n\n") + b"\n")
    columns, counts, both = ["sequence", "label"], {}, {}
    rows = list(read_rows("path", paths, columns, counts=counts))
    assert [row.index for row in rows] == list(range(8))
    reading = read_rows("path", paths, columns, counts=both)
    before = [next(reading) for _ in range(min(start, 8))]
    assert before + list(read_rows("path", paths, columns, start, both)) == rows
    assert both == counts or start > len(rows)


@given(
    st.lists(st.tuples(*[st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))] * 2), min_size=1)
)
def test_any_text_survives_csv(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_csv(path, rows)
    assert [row.values for row in read_rows("path", [path], ["sequence", "label"])] == rows


def test_the_same_rows_compressed(tmp_path: Path):
    write_csv(tmp_path / "a.csv", ROWS)
    contents = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv.zst").write_bytes(pa.compress(contents, codec="zstd", asbytes=True))
    (rows, packed) = (
        [row.values for row in read_rows("path", [tmp_path / name], ["sequence"])] for name in ("a.csv", "a.csv.zst")
    )
    assert rows == packed


def test_tsv_has_no_quotes_and_what_looks_like_them_is_counted(tmp_path: Path):
    (tmp_path / "a.tsv").write_text('text\tlabel\r\n"He said\tx\r\n"whole"\ty\r\n')
    counts: dict[str, int] = {}
    rows = list(read_rows("path", [tmp_path / "a.tsv"], ["text", "label"], counts=counts))
    assert [row.values for row in rows] == [('"He said', "x"), ('"whole"', "y")]
    ((note, number),) = counts.items()
    assert (note[:62], number) == ("Fields of TSV in quotes, which are kept since TSV has none (if", 1)
    (tmp_path / "a.csv").write_text('text\tlabel\r\nHe said\tx\r\n"wh""o\tle"\ty\r\n')
    rows = list(read_rows("path", [tmp_path / "a.csv"], ["text", "label"]))
    assert [row.values for row in rows] == [("He said", "x"), ('wh"o\tle', "y")]


@pytest.mark.parametrize(
    ("contents", "separator", "rows"),
    [
        ("Nr;Wert\n1;0,5\n", ";", [("1", "0,5")]),
        ('"Nr";"Wert, kg"\r\n1;"a;b"\r\n', ";", [("1", "a;b")]),
        ("\n\nNr\tWert;x\ty\n1\t2\t3\n", "\t", [("1", "2", "3")]),
        ("a;b,c\n1,2\n", ",", [("1", "2")]),
        ("text\none; two\n", ",", [("one; two",)]),
        ("Nr;Wert\r1;2\r3;4\r", ";", [("1", "2"), ("3", "4")]),
    ],
)
def test_what_separates_fields_is_seen_by_the_header(contents: str, separator: str, rows: list, tmp_path: Path):
    path, counts = tmp_path / "a.csv", {}
    path.write_bytes(("\ufeff" + contents).encode())
    assert field_separator("path", path) == separator
    names = column_names("path", path)
    assert [row.values for row in read_rows("path", [path], names, counts=counts)] == rows
    assert sum(note.startswith("Files of CSV read with ") for note in counts) == (separator != ",")
    assert field_separator("path", tmp_path / "a.parquet") == ""


def test_a_key_that_some_rows_lack_is_a_null_and_counted(tmp_path: Path):
    path, counts = tmp_path / "a.jsonl", {}
    path.write_text('{"x": 1}\n' * 150 + '{"y": {"z": 2}, "x": null}\n' + '{"y": 3}\n')
    rows = list(read_rows("path", [path], ["x", "y.z"], counts=counts))
    assert [row.values for row in rows] == [*[(1, None)] * 150, (None, 2), (None, None)]
    assert list(read_rows("path", [path], ["x", "y.z"], 149)) == rows[149:]
    assert counts == {
        "Rows without the key y.z, which is taken for a null": 151,
        "Rows without the key x, which is taken for a null": 1,
    }
    path.write_text('{"x": 1}\n' + '{"y": {"z": 2}}\n' * 2)
    assert column_names("path", path) == ["x", "y"]
    with pytest.raises(ValueError, match=r"^task.label_column=y.q: a.jsonl has no such column; it has x, y, y.z$"):
        list(read_rows("path", [path], {"sequence_column": "x", "label_column": "y.q"}))


def test_values_keep_the_types_of_the_file_and_nulls_are_none(tmp_path: Path):
    pyarrow.parquet.write_table(pa.table({"x": [1.5, None], "n": [1, 2]}), tmp_path / "a.parquet")
    assert [row.values for row in read_rows("path", [tmp_path / "a.parquet"], ["x", "n"])] == [(1.5, 1), (None, 2)]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "stream"])
def test_nested_columns_by_a_point(kind: str, tmp_path: Path):
    name, write = WRITERS[kind]
    write(tmp_path / name, [({"en": "dog", "de": "Hund"}, "x")])
    (row,) = read_rows("path", [tmp_path / name], ["sequence.de", "label"])
    assert row.values == ("Hund", "x")
    with pytest.raises(ValueError, match=r"has no such (key; it has en, de|column; it has .*sequence.en, sequence.de)"):
        list(read_rows("path", [tmp_path / name], ["sequence.fr"]))


@pytest.mark.parametrize(
    ("name", "contents", "says"),
    [
        ("a.csv", "id,sequence\n1,A\n", r"^task.label_column=label: a.csv has no such column; it has id, sequence$"),
        ("a.csv", "label, sequence\n1,A\n", r"^task.sequence_column=sequence: .* it has label, ' sequence'$"),
        (
            "a.csv",
            "sequence,label,label\nA,x,y\n",
            r"^task.label_column=label: a.csv has 2 columns of that name",
        ),
        ("a.csv", "sequence,label\n", r"^task.path=.*a.csv: it has no rows"),
        ("a.csv", "sequence,label\nA,x\nB\n", r"^a.csv, row 2: 1 where the header has 2 fields: write empty ones too$"),
        (
            "a.csv",
            "sequence,label\nA,x,3\n",
            r"^a.csv, row 1: 3 where the header has 2 fields: quote a field that",
        ),
        ("a.tsv", "sequence\tlabel\nA\n", r"^a.tsv, row 1: 1 where the header has 2 fields: no field of a TSV holds"),
        ("a.csv", 'sequence,label\nA,"x\n', r"^a.csv, row 1 \(line 2\): unexpected end of data: is a quote open"),
        ("a.csv", 'sequence,label\nA,"x" y\n', r"^a.csv, row 1 \(line 2\): .*: is a quote open, or single in a quoted"),
        ("a.csv", "sequence|label\nA|x\n", r"the header is one column, 'sequence.label', as if '.' were the separator"),
        ("a.tsv", "sequence;label\nA;x\n", r"the header is one column, 'sequence;label', as if ';' were the separator"),
        (
            "a.json",
            "[]",
            r"^task.path=.*a.json: not a table that can be read here: .*; write one object a line in FILE.jso",
        ),
        ("a.csv", "sequence,label\nA,\xe9\n".encode("latin-1"), r"^task.path=.*a.csv: byte 17 \(0xe9\) is not UTF-8"),
        ("a.csv", "sequence,label\nA,x\0\n", r"^task.path=.*a.csv: byte 18 is NUL"),
        (
            "a.jsonl",
            '{"sequence": "A", "label": 1}\n\n{bad}\n',
            r"^a.jsonl, line 3: not JSON \(.*, column 2\): write",
        ),
        ("a.jsonl", "[1, 2]\n", r"^a.jsonl, line 1: it begins an array, and not a JSON object: write one object a"),
        ("a.jsonl", '{"a": ' + "[" * 100_000, r"^a.jsonl, line 1: .*JSON"),
        ("a.jsonl", "5\n", r'^a.jsonl, line 1: not a JSON object: write one a line, as {"text": "…"}$'),
        ("a.jsonl", '{"sequence": "A", "label": ' + "1" * 5000 + "}", r"^a.jsonl, line 1: .*too many digits"),
        (
            "a.jsonl",
            '{"sequence": "A"}\n',
            r"^task.label_column=label: a.jsonl has no such column; it has sequence$",
        ),
        ("a.parquet", "PAR1 and no more", r"^task.path=.*a.parquet: the file is damaged, or of another kind \(.*\)$"),
        ("a.arrow", "ARROW1 and no more", r"^task.path=.*a.arrow: the file is damaged, or of another kind \(.*\)$"),
        ("a.arrow", "no magic at all", r"^task.path=.*a.arrow: the file is damaged, or of another kind \(.*\)$"),
        ("a.parquet.gz", "PAR1", r"^task.path=.*a.parquet.gz: unpack it first"),
        ("a.txt", "text", r"^task.path=.*a.txt: not a table that can be read here: .csv .tsv"),
    ],
)
def test_bad_tables_are_one_line(name: str, contents: str | bytes, says: str, tmp_path: Path):
    (tmp_path / name).write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(ValueError, match=says) as raised:
        list(read_rows("path", [tmp_path / name], {"sequence_column": "sequence", "label_column": "label"}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_a_cut_file_is_one_line(kind: str, tmp_path: Path):
    name, write = WRITERS[kind]
    write(tmp_path / name, ROWS)
    contents = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(contents[: len(contents) * 2 // 3])
    with pytest.raises(ValueError, match=r"^task.path=.*: the file is damaged") as raised:
        list(read_rows("path", [tmp_path / name], ["sequence"]))
    assert "\n" not in str(raised.value)


def test_files_of_several_kinds_are_refused(tmp_path: Path):
    write_csv(tmp_path / "a.csv", ROWS)
    write_json_lines(tmp_path / "b.jsonl", ROWS)
    with pytest.raises(ValueError, match=r": .csv and .jsonl files are mixed: give those of one kind, as .*/\*.csv$"):
        list(read_rows("path", sorted(tmp_path.iterdir()), ["sequence"]))


def test_a_table_that_grows_while_it_is_read_is_noticed(tmp_path: Path):
    write_csv(tmp_path / "a.csv", ROWS)
    rows = read_rows("path", [tmp_path / "a.csv"], ["sequence"])
    next(rows)
    with (tmp_path / "a.csv").open("a") as file:
        file.write("x,y\n")
    with pytest.raises(ValueError, match=r"a.csv changed while it was read: it has grown by 4 bytes"):
        list(rows)


def test_text_that_is_not_utf_8_in_a_binary_table(tmp_path: Path):
    bad = pa.array([b"good", b"\xff\xfe"]).view(pa.string())
    pyarrow.parquet.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"column 'text' holds, in one of the rows 1 to 2, text that is not UTF-8$"):
        list(read_rows("path", [tmp_path / "a.parquet"], ["text"]))


def test_times_that_python_has_no_name_for(tmp_path: Path):
    times = pa.array([1_000, 1_001], pa.timestamp("ns"))
    pyarrow.parquet.write_table(pa.table({"time": times.slice(0, 1)}), tmp_path / "a.parquet")
    ((time,),) = (row.values for row in read_rows("path", [tmp_path / "a.parquet"], ["time"]))
    assert time.microsecond == 1
    pyarrow.parquet.write_table(pa.table({"time": times}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"column 'time' holds, in one of the rows 1 to 2, times with nanoseconds"):
        list(read_rows("path", [tmp_path / "b.parquet"], ["time"]))


def test_names_of_classes_that_hugging_face_keeps(tmp_path: Path):
    features = {
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"label": [0, 1], "text": ["a", "b"]}).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    write_csv(tmp_path / "a.csv", ROWS)
    assert class_names("path", tmp_path / "a.parquet", "label") == ("neg", "pos")
    assert class_names("path", tmp_path / "a.parquet", "text") == ()
    assert class_names("path", tmp_path / "a.csv", "label") == ()


# ---- FASTA ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("P1 pos", ("P1", "pos", "ACGT", "pos", "")),
        ("P1 a protein label=pos here", ("P1", "a protein label=pos here", "ACGT", "pos", "")),
        ("P1|label=neg", ("P1|label=neg", "", "ACGT", "neg", "")),
        ("P1|1", ("P1|1", "", "ACGT", "1", "")),
        ("P1|0|Training", ("P1|0|Training", "", "ACGT", "0", "train")),
    ],
)
def test_labels_from_the_header(header: str, expected: tuple[str, ...], tmp_path: Path):
    (tmp_path / "a.fasta").write_text(f">{header}\r\nAC\r\n\r\nGT\r\n")
    (row,) = read_fasta("path", [tmp_path / "a.fasta"])
    assert (*row.values, row.split) == expected


def test_labels_from_a_second_file(tmp_path: Path):
    (tmp_path / "a.fasta").write_text(">P1 x\nAC\n>P2\nGT\n")
    (tmp_path / "labels.csv").write_text("label,id\npos,P1\nneg,P2\nneg,P2\n")
    labels = read_labels("labels_path", [tmp_path / "labels.csv"])
    assert [row.values[3] for row in read_fasta("path", [tmp_path / "a.fasta"], labels=labels)] == ["pos", "neg"]
    assert [row.index for row in read_fasta("path", [tmp_path / "a.fasta"], 1, labels=labels)] == [1]
    with pytest.raises(ValueError, match=r"^a.fasta, sequence 2: the file of labels has no id P2: add it there"):
        list(read_fasta("path", [tmp_path / "a.fasta"], labels={"P1": "pos"}))
    for rows, says in (("pos,P2", "labels.csv, row 4: P2 has the label pos, and above neg"), (",P3", "has no label")):
        with (tmp_path / "labels.csv").open("a") as file:
            file.write(f"{rows}\n")
        with pytest.raises(ValueError, match=says):
            read_labels("labels_path", [tmp_path / "labels.csv"])
        (tmp_path / "labels.csv").write_text("label,id\npos,P1\nneg,P2\nneg,P2\n")


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (">P1\nAC\n", r"^a.fasta, sequence 1 \(P1\) has no label: write it after a blank, or give task.labels"),
        ("AC\n", r"^task.path=.*a.fasta: not FASTA: it begins with no line >name"),
        (">P1 pos\n>P2 neg\nAC", r"^a.fasta, sequence 1 \(P1\) is empty"),
        ("\n", r"^task.path=.*a.fasta: there is no sequence"),
    ],
)
def test_bad_fasta_is_one_line(contents: str, says: str, tmp_path: Path):
    (tmp_path / "a.fasta").write_text(contents)
    with pytest.raises(ValueError, match=says):
        list(read_fasta("path", [tmp_path / "a.fasta"]))
