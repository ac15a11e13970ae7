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
from tasks.synthetic.pair_streams import FuzzyRecall, InContextRecall

NOISY = InContextRecall(32, 63, 0.2, 16)


@partial(jax.jit, static_argnames=("batch", "subset"))
def sample(task: Any, seed: int, length: int, batch: int = 8, subset: str = "train") -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length, subset)


def rows_of(batch: Batch, length: int) -> list[tuple[list[int], set[int]]]:
    """The whole stream of each row, its last target included, and the places of the tokens that are asked for."""
    found = []
    for row, targets, weights in zip(*(np.asarray(part).tolist() for part in batch[:3]), strict=True):
        assert targets[: length - 1] == row[1:length]
        found.append(([*row[:length], targets[length - 1]], {t + 1 for t, weight in enumerate(weights) if weight}))
    return found


# ---- pairs of two tokens ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([InContextRecall(16, 15), NOISY, InContextRecall(2, 3), InContextRecall(7, 20, 0.9, 1)]),
    st.integers(0, 2**31 - 1),
    st.data(),
)
def test_every_stream_of_pairs_obeys_the_definition(task: InContextRecall, seed: int, data: st.DataObject):
    length = data.draw(st.integers(3, task.max_length))
    batch = sample(task, seed, length)
    used, end = length - (length + 1) % 2, task.symbols - task.noise_symbols
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), used)
    np.testing.assert_array_equal(task.loss_weights(batch), np.asarray(batch.segments) > 0)
    for stream, asked in rows_of(batch, used):
        values: dict[int, int] = {}
        expected = set()
        for place in range(0, used, 2):
            key, value = stream[place], stream[place + 1]
            if key >= end:
                assert end <= value < task.symbols
                assert task.noise
                continue
            assert key < end // 2 <= value < end
            if key in values:
                assert value == values[key]
                expected.add(place + 1)
            values[key] = value
        assert asked == expected
        assert used in asked, "the last key came before"


def test_noise_is_as_frequent_as_it_says_and_a_pair_is_left():
    inputs = np.asarray(sample(NOISY, 0, 63, 2000).inputs)
    assert (inputs[:, :-1] >= 16).mean() == pytest.approx(0.2 * 30 / 31, abs=0.01)
    assert (inputs[:, -1] < 8).all()
    noise = inputs[inputs >= 16] - 16
    assert stats.chisquare(np.bincount(noise, minlength=16)).pvalue > 1e-4
    loud = np.asarray(sample(InContextRecall(4, 21, 0.99, 2), 0, 21, 500).inputs)
    assert (loud[:, :-1] < 2).any(axis=1).all()


def test_keys_and_values_are_uniform_and_the_last_key_is_one_of_those_that_came():
    inputs = np.asarray(sample(InContextRecall(16, 7), 0, 7, 4000).inputs)
    for column, first in ((0, 0), (1, 8), (2, 0), (4, 0)):
        assert stats.chisquare(np.bincount(inputs[:, column] - first, minlength=8)).pvalue > 1e-4
    three = inputs[[len({row[0], row[2], row[4]}) == 3 for row in inputs]]
    share = [(three[:, 6] == three[:, place]).mean() for place in (0, 2, 4)]
    assert share == pytest.approx([1 / 3] * 3, abs=0.03)


# ---- pairs of several tokens -----------------------------------------------------------------------------------------


def split_pairs(tokens: list[int], half: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Runs of key tokens and of value tokens, in turn."""
    pairs, key, value = [], [], []
    for token in [*tokens, -1]:
        if value and token < half:
            pairs.append((tuple(key), tuple(value)))
            key, value = [], []
        (key if token < half else value).append(token)
    assert key == [-1]
    return pairs


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([FuzzyRecall(16, max_length=48), FuzzyRecall(3, 1, 1, 9), FuzzyRecall(9, 2, 4, 30)]),
    st.sampled_from(["train", "test"]),
    st.integers(0, 2**31 - 1),
    st.data(),
)
def test_every_fuzzy_stream_obeys_the_definition(task: FuzzyRecall, subset: str, seed: int, data: st.DataObject):
    length = data.draw(st.integers(task.min_length, task.max_length))
    batch = sample(task, seed, length, subset=subset)
    half, fills = (task.symbols - 1) // 2, task.symbols - 1
    np.testing.assert_array_equal(np.asarray(batch.segments).sum(axis=1), length)
    np.testing.assert_array_equal(task.loss_weights(batch), np.asarray(batch.segments) > 0)
    for stream, asked in rows_of(batch, length):
        first = next(place for place, token in enumerate(stream) if token != fills)
        assert fills not in stream[first:]
        pairs = split_pairs(stream[first:], half)
        values: dict[tuple[int, ...], tuple[int, ...]] = {}
        expected, place = set(), first
        for key, value in pairs:
            for motif, most in ((key, task.key_tokens), (value, task.value_tokens)):
                assert 1 <= len(set(motif)) == len(motif) <= most
            assert subset == "train" or len(key) == task.key_tokens
            if key in values:
                assert value == values[key]
                expected |= set(range(place + len(key), place + len(key) + len(value)))
            values[key] = value
            place += len(key) + len(value)
        assert asked == expected
        assert pairs[-1][0] in dict(pairs[:-1]), "the last key came before"
        # Pairs go on until there might not be room for one more and the probe.
        probe = len(pairs[-1][0]) + len(pairs[-1][1])
        limit = length - probe - task.key_tokens - task.value_tokens
        before = sum(len(key) + len(value) for key, value in pairs[:-1])
        last = sum(len(part) for part in pairs[-2])
        assert before - last < limit <= before


def draw_reference(rng: np.random.Generator, length: int, most: int, symbols: int, fewest: int) -> dict[str, float]:
    """A row by the definition, token by token; what is counted of it."""
    half, end = (symbols - 1) // 2, symbols - 1

    def motif(first: int, stop: int, least: int) -> tuple[int, ...]:
        return tuple(first + rng.permutation(stop - first)[: rng.integers(least, most + 1)])

    probe = motif(0, half, fewest), motif(half, end, 1)
    limit = length - len(probe[0]) - len(probe[1]) - 2 * most
    place, tokens, asked, keys, values = rng.integers(limit), 0, 0, [], {}
    drawn: list[Any] = []
    while tokens < limit:
        key, value = motif(0, half, fewest), motif(half, end, 1)
        if tokens >= place and probe[0] not in values:
            key = probe[0]
        value = probe[1] if key == probe[0] else values.get(key, value)
        asked += len(value) * (key in values)
        values[key] = value
        keys.append(key)
        tokens += len(key) + len(value)
        drawn.append((key, value))
    return {
        "pairs": len(keys),
        "tokens": tokens + len(probe[0]) + len(probe[1]),
        "asked": asked + len(probe[1]),
        "place": keys.index(probe[0]) if probe[0] in keys else len(keys) - 1,
    }


@pytest.mark.parametrize(("subset", "fewest"), [("train", 1), ("test", 2)])
def test_fuzzy_streams_are_distributed_as_the_definition_says(subset: str, fewest: int):
    task, length = FuzzyRecall(9, 2, 2, 33), 33
    found: dict[str, list[float]] = {"pairs": [], "tokens": [], "asked": [], "place": []}
    for stream, asked in rows_of(sample(task, 0, length, 1500, subset), length):
        first = next(place for place, token in enumerate(stream) if token != 8)
        pairs = split_pairs(stream[first:], 4)
        found["pairs"].append(len(pairs) - 1)
        found["tokens"].append(len(stream) - first)
        found["asked"].append(len(asked))
        found["place"].append([key for key, _ in pairs].index(pairs[-1][0]))
    rng = np.random.default_rng(0)
    reference = [draw_reference(rng, length, 2, 9, fewest) for _ in range(1500)]
    for name, values in found.items():
        other = [one[name] for one in reference]
        error = np.sqrt((np.var(values) + np.var(other)) / 1500)
        assert np.mean(values) == pytest.approx(np.mean(other), abs=4.5 * error), name


# ---- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [InContextRecall(8, 15), FuzzyRecall(8, 1, 2, 15)])
def test_the_score_counts_what_is_asked_and_the_loss_every_next_token(task: Any):
    batch = sample(task, 0, 15, subset="test")
    right = 99.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert task.score(right, batch) == 1
    assert task.loss(right, batch) < 1e-5
    asked = np.asarray(batch.weights)[..., None] > 0
    elsewhere_wrong = jnp.where(asked, right, -right)
    assert task.score(elsewhere_wrong, batch) == 1
    assert task.loss(elsewhere_wrong, batch) > 1
    assert task.score(jnp.where(asked, -right, right), batch) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InContextRecall(noise=0.2), r"^task\.noise=0\.2: needs task\.noise_symbols of 1 or more$"),
        (lambda: InContextRecall(noise=1.0), r"^task\.noise=1\.0: must be 0 or more, and below 1$"),
        (lambda: InContextRecall(16, noise_symbols=15), r"^task\.symbols=16: 15 of them are noise.* give 17 or more$"),
        (lambda: InContextRecall(max_length=2), r"^task\.max_length=2: must be 3 or more: a pair and a key$"),
        (lambda: FuzzyRecall(6), r"^task\.symbols=6: keys of 3 and values of 3 .* need 7 or more$"),
        (lambda: FuzzyRecall(key_tokens=0), r"^task\.key_tokens=0: must be 1 or more$"),
        (lambda: FuzzyRecall(max_length=12), r"^task\.max_length=12: must be 13 or more$"),
    ],
)
def test_bad_fields(make: Any, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
