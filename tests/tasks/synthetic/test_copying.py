from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch
from tasks.synthetic.copying import END, CopyMemory, CopyString, SelectiveCopy


@partial(jax.jit, static_argnames="batch")
def sample(task: Any, seed: int, length: int, batch: int = 8) -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length)


@jax.jit
def grade(task: Any, answers: jax.Array, batch: Batch):
    """The score and the loss of a model that is sure of `answers`, and the score of one sure of anything else."""
    outputs = 99.0 * jax.nn.one_hot(answers, task.outputs)
    return task.score(outputs, batch), task.loss(outputs, batch), task.score(-outputs, batch)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 80]), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(delay: int, seed: int, data: st.DataObject):
    task = CopyMemory(delay)
    length = data.draw(st.integers(21, task.max_length))
    batch = sample(task, seed, length)
    padding = [0] * (task.max_length - length)
    for row, targets in zip(np.asarray(batch.inputs).tolist(), np.asarray(batch.targets).tolist(), strict=True):
        digits = row[:10]
        assert set(digits) <= set(range(1, 9))
        assert row == digits + [0] * (length - 21) + [9] * 11 + padding
        assert targets == [0] * (length - 10) + digits + padding
    right, loss, wrong = grade(task, batch.targets, batch)
    assert (right, wrong) == (1, 0)
    assert loss < 1e-5


def test_digits_are_uniform():
    digits = np.asarray(sample(CopyMemory(1), 0, 21, 2_000).inputs)[:, :10]
    assert stats.chisquare(np.bincount(digits.ravel(), minlength=9)[1:]).pvalue > 1e-3


def test_the_score_counts_the_ten_digits_alone_and_the_loss_counts_every_step():
    task = CopyMemory()
    batch = sample(task, 0, task.max_length)
    wrong_silence = jax.nn.one_hot(np.where(batch.targets > 0, batch.targets, 5), task.outputs)
    assert task.score(wrong_silence, batch) == 1
    assert task.loss(99 * wrong_silence, batch) == pytest.approx(99 * 90 / 100)


def test_baseline_chance_and_the_loss_of_guessing():
    task = CopyMemory()
    batch = sample(task, 0, task.max_length, 1_000)
    due = np.asarray(batch.targets) > 0
    guess = np.where(due, np.random.default_rng(0).integers(1, 9, due.shape), 0)
    score = float(task.score(jax.nn.one_hot(guess, task.outputs), batch))
    assert score == pytest.approx(task.baseline[1], abs=0.01)
    assert score == pytest.approx(task.chance, abs=0.01)

    knows_when = np.where(due[..., None], (np.arange(10) >= 1) & (np.arange(10) < 9), np.arange(10) == 0)
    loss = task.loss(jnp.where(knows_when, 0.0, -1e9), batch)
    assert loss == pytest.approx(task.guess_loss, rel=1e-4)
    assert task.guess_loss == pytest.approx(10 * np.log(8) / 100)


def test_bad_fields():
    with pytest.raises(ValueError, match=r"^task\.delay=0: must be 1 or more$"):
        CopyMemory(delay=0)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([(0, 1, 4), (40, 6, 16)]), st.integers(0, 2**31 - 1), st.data())
def test_selected_symbols_are_said_in_order_at_the_markers(sizes: tuple, seed: int, data: st.DataObject):
    task = SelectiveCopy(*sizes)
    length = data.draw(st.integers(task.min_length, task.max_length))
    batch = sample(task, seed, length)
    padding, end = [0] * (task.max_length - length), length - task.data
    for row, targets, weights in zip(*(np.asarray(a).tolist() for a in batch[:3]), strict=True):
        read = [token for token in row[:end] if token]
        assert len(read) == task.data
        assert set(read) <= set(range(1, task.symbols - 1))
        assert row[end:] == [task.symbols - 1] * task.data + padding
        assert targets == [0] * end + read + padding
        assert weights == [0.0] * end + [1.0] * task.data + [0.0] * len(padding)
    assert grade(task, batch.targets, batch)[::2] == (1, 0)


def test_selected_symbols_and_places_are_uniform():
    task = SelectiveCopy(6, 2, 6)
    inputs = np.asarray(sample(task, 0, task.max_length, 4_000).inputs)[:, :8]
    assert stats.chisquare((inputs > 0).sum(axis=0)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(inputs[inputs > 0], minlength=5)[1:]).pvalue > 1e-3
    assert task.chance == 1 / 4


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([(0, 1, 4), (40, 6, 16)]), st.integers(0, 2**31 - 1), st.data())
def test_in_the_layout_of_mad_symbols_are_said_at_blanks_behind_one_marker(
    sizes: tuple, seed: int, data: st.DataObject
):
    task = SelectiveCopy(*sizes, layout="mad")
    assert task.max_length == task.noise + 2 * task.data + 1
    length = data.draw(st.integers(task.min_length, task.max_length))
    batch = sample(task, seed, length)
    padding, end = [0] * (task.max_length - length), length - task.data
    for row, targets, weights in zip(*(np.asarray(a).tolist() for a in batch[:3]), strict=True):
        read = [token for token in row[: end - 1] if token]
        assert len(read) == task.data
        assert row[end - 2] > 0, "no blank stands behind the last symbol"
        assert set(read) <= set(range(1, task.symbols - 1))
        assert row[end - 1 :] == [task.symbols - 1] + [0] * task.data + padding
        assert targets == [0] * end + read + padding
        assert weights == [0.0] * end + [1.0] * task.data + [0.0] * len(padding)
    assert grade(task, batch.targets, batch)[::2] == (1, 0)


def test_in_the_layout_of_mad_each_blank_is_before_a_uniform_symbol():
    task = SelectiveCopy(4, 2, 6, layout="mad")
    inputs = np.asarray(sample(task, 0, task.max_length, 4_000).inputs)[:, :6]
    first = (inputs > 0).argmax(axis=1)  # blanks before the first symbol: binomial
    assert stats.chisquare(np.bincount(first, minlength=5), stats.binom.pmf(range(5), 4, 0.5) * 4_000).pvalue > 1e-4
    with pytest.raises(ValueError, match=r"^task\.layout=MAD: must be one of markers, mad$"):
        SelectiveCopy(layout="MAD")


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 9]), st.integers(0, 2**31 - 1), st.data())
def test_a_string_is_told_twice(longest: int, seed: int, data: st.DataObject):
    task = CopyString(longest)
    length = data.draw(st.integers(4, task.max_length))
    batch, n = sample(task, seed, length), (length - 2) // 2
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), 2 * n + 2)
    for row, targets in zip(*(np.asarray(a).tolist() for a in batch[:2]), strict=True):
        text = "".join(" abcdefghijklmnopqrstuvwxyz$|."[token] for token in row)
        x = text[1 : n + 1]
        assert x.isalpha()
        assert text.rstrip() == f"${x}|{x}"
        assert "".join(" abcdefghijklmnopqrstuvwxyz$|."[token] for token in targets).strip() == f"{x}."
        assert [place for place, target in enumerate(targets) if target] == list(range(n + 1, 2 * n + 2))
    np.testing.assert_array_equal(batch.weights, np.asarray(batch.targets) > 0)
    assert grade(task, batch.targets, batch)[::2] == (1, 0)


def test_a_string_with_one_wrong_letter_is_wrong():
    task = CopyString(5)
    batch = sample(task, 3, task.max_length, 4)
    answers = np.array(batch.targets)
    answers[1, 8] = answers[1, 8] % 26 + 1
    answers[2, 0] = 5  # which does not count
    assert grade(task, jnp.asarray(answers), batch)[0] == 0.75


@pytest.mark.parametrize("length", [8, 11, 12])
def test_the_full_stop_is_learned_and_not_scored(length: int):
    """In the loss and not in the score, as the authors have it; also of a shorter string, with padding behind it."""
    task = CopyString(5)
    batch = sample(task, 3, length, 4)
    stop = np.asarray(batch.targets) == END
    np.testing.assert_array_equal(stop.sum(axis=1), 1)
    wrong = jnp.where(stop[:2].any(axis=0) & (jnp.arange(4) < 2)[:, None], 1, batch.targets)
    score, loss, _ = grade(task, wrong, batch)
    assert score == 1
    assert loss > grade(task, batch.targets, batch)[1] + 1
    blank = 99.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert task.score(jnp.where(stop[..., None], jnp.nan, blank), batch) == 1


def test_letters_are_uniform():
    letters = np.asarray(sample(CopyString(8), 0, 18, 2_000).inputs)[:, 1:9]
    assert stats.chisquare(np.bincount(letters.ravel(), minlength=27)[1:]).pvalue > 1e-3


def test_longer_strings_have_test_sets():
    splits = CopyString(15, (1, 2.5)).splits
    assert {name: split.length for name, split in splits.items()} == {
        "validation": 32, "test": 32, "test_1": 32, "test_2.5": 78,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "fields", "said"),
    [
        (SelectiveCopy, {"noise": -1}, "task.noise=-1: must be 0 or more"),
        (SelectiveCopy, {"data": 0}, "task.data=0: must be 1 or more"),
        (SelectiveCopy, {"symbols": 3}, "task.symbols=3: must be 4 or more"),
        (CopyString, {"max_items": 0}, "task.max_items=0: must be 1 or more"),
        (
            CopyString,
            {"eval_length_multipliers": (0,)},
            r"task.eval_length_multipliers=\(0,\): times 20 letters must be 1 or more each",
        ),
    ],
)
def test_what_can_not_be_copied(task: Any, fields: dict, said: str):
    with pytest.raises(ValueError, match=said):
        task(**fields)
