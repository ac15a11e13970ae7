from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch
from tasks.synthetic.counting import Counting, first_failure

NAMES = " $.abc"  # of tokens: blank, begin, end and letters


@partial(jax.jit, static_argnames=("batch", "max_length", "subset"))
def sample(task: Counting, seed: int, length: int, batch: int = 8, max_length: int = 0, subset: str = "train") -> Batch:
    return task.sample(jax.random.key(seed), batch, max_length or task.max_length, length, subset)


@jax.jit
def grade(task: Counting, answers: jax.Array, batch: Batch):
    """The score and the loss of a model that is sure of `answers`, and the score of one sure of anything else."""
    outputs = 99.0 * jax.nn.one_hot(answers, task.outputs)
    return task.score(outputs, batch), task.loss(outputs, batch), task.score(-outputs, batch)


def numbers(task: Counting, batch: Batch, length: int) -> list[int]:
    """The n of each row, once all else about it has been found to follow from that."""
    found = []
    for row, targets, weights in zip(*(np.asarray(part).tolist() for part in batch[:3]), strict=True):
        n = row.count(NAMES.index("a"))
        string = "$" + "".join(letter * n for letter in "abc"[: task.letters]) + "."
        assert len(string) <= length
        text = string.ljust(len(row))
        assert "".join(NAMES[token] for token in row) == text
        assert "".join(NAMES[token] for token in targets) == string[1:].ljust(len(row))
        assert weights == [1.0] * (len(string) - 1) + [0.0] * (len(row) - len(string) + 1)
        found.append(n)
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), length)
    return found


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([2, 3]), st.sampled_from([2, 20]), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(letters: int, count_limit: int, seed: int, data: st.DataObject):
    task = Counting(letters, count_limit)
    length = data.draw(st.integers(2, task.max_length))
    batch = sample(task, seed, length)
    found = numbers(task, batch, length)
    right, loss, wrong = grade(task, batch.targets, batch)
    assert (right, wrong) == (any(found), 0)  # of n = 0 alone nothing is determined
    assert loss < 1e-5


@pytest.mark.parametrize("letters", [2, 3])
def test_every_n_is_drawn_as_often_as_any_other(letters: int):
    task = Counting(letters, count_limit=10)
    for length, most in ((task.max_length, 9), (letters * 4 + 1, 3), (letters * 4 + 2, 4)):
        found = numbers(task, sample(task, 1, length, 3_000), length)
        assert stats.chisquare(np.bincount(found, minlength=most + 1)).pvalue > 1e-4
        assert max(found) == most


@pytest.mark.parametrize("letters", [2, 3])
def test_lengths_ask_for_test_sets_of_one_n_each(letters: int):
    task = Counting(letters, count_limit=4, eval_lengths=(2, 30))
    count_limit = 3 * letters + 2
    assert {name: (split.length, split.subset) for name, split in task.splits.items()} == {
        "validation": (count_limit, "test"),
        "test": (count_limit, "test"),
        "test_2": (2 * letters + 2, "exact"),
        "test_30": (30 * letters + 2, "exact"),
    }
    for n in task.eval_lengths:
        split = task.splits[f"test_{n}"]
        size = max(task.max_length, split.length)
        batch = sample(task, 0, split.length, split.examples, size, split.subset)
        assert numbers(task, batch, split.length) == [n] * 8


def test_after_an_a_any_answer_will_do_and_from_the_first_b_on_every_one_counts():
    task = Counting(3, count_limit=4)
    batch = sample(task, 0, 11, batch=5, subset="exact")  # $aaabbbccc.
    answers = np.asarray(batch.targets).copy()
    answers[:, :4] = 2  # at the beginning and at three a's
    answers[:, 10] = 3  # at the end
    score, loss, _ = grade(task, answers, batch)
    assert score == 1
    assert loss == pytest.approx(99 * 4 / 10, rel=1e-5)
    for step in range(4, 10):
        wrong = answers.copy()
        wrong[:2, step] = 1
        assert grade(task, wrong, batch)[0] == pytest.approx(3 / 5)


def test_strings_without_a_letter_do_not_count_and_nan_is_no_answer():
    task = Counting(2, count_limit=3)
    batch = sample(task, 0, 6, batch=40)
    n = (np.asarray(batch.inputs) == 3).sum(axis=1)
    assert set(n.tolist()) == {0, 1, 2}
    answers = np.where((n == 2)[:, None], batch.targets, 0)
    assert float(grade(task, answers, batch)[0]) == pytest.approx((n == 2).sum() / (n > 0).sum())
    outputs = 9.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert task.score(outputs.at[:, 0].set(np.nan), batch) == 1
    row = int(n.argmax())
    assert np.isnan(task.score(outputs.at[row, 3].set(np.nan), batch))


@pytest.mark.parametrize("letters", [2, 3])
@pytest.mark.parametrize("believed", [1, 4, 9])
def test_baseline_is_what_one_n_for_all_scores(letters: int, believed: int):
    """A model that takes every string to have the same n: a block ends where it should have ended."""
    task = Counting(letters, count_limit=10)
    batch = sample(task, 0, task.max_length, 8_000)
    inputs = np.asarray(batch.inputs)
    answers = inputs.copy()
    for letter in range(3, 3 + letters):
        full = np.cumsum(inputs == letter, axis=1) == believed
        answers[(inputs == letter) & full] = 2 if letter == 2 + letters else letter + 1
    assert float(grade(task, answers, batch)[0]) == pytest.approx(task.baseline[1], abs=0.01)
    assert task.baseline[1] == 1 / 9


@pytest.mark.parametrize("letters", [2, 3])
def test_chance_is_what_guesses_score(letters: int):
    task = Counting(letters, count_limit=4)
    batch = sample(task, 0, task.max_length, 20_000)
    guess = np.random.default_rng(0).integers(2, 3 + letters, batch.inputs.shape)  # the end or a letter
    assert float(grade(task, guess, batch)[0]) == pytest.approx(task.chance, abs=0.01)


def test_the_first_failure_is_the_least_n_that_is_not_all_right():
    assert first_failure({100: 1.0, 50: 1.0, 200: 0.0, 300: 1.0, 400: 0.0}) == 200
    assert first_failure({100: 1.0, 50: 0.875}) == 50
    assert first_failure({50: 1.0, 100: float("nan")}) == 100
    assert first_failure({50: 1.0}) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"letters": 4}, r"^task\.letters=4: must be 2 or 3$"),
        ({"count_limit": 1}, r"^task\.count_limit=1: must be 2 or more, as n is below it$"),
        ({"eval_lengths": (3, 0)}, r"^task\.eval_lengths=\(3, 0\): must be whole numbers, 1 or more each$"),
    ],
)
def test_bad_fields(fields: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        Counting(**fields)
    assert "\n" not in str(caught.value)
