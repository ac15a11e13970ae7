from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.copying import CopyMemory


@cache
def sampler(task: CopyMemory, batch: int = 8):
    return jax.jit(lambda seed, length: task.sample(jax.random.key(seed), batch, task.max_length, length))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 2, 80]), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(delay: int, seed: int, data: st.DataObject):
    task = CopyMemory(delay)
    length = data.draw(st.integers(21, task.max_length))
    batch = sampler(task)(seed, length)
    padding = [0] * (task.max_length - length)
    for row, targets in zip(np.asarray(batch.inputs).tolist(), np.asarray(batch.targets).tolist(), strict=True):
        digits = row[:10]
        assert set(digits) <= set(range(1, 9))
        assert row == digits + [0] * (length - 21) + [9] * 11 + padding
        assert targets == [0] * (length - 10) + digits + padding
    outputs = 99.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert task.score(outputs, batch) == 1
    assert task.loss(outputs, batch) < 1e-5
    assert task.score(-outputs, batch) == 0


def test_digits_are_uniform():
    digits = np.asarray(sampler(CopyMemory(1), 2_000)(0, 21).inputs)[:, :10]
    assert stats.chisquare(np.bincount(digits.ravel(), minlength=9)[1:]).pvalue > 1e-3


def test_the_score_counts_the_ten_digits_alone_and_the_loss_counts_every_step():
    task = CopyMemory()
    batch = sampler(task)(0, task.max_length)
    wrong_silence = jax.nn.one_hot(np.where(batch.targets > 0, batch.targets, 5), task.outputs)
    assert task.score(wrong_silence, batch) == 1
    assert task.loss(99 * wrong_silence, batch) == pytest.approx(99 * 90 / 100)


def test_baseline_chance_and_the_loss_of_guessing():
    task = CopyMemory()
    batch = sampler(task, 1_000)(0, task.max_length)
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
