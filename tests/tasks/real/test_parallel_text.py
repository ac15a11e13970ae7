import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.real.parallel_text import ParallelText, join_pieces

NAMES = ("", "|", ".", "_", *"abcxyz")
SOURCES = np.array([[4, 5, 6], [5, 0, 0], [6, 6, 0], [4, 0, 0]])
TARGETS = np.array([[7, 0, 0], [8, 8, 8], [9, 7, 0], [7, 8, 0]])
EVERY = ("train", "validation", "test")


def made(**more) -> ParallelText:
    return ParallelText(dict.fromkeys(EVERY, SOURCES), dict.fromkeys(EVERY, TARGETS), NAMES, between=3, **more)


def read(batch, row: int) -> tuple[str, str]:
    """Inputs and targets of a row as they are written."""
    spelt = lambda tokens: "".join(NAMES[i] or " " for i in np.asarray(tokens))  # noqa: E731
    return spelt(batch.inputs[row]).rstrip(), spelt(batch.targets[row]).rstrip()


def test_rows_of_one_pair():
    task = made()
    assert task.max_length == task.pair_length == 8
    batch = task.build_rows(jnp.arange(4)[:, None], 8, 1)
    found = [read(batch, row) for row in range(4)]
    assert found == [("abc|x", "   x."), ("b|yyy", " yyy."), ("cc|zx", "  zx."), ("a|xy", " xy.")]
    np.testing.assert_array_equal(batch.weights, np.asarray(batch.targets) > 0)
    np.testing.assert_array_equal(batch.segments, np.asarray(batch.inputs) > 0)


def test_pairs_one_after_the_other_with_something_between():
    task = made(pairs_per_row=3, eval_pairs_per_row=(1, 4))
    batch = task.build_rows(jnp.array([[0, 1, 2], [3, 3, 3]]), task.max_length, 3)
    assert read(batch, 0) == ("abc_b_cc|x_yyy_zx", "        x_yyy_zx.")
    fewer = task.build_rows(jnp.array([[0, 1, 2], [3, 3, 3]]), task.max_length, 2)
    assert [read(fewer, row)[0] for row in (0, 1)] == ["abc_b|x_yyy", "a_a|xy_xy"]
    assert {name: split.length for name, split in task.splits.items()} == {
        "validation": 24, "test": 24, "test_1": 8, "test_4": 32,
    }  # fmt: skip


def test_either_side_fits_in_half_of_a_row():
    """What an encoder–decoder that reads halves is promised."""
    task = made(pairs_per_row=3)
    batch = task.sample(jax.random.key(0), 4, 24, 24)
    places = np.asarray(batch.inputs == task.separator).argmax(axis=1)
    assert (places <= 12).all()
    assert (np.asarray(batch.segments).sum(axis=1) - places <= 12).all()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(4, 9), min_size=1, max_size=4), min_size=1, max_size=5), st.booleans())
def test_joined_against_lists(pieces: list[list[int]], between: bool):
    padded = np.array([piece + [0] * (4 - len(piece)) for piece in pieces])
    if not between:
        padded, pieces = padded[:1], pieces[:1]
    tokens, count = join_pieces(jnp.asarray(padded), 3 * between, 30)
    expected = [token for piece in pieces for token in (*piece, 3)][:-1]
    assert int(count) == len(expected)
    np.testing.assert_array_equal(np.asarray(tokens)[: len(expected)], expected)
    assert not np.asarray(tokens)[len(expected) :].any()


def test_rows_of_one_are_distinct_pairs():
    batch = made().sample(jax.random.key(1), 4, 8, 8)
    assert {read(batch, row)[0] for row in range(4)} == {"abc|x", "b|yyy", "cc|zx", "a|xy"}


def test_a_solver_scores_all_and_the_end_counts_for_the_loss_alone():
    task = made()
    batch = task.sample(jax.random.key(0), 4, 8, 8)
    right = 50.0 * jax.nn.one_hot(batch.targets, len(NAMES))
    assert task.score(right, batch) == 1
    no_end = jnp.where((batch.targets == task.end)[..., None], 0.0, right)
    assert task.score(no_end, batch) == 1
    assert task.loss(no_end, batch) > 0.3 > task.loss(right, batch)


def test_the_baseline_is_the_commonest_token():
    assert made().baseline == ("always the commonest token", 4 / 8)


def test_bad_values():
    with pytest.raises(ValueError, match=r"^task.pairs_per_row=0, eval_pairs_per_row=\(\): must be 1 or more each$"):
        made(pairs_per_row=0)
    none = dict.fromkeys(EVERY, SOURCES)
    with pytest.raises(ValueError, match=r"these pairs have nothing to stand between them; use 1$"):
        ParallelText(none, none, NAMES, pairs_per_row=2)
    with pytest.raises(ValueError, match=r"^batch=5: the train pairs are 4, so give that many or fewer$"):
        made().sample(jax.random.key(0), 5, 8, 8)
    with pytest.raises(ValueError, match=r"^max_length=7: a pair takes 8 steps, so give that or more$"):
        made().sample(jax.random.key(0), 2, 7, 7)
