from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch
from tasks.synthetic.translation import Translation, word_alignment

TASKS = [Translation(2, 1), Translation(6, 4), Translation()]


@partial(jax.jit, static_argnames=("batch", "max_length"))
def sample(task: Translation, seed: int, length: int, batch: int = 8, max_length: int = 0) -> Batch:
    return task.sample(jax.random.key(seed), batch, max_length or task.max_length, length)


@jax.jit
def grade(task: Translation, answers: jax.Array, batch: Batch):
    """The score and the loss of a model that is sure of `answers`, and the score of one sure of anything else."""
    outputs = 99.0 * jax.nn.one_hot(answers, task.outputs)
    return task.score(outputs, batch), task.loss(outputs, batch), task.score(-outputs, batch)


def translated(source: list[int], words: int) -> list[int]:
    """A sentence of tokens in the other language, by the definition: word for word, then pair by pair."""
    assert all(3 <= token < 3 + words for token in source)
    target = [token + words for token in source]
    for a, b in zip(range(0, len(source), 2), range(1, len(source), 2), strict=False):
        if source[a] % 2 != source[b] % 2:
            target[a], target[b] = target[b], target[a]
    return target


def obeys(task: Translation, row: list[int], targets: list[int], weights: list[float], length: int) -> None:
    n = (length - 1) // 2
    target = translated(row[:n], task.words)
    padding = [0] * (len(row) - 2 * n - 1)
    assert row == [*row[:n], task.separator, *target, *padding]
    assert targets == [0] * n + [*target, task.end, *padding]
    assert weights == [0.0] * n + [1.0] * (n + 1) + [float(p) for p in padding]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(TASKS), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(task: Translation, seed: int, data: st.DataObject):
    length = data.draw(st.integers(3, task.max_length))
    batch = sample(task, seed, length)
    for row, targets, weights in zip(*(np.asarray(part).tolist() for part in batch[:3]), strict=True):
        obeys(task, row, targets, weights, length)
    np.testing.assert_array_equal(batch.segments.sum(axis=1), length - (length % 2 == 0))
    right, loss, wrong = grade(task, batch.targets, batch)
    assert (right, wrong) == (1, 0)
    assert loss < 1e-5


def test_longer_padding_and_sentences_than_the_task_trains_on():
    task = Translation(6, 4)
    for length in (5, 8, 9, 19):
        batch = sample(task, 0, length, max_length=24)
        for row, targets, weights in zip(*(np.asarray(part).tolist() for part in batch[:3]), strict=True):
            obeys(task, row, targets, weights, length)


def test_the_alignment_says_where_each_word_comes_from():
    task = Translation()
    batch = sample(task, 1, 20)  # nine words, the last without a partner
    inputs, n = np.asarray(batch.inputs), 9
    places = np.asarray(jax.vmap(partial(word_alignment, n=n))(batch.inputs[:, :n] - 3))
    np.testing.assert_array_equal(np.sort(places, axis=1), np.tile(np.arange(n), (8, 1)))
    assert (places != np.arange(n)).any()
    source = np.take_along_axis(inputs[:, :n], places, axis=1)
    np.testing.assert_array_equal(inputs[:, n + 1 : 2 * n + 1], source + task.words)


def test_what_was_written_says_nothing_about_the_next_word():
    """The reordering maps sentences one to one, so that targets are as uniform as sources, pair by pair."""
    task = Translation(4, 3)
    inputs = np.asarray(sample(task, 3, 7, 20_000).inputs)
    for a, b in ((0, 1), (1, 2), (4, 5), (5, 6)):
        pairs = (inputs[:, a] - 3) % 4 * 4 + (inputs[:, b] - 3) % 4
        assert stats.chisquare(np.bincount(pairs, minlength=16)).pvalue > 1e-3


@pytest.mark.parametrize("longest", [1, 5, 10])
def test_baseline_and_chance_are_what_the_rules_score(longest: int):
    task = Translation(max_items=longest)
    batch = sample(task, 0, task.max_length, 2_000)
    inputs, random = np.asarray(batch.inputs), np.random.default_rng(0)
    rule = np.zeros_like(inputs)
    rule[:, longest : 2 * longest] = inputs[:, :longest] + task.words
    assert float(grade(task, rule, batch)[0]) == pytest.approx(task.baseline[1], abs=0.01)
    guess = random.integers(3 + task.words, task.vocabulary, inputs.shape)
    assert float(grade(task, guess, batch)[0]) == pytest.approx(task.chance, abs=0.01)


def test_the_score_counts_words_and_the_loss_their_end_too():
    task = Translation(6, 4)
    batch = sample(task, 0, 9)
    endless = np.where(batch.targets == task.end, 3, batch.targets)
    score, loss, _ = grade(task, endless, batch)
    assert score == 1
    assert loss == pytest.approx(99 / 5, rel=1e-5)


def test_lengths_ask_for_test_sets():
    task = Translation(max_items=4, eval_lengths=(2, 30))
    assert {name: split.length for name, split in task.splits.items()} == {
        "validation": 9,
        "test": 9,
        "test_2": 5,
        "test_30": 61,
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"words": 7}, r"task\.words=7: must be an even number, 2 or more"),
        ({"words": 0}, r"task\.words=0: must be"),
        ({"max_items": 0}, r"task\.max_items=0: must be 1 or more"),
        ({"eval_lengths": (3, 0)}, r"task\.eval_lengths=\(3, 0\): must be whole numbers of words, 1 or more"),
    ],
)
def test_bad_fields(fields: dict, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        Translation(**fields)
    assert "\n" not in str(caught.value)
