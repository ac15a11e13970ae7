from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.base import Batch
from tasks.synthetic.induction import Induction


@partial(jax.jit, static_argnames="batch")
def sample(task: Induction, seed: int, length: int, batch: int = 8) -> Batch:
    return task.sample(jax.random.key(seed), batch, task.max_length, length)


def solved(tokens: list[int], special: int) -> int:
    """What a reader who knows the task answers."""
    return tokens[tokens.index(special) + 1]


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([(2, 3), (16, 40)]), st.integers(0, 2**31 - 1), st.data())
def test_every_sequence_obeys_the_definition(sizes: tuple[int, int], seed: int, data: st.DataObject):
    task = Induction(*sizes)
    length = data.draw(st.integers(3, task.max_length))
    batch = sample(task, seed, length)
    special = task.symbols + 1
    for row, targets, weights in zip(*(np.asarray(a).tolist() for a in batch[:3]), strict=True):
        tokens, answer = row[:length], targets[length - 1]
        assert tokens.count(special) == 2
        assert tokens[-1] == special
        assert tokens.index(special) <= length - 3
        assert set(tokens) <= set(range(1, special + 1))
        assert answer == solved(tokens, special) <= task.symbols
        assert not any(targets[: length - 1] + targets[length:])
        assert weights == [float(step == length - 1) for step in range(task.max_length)]
    right = 9.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert (task.score(right, batch), task.score(-right, batch)) == (1, 0)


def test_tokens_and_places_are_uniform():
    task = Induction(4, 12)
    tokens = np.asarray(sample(task, 0, 12, 4000).inputs)
    place = (tokens[:, :-1] == 5).argmax(axis=1)
    assert stats.chisquare(np.bincount(place, minlength=10)).pvalue > 1e-3
    others = tokens[tokens != 5]
    assert stats.chisquare(np.bincount(others, minlength=5)[1:]).pvalue > 1e-3


def test_the_baseline_is_what_naming_any_token_scores():
    task = Induction(4, 8)
    batch = sample(task, 1, 8, 20_000)
    tokens = np.asarray(batch.inputs)
    guess = tokens[np.arange(len(tokens)), np.random.default_rng(0).integers(0, 7, len(tokens))]
    usable = guess != 5  # any but the special one, of which there are length − 2
    hits = (guess == np.asarray(batch.targets)[:, -1])[usable].mean()
    assert hits == pytest.approx(task.baseline[1], abs=0.015)
    assert task.chance == 0.25


def test_longer_test_sets_are_as_long_as_they_say():
    task = Induction(eval_length_multipliers=(0.5, 4))
    assert {name: split.length for name, split in task.splits.items()} == {
        "validation": 256, "test": 256, "test_0.5": 128, "test_4": 1024,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"symbols": 1}, "task.symbols=1: must be 2 or more"),
        ({"max_length": 2}, "task.max_length=2: must be 3 or more"),
        (
            {"eval_length_multipliers": (0.001,)},
            r"task.eval_length_multipliers=\(0.001,\): times 256 tokens must be 3 or more each",
        ),
    ],
)
def test_bad_input(fields: dict, said: str):
    with pytest.raises(ValueError, match=said):
        Induction(**fields)


def test_only_the_last_output_counts():
    task = Induction(4, 8)
    batch = sample(task, 1, 8)
    right = 9.0 * jax.nn.one_hot(batch.targets, task.outputs)
    assert task.score(right.at[:, :-1].set(jnp.nan), batch) == 1
