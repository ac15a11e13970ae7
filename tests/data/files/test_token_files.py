import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.files import FileData, sources, store, store_writer, text, token_files, token_stream
from data.files.text import Options
from tasks.real.text import Text

TOKENS = np.random.default_rng(0).integers(0, 1000, 20_000)
SPLITS = ("train", "validation", "test")


def prepare(folder: Path, **fields: Any) -> FileData:
    options = Options(**fields)
    given = {field: getattr(options, field) for field in options.path_fields}
    files: dict[str, Sequence[Path]] = {field: sources.find_files(field, path) for field, path in given.items() if path}
    return text.load(options, store.open_or_prepare(folder, lambda writer: text.prepare(options, files, writer)))


def write_bin(path: Path, tokens: np.ndarray, dtype: str = "<u2") -> str:
    tokens.astype(dtype).tofile(path)
    return str(path)


def find_runs(tokens: list[int]) -> set[int]:
    """Numbers of the runs of `TOKENS` that tokens consist of. Fails for anything else."""
    length = -(-len(TOKENS) // token_files.RUNS)
    starts = {tuple(TOKENS[start : start + 8].tolist()): start for start in range(0, len(TOKENS), length)}
    found, place = set(), 0
    while place < len(tokens):
        start = starts[tuple(tokens[place : place + 8])]
        run = TOKENS[start : start + length].tolist()
        assert tokens[place : place + len(run)] == run
        found.add(start // length)
        place += len(run)
    return found


@pytest.mark.parametrize("kind", ["uint16", "uint32", "npy"])
def test_tokens_go_to_splits_by_runs(tmp_path: Path, kind: str):
    if kind == "npy":
        np.save(tmp_path / "tokens.npy", TOKENS)
        fields = {"path": str(tmp_path / "tokens.npy")}
    else:
        dtype = {"uint16": "<u2", "uint32": "<u4"}[kind]
        fields = {"path": write_bin(tmp_path / "tokens.bin", TOKENS, dtype), "token_dtype": kind}
    data = prepare(tmp_path / "store", **fields)
    runs = [find_runs(data.arguments["text"][split].tolist()) for split in SPLITS]
    assert sorted(run for found in runs for run in found) == list(range(token_files.RUNS))
    assert 40 <= len(runs[0]) <= 60
    assert data.arguments["text"]["train"].dtype == np.uint16
    assert data.arguments["names"] == tuple(map(str, range(TOKENS.max() + 1)))
    task = Text(**data.arguments, max_length=32)
    assert task.metric == "perplexity"
    assert task.encode("7 999 0") == [7, 999, 0]


def test_given_splits_are_kept_whole(tmp_path: Path):
    names = {"path": "train", "validation_path": "val", "test_path": "test"}
    fields = {
        field: write_bin(tmp_path / f"{name}.bin", TOKENS[:500] + i) for i, (field, name) in enumerate(names.items())
    }
    data = prepare(tmp_path / "store", **fields, stream="yes")
    for i, split in enumerate(SPLITS):
        assert data.arguments["text"][split].tolist() == (TOKENS[:500] + i).tolist()
    assert data.rows is not None
    assert data.rows.gather(np.array([490]), 11).tolist() == [[*TOKENS[490:500], 0, 0]]
    del fields["test_path"]
    data = prepare(tmp_path / "two", **fields)
    assert data.arguments["text"]["validation"].tolist() == (TOKENS[:500] + 1).tolist()
    assert sorted(len(data.arguments["text"][split]) > 0 for split in SPLITS) == [True] * 3


def test_a_killed_preparation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_writer, "CHECKPOINT_BYTES", 4000)
    monkeypatch.setattr(token_stream, "BLOCK", 100)
    paths = [write_bin(tmp_path / f"{part}.bin", TOKENS[part * 5000 :][:5000]) for part in range(4)]
    fields = {"path": str(tmp_path / "*.bin")}
    assert len(paths) == 4
    prepare(tmp_path / "whole", **fields)
    for call in (1, 3, 7):
        original, calls = token_stream.TokenWriter.add_tokens, []

        def stop(self: Any, split: str, tokens: np.ndarray, call: int = call, calls: list = calls, add: Any = original):
            calls.append(split)
            if len(calls) == 10 * call:
                raise KeyboardInterrupt
            add(self, split, tokens)

        with monkeypatch.context() as patched:
            patched.setattr(token_stream.TokenWriter, "add_tokens", stop)
            with pytest.raises(KeyboardInterrupt):
                prepare(tmp_path / "stopped", **fields)
    prepare(tmp_path / "stopped", **fields)
    assert {path.name: path.read_bytes() for path in (tmp_path / "stopped").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()
    }


def test_a_tokenizer_names_the_tokens_and_counts_their_bytes(tmp_path: Path):
    pytest.importorskip("tokenizers")
    from data.files.subwords import train_byte_pairs

    trained = train_byte_pairs(["the quick brown fox jumps over the lazy dog"] * 3, 270)
    (tmp_path / "tokenizer.json").write_text(trained.description)
    body = "the lazy fox " * 400
    tokens = trained.encode(body).astype(np.int64) - 1
    path = write_bin(tmp_path / "corpus.bin", tokens)
    data = prepare(tmp_path / "store", path=path, tokenizer_path=str(tmp_path / "tokenizer.json"))
    names = data.arguments["names"]
    assert len(names) == len(trained.names) - 1
    assert "".join(names[token] for split in SPLITS for token in data.arguments["text"][split]).count("lazy") > 300
    assert Text(**data.arguments, max_length=8).metric == "bits per byte"
    spec = json.loads(trained.description)
    spec["model"]["merges"] = []
    spec["model"]["vocab"] = dict(list(spec["model"]["vocab"].items())[:256])
    (tmp_path / "other.json").write_text(json.dumps(spec))
    message = r"task.path=.*corpus.bin: token \d+ at place \d+ is none of the 256 of task.tokenizer_path"
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "other", path=path, tokenizer_path=str(tmp_path / "other.json"))


def test_tokens_never_seen_in_training_are_told(tmp_path: Path):
    fields: dict[str, Any] = {
        field: write_bin(tmp_path / f"{field}.bin", TOKENS[:500] % 7) for field in ("path", "validation_path")
    }
    fields["test_path"] = write_bin(tmp_path / "test.bin", np.array([1, 8, 9, 2, 9]))
    options = Options(**fields)
    lines = text.describe(options, {field: [Path(path)] for field, path in fields.items()})
    assert lines[-1] == "Tokens never seen in training: 2 kinds, which occur 3 times."


def test_what_they_would_become_is_described(tmp_path: Path):
    options = Options(path=write_bin(tmp_path / "tokens.bin", TOKENS))
    lines = text.describe(options, {"path": [tmp_path / "tokens.bin"]})
    assert lines[0].startswith("20,000 tokens of 1,000 kinds: train ")


@pytest.mark.parametrize(
    ("contents", "fields", "message"),
    [
        (b"abc", {}, r"has 3 bytes, no multiple of the 2 of uint16: set task\.token_dtype"),
        (b"abcdef", {"token_dtype": "uint32"}, "has 6 bytes, no multiple of the 4 of uint32"),
        (TOKENS.astype("<u4").tobytes(), {}, r"every second token is 0: set task\.token_dtype=uint32"),
        (TOKENS.astype("<u2").tobytes(), {"token_dtype": "uint32"}, "of a vocabulary that no model has"),
        (np.array([20240520, 1, 10], "<i4").tobytes() + bytes(2000), {}, "header of llm.c"),
        (TOKENS.astype("<u2").tobytes(), {"tokenizer": "words"}, "task.tokenizer=words: tokens.bin holds tokens"),
        (TOKENS.astype("<u2").tobytes(), {"column": "body"}, "task.column=body: tokens.bin holds tokens"),
        (TOKENS[:1].astype("<u2").tobytes(), {}, "it has 1 token run, and none is left for"),
    ],
)
def test_bad_bin_files_are_refused_in_one_line(tmp_path: Path, contents: bytes, fields: dict[str, str], message: str):
    path = tmp_path / "tokens.bin"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message) as error:
        prepare(tmp_path / "store", path=str(path), **fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((4, 5), np.int32), r"holds int32 \[4, 5\]: save one row of whole numbers"),
        (np.zeros(9), "holds float64"),
        (np.array([3, -1, 2]), "token -1 at place 1: tokens are 0 or more"),
        (np.array([{}], object), "is no .npy file, or not whole"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(tmp_path: Path, tokens: np.ndarray, message: str):
    np.save(tmp_path / "tokens.npy", tokens)
    with pytest.raises(ValueError, match=message) as error:
        prepare(tmp_path / "store", path=str(tmp_path / "tokens.npy"))
    assert "\n" not in str(error.value)
