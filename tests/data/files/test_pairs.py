from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from data.files import find_sources, load_files, pairs
from data.files import sources as files_sources
from data.files.pairs import Options
from data.files.splits import DuplicateFilter
from data.files.store import open_or_prepare
from data.files.store_writer import StoreWriter
from tasks import ParallelText
from tests.data.files.test_labelled import write_csv, write_lines

CHARACTERS: dict[str, Any] = {"source_tokenizer": "characters", "target_tokenizer": "characters"}


def random_pairs(count: int = 100) -> list[dict[str, str]]:
    """Different sources of 3 to 8 letters; the target is the same in capitals, backwards."""
    random = np.random.default_rng(0)
    found = {"".join(random.choice(list("abcdefg"), random.integers(3, 9))) for _ in range(2 * count)}
    return [{"source": text, "target": text.upper()[::-1]} for text in sorted(found)[:count]]


def load_task(path: Path, tmp_path: Path, **fields: Any) -> ParallelText:
    return ParallelText(**load_files("parallel_text", {"path": str(path), **fields}, tmp_path / "data").arguments)


def read_back(task: ParallelText, split: str, joint: str = "") -> list[tuple[str, ...]]:
    """The pairs of a split, as they stood in the file."""
    return [
        tuple(joint.join(task.names[token] for token in side[side > 0]) for side in sides)
        for sides in zip(np.asarray(task.sources[split]), np.asarray(task.targets[split]), strict=True)
    ]


def refusal(path: Path, tmp_path: Path, **fields: Any) -> str:
    with pytest.raises((ValueError, OSError)) as caught:
        load_task(path, tmp_path, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_pair_is_in_one_split_and_makes_a_row_of_the_task(tmp_path: Path):
    rows = random_pairs()
    task = load_task(write_csv(tmp_path / "a.csv", rows), tmp_path, **CHARACTERS)
    found = [pair for split in ("train", "validation", "test") for pair in read_back(task, split)]
    assert sorted(found) == sorted((row["source"], row["target"]) for row in rows)
    assert task.names == ("", "⟶", "·", *"abcdefg", *"ABCDEFG")
    batch = task.sample(jax.random.key(0), 1, task.max_length, task.max_length, "test")
    row = "".join(task.names[token] for token in np.asarray(batch.inputs[0]))
    assert tuple(row.split("⟶")) in read_back(task, "test")
    assert task.names[int(np.asarray(batch.targets[0]).max(where=np.asarray(batch.targets[0]) < 3, initial=0))] == "·"
    again = load_task(write_lines(tmp_path / "a.jsonl", rows), tmp_path, **CHARACTERS)
    assert read_back(again, "train") == read_back(task, "train")


def test_what_spells_a_token_of_both_sides_is_two_tokens(tmp_path: Path):
    rows = [{"a": f"the {word}", "b": f"le {word} ·"} for word in (f"w{'xyz'[i % 3]}{i}" for i in range(90))]
    path = write_csv(tmp_path / "a.csv", rows)
    task = load_task(path, tmp_path, source_column="a", target_column="b", vocab_size=3)
    assert task.names[:3] == ("", "⟶", "<end>")  # the other one is a token of the data
    assert {"the", "le", "<unk> (source)", "<unk> (target)", "·"} < set(task.names)
    assert {name for name in task.names if name.endswith(" (source)")} == {
        name.replace("(target)", "(source)") for name in task.names if name.endswith(" (target)")
    }
    source, target = (np.asarray(side["train"])[0] for side in (task.sources, task.targets))
    assert not set(source[source > 0]) & set(target[target > 0])
    assert len(set(task.names)) == len(task.names)


def test_each_side_has_a_tokenizer_and_a_length(tmp_path: Path):
    rows = [{"source": f"é{i}", "target": f"Number {i % 9}!"} for i in range(90)]
    path = write_csv(tmp_path / "a.csv", rows)
    task = load_task(path, tmp_path, source_tokenizer="bytes", source_max_length=20)
    assert task.sources["train"].shape[1] == task.targets["train"].shape[1] == 20
    first = task.names.index("<0x00>")
    for source, target in zip(task.sources["test"], task.targets["test"], strict=True):
        text = bytes((source[source > 0] - first).tolist()).decode()
        words = [task.names[token].removesuffix(" (target)") for token in target[target > 0]]
        assert words == ["number", str(int(text[1:]) % 9), "!"]


def test_longer_pairs_are_refused_or_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_csv(tmp_path / "a.csv", random_pairs())
    line = refusal(path, tmp_path, source_max_length=7, **CHARACTERS)
    assert line.startswith("task.source_max_length=7: ")
    assert line.endswith("room for 7: task.source_max_length=8 takes all, task.drop_longer=True leaves them out")
    capsys.readouterr()
    task = load_task(path, tmp_path, source_max_length=7, target_max_length=7, drop_longer=True, **CHARACTERS)
    assert "Pairs left out, since they have more than 7 characters in the source or 7 characters in the target: " in (
        capsys.readouterr().err
    )
    whole = load_task(path, tmp_path, **CHARACTERS)
    for split in ("train", "validation", "test"):
        assert read_back(task, split) == [pair for pair in read_back(whole, split) if len(pair[0]) <= 7]
    test = write_csv(tmp_path / "t.csv", [{"source": "abcdefgab", "target": "A"}, {"source": "a", "target": "A"}])
    assert "task.source_max_length=0: 1 pair is too long; t.csv, row 1 has 9" in refusal(
        path, tmp_path, test_path=str(test), **CHARACTERS
    )
    assert read_back(load_task(path, tmp_path, test_path=str(test), drop_longer=True, **CHARACTERS), "test") == [
        ("a", "A")
    ]


def test_one_pair_that_is_much_longer_than_others_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [*random_pairs(400), *({"source": f"{i}" * 99, "target": "A" * 50} for i in "hi")]
    path = write_csv(tmp_path / "a.csv", rows)
    load_task(path, tmp_path, **CHARACTERS)
    said = capsys.readouterr().err
    for side, longest in (("source", 99), ("target", 50)):
        assert (
            f"99 % of the training {side}s have no more than 8 characters, the longest {longest}: "
            f"task.{side}_max_length=8 with task.drop_longer=True is faster."
        ) in said
    load_task(path, tmp_path, source_max_length=8, target_max_length=8, drop_longer=True, **CHARACTERS)
    assert "is faster" not in capsys.readouterr().err


def test_a_size_is_refused_where_all_tokens_of_both_sides_are_known():
    with pytest.raises(ValueError, match=r"^task.vocab_size=300: is for words and tokens, and .* know all there are"):
        Options("a.csv", vocab_size=300, **CHARACTERS)
    assert Options("a.csv", vocab_size=300, source_tokenizer="characters").vocab_size == 300


def test_room_that_cannot_be_meant_is_refused(tmp_path: Path):
    path = write_csv(tmp_path / "a.csv", [*random_pairs(), {"source": "a", "target": "A" * 20_000}])
    assert refusal(path, tmp_path, **CHARACTERS).startswith(
        "task.target_max_length=0: the longest has 20,000 characters (a.csv, row 101, target), and without a limit"
    )
    limits = {"target_max_length": 8, "drop_longer": True}
    assert load_task(path, tmp_path, **limits, **CHARACTERS).targets["train"].shape[1] == 8


def test_the_same_source_is_in_one_split_and_the_same_pair_not_across_given_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = random_pairs()
    twice = [*rows, *({**row, "target": "A"} for row in rows)]
    task = load_task(write_csv(tmp_path / "a.csv", twice), tmp_path, **CHARACTERS)
    sources = [{source for source, _ in read_back(task, split)} for split in ("train", "validation", "test")]
    assert sum(map(len, sources)) == len(set.union(*sources)) == len(rows)
    test = str(write_csv(tmp_path / "t.csv", [rows[0], {**rows[1], "target": "B"}]))
    capsys.readouterr()
    load_task(write_csv(tmp_path / "b.csv", rows), tmp_path, test_path=test, **CHARACTERS)
    assert "Pairs of train dropped, since a copy is in a later split: 1." in capsys.readouterr().err


def test_what_is_not_kept_is_said_and_what_is_no_pair_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows: list[dict[str, Any]] = random_pairs()
    path = write_csv(tmp_path / "a.csv", rows)
    rows[3]["target"], rows[4]["source"] = None, ""
    load_task(write_lines(tmp_path / "a.jsonl", rows), tmp_path, **CHARACTERS)
    said = capsys.readouterr().err
    assert "Pairs left out, since they have no target: 1; the first is a.jsonl, line 4." in said
    assert "Pairs left out, since they have no source: 1; the first is a.jsonl, line 5." in said
    assert refusal(path, tmp_path, target_column="french") == (
        "task.target_column=french: a.csv has no such column; it has source, target"
    )
    numbers = write_lines(tmp_path / "numbers.jsonl", [{"source": "a", "target": 1}])
    assert refusal(numbers, tmp_path) == (
        "task.target_column=target: numbers.jsonl, line 1 holds a value of type int and no text: give a column of texts"
    )
    assert "task.stream=yes: must be auto or no" in refusal(path, tmp_path, stream="yes")
    assert "task.source_tokenizer=bpe: must be one of" in refusal(path, tmp_path, source_tokenizer="bpe")
    assert "it has 1 pair, and none is left for" in refusal(write_csv(tmp_path / "o.csv", rows[:1]), tmp_path)


@pytest.mark.parametrize("stop_at", [0, 60, 99, 100, 150])
def test_a_stopped_preparation_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int):
    """Stopped at any pair while they are counted, or while they are written."""
    options = Options(str(write_csv(tmp_path / "a.csv", random_pairs())), **CHARACTERS)
    sources = find_sources(options)
    monkeypatch.setattr(files_sources, "_CHUNK", 16)  # so that every few rows more bytes are read
    monkeypatch.setattr(StoreWriter, "is_checkpoint_due", lambda writer, done: done % 11 == 0)

    def prepare(folder: Path) -> dict[str, bytes]:
        open_or_prepare(folder, lambda writer: pairs.prepare(options, sources, writer))
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    whole, keep_item, done = prepare(tmp_path / "whole"), DuplicateFilter.keep_item, 0

    def stop(duplicates: DuplicateFilter, split: str, contents: bytes) -> bool:
        nonlocal done
        if done == stop_at:
            raise KeyboardInterrupt
        done += 1
        return keep_item(duplicates, split, contents)

    monkeypatch.setattr(DuplicateFilter, "keep_item", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "stopped")
    monkeypatch.setattr(DuplicateFilter, "keep_item", keep_item)
    assert prepare(tmp_path / "stopped") == whole


def test_a_description_prepares_nothing(tmp_path: Path):
    options = Options(str(write_csv(tmp_path / "a.csv", random_pairs())), **CHARACTERS)
    first, source, target = pairs.describe(options, find_sources(options), None)
    assert first.startswith("100 pairs: ")
    assert first.endswith(" test (by a hash of the source)")
    assert source == "source: 3 to 8 characters in training, room for 8; 7 characters: 'a' 'b' 'c' 'd' 'e' 'f' 'g'"
    assert target.endswith("7 characters: 'A' 'B' 'C' 'D' 'E' 'F' 'G'")
    assert pairs.describe(options, find_sources(options), 20)[0].startswith("20 pairs (of the first rows): ")
    single = Options(str(write_csv(tmp_path / "b.csv", random_pairs()[:1])), **CHARACTERS)
    assert pairs.describe(single, find_sources(single), None)[0].startswith("1 pair: ")
