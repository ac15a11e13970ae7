"""What labelled sequences are refused for: room, labels that are no classes, weights and sizes that fit nothing."""

from pathlib import Path

import pytest

from data.files import find_sources, labelled
from data.files.labelled import Options
from tasks import Classification
from tests.data.files.test_labelled import load, load_task, random_rows, refusal, write_csv


def test_room_that_cannot_be_meant_is_refused(tmp_path: Path):
    path = write_csv(tmp_path / "a.csv", [*random_rows(), {"sequence": "A" * 20_000, "label": False}])
    line = (
        "task.max_length=0: the longest has 20,000 characters (a.csv, row 121), and without a limit there is room for"
    )
    assert refusal(path, tmp_path).startswith(line)
    options = Options(str(path))
    assert labelled.describe(options, find_sources(options))[-1].startswith(f"to be mended: {line}")
    assert load_task(path, tmp_path, max_length=8, cut=True).max_length == 8
    assert load_task(path, tmp_path, max_length=20_000).max_length == 20_000


def test_headers_that_are_no_classes_ask_for_a_file_of_labels(tmp_path: Path):
    path = tmp_path / "a.fasta"
    path.write_text("".join(f">P{i} protein number {i}\n{row['sequence']}\n" for i, row in enumerate(random_rows())))
    line = refusal(path, tmp_path)
    assert line.startswith(f"task.path={path}: its headers have 120 different labels in 120 rows, such as protein")
    assert line.endswith("give classes by task.labels_path=labels.csv (columns id, label)")
    options = Options(str(path))
    lines = labelled.describe(options, find_sources(options))
    assert lines[3:] == ["classes: 120", f"to be mended: {line}"]
    labels = write_csv(tmp_path / "labels.csv", [{"id": f"P{i}", "label": i} for i in range(120)])
    assert refusal(path, tmp_path, labels_path=str(labels)).startswith(
        f"task.labels_path={labels}: it has 120 different labels"
    )


def test_another_number_of_weights_than_of_classes_is_refused_before_training_too(tmp_path: Path):
    path = write_csv(tmp_path / "a.csv", random_rows())
    line = "task.class_weights=(1.0, 2.0, 3.0): must be 2 numbers above 0, one for each class, or none"
    assert refusal(path, tmp_path, class_weights="1,2,3") == line
    options = Options(str(path), class_weights="1,2,3")
    assert labelled.describe(options, find_sources(options))[-1] == f"to be mended: {line}"
    with pytest.raises(ValueError, match="must be 2 numbers above 0, one for each class, or none") as caught:
        Classification(**{**load(path, tmp_path).arguments, "class_weights": (1.0, 2.0, 3.0)})
    assert str(caught.value) == line


@pytest.mark.parametrize("tokenizer", ["characters", "bytes"])
def test_a_size_is_refused_where_all_tokens_are_known(tokenizer: str):
    with pytest.raises(
        ValueError, match=f"^task.vocab_size=300: is for words and tokens, and task.tokenizer={tokenizer}"
    ):
        Options("a.csv", tokenizer=tokenizer, vocab_size=300)
    assert Options("a.csv", tokenizer=tokenizer, vocab_size=8000) == Options("a.csv", tokenizer=tokenizer)
    assert Options("a.csv", tokenizer="tokens", vocab_size=300).vocab_size == 300
