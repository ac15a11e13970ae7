import csv
import gzip
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.files import FileData, load_files, row_tokens
from tasks import Classification

RANDOM = np.random.default_rng(0)
Rows = Iterable[Mapping[str, Any]]


def random_rows(count: int = 120) -> list[dict[str, Any]]:
    """Different sequences of 3 to 8 letters; whether they have an odd number of G is the label."""
    random = np.random.default_rng(0)
    found = {"".join(random.choice(list("ACGT"), random.integers(3, 9))) for _ in range(2 * count)}
    return [{"sequence": text, "label": text.count("G") % 2 == 1} for text in sorted(found)[:count]]


def write_csv(path: Path, rows: Rows) -> Path:
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_lines(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(path: Path, tmp_path: Path, **fields: Any) -> FileData:
    return load_files("classification", {"path": str(path), **fields}, tmp_path / "data")


def load_task(path: Path, tmp_path: Path, **fields: Any) -> Classification:
    return Classification(**load(path, tmp_path, **fields).arguments)


def read_back(task: Classification, split: str) -> list[tuple[str, str]]:
    """The sequences of a split and their labels, as they stood in the file."""
    return [
        ("".join(task.names[token] for token in row), task.classes[label])
        for row, label in zip(np.asarray(task.inputs[split]), np.asarray(task.labels[split]), strict=True)
    ]


def notes_of(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], **fields: Any) -> list[str]:
    """What is said when a set is prepared, without the first line."""
    capsys.readouterr()
    load(path, tmp_path, **fields)
    return [line.removeprefix(f"{path}: ") for line in capsys.readouterr().err.splitlines()[1:]]


def refusal(path: Path, tmp_path: Path, **fields: Any) -> str:
    with pytest.raises((ValueError, OSError)) as caught:
        load(path, tmp_path, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- formats --------------------------------------------------------------------------------------------------------


def test_every_row_is_in_one_split_with_its_label_whatever_the_format(tmp_path: Path):
    rows = random_rows()
    named = [{**row, "label": str(row["label"]).lower()} for row in rows]
    paths = [write_csv(tmp_path / "a.csv", named), write_lines(tmp_path / "a.jsonl", rows)]
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes().replace(b",", b"\t")))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, pa.Table.from_pylist(rows).schema) as w,
    ):
        w.write_table(pa.Table.from_pylist(rows))
    (tmp_path / "a.fasta").write_text(
        "".join(f">s{i} {row['label']}\n{row['sequence']}\n" for i, row in enumerate(named))
    )
    paths += [tmp_path / name for name in ("a.tsv.gz", "a.parquet", "a.arrow", "a.fasta")]
    first = load_task(paths[0], tmp_path)
    splits = [read_back(first, split) for split in ("train", "validation", "test")]
    assert all(splits)
    assert sorted(itertools.chain(*splits)) == sorted((row["sequence"], row["label"]) for row in named)
    assert first.names == ("", "A", "C", "G", "T")
    assert first.classes == ("false", "true")
    assert first.max_length == max(len(text) for text, _ in splits[0])
    for path in paths[1:]:
        other = load_task(path, tmp_path)
        assert [read_back(other, split) for split in ("train", "validation", "test")] == splits, path.name


def test_fasta_may_have_its_labels_in_a_second_file(tmp_path: Path):
    rows = random_rows()
    (tmp_path / "a.fa").write_text("".join(f">s{i} of no account\n{row['sequence']}\n" for i, row in enumerate(rows)))
    table = write_csv(tmp_path / "b.csv", [{"id": f"s{i}", "label": i % 3} for i in range(len(rows))])
    task = load_task(tmp_path / "a.fa", tmp_path, labels_path=str(table))
    assert task.classes == ("0", "1", "2")
    expected = {row["sequence"]: str(i % 3) for i, row in enumerate(rows)}
    assert all(expected[text] == label for split in task.inputs for text, label in read_back(task, split))
    csv_path = write_csv(tmp_path / "c.csv", rows)
    assert "task.labels_path=" in refusal(csv_path, tmp_path, labels_path=str(table))


def test_words_tokens_and_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{"sequence": f"The {'cat' if i % 2 else 'dog'}'s é{i % 40}", "label": i % 2} for i in range(80)]
    path = write_csv(tmp_path / "a.csv", rows)
    task = load_task(path, tmp_path, tokenizer="words", vocab_size=4)
    assert set(task.names) == {"", "the", "é", "cat's", "dog's", "<unk>"}
    assert task.encode("The cat's tail") == [task.names.index(name) for name in ("the", "cat's", "<unk>")]
    assert "words of training and" in capsys.readouterr().err
    task = load_task(path, tmp_path, tokenizer="tokens")
    assert {"", "The", "cat's", "dog's", "é7"} < set(task.names)
    assert task.encode("The  é7 cat's") == [task.names.index(name) for name in ("The", "é7", "cat's")]
    task = load_task(path, tmp_path, tokenizer="bytes")
    first = np.asarray(task.inputs["train"][0])
    text = bytes((first[first > 0] - 1).tolist()).decode()
    assert text in {row["sequence"] for row in rows}
    assert task.encode(text) == first[first > 0].tolist()
    assert task.inputs["train"].dtype == np.uint8


@pytest.mark.parametrize("tokens", ["ACGT", "aé", "日本€", "\x7f\U0001f600"])
def test_characters_are_numbered_in_their_order_and_all_others_are_unknown(tokens: str):
    encoder = row_tokens.TokenEncoder("characters", sorted(tokens), first=3, unknown=1)
    numbers = {token: 3 + i for i, token in enumerate(sorted(tokens))}
    for text in (tokens, "", "A~é", "日€\U0001f601", f"{tokens}\U0010ffff"):
        assert encoder.encode(text).tolist() == [numbers.get(character, 1) for character in text]


def test_the_memory_for_words_does_not_grow_with_the_data(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(row_tokens, "_MAX_KINDS", 100)
    counts = row_tokens.TokenCounts("words")
    for i in range(1000):
        counts.add_pieces(("often", f"once{i}", "both"), "train")
        counts.add_pieces(("often", f"other{i}"), "test")
        assert len(counts.training) <= 100
        assert len(counts.held_out) <= 100
    vocabulary = counts.build_vocabulary(2)
    assert vocabulary.tokens == ("both", "often")
    assert (vocabulary.rare, vocabulary.rare_held_out, vocabulary.totals) == (1000, 1000, (3000, 2000))


# ---- classes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("10", "9", "-1"), ("-1", "9", "10")),
        ((2, 1.0, 0.5), ("0.5", "1", "2")),
        (("b", "a", "NA"), ("NA", "a", "b")),
        ((True, False), ("false", "true")),
        (("nan", "1"), ("1", "nan")),
    ],
)
def test_classes_are_in_the_order_of_numbers_or_of_the_alphabet(tmp_path: Path, labels: tuple, classes: tuple):
    rows = [{**row, "label": labels[i % len(labels)]} for i, row in enumerate(random_rows())]
    assert load_task(write_lines(tmp_path / "a.jsonl", rows), tmp_path).classes == classes


def test_balanced_weights_give_each_class_the_same_part_of_the_loss(tmp_path: Path):
    path = write_csv(tmp_path / "a.csv", random_rows())
    task = load_task(path, tmp_path, class_weights="balanced")
    counts = np.bincount(task.labels["train"])
    np.testing.assert_allclose(np.array(task.class_weights) * counts, len(task.labels["train"]) / 2)
    assert load_task(path, tmp_path, class_weights="1,2.5").class_weights == (1, 2.5)
    assert refusal(path, tmp_path, class_weights="much").startswith("task.class_weights=much: must be balanced, or")
    assert task.extra_metrics
    assert not load_task(path, tmp_path, extra_metrics=False).extra_metrics
    assert len(list((tmp_path / "data" / "files").glob("a-*"))) == 1, "none of this changes a record"


# ---- splits ---------------------------------------------------------------------------------------------------------


def test_given_splits_are_kept_and_copies_across_them_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = random_rows()
    for i, row in enumerate(rows):
        row["part"] = ("train", "dev", "TEST", "train")[i % 4]
    copies = [{**rows[2], "part": "train"}, {**rows[2], "part": "dev"}, {**rows[1], "part": "train"}, rows[0]]
    path = write_csv(tmp_path / "a.csv", rows + copies)
    assert notes_of(path, tmp_path, capsys, split_column="part") == [
        "Rows of train dropped, since a copy is in a later split: 2.",
        "Rows of validation dropped, since a copy is in a later split: 1.",
    ]
    task = load_task(path, tmp_path, split_column="part")
    expected = {"train": [0, 3], "validation": [1], "test": [2]}
    for split, parts in expected.items():
        texts = [row["sequence"] for i, row in enumerate(rows) if i % 4 in parts] + [rows[0]["sequence"]] * (
            split == "train"
        )
        assert [text for text, _ in read_back(task, split)] == texts
    for name, part in (("v", "dev"), ("t", "TEST")):
        write_csv(tmp_path / f"{name}.csv", [row for row in rows + copies if row["part"] == part])
    write_csv(tmp_path / "r.csv", [row for row in rows + copies if row["part"] == "train"])
    by_file = {"validation_path": str(tmp_path / "v.csv"), "test_path": str(tmp_path / "t.csv")}
    other = load_task(tmp_path / "r.csv", tmp_path, **by_file)
    for split in expected:
        assert read_back(other, split) == read_back(task, split)


def test_copies_and_sequences_with_two_labels_are_kept_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = random_rows()
    path = write_csv(tmp_path / "a.csv", [*rows, rows[0], {**rows[1], "label": not rows[1]["label"]}])
    (note,) = notes_of(path, tmp_path, capsys)
    assert note == "Sequences that stand in several rows with different labels, which are all kept: 1."
    task = load_task(path, tmp_path)
    assert sum(len(rows) for rows in task.labels.values()) == len(rows) + 2


# ---- what is said, and what is refused ------------------------------------------------------------------------------


def test_rows_without_label_or_sequence_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows: list[dict[str, Any]] = random_rows()
    rows[3]["label"] = rows[9]["label"] = None
    rows[5]["sequence"] = ""
    path = write_lines(tmp_path / "a.jsonl", rows)
    assert notes_of(path, tmp_path, capsys) == [
        "Rows left out, since they have no label: 2; the first is a.jsonl, line 4.",
        "Rows left out, since they have no sequence: 1; the first is a.jsonl, line 6.",
    ]
    rows = [{**row, "label": f" {row['label']}"} for row in random_rows()]
    assert notes_of(write_csv(tmp_path / "b.csv", rows), tmp_path, capsys) == [
        "Labels without the blanks around them: 120; the first is b.csv, row 1."
    ]


def test_line_ends_within_a_sequence_are_one_character(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{**row, "sequence": f"{row['sequence']}\r\nA"} for row in random_rows()]
    path = write_csv(tmp_path / "a.csv", rows)
    assert notes_of(path, tmp_path, capsys) == ["Rows whose line ends, CRLF, became one character each: 120."]
    assert load_task(path, tmp_path).names == ("", "\n", "A", "C", "G", "T")


def test_longer_sequences_are_refused_or_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_csv(tmp_path / "a.csv", random_rows())
    line = refusal(path, tmp_path, max_length=7)
    assert "sequences of train" in line
    assert "have more than the 7 characters that it allows" in line
    assert line.endswith("has 8: task.max_length=8 takes all of them, task.cut=True cuts them")
    (note,) = notes_of(path, tmp_path, capsys, max_length=7, cut=True)
    assert note.startswith("Sequences cut at 7 characters: ")
    whole, cut = load_task(path, tmp_path), load_task(path, tmp_path, max_length=7, cut=True)
    assert [text[:7] for text, _ in read_back(whole, "train")] == [text for text, _ in read_back(cut, "train")]
    assert load_task(path, tmp_path, max_length=12).inputs["train"].shape[1] == 12
    tests = [{**row, "sequence": row["sequence"] + "AAAAAA"} for row in random_rows(20)]
    test = write_csv(tmp_path / "t.csv", tests)
    assert "task.max_length=0: " in (line := refusal(path, tmp_path, test_path=str(test)))
    assert "sequences of test have more than the 8 characters that the longest of training has, t.csv, row" in line
    assert load_task(path, tmp_path, test_path=str(test), cut=True).max_length == 8


def test_one_sequence_that_is_much_longer_than_others_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [*random_rows(400), {"sequence": "A" * 99, "label": False}]
    (note,) = notes_of(write_csv(tmp_path / "a.csv", rows), tmp_path, capsys, split_column="")
    assert note == (
        "99 % of the training sequences have no more than 8 characters, the longest 99: task.max_length=8 with "
        "task.cut=True is faster."
    )


def test_uneven_classes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{**row, "label": "rare" if i % 10 == 0 else "common"} for i, row in enumerate(random_rows(400))]
    (note,) = notes_of(write_csv(tmp_path / "a.csv", rows), tmp_path, capsys)
    assert note.startswith("The classes are uneven (common ")
    assert " in training): task.class_weights=balanced lets them count alike in the loss" in note


def test_letters_that_training_never_has_are_a_token_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, tests = write_csv(tmp_path / "a.csv", random_rows()), random_rows(40)
    tests[3]["sequence"] = "ACNXN"
    test = str(write_csv(tmp_path / "t.csv", tests))
    notes = notes_of(path, tmp_path, capsys, test_path=test)
    assert any(
        "3 of" in note and "of 2 kinds that training never has ('N', 'X'), are the token <unk>" in note
        for note in notes
    )
    task = load_task(path, tmp_path, test_path=test)
    assert task.names == ("", "A", "C", "G", "T", "<unk>")
    assert "AC<unk><unk><unk>" in dict(read_back(task, "test"))
    assert task.encode("ACN") == [1, 2, 5]
    lower = [{**row, "sequence": row["sequence"].lower()} for row in random_rows(40)]
    line = refusal(path, tmp_path, test_path=str(write_csv(tmp_path / "l.csv", lower)))
    assert line.startswith("task.sequence_column=sequence: ")
    assert "of the characters of validation and test are none that training has" in line


def test_what_is_no_data_for_a_classifier_is_refused_in_one_line(tmp_path: Path):
    rows = random_rows()
    path = write_csv(tmp_path / "a.csv", rows)
    assert refusal(path, tmp_path, sequence_column="seq") == (
        "task.sequence_column=seq: a.csv has no such column; it has sequence, label"
    )
    one = write_csv(tmp_path / "one.csv", [{**row, "label": "x"} for row in rows])
    assert refusal(one, tmp_path) == (
        "task.label_column=label: all 120 rows have the label 'x': a classifier needs two classes or more"
    )
    numbers = write_csv(tmp_path / "numbers.csv", [{**row, "label": i / 7} for i, row in enumerate(rows)])
    assert "it has 120 different labels in 120 rows, such as 0.0, 0.14" in refusal(numbers, tmp_path)
    test = write_csv(
        tmp_path / "t.csv", [{**row, "label": "odd"} if i == 3 else row for i, row in enumerate(random_rows(40))]
    )
    assert refusal(path, tmp_path, test_path=str(test)) == (
        "task.label_column=label: 1 row of the test split has a label that no training row has (odd): leave it out, or "
        "give such rows to training with task.split_column"
    )
    few = write_csv(tmp_path / "few.csv", rows[:1])
    assert "it has 1 row, and none is left for " in refusal(few, tmp_path)
    lists = write_lines(tmp_path / "lists.jsonl", [{"sequence": [1, 2], "label": 1}])
    assert refusal(lists, tmp_path) == (
        "task.sequence_column=sequence: lists.jsonl, line 1 holds a list and no text: give a column of texts"
    )
    records = write_lines(tmp_path / "records.jsonl", [{"sequence": "A", "label": {"a": 1}}])
    assert "task.label_column=label: records.jsonl, line 1 holds a record: a label is" in refusal(records, tmp_path)
    halves = write_lines(tmp_path / "halves.jsonl", [{"sequence": "A\ud800", "label": 1}])
    assert refusal(halves, tmp_path) == (
        "halves.jsonl, line 1: task.sequence_column: '\\ud800' is half of a character: remove it from the text"
    )
    assert "task.tokenizer=letters: must be one of characters, words, tokens, bytes" in refusal(
        path, tmp_path, tokenizer="letters"
    )
    assert not list((tmp_path / "data").rglob("manifest.json")), "something was prepared"
