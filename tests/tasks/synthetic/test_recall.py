from functools import partial
from itertools import permutations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch
from tasks.synthetic.recall import Recall

TASKS = [Recall(1, 4, 4), Recall(3, 8, 13, power=1.0), Recall()]


@partial(jax.jit, static_argnames="batch")
def sample(task: Recall, seed: int, length: int, batch: int = 8) -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length)


@jax.jit
def grade(task: Recall, answers: jax.Array, batch: Batch):
    """The score and the loss of a model that is sure of `answers`, and the score of one sure of anything else."""
    outputs = 99.0 * jax.nn.one_hot(answers, task.outputs)
    return task.score(outputs, batch), task.loss(outputs, batch), task.score(-outputs, batch)


def solve(task: Recall, row: np.ndarray, length: int) -> np.ndarray:
    """The answers, found by reading the sequence as its definition is written, which it must also obey."""
    pairs, half = min(task.pairs, length // 4), task.symbols // 2
    keys, values = row[: 2 * pairs : 2].tolist(), row[1 : 2 * pairs : 2].tolist()
    assert len(set(keys)) == len(set(values)) == pairs
    assert all(1 <= key < half for key in keys)
    assert all(half <= value < task.symbols for value in values)
    asked = {at: int(row[at]) for at in range(2 * pairs, task.max_length) if row[at]}
    assert sorted(asked.values()) == sorted(keys), "each key is asked for once"
    assert all(at % 2 == 0 and at + 1 < length for at in asked), "at the start of a slot of two tokens"
    answers = np.zeros_like(row)
    for at, key in asked.items():
        answers[at] = values[keys.index(key)]
    return answers


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(TASKS), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(task: Recall, seed: int, data: st.DataObject):
    length = data.draw(st.integers(4, task.max_length))
    batch = sample(task, seed, length)
    answers = np.stack([solve(task, row, length) for row in np.asarray(batch.inputs)])
    np.testing.assert_array_equal(batch.targets, answers)
    np.testing.assert_array_equal(batch.weights, answers > 0)
    right, loss, wrong = grade(task, answers, batch)
    assert (right, wrong) == (1, 0)
    assert loss < 1e-5


@pytest.mark.parametrize("power", [0.01, 1.0])
def test_slots_are_drawn_without_replacement_by_a_power_law(power: float):
    task = Recall(pairs=2, symbols=8, max_length=12, power=power)  # 4 slots
    batch = sample(task, 7, task.max_length, 20_000)
    inputs = np.asarray(batch.inputs)
    slots = np.array([[(row[4::2] == row[at]).argmax() for at in (0, 2)] for row in inputs])
    outcomes = list(permutations(range(4), 2))
    p = np.arange(1, 5) ** (power - 1)
    p /= p.sum()
    expected = np.array([p[a] * p[b] / (1 - p[a]) for a, b in outcomes])
    observed = [np.sum((slots == outcome).all(axis=1)) for outcome in outcomes]
    assert stats.chisquare(observed, expected * len(slots)).pvalue > 1e-3


def test_keys_and_values_are_uniform():
    inputs = np.asarray(sample(Recall(pairs=2, symbols=8, max_length=12), 3, 12, 20_000).inputs)
    assert stats.chisquare(np.bincount(inputs[:, 0], minlength=4)[1:4]).pvalue > 1e-3
    assert stats.chisquare(np.bincount(inputs[:, 3], minlength=8)[4:]).pvalue > 1e-3


def test_baseline_and_chance_are_what_the_rules_score():
    task = Recall()
    batch = sample(task, 0, task.max_length, 2_000)
    random = np.random.default_rng(0)
    shape = (*batch.targets.shape, 1)

    seen = np.asarray(batch.inputs)[:, 1 : 2 * task.pairs : 2]
    rule = np.take_along_axis(seen[:, None, :], random.integers(0, task.pairs, shape), axis=2)[..., 0]
    name, stated = task.baseline
    assert name
    assert float(task.score(jax.nn.one_hot(rule, task.outputs), batch)) == pytest.approx(stated, abs=0.01)

    guess = random.integers(task.symbols // 2, task.symbols, shape[:2])
    assert float(task.score(jax.nn.one_hot(guess, task.outputs), batch)) == pytest.approx(task.chance, abs=0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"symbols": 7}, r"task\.symbols=7: must be an even number, 4 or more"),
        ({"symbols": 2}, r"task\.symbols=2: must be"),
        ({"pairs": 0}, r"task\.pairs=0: 64 symbols hold 31 distinct keys"),
        ({"pairs": 32, "max_length": 128}, r"task\.pairs=32: .* give 1 to 31 pairs"),
        ({"max_length": 31}, r"task\.max_length=31: 8 pairs and their queries need 32"),
    ],
)
def test_bad_fields(fields: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        Recall(**fields)
    assert "\n" not in str(caught.value)


def test_longer_padding_changes_no_label():
    """Sequences padded past `max_length` of the task, as a curve over lengths has them, obey the definition too."""
    task = Recall(3, 8, 13)
    batch = jax.jit(lambda length: task.sample(jax.random.key(0), 8, 40, length))(13)
    for row, targets in zip(np.asarray(batch.inputs), np.asarray(batch.targets), strict=True):
        np.testing.assert_array_equal(targets[:13], solve(task, row[:13], 13))
        assert not row[13:].any()
        assert not targets[13:].any()
