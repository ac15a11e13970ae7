from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.base import Batch
from tasks.synthetic.key_lookup import KeyLookup

LETTERS = " abcdefghijklmnopqrstuvwxyz$|"


@partial(jax.jit, static_argnames="batch")
def sample(task: Any, seed: int, length: int, batch: int = 8) -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length)


def rows(batch: Batch) -> list[tuple[str, str]]:
    """Inputs and targets of each row, as text."""
    return [
        ("".join(LETTERS[token] for token in row).rstrip(), "".join(LETTERS[token] for token in targets))
        for row, targets in zip(*(np.asarray(a).tolist() for a in batch[:2]), strict=True)
    ]


@settings(deadline=None, max_examples=30)
@given(st.booleans(), st.sampled_from([(1, 1), (2, 3)]), st.integers(0, 2**31 - 1), st.data())
def test_the_answer_is_what_follows_the_key(first: bool, lengths: tuple[int, int], seed: int, data: st.DataObject):
    k, m = lengths
    task = KeyLookup(max_items=12, key_length=k, answer_length=m, key_first=first)
    length = data.draw(st.integers(task.min_length, task.max_length))
    batch = sample(task, seed, length)
    for text, targets in rows(batch):
        assert text.startswith("$")
        one, other, told = text[1:].split("|")
        key, string = (one, other) if first else (other, one)
        assert (len(key), len(string)) == (k, length - k - m - 2)
        answer = targets.strip()
        assert len(answer) == m
        assert told == answer[:-1]
        assert targets.index(answer) == len(text) - m, "from the second mark on"
        assert key + answer in string
        places = [i for i in range(len(string) - k + 1) if string[i : i + k] == key]
        unique = [i for i in range(len(string) - k - m + 1) if string.count(string[i : i + k]) == 1]
        assert len(places) == 1 or not unique
    np.testing.assert_array_equal(batch.weights, np.asarray(batch.targets) > 0)
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), length)


def test_both_places_of_the_key_ask_the_same_of_the_same_string():
    before, behind = (rows(sample(KeyLookup(10, key_first=first), 5, 16)) for first in (True, False))
    for (text, answer), (turned, same) in zip(before, behind, strict=True):
        key, string, told = text[1:].split("|")
        assert turned == f"${string}|{key}|{told}"
        assert answer == same


def test_an_answer_with_one_wrong_letter_is_wrong():
    task = KeyLookup(10)
    batch = sample(task, 3, task.max_length, 4)
    answers = np.array(batch.targets)
    place = int(np.flatnonzero(answers[1])[0])
    answers[1, place] = answers[1, place] % 26 + 1
    answers[2, 0] = 5  # which does not count
    assert task.score(99.0 * jax.nn.one_hot(answers, task.outputs), batch) == 0.75


def test_keys_stand_everywhere_in_the_string():
    task = KeyLookup(10)
    texts = [text[1:].split("|")[:2] for text, _ in rows(sample(task, 0, task.max_length, 2_000))]
    counts = np.bincount([string.index(key) for key, string in texts], minlength=7)
    assert (counts > 2_000 / 7 / 1.4).all()
    assert len(counts) == 7


def test_longer_strings_have_test_sets():
    assert {name: split.length for name, split in KeyLookup(20, eval_length_multipliers=(1, 2)).splits.items()} == {
        "validation": 26, "test": 26, "test_1": 26, "test_2": 46,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key_length": 0}, "task.key_length=0: must be 1 or more"),
        ({"answer_length": 0}, "task.answer_length=0: must be 1 or more"),
        ({"max_items": 3}, "task.max_items=3: must be 4 or more, for a key and its answer"),
        (
            {"eval_length_multipliers": (0.1,)},
            r"task.eval_length_multipliers=\(0.1,\): times 20 letters must be 4 or more each",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        KeyLookup(**fields)


def test_the_baseline_is_what_a_rule_scores():
    """Any two letters of the string in a row, by luck those behind the key."""
    task = KeyLookup(12)
    batch = sample(task, 1, task.max_length, 2_000)
    guesses = np.zeros_like(batch.targets)
    for row, (text, _) in enumerate(rows(batch)):
        _, string, _ = text[1:].split("|")
        place = row % (len(string) - 1)
        guesses[row, len(text) - 2 : len(text)] = [LETTERS.index(letter) for letter in string[place : place + 2]]
    score = float(task.score(99.0 * jax.nn.one_hot(jnp.asarray(guesses), task.outputs), batch))
    assert score == pytest.approx(task.baseline[1], abs=0.03)
