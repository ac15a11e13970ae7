from functools import cache
from math import log2

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.real.characters import Characters
from tasks.real.ngrams import ngram_bits

ALPHABET = "abcdefg"


@cache
def characters(max_length: int = 12) -> Characters:
    random = np.random.default_rng(0)
    sizes = {"train": 400, "validation": 60, "test": 300}
    text = {name: random.integers(0, 7, n).astype(np.uint8) for name, n in sizes.items()}
    return Characters(text=text, alphabet=ALPHABET, max_length=max_length)


@cache
def sampler(subset: str, batch: int = 8):
    task = characters()
    return jax.jit(lambda seed, length: task.sample(jax.random.key(seed), batch, task.max_length, length, subset))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["train", "validation", "test"]), st.integers(0, 2**31 - 1), st.integers(1, 12))
def test_a_sequence_is_a_window_and_its_targets_the_characters_after(subset: str, seed: int, length: int):
    task, batch = characters(), sampler(subset)(seed, length)
    text = bytes(task.text[subset])
    assert batch.inputs.dtype == batch.targets.dtype == np.int32
    for row, targets in zip(np.asarray(batch.inputs), np.asarray(batch.targets), strict=True):
        assert bytes([*row[:length].tolist(), int(targets[length - 1])]) in text
        np.testing.assert_array_equal(targets[: length - 1], row[1:length])
        assert not row[length:].any()
        assert not targets[length:].any()
    np.testing.assert_array_equal(batch.weights, np.tile(np.arange(12) < length, (8, 1)))


def test_a_solver_loses_nothing():
    task, batch = characters(), sampler("test")(0, 12)
    solved = 99.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert task.score(solved, batch) < 1e-5
    assert task.loss(solved, batch) < 1e-5


def test_windows_begin_everywhere_alike_and_the_last_ends_with_the_text():
    text = np.arange(8, dtype=np.uint8)
    task = Characters({"train": text, "validation": text, "test": text}, "abcdefgh", max_length=4)
    for length in (2, 4):
        batch = jax.jit(lambda length: task.sample(jax.random.key(0), 6_000, 4, length))(length)
        starts = np.bincount(batch.inputs[:, 0], minlength=8)
        assert not starts[8 - length :].any()
        assert stats.chisquare(starts[: 8 - length]).pvalue > 1e-3
        assert batch.targets.max() == 7


def test_a_window_does_not_depend_on_its_padding():
    task = characters()
    short, long = (jax.jit(lambda n=n: task.sample(jax.random.key(0), 4, n, 5))() for n in (5, 12))
    np.testing.assert_array_equal(short.inputs, long.inputs[:, :5])
    np.testing.assert_array_equal(short.targets, long.targets[:, :5])


def test_a_uniform_guess_scores_chance_in_bits_and_loses_it_in_nats():
    task, batch = characters(), sampler("train")(0, 12)
    outputs = jnp.zeros((8, 12, 7))
    assert task.chance == pytest.approx(log2(7))
    assert task.score(outputs, batch) == pytest.approx(task.chance, rel=1e-5)
    assert task.loss(outputs, batch) == pytest.approx(np.log(7), rel=1e-5)


def test_the_baseline_is_a_trigram_model_of_the_training_text():
    task = characters()
    assert task.baseline == ("trigram counts", ngram_bits(task.text["train"], task.text["test"], 7, 3))
    assert task.baseline[1] > 2.6, "nothing can be learnt from noise"
    cycle = np.tile(np.arange(3, dtype=np.uint8), 400)
    known = Characters({"train": cycle, "validation": cycle, "test": cycle}, "abc", max_length=8)
    assert known.baseline[1] < 0.01, "and everything from a cycle"


@pytest.mark.parametrize("max_length", [0, 60])
def test_windows_that_do_not_fit(max_length: int):
    message = rf"^task\.max_length={max_length}: must be 1 to 59, one less than the shortest text has$"
    with pytest.raises(ValueError, match=message):
        characters(max_length)


def test_text_becomes_the_tokens_that_look_like_it():
    task = characters()
    assert task.encode("badge") == [1, 0, 3, 6, 4]
    assert "".join(task.names[token] for token in task.encode("facade")) == "facade"
    assert task.encode("") == []
    assert len(task.names) == task.vocabulary


def test_bad_values():
    with pytest.raises(ValueError, match=r"^the alphabet has no 'x', '<'$"):
        characters().encode("axa<x")
    with pytest.raises(ValueError, match=r"^alphabet='aa': must be 2 to 256 distinct characters$"):
        Characters(text={}, alphabet="aa")
    with pytest.raises(ValueError, match=r"^max_length=60: the validation text allows 59 at most$"):
        characters().sample(jax.random.key(0), 2, 60, 12, "validation")
