from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch
from tasks.synthetic.adding import Adding


@partial(jax.jit, static_argnames="batch")
def sample(task: Adding, seed: int, length: int, batch: int = 8) -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length)


@jax.jit
def grade(task: Adding, answers: jax.Array, batch: Batch):
    """The score of the right answers, and the loss of ones too large by a half."""
    return task.score(answers, batch), task.loss(answers + 0.5, batch)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([2, 100]), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(max_length: int, seed: int, data: st.DataObject):
    task = Adding(max_length)
    length = data.draw(st.integers(2, max_length))
    batch = sample(task, seed, length)
    numbers, marks = np.moveaxis(np.asarray(batch.inputs), -1, 0)
    assert np.all((numbers >= 0) & (numbers < 1))
    assert np.isin(marks, [0, 1]).all()
    assert (marks.sum(axis=1) == 2).all()
    assert not numbers[:, length:].any()
    assert not marks[:, length:].any()
    answers = np.array([row[mark == 1].sum() for row, mark in zip(numbers, marks, strict=True)])[:, None]
    np.testing.assert_allclose(batch.targets, answers, rtol=1e-6)
    right, loss = grade(task, answers, batch)
    assert right < 1e-10
    assert loss == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("length", [4, 6])
def test_marks_are_uniform_over_pairs(length: int):
    marks = np.asarray(sample(Adding(6), 0, length, 15_000).inputs)[..., 1]
    pairs = [tuple(np.flatnonzero(row).tolist()) for row in marks]
    assert stats.chisquare([pairs.count(pair) for pair in combinations(range(length), 2)]).pvalue > 1e-3


def test_numbers_are_uniform():
    numbers = np.asarray(sample(Adding(6), 1, 6, 2_000).inputs)[..., 0]
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3


def test_baseline_and_chance_are_what_the_rules_score():
    task = Adding()
    batch = sample(task, 0, task.max_length, 20_000)
    name, stated = task.baseline
    assert name == "always 1"
    assert task.score(jnp.ones((20_000, 1)), batch) == pytest.approx(stated, abs=0.005)
    assert task.score(jnp.zeros((20_000, 1)), batch) == pytest.approx(task.chance, abs=0.02)


def test_bad_fields():
    with pytest.raises(ValueError, match=r"^task\.max_length=1: two marks need 2 steps or more$"):
        Adding(max_length=1)
