"""Which runs and which sentences explore takes, and what it says of others."""

import itertools
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import data
from configs import associations, digits
from experiments import explore
from experiments.ablation.own_data import OwnData
from experiments.inspection import reading, roll_call
from experiments.inspection.search_model import is_search_model
from tasks.real.text import Text
from tests.experiments.inspection import text_of
from training import builder, cli, export, files, loop


def test_a_workdir_of_a_generated_task(recall: Path, tmp_path: Path):
    """Tokens are numbers; without any, a sequence of the test is read. Nothing in the workdir changes."""
    before = {path: path.stat().st_mtime_ns for path in recall.rglob("*")}
    text = text_of(explore.write_exploration([recall], "3 9 3", tmp_path / "page.html", "data", 1, False)[0])
    assert "<title>Look inside: 3 9 3</title>" in text
    assert "1 layer of width 8 on recall, 10 steps" in text
    assert {path: path.stat().st_mtime_ns for path in recall.rglob("*")} == before
    run, _ = export.load(recall)
    drawn, _ = reading.encode_input(run, None)
    assert len(drawn) == 8
    assert 0 <= drawn.min() < drawn.max() < run.task.vocabulary


def test_a_bag_of_words_alone_is_taken_apart(runs: Path, tmp_path: Path):
    text = text_of(
        explore.write_exploration([runs / "titles"], "love blood", tmp_path / "page.html", "data", 0, False)[0]
    )
    assert "mean over all tokens" in text
    assert 'id="query"' in text


def test_what_is_trained_where_nothing_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Attention, two recurrences and the search, each a config that can be built, with room for the example."""
    asked = []
    monkeypatch.setattr(
        loop, "train", lambda config, workdir, **_: asked.append((workdir, builder.build_run(config, str(tmp_path))))
    )
    monkeypatch.setattr(roll_call, "ROLLS", 60)
    example = roll_call.read_out(roll_call.EXAMPLE, 2)
    paths = reading.train_default_runs(tmp_path, str(tmp_path), example)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "roll-call/attention",
        "roll-call/lstm",
        "roll-call/gru",
        "titles",
    ]
    assert [path for path, _ in asked] == paths
    for path, run in asked[:3]:
        assert run.config["model"]["mixer"] == path.name
        assert len(example) <= reading.max_input_length(run)
        assert reading.encode_input(run, example)[1] == "", "every character of the example is known"
    assert is_search_model(asked[3][1])
    with pytest.raises(ValueError, match=r"has 97 tokens and \S+attention takes 96 at most"):
        reading.train_default_runs(tmp_path, str(tmp_path), "a" * 97)
    assert len(asked) == 4, "and nothing was trained for it"


def test_a_roll_is_read_out_again_in_lines_that_are_full(tmp_path: Path):
    text = roll_call.write_text(tmp_path / "text").read_text()
    assert roll_call.write_text(tmp_path / "again").read_text() == text
    for roll in text.strip().split("\n\n")[:50]:
        entries = roll.removesuffix(".").split()
        assert entries == entries[: roll_call.ENTRIES] * roll_call.READINGS
        lines = roll.split("\n")
        for line, following in itertools.pairwise(lines):
            assert len(line) <= roll_call.LINE < len(f"{line} {following.split()[0]}")


def test_a_text_of_own_tokens_is_read_by_its_tokenizer():
    """What bytes can spell is never unknown; an unknown word is the token that stands for all of them."""

    def read(tokenizer: str, names: tuple[str, ...], text: str) -> tuple[list[int], str]:
        texts = {split: np.arange(60) % len(names) for split in ("train", "validation", "test")}
        task: Any = Text(texts, None, names, tokenizer=tokenizer, max_length=8)
        tokens, remark = reading.encode_input(builder.Run({}, task, None, None), text)  # pyright: ignore
        return tokens.tolist(), remark

    tokens, remark = read("bytes", tuple(map(str, range(256))), "ß")
    assert (len(tokens), remark) == (2, "")
    tokens, remark = read("words", ("␄", "<unk>", "the", "cat"), "the dog")
    assert tokens == [2, 1]
    assert remark == "read as <unk>, since the model never saw them: 'dog'"
    assert read("characters", ("␄", "a", "b"), "abc") == ([1, 2], "left out, since the model never saw them: 'c'")
    with pytest.raises(ValueError, match=r"^--input: 'x': is no token of a corpus that came as numbers"):
        read("none", ("0", "1"), "x")


def test_on_own_data_the_same_models_are_trained_and_no_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = []
    monkeypatch.setattr(
        loop,
        "train",
        lambda config, workdir, **_: asked.append((workdir.name, config.training.steps, config.task.name)),
    )
    own = OwnData("recall", "", {"training.steps": 100, "model.attention.heads": 2}, {"name": "recall"})
    paths = reading.train_default_runs(tmp_path, "data", None, own)
    assert [path.name for path in paths] == ["attention", "lstm", "gru"]
    assert asked == [(name, 100, "recall") for name in ("attention", "lstm", "gru")]
    with pytest.raises(ValueError, match=r"attention reads real numbers, as pixels are"):
        reading.train_default_runs(tmp_path, "data", None, OwnData("adding", "", {}, {"name": "adding"}))


# ---- bad input ------------------------------------------------------------------------------------------------------


def refused(*given: Any, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    capsys.readouterr()
    paths, text, out, member = given
    with pytest.raises(SystemExit) as stop:
        cli.report_errors(lambda: explore.write_exploration(paths, text, out / "page.html", "data", member, False))
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert not list(out.glob("*.html"))
    return line.removeprefix("error: ")


def test_characters_never_seen_are_left_out_and_said_to_be(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    explore.write_exploration([runs / "lstm"], "a—b☃a—", tmp_path / "shown.htm", "data", 0, False)
    assert capsys.readouterr().err == "left out, since the model never saw them: '—', '☃'\n"
    assert "<title>Look inside: aba</title>" in text_of(tmp_path / "shown.htm")
    line = refused([runs / "attention"], "☃☃", tmp_path, 0, capsys=capsys)
    assert line.startswith("--input: nothing is left of it; the model knows !\"'()")
    tokens, said = reading.encode_input(export.load(runs / "titles")[0], "Love, zebra, sea")
    assert tokens.tolist() == [1, 5]
    assert said == "left out, since the model never saw them: ',', 'zebra'"


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_sentence(text: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refused([runs / "attention"], text, tmp_path, 0, capsys=capsys)
    assert line == f"--input={text!r} is empty: give a few words or tokens"


def test_a_sentence_that_is_too_long(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refused([runs / "lstm", runs / "attention"], "a" * 20, tmp_path, 0, capsys=capsys)
    assert line == f"--input has 20 tokens and {runs / 'attention'} takes 16 at most; leave out 4"
    assert reading.max_input_length(export.load(runs / "lstm")[0]) == reading.MAX_TOKENS
    line = refused([runs / "lstm"], "a" * 300, tmp_path, 0, capsys=capsys)
    assert line.endswith("takes 256 at most; leave out 44")


def test_tokens_that_are_none(recall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for text in ("3 x 4", "3 99", "-1"):
        line = refused([recall], text, tmp_path, 0, capsys=capsys)
        assert re.fullmatch(r"--input: '(x|99|-1)' is no token of this task, .* from 0 to 15 with blanks between", line)


def test_runs_that_read_other_tokens(runs: Path, recall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refused([runs / "lstm", recall], "abc", tmp_path, 0, capsys=capsys)
    assert line == f"{recall} and {runs / 'lstm'} read other tokens; give runs on one task"


def test_what_is_no_run(recall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refused([tmp_path / "nothing"], "abc", tmp_path, 0, capsys=capsys)
    assert line.startswith(f"{tmp_path / 'nothing'} is no run: it must hold config.json, and ")
    assert refused([recall], "1", tmp_path, 7, capsys=capsys) == f"--member=7: {recall} has members 0 to 1"


def test_a_checkpoint_of_another_format(runs: Path, recall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A config without its fields, of another version, or of another model; parameters that are none; no checkpoint."""
    other = shutil.copytree(runs / "lstm", tmp_path / "other")
    config = files.read_json(other / "config.json")

    def told(change: Any) -> str:
        files.write_json(other / "config.json", change)
        return refused([other], "abc", tmp_path, 0, capsys=capsys)

    assert "config.json is damaged ('model' is a required property)" in told({"task": config["task"]})
    assert "config.json is damaged ('versions' is a required property); put it back from a copy, or check out" in told(
        {name: value for name, value in config.items() if name != "versions"}
    )
    assert "was made by versions" in told({**config, "versions": {**config["versions"], "mixer": 99}})
    wider = {**config, "model": {**config["model"], "width": 12}}
    assert told(wider) == f"{other} holds parameters of another model than its config.json says; train it anew"
    (other / "config.json").write_text("{")
    assert "is damaged" in refused([other], "abc", tmp_path, 0, capsys=capsys)
    files.write_json(other / "config.json", config)
    shutil.rmtree(other / "params")
    (other / "params").mkdir()
    assert f"{other / 'params'} can't be read (" in refused([other], "abc", tmp_path, 0, capsys=capsys)
    bare = shutil.copytree(recall, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    (bare / "checkpoints").mkdir()
    assert refused([bare], "1", tmp_path, 0, capsys=capsys).endswith("holds no checkpoint yet")


def test_pixels_and_memories_are_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    pixels: dict[str, Any] = {"inputs": {s: np.zeros((4, 64, 1), np.float32) for s in data.SPLITS}}
    pixels["labels"] = {s: np.zeros(4, np.int32) for s in data.SPLITS}
    monkeypatch.setattr(data, "load_dataset", lambda name, data_dir: pixels)
    memory: Any = associations.get_config("attention")
    memory.model.associative_memory = "softmax"
    ends: dict[str, tuple[Any, str]] = {
        "digits": (
            digits.get_config("gru"),
            "reads real numbers, as pixels are: explore takes models that read tokens",
        ),
        "memory": (
            memory,
            "is an associative memory: explore takes stacks of layers, and encoder–decoders",
        ),
    }
    for name, (config, end) in ends.items():
        run = builder.build_run(config)
        monkeypatch.setattr(export, "load", lambda *_, run=run: (run, None))
        assert refused([tmp_path / name], "abc", tmp_path, 0, capsys=capsys) == f"{tmp_path / name} {end}"


def test_data_whose_models_can_not_be_shown_are_refused_before_they_are_prepared(monkeypatch: pytest.MonkeyPatch):
    own = OwnData("series", "", {}, {"name": "series", "path": "nowhere.csv"})
    monkeypatch.setattr(explore.own_data, "read_config_flag", lambda _: own)
    monkeypatch.setattr(explore.flags, "FLAGS", SimpleNamespace(workdir=None, data_dir="", input=None))
    monkeypatch.setattr(explore, "train_default_runs", lambda *_: pytest.fail("trained"))
    message = r"^task\.name=series: explore takes text, labelled and pairs, whose models read tokens$"
    with pytest.raises(ValueError, match=message):
        explore.main()
    for task in ("text", "classification", "parallel_text"):
        explore.check_task(task)
