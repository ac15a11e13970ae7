from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.batch import Batch
from tasks.copying import CopyMemory


@partial(jax.jit, static_argnames="batch")
def sample(task: CopyMemory, seed: int, length: int, batch: int = 8) -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length)


@jax.jit
def grade(task: CopyMemory, answers: jax.Array, batch: Batch):
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
