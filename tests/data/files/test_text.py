import gzip
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from data.files import FileData, sources, store, text, token_stream, vocabulary
from data.files.store import Store
from data.files.text import Options
from tasks.real.text import Text

WORDS = tuple("the quick brown fox jumps over a lazy dog and runs away from its house in heavy rain".split())  # noqa: SIM905


def make_text(paragraphs: int = 150, seed: int = 0) -> str:
    """Paragraphs of some 200 characters, each different."""
    generator = np.random.default_rng(seed)
    lines = [" ".join(generator.choice(WORDS, 40)) + f" {seed}-{number}." for number in range(paragraphs)]
    return "\n\n".join(lines) + "\n"


def find(options: Options) -> dict[str, Sequence[Path]]:
    given = {field: getattr(options, field) for field in options.path_fields}
    return {field: sources.find_files(field, path) for field, path in given.items() if path}


def prepare(folder: Path, **fields: Any) -> tuple[FileData, Store]:
    """Prepare and load a text; `folder` is that of the store."""
    options = Options(**fields)
    files = find(options)
    prepared = store.open_or_prepare(folder, lambda writer: text.prepare(options, files, writer))
    return text.load(options, prepared), prepared


def decode(data: FileData, split: str) -> str:
    """The text of a split, "␄" after each document."""
    return "".join(data.arguments["names"][token] for token in data.arguments["text"][split])


def test_a_file_becomes_a_task(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text(make_text())
    data, prepared = prepare(tmp_path / "store", path=str(path))
    task = Text(**data.arguments, max_length=32)
    assert task.metric == "bits per byte"
    assert task.decode(task.encode("the quick fox")) == "the quick fox"
    documents = "".join(decode(data, split) for split in ("train", "validation", "test")).split("␄")
    assert sorted("".join(documents)) == sorted(path.read_text())
    assert all(document in path.read_text() for document in documents)
    assert sum(prepared.content["documents"].values()) == len(documents) - 1
    assert 0.6 < len(data.arguments["text"]["train"]) / len(path.read_text()) < 0.95
    assert prepared.content["notes"] == []


@pytest.mark.parametrize("tokenizer", ["bytes", "characters", "words", "bpe"])
def test_streamed_windows_are_those_in_memory(tmp_path: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch):
    if tokenizer == "bpe":
        pytest.importorskip("tokenizers")
    monkeypatch.setattr(token_stream, "BLOCK", 100)
    monkeypatch.setattr(text, "HEAD", 1000)
    path = tmp_path / "notes.txt"
    path.write_text(make_text() + "日本語 é\n")
    fields = {
        "path": str(path),
        "tokenizer": tokenizer,
        **({"vocab_size": 300} if tokenizer in ("words", "bpe") else {}),
    }
    in_memory, _ = prepare(tmp_path / "store", **fields, stream="no")
    on_disk, _ = prepare(tmp_path / "store", **fields, stream="yes")
    train = in_memory.arguments["text"]["train"]
    assert in_memory.rows is None
    assert on_disk.rows is not None
    assert on_disk.arguments["train_size"] == len(train)
    assert on_disk.arguments["text"]["train"].tolist() == train[:1000].tolist()
    assert on_disk.arguments["text"]["test"].tolist() == in_memory.arguments["text"]["test"].tolist()
    task = Text(**in_memory.arguments, max_length=32)
    ids = np.array([0, len(train) - 1, len(train) - 33, 99, 100, 67, 68, *range(0, len(train) - 40, 71)])
    for width in (1, 32, 250):
        windows = on_disk.rows.gather(ids, width)
        assert windows.dtype == train.dtype
        assert windows.tolist() == np.asarray(task.gather(jnp.asarray(ids), width)).tolist()
    for wrong in (-1, len(train)):
        with pytest.raises(IndexError):
            on_disk.rows.gather(np.array([wrong]), 8)


def test_a_text_stays_in_memory_unless_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "notes.txt"
    path.write_text(make_text())
    data, prepared = prepare(tmp_path / "store", path=str(path))
    size = len(data.arguments["text"]["train"])
    for limit, is_streamed in ((size, False), (size - 1, True)):
        monkeypatch.setattr(text, "IN_MEMORY", limit)
        assert (text.load(Options(path=str(path)), prepared).rows is not None) == is_streamed


def test_long_evaluation_texts_are_read_in_runs_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text, "EVALUATED", 1600)
    monkeypatch.setattr(text, "EVALUATED_RUNS", 4)
    (tmp_path / "train.txt").write_text(make_text())
    (tmp_path / "test.txt").write_text(long := make_text(60, seed=1))
    paths = {"path": str(tmp_path / "train.txt"), "test_path": str(tmp_path / "test.txt"), "document": "file"}
    (tmp_path / "valid.txt").write_text("the dog.\n")
    data, prepared = prepare(tmp_path / "store", validation_path=str(tmp_path / "valid.txt"), **paths)
    assert decode(data, "validation") == "the dog.\n␄"
    found, whole = decode(data, "test"), long + "␄"
    assert len(found) == 1600
    assert [whole.find(found[start : start + 400]) for start in (0, 400, 800, 1200)] == [
        (len(whole) - 400) * run // 3 for run in range(4)
    ]
    assert prepared.content["notes"] == [f"Of the {len(long) + 1:,} tokens of test, 1,600 in 4 runs are evaluated on."]


def test_what_is_not_kept_is_told(tmp_path: Path):
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbf" + make_text().replace("\n", "\r\n").encode())
    (tmp_path / "test.txt").write_text("a zebra ß over the house\n\nß!\n")
    paths = {field: str(tmp_path / name) for field, name in (("path", "train.txt"), ("test_path", "test.txt"))}
    _, prepared = prepare(tmp_path / "characters", **paths)
    notes = "\n".join(prepared.content["notes"])
    assert "Characters never seen in training: 4 ('!', 'a'" not in notes
    assert "Characters never seen in training: 3 ('!', 'b', 'ß'), which occur 4 times." not in notes
    assert "('!', 'ß'), which occur 3 times" in notes
    assert "Byte order marks dropped" in notes
    assert "CRLF" in notes
    _, prepared = prepare(tmp_path / "words", tokenizer="words", vocab_size=10, **paths)
    notes = "\n".join(prepared.content["notes"])
    assert "Words are in small letters" in notes
    assert "Tokens that are <unk>" in notes


def test_copies_across_given_splits_are_dropped_and_told(tmp_path: Path):
    rows = [{"text": f"a line of text, number {number}", "split": "train"} for number in range(20)]
    rows += [{"text": f"a line of text, number {number}", "split": "dev"} for number in (3, 30)]
    rows += [{"text": f"a line of text, number {number}", "split": "test"} for number in (4, 30, 40)]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data, prepared = prepare(tmp_path / "store", path=str(path), split_column="split", tokenizer="bytes")
    assert prepared.content["documents"] == {"train": 18, "validation": 1, "test": 3}
    assert decode(data, "validation") == "a line of text, number 3␄"
    assert "number 4␄" not in decode(data, "train")
    dropped = [note for note in prepared.content["notes"] if "dropped" in note]
    assert [("2" in note and "train" in note, "1" in note and "validation" in note) for note in dropped] == [
        (True, False),
        (False, True),
    ]


def test_a_packed_column_is_read_as_the_plain_one(tmp_path: Path):
    rows = "".join(json.dumps({"body": f"Zeile {number}: ä"}) + "\n" for number in range(60))
    (tmp_path / "plain.jsonl").write_text(rows)
    with gzip.open(tmp_path / "packed.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(rows)
    plain, _ = prepare(tmp_path / "one", path=str(tmp_path / "plain.jsonl"), column="body")
    packed, _ = prepare(tmp_path / "two", path=str(tmp_path / "packed.jsonl.gz"), column="body")
    for split in ("train", "validation", "test"):
        assert decode(plain, split) == decode(packed, split)
    assert "Zeile 7: ä␄" in "".join(decode(plain, split) for split in ("train", "validation", "test"))


def saved_pairs(**parts: Any) -> str:
    """A tokenizer.json in the manner of SentencePiece, which spells what it doesn't know by bytes."""
    vocab = {
        name: i for i, name in enumerate(["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁thequickd", "▁t"])
    }
    model = {"type": "BPE", "vocab": vocab, "merges": ["▁ t"], "unk_token": "<unk>", "byte_fallback": True}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prefix = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}
    rest = {"truncation": None, "padding": None, "added_tokens": [], "post_processor": None, "decoder": None}
    return json.dumps({"version": "1.0", "normalizer": prefix, "pre_tokenizer": None, "model": model, **rest, **parts})


def test_tokens_that_spell_the_text_are_scored_by_the_byte(tmp_path: Path):
    pytest.importorskip("tokenizers")
    (tmp_path / "notes.txt").write_text(make_text() + "日本語 é\n")
    lower = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}
    cases = {"bits per byte": saved_pairs(), "perplexity": saved_pairs(normalizer=lower)}
    fields = {"path": str(tmp_path / "notes.txt"), "tokenizer": str(tmp_path / "tokenizer.json")}
    for metric, contents in cases.items():
        (tmp_path / "tokenizer.json").write_text(contents)
        data, prepared = prepare(tmp_path / metric, **fields)
        task = Text(**data.arguments, max_length=32)
        assert task.metric == metric
        told = "\n".join(prepared.content["notes"])
        assert ("its normalizer: Lowercase" in told, "score is the perplexity" in told) == (metric == "perplexity",) * 2
    spelled, total = 0, 0
    data, prepared = prepare(tmp_path / "bits per byte", path=fields["path"], tokenizer_path=fields["tokenizer"])
    for split in ("train", "validation", "test"):
        spelled += int(data.arguments["token_bytes"][data.arguments["text"][split]].sum())
        total += prepared.content["documents"][split]
    assert spelled == len((tmp_path / "notes.txt").read_bytes()) + total


def test_what_it_would_become_is_described_without_writing(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text(make_text())
    for tokenizer in ("bytes", "characters", "words"):
        fields = {"tokenizer": tokenizer, **({"vocab_size": 5} if tokenizer == "words" else {})}
        options = Options(path=str(path), **fields)
        described = text.describe(options, find(options))
        _, prepared = prepare(tmp_path / tokenizer, path=str(path), **fields)
        counts = prepared.content["tokens"]["counts"]
        assert f"train {counts['train']:,} (" in described[1]
        assert described[1].startswith(f"{sum(counts.values()):,} tokens of {len(prepared.content['names']):,} kinds")
        assert described[3:] == prepared.content["notes"]
    assert "documents in the first 2,000 characters" in text.describe(Options(path=str(path)), find(options), 2000)[0]
    path.write_text("A line.\n")
    assert text.describe(Options(path=str(path)), find(options))[0].startswith("1 document, of 8 characters: ")


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import array_record.python.array_record_module, pyarrow.compute
    from data.files import sources, store, store_writer, text, token_stream, vocabulary

    store_writer.CHECKPOINT_BYTES, text.BATCH, vocabulary.BATCH, token_stream.BLOCK = 20_000, 4_000, 4_000, 100
    root, Shard = Path(sys.argv[1]), store_writer._Shard
    os.fsync = lambda handle: None  # needed only where the machine dies
    corpus = str(root / "corpus.jsonl")

    def prepare(folder, tokenizer):
        size = 300 if tokenizer in ("words", "bpe") else 8000
        options = text.Options(path=corpus, split_column="split", tokenizer=tokenizer, vocab_size=size)
        files = {"path": sources.find_files("path", corpus)}
        store.open_or_prepare(root / folder, lambda writer: text.prepare(options, files, writer))

    def die_at(owner, name, call):
        original, calls = getattr(owner, name), [0]

        def counted(*arguments):
            calls[0] += 1
            if calls[0] == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        setattr(owner, name, counted)

    def run(folder, tokenizer, *moment):
        # Prepare in a process of its own, which is killed in the given call of a function, if there is one.
        if (child := os.fork()) == 0:
            if moment:
                die_at(*moment)
            prepare(folder, tokenizer)
            os._exit(0)
        return os.waitpid(child, 0)[1]

    moments = [
        (store_writer, "write_checked", 1), (Shard, "write", 9), (Shard, "close", 2), (store_writer, "sync_folder", 2),
        (Shard, "write", 70), (text._Encoder, "add_passages", 3), (text._Encoder, "finish", 1),
        (store_writer.StoreWriter, "finish", 1), (Path, "rename", 1),
    ]
    for tokenizer in sys.argv[2:]:
        assert run(f"whole-{tokenizer}", tokenizer) == 0
        died = [run(f"killed-{tokenizer}", tokenizer, *moment) == signal.SIGKILL for moment in moments]
        assert run(f"killed-{tokenizer}", tokenizer) == 0
        assert all(died), (tokenizer, died)
"""


def test_a_preparation_that_is_killed_many_times_gives_the_same_bytes(tmp_path: Path):
    tokenizers = ["characters", "words"]
    documents = make_text(600).split("\n\n")
    splits = ["test" if number % 9 == 8 else "dev" if number % 9 == 7 else "train" for number in range(len(documents))]
    rows = [{"text": body + "\r\né", "split": split} for body, split in zip(documents, splits, strict=True)]
    (tmp_path / "corpus.jsonl").write_text("\ufeff" + "".join(json.dumps(row) + "\n" for row in [*rows, *rows[::7]]))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), *tokenizers]
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=100)
    assert found.returncode == 0, found.stderr
    for tokenizer in tokenizers:
        whole, killed = (tmp_path / f"{name}-{tokenizer}" for name in ("whole", "killed"))
        assert {path.name: path.read_bytes() for path in killed.iterdir()} == {
            path.name: path.read_bytes() for path in whole.iterdir()
        }
        assert len(list(whole.glob("train-*"))) > 3


def test_byte_pairs_are_trained_on_a_share_of_a_large_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tokenizers")
    monkeypatch.setattr(vocabulary, "TRAINING_BYTES", 20_000)
    (tmp_path / "notes.txt").write_text(make_text(400))
    fields = {"path": str(tmp_path / "notes.txt"), "tokenizer": "bpe", "vocab_size": 300, "document": "paragraph"}
    data, prepared = prepare(tmp_path / "store", **fields)
    (note,) = (note for note in prepared.content["notes"] if "byte pairs" in note)
    share, size = (int(word.replace(",", "")) for word in note.split() if word[0].isdigit() and word != "1")
    assert share in (4, 8)
    assert 5_000 < size <= 20_000
    assert len(data.arguments["names"]) == 300


def test_a_flipped_byte_is_noticed_where_the_text_is_read(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text(make_text())
    data, prepared = prepare(tmp_path / "store", path=str(path), tokenizer="bytes", stream="yes")
    assert data.rows is not None
    place = len(data.arguments["text"]["train"]) - 100
    (shard,) = prepared.folder.glob("train-*")
    contents = bytearray(shard.read_bytes())
    contents[contents.index(data.rows.gather(np.array([place]), 20).tobytes())] ^= 1
    shard.write_bytes(contents)
    message = r"^.*store can't be read: delete it and it is prepared anew \(.*hash mismatch.*\)$"
    for stream in ("yes", "no"):
        with pytest.raises(ValueError, match=message):
            text.load(Options(path=str(path), tokenizer="bytes", stream=stream), Store(prepared.folder))
    rows = token_stream.TokenRows(Store(prepared.folder), prepared.content["tokens"])
    with pytest.raises(ValueError, match=message):
        rows.gather(np.array([place]), 20)


# ---- options and bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"tokenizer": "byte"},
            "task.tokenizer=byte: did you mean bytes. must be one of characters, bytes, words",
        ),
        ({"tokenizer": "bpe", "vocab_size": 200}, "task.vocab_size=200: must be 257 or more for bpe"),
        ({"vocab_size": 0}, "task.vocab_size=0: must be 1 or more"),
        (
            {"tokenizer": "bytes", "vocab_size": 300},
            "^task.vocab_size=300: is for words and bpe, and task.tokenizer=bytes knows all there are: leave it at 80",
        ),
        ({"vocab_size": 300}, "^task.vocab_size=300: is for words and bpe, and task.tokenizer=characters knows all"),
        ({"token_dtype": "int64"}, "task.token_dtype=int64: must be uint16 or uint32"),
        ({"stream": "maybe"}, "task.stream=maybe: must be auto, yes or no"),
        ({"tokenizer": "words", "tokenizer_path": "t.json"}, "task.tokenizer=words: task.tokenizer_path is given too"),
    ],
)
def test_options_are_checked(fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Options(path="notes.txt", **fields)


def test_a_tokenizer_json_may_be_named_as_the_tokenizer():
    assert Options(path="a.txt", tokenizer="t.json") == Options(path="a.txt", tokenizer_path="t.json")


def test_a_config_may_have_the_size_of_byte_pairs_for_tokens_that_are_given():
    assert Options(path="a.txt", tokenizer="t.json", vocab_size=50257).vocab_size == 50257
    assert Options(path="a.bin", vocab_size=50257).vocab_size == 50257


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"one line\n", r"task.path=.*notes.txt: it has 1 document, and none is left for"),
        (b"caf\xe9\n" * 9, "is not UTF-8"),
        (b"a\0b\n" * 9, "NUL"),
        (b"\n", "none is left for|no text"),
    ],
)
def test_bad_texts_are_refused_in_one_line(tmp_path: Path, contents: bytes, message: str):
    path = tmp_path / "notes.txt"
    path.write_bytes(contents)
    for tokenizer in ("characters", "bytes", "words"):
        with pytest.raises(ValueError, match=message) as error:
            prepare(tmp_path / tokenizer, path=str(path), tokenizer=tokenizer)
        assert "\n" not in str(error.value)
        assert not (tmp_path / tokenizer).exists()
