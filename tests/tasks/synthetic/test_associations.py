from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch, Split
from tasks.synthetic.associations import MAX_QUERIES, Associations

TASKS = [
    Associations(2),
    Associations(5),
    Associations(3, with_replacement=True),
    Associations(6, with_replacement=True),
]


@partial(jax.jit, static_argnames=("batch", "subset"))
def sample(task: Associations, seed: int, length: int, batch: int = 8, subset: str = "train") -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length, subset)


@jax.jit
def grade(task: Associations, answers: jax.Array, batch: Batch):
    """Loss and accuracy of a model that gives `answers`, and the losses of one that says nothing and of a guess."""
    right, nothing = jax.nn.one_hot(answers, task.outputs), jnp.zeros((len(answers), task.outputs))
    even = nothing + 1 / task.outputs
    return task.loss(right, batch), task.accuracy(right, batch), task.loss(nothing, batch), task.loss(even, batch)


def read(task: Associations, row: np.ndarray, length: int) -> tuple[dict[int, int], int]:
    """Each key's value, and the query, found by reading the row as its definition is written, which it must obey."""
    pairs, size = min(task.max_pairs, (length - 1) // 2), task.pairs
    keys, values = row[: 2 * pairs : 2].tolist(), row[1 : 2 * pairs : 2].tolist()
    assert all(1 <= key <= size for key in keys)
    assert all(size < value <= 2 * size for value in values)
    if not task.with_replacement:
        assert len(set(keys)) == len(set(values)) == pairs
    assert not row[2 * pairs : length - 1].any()
    assert not row[length:].any()
    known = {}
    for key, value in zip(keys, values, strict=True):
        known[key] = value - size - 1  # the last one stays
    return known, int(row[length - 1])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(TASKS), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(task: Associations, seed: int, data: st.DataObject):
    length = data.draw(st.integers(3, task.max_length))
    batch = sample(task, seed, length)
    answers = []
    for row in np.asarray(batch.inputs):
        known, query = read(task, row, length)
        answers.append(known[query])
    np.testing.assert_array_equal(batch.targets, answers)
    np.testing.assert_array_equal(batch.weights, np.ones(8))
    loss, right, nothing, even = grade(task, np.array(answers), batch)
    assert (loss, right, nothing) == (0, 1, 0.5)
    assert even == pytest.approx(task.chance, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(TASKS), st.integers(0, 2**31 - 1), st.data())
def test_an_evaluation_asks_for_every_key_of_a_sequence_once(task: Associations, seed: int, data: st.DataObject):
    """In the order of the keys; what is left of the rows asks for nothing and weighs nothing."""
    length = data.draw(st.integers(3, task.max_length))
    batch = jax.tree.map(np.asarray, sample(task, seed, length, batch=3 * task.pairs, subset="test"))
    for first in range(0, 3 * task.pairs, task.pairs):
        rows = slice(first, first + task.pairs)
        inputs, queries = batch.inputs[rows].copy(), batch.inputs[rows, length - 1]
        known, _ = read(task, inputs[0], length)
        inputs[:, length - 1] = 0
        assert (inputs == inputs[0]).all(), "the same pairs"
        blanks = [0] * (task.pairs - len(known))
        assert queries.tolist() == sorted(known) + blanks
        assert batch.targets[rows].tolist() == [known[key] for key in sorted(known)] + blanks
        assert batch.weights[rows].tolist() == [1] * len(known) + blanks


def test_of_many_keys_the_first_are_asked_for():
    task = Associations(MAX_QUERIES + 3)
    batch = sample(task, 0, task.max_length, batch=MAX_QUERIES + 1, subset="test")
    assert np.asarray(batch.inputs)[:MAX_QUERIES, -1].tolist() == list(range(1, MAX_QUERIES + 1))
    assert (batch.inputs[0, :-1] == batch.inputs[MAX_QUERIES - 1, :-1]).all()
    assert (batch.inputs[0, :-1] != batch.inputs[MAX_QUERIES, :-1]).any(), "another sequence"
    assert batch.inputs[MAX_QUERIES, -1] == 1


def test_the_splits_are_twenty_sequences_of_as_many_pairs_as_keys():
    for again in (False, True):
        task = Associations(20, with_replacement=again)
        assert task.splits == {name: Split(length=41, examples=400) for name in ("validation", "test")}
        assert task.max_length == (81 if again else 41)
    assert Associations(600).splits["test"].examples == 20 * MAX_QUERIES


@pytest.mark.parametrize("again", [False, True])
def test_keys_and_values_are_uniform(again: bool):
    task = Associations(4, with_replacement=again)
    inputs = np.asarray(sample(task, 3, task.max_length, 20_000).inputs)
    assert stats.chisquare(np.bincount(inputs[:, 0])[1:]).pvalue > 1e-3
    assert stats.chisquare(np.bincount(inputs[:, -2])[5:]).pvalue > 1e-3
    both = np.bincount(4 * (inputs[:, 0] - 1) + inputs[:, 1] - 5, minlength=16)  # a key says nothing of its value
    assert stats.chisquare(both).pvalue > 1e-3
    if again:
        assert stats.chisquare(np.bincount(4 * inputs[:, 0] + inputs[:, 2])[5:]).pvalue > 1e-3


def test_a_key_is_asked_for_as_often_as_it_comes():
    """The query is that of a pair drawn evenly."""
    task = Associations(2, with_replacement=True)
    inputs = np.asarray(sample(task, 5, task.max_length, 20_000).inputs)
    comes = (inputs[:, 0:8:2] == 1).sum(axis=1)
    assert set(comes) == {0, 1, 2, 3, 4}
    for times in range(5):
        asked = inputs[comes == times, -1] == 1
        assert stats.binomtest(int(asked.sum()), len(asked), times / 4).pvalue > 1e-3


def test_rows_that_weigh_nothing_do_not_count():
    task = Associations(3)
    batch = sample(task, 0, task.max_length)
    outputs = jax.nn.one_hot(batch.targets, 3).at[0].set(jnp.nan)
    assert np.isnan(task.loss(outputs, batch))
    assert np.isnan(task.accuracy(outputs, batch))
    without = batch._replace(weights=batch.weights.at[0].set(0))
    assert (task.loss(outputs, without), task.accuracy(outputs, without)) == (0, 1)


def test_longer_padding_changes_no_label():
    task = Associations(3, with_replacement=True)
    batch = jax.jit(lambda length: task.sample(jax.random.key(0), 8, 40, length))(13)
    plain = jax.jit(lambda: task.sample(jax.random.key(0), 8, 13, 13))()
    np.testing.assert_array_equal(batch.targets, plain.targets)
    np.testing.assert_array_equal(batch.inputs[:, :13], plain.inputs)
    assert not batch.inputs[:, 13:].any()


@pytest.mark.parametrize("pairs", [1, 0, -3])
def test_bad_fields(pairs: int):
    with pytest.raises(ValueError, match=rf"task\.pairs={pairs}: must be 2 or more") as caught:
        Associations(pairs)
    assert "\n" not in str(caught.value)
