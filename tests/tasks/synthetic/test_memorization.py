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
from tasks.synthetic.memorization import Compression, Memorization


@partial(jax.jit, static_argnames="batch")
def sample(task: Any, seed: int, length: int, batch: int = 8) -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([Memorization(), Memorization(3, 4), Memorization(12, 9)]), st.integers(0, 99), st.data())
def test_every_row_asks_for_the_values_of_its_keys(task: Memorization, seed: int, data: st.DataObject):
    length = data.draw(st.integers(2, task.max_length))
    batch, known = sample(task, seed, length), np.asarray(task.key_values)
    used = length // 2 * 2
    keys = (task.symbols - 1) // 2
    for row, targets, weights in zip(*(np.asarray(part).tolist() for part in batch[:3]), strict=True):
        assert all(key < keys for key in row[0:used:2])
        assert all(token == task.symbols - 1 for token in row[1:used:2])
        assert targets[1:used:2] == [known[key] for key in row[0:used:2]]
        assert weights == [float(t % 2) for t in range(used)] + [0.0] * (task.max_length - used)
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), used)


def test_each_key_has_a_value_of_its_own_and_the_seed_decides_which():
    one, other = Memorization(), Memorization(map_seed=1)
    known = np.asarray(one.key_values)
    assert one.key_count == 127
    assert len(set(known.tolist())) == 127
    assert (known.min() >= 127) & (known.max() <= 254)
    assert (known != np.asarray(other.key_values)).mean() > 0.9
    np.testing.assert_array_equal(known, Memorization().key_values)


def test_keys_are_uniform_and_one_value_is_right_as_often_as_the_baseline_says():
    task = Memorization(12, 8)
    batch = sample(task, 0, 8, 4000)
    keys = np.asarray(batch.inputs)[:, ::2].ravel()
    assert stats.chisquare(np.bincount(keys, minlength=5)).pvalue > 1e-4
    constant = 99.0 * jnp.broadcast_to(jax.nn.one_hot(task.key_values[0], task.outputs), (4000, 8, task.outputs))
    assert task.score(constant, batch) == pytest.approx(task.baseline[1], abs=0.01)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([Compression(), Compression(3, 2), Compression(5, 9)]), st.integers(0, 99), st.data())
def test_every_row_is_its_own_answer(task: Compression, seed: int, data: st.DataObject):
    length = data.draw(st.integers(2, task.max_length))
    batch = sample(task, seed, length)
    for row, targets in zip(*(np.asarray(part).tolist() for part in batch[:2]), strict=True):
        assert all(token < task.symbols - 1 for token in row[: length - 1])
        assert row[length - 1 :] == [task.symbols - 1] + [0] * (task.max_length - length)
        assert targets == row[: length - 1] + [0] * (task.max_length - length)
    right = 99.0 * jax.nn.one_hot(batch.targets, task.symbols).reshape(8, task.outputs)
    assert task.score(right, batch) == 1
    assert task.loss(right, batch) < 1e-5
    assert task.score(-right, batch) == 0


def test_score_and_loss_of_a_short_row_count_its_own_places_alike():
    task = Compression(5, 9)
    batch = sample(task, 0, 5)
    answers = np.asarray(batch.targets).copy()
    answers[:, 1] = (answers[:, 1] + 1) % 4
    answers[:, 6] = 3  # behind the row
    outputs = 99.0 * jax.nn.one_hot(answers, 5).reshape(8, task.outputs)
    assert task.score(outputs, batch) == pytest.approx(3 / 4)
    assert task.loss(outputs, batch) == pytest.approx(99 / 4, rel=1e-5)
    half = batch._replace(weights=(jnp.arange(8) < 4).astype(jnp.float32))
    assert task.score(outputs.at[4:].set(0), half) == pytest.approx(3 / 4)


def test_symbols_to_compress_are_uniform():
    symbols = np.asarray(sample(Compression(5, 9), 0, 9, 2000).targets)
    assert stats.chisquare(np.bincount(symbols.ravel(), minlength=4)).pvalue > 1e-4
    assert Compression(5, 9).chance == 1 / 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Memorization(symbols=2),
            r"^task\.symbols=2: must be 3 or more: a key, a value and the one that asks$",
        ),
        (lambda: Memorization(map_seed=-1), r"^task\.map_seed=-1: must be a whole number from 0 to 2\*\*32 − 1$"),
        (lambda: Compression(symbols=2), r"^task\.symbols=2: must be 3 or more$"),
        (lambda: Compression(max_length=1), r"^task\.max_length=1: must be 2 or more$"),
    ],
)
def test_bad_fields(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()
