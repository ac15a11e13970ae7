"""`python -m tasks`: the list, the rows that people read, and errors in one line."""

import subprocess
import sys

import jax.numpy as jnp
import pytest

from tasks import TASKS, Batch, Recall
from tasks.__main__ import main
from tasks.preview import LINE_WIDTH, format_row


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    main(words)
    return capsys.readouterr().out


def test_all_tasks_are_listed_with_what_they_ask_for_and_what_a_guess_scores(capsys: pytest.CaptureFixture[str]):
    header, *lines = run(capsys=capsys).splitlines()
    assert header.split() == ["task", "a", "guess", "scores", "asks", "for"]
    assert [line.split()[0] for line in lines] == list(TASKS)
    assert "accuracy 0.0312  " in lines[0]
    assert lines[0].endswith("Name the value that came with each key: multi-query associative recall.")
    assert all(len(line) <= 120 for line in lines)


def test_rows_are_inputs_over_the_targets_that_count(capsys: pytest.CaptureFixture[str]):
    said = run("recall", capsys=capsys)
    assert said.startswith("recall: Name the value that came with each key")
    assert "pairs=3  symbols=16  max_length=16" in said
    assert said.count("input   ") == said.count("target  ") == 3
    rows = said.partition("\n\n")[2].split("\n\n")
    assert rows[1].splitlines() == [
        "input   k6 v7 k4 v2 k5 v3 k6 · k4 · k5 · · · · ·",
        "target                    v7   v2   v3",
    ]


def test_settings_rows_seed_and_subset(capsys: pytest.CaptureFixture[str]):
    first = run("flip_flop", "max_length=8", "ignores=0.5", "--rows=2", capsys=capsys)
    assert "max_length=8  ignores=0.5" in first
    assert first.count("input   w") == 2
    assert run("flip_flop", "max_length=8", "ignores=0.5", "--rows=2", "--seed=1", capsys=capsys) != first
    assert "language=reverse" in run("formal_language", "language=reverse", "--rows=1", "--subset=test", capsys=capsys)


def test_an_answer_for_the_sequence_stands_below_it_and_a_query_that_is_not_asked_is_said(
    capsys: pytest.CaptureFixture[str],
):
    assert run("associations", "--rows=1", capsys=capsys).splitlines()[-1].startswith("target  v")
    assert "(nothing is asked)" not in run("associations", "--rows=4", "--subset=test", capsys=capsys)
    said = run("associations", "with_replacement=True", "pairs=8", "--rows=8", "--subset=test", capsys=capsys)
    assert "target  (nothing is asked)" in said


def test_long_rows_are_wrapped():
    tokens = jnp.full((1, 100), 9)
    batch = Batch(tokens, tokens, jnp.ones((1, 100)), tokens, jnp.ones((1, 100), jnp.int32))
    lines = list(format_row(Recall(), batch, 0))
    assert len(lines) == 2 * 3
    assert all(len(line) <= LINE_WIDTH + 12 for line in lines)
    assert sum(line.count("k9") for line in lines[::2]) == 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("recal",), "no task is called 'recal': did you mean recall? the tasks are recall, copy_memory"),
        (("recall", "pair=2"), "recall has no setting 'pair': did you mean pairs? it has pairs, symbols, max_length"),
        (("recall", "pairs"), "'pairs' is no setting: write field=value"),
        (("recall", "pairs=many"), "pairs=many: must be like 3"),
        (("recall", "pairs=9"), "task.pairs=9: 16 symbols hold 7 distinct keys"),
        (("recall", "--rows=0"), "--rows=0: must be 1 or more"),
        (("recall", "--subset=tests"), "--subset=tests: must be one of train, test"),
    ],
)
def test_errors_are_said_in_one_line(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1


def test_help_teaches_by_examples():
    done = subprocess.run(
        [sys.executable, "-m", "tasks", "--help"], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0
    for word in ("python -m tasks recall pairs=2", "config.task", "--subset", "data.DATASETS"):
        assert word in done.stdout
