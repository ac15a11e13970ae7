"""What every task promises."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import TASKS, Batch, Task
from tasks.base import accuracy, cross_entropy

RANDOM = np.random.default_rng(0)
SUBSETS = {"train": 40, "validation": 10, "test": 20}


def rows(count: int, longest: int, symbols: int) -> np.ndarray:
    """Indices from 1, of lengths of their own, with 0 behind their ends."""
    ends = RANDOM.integers(1, longest + 1, (count, 1))
    return RANDOM.integers(1, symbols, (count, longest)) * (np.arange(longest) < ends)


def words(some: np.ndarray) -> np.ndarray:
    """The same, as tokens above those with a meaning of their own."""
    return np.where(some > 0, some + 3, 0)


DATA = {
    "pixels": {
        "inputs": {name: RANDOM.random((n, 16, 1), np.float32) for name, n in SUBSETS.items()},
        "labels": {name: RANDOM.integers(0, 10, n, np.int32) for name, n in SUBSETS.items()},
    },
    "characters": {
        "text": {name: RANDOM.integers(0, 5, 20 * n).astype(np.uint8) for name, n in SUBSETS.items()},
        "alphabet": "abcde",
        "max_length": 16,
    },
    "words": {
        "text": {name: RANDOM.integers(0, 5, 20 * n, np.int32) for name, n in SUBSETS.items()},
        "names": ("?", "one", "two", "three", "four"),
        "max_length": 16,
    },
    "classification": {
        "inputs": {name: rows(n, 16, 5) for name, n in SUBSETS.items()},
        "labels": {name: RANDOM.integers(0, 2, n, np.int32) for name, n in SUBSETS.items()},
        "names": ("", "a", "b", "c", "d"),
        "classes": ("good", "bad"),
    },
    "parallel_text": {
        "sources": {name: words(rows(n, 5, 4)) for name, n in SUBSETS.items()},
        "targets": {name: words(rows(n, 5, 4)) for name, n in SUBSETS.items()},
        "names": ("", "|", ".", "_", "a", "b", "c"),
        "between": 3,
        "together": 2,
    },
}
OWN_LENGTHS = {"classification", "parallel_text"}  # a row may end before the length that is asked for
SHORTER = {
    "recall": 17, "copy_memory": 60, "adding": 30, "pixels": 7, "characters": 5, "translation": 13, "curve": 1,
    "associations": 18,
    "selective_copy": 20, "copy_string": 12, "induction": 9, "flip_flop": 32,
    "formal_language": 17, "word_problem": 7, "counting": 60, "words": 5, "classification": 9, "parallel_text": 12,
}  # fmt: skip


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_task_is_in_the_table_with_its_version():
    assert list(TASKS) == list(SHORTER)
    assert all(isinstance(TASKS[name].VERSION, int) for name in TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_protocol(name: str):
    task = TASKS[name](**DATA.get(name, {}))
    traced = []

    @partial(jax.jit, static_argnames="subset")
    def sample(task: Task, key: jax.Array, length: jax.Array, subset: str) -> Batch:
        traced.append(length)
        return task.sample(key, 4, task.max_length, length, subset)

    key, full, part = jax.random.key(1), jnp.int32(task.max_length), jnp.int32(SHORTER[name])
    whole, shorter = sample(task, key, full, "train"), sample(task, key, part, "train")
    assert len(traced) == 1, "one compilation for every length"

    # The key alone decides, whether the length is traced or not and the task an argument or not.
    assert same(whole, sample(task, key, full, "train"))
    assert not same(whole, sample(task, jax.random.key(2), full, "train"))
    assert same(shorter, jax.jit(lambda: task.sample(key, 4, task.max_length, SHORTER[name]))())

    for batch, length in (whole, task.max_length), (shorter, SHORTER[name]):
        batch = jax.tree.map(np.asarray, batch)  # not every look at it is to be compiled
        assert batch.inputs.shape == (4, task.max_length, *([] if task.vocabulary else [task.channels]))
        assert batch.inputs.dtype == (jnp.int32 if task.vocabulary else jnp.float32)
        np.testing.assert_array_equal(batch.positions, np.tile(np.arange(task.max_length), (4, 1)))
        within = np.tile(np.arange(task.max_length) < length, (4, 1))
        assert (batch.segments <= within).all()
        if name not in OWN_LENGTHS:
            np.testing.assert_array_equal(batch.segments, within)
        assert not batch.inputs[:, length:].any(), "padding is blank"
        if task.per == "token":
            assert batch.targets.shape == batch.weights.shape == (4, task.max_length)
            assert not batch.targets[:, length:].any()
            assert not batch.weights[:, length:].any()
        else:
            np.testing.assert_array_equal(batch.weights, np.ones(4))
        if task.vocabulary:
            assert 0 <= batch.inputs.min() <= batch.inputs.max() < task.vocabulary

    if task.next_tokens:
        tokens, counts = np.asarray(whole.inputs), np.asarray(whole.weights[:, :-1]) > 0
        assert (np.asarray(whole.targets[:, :-1]) == tokens[:, 1:])[counts].mean() > 0.5

    for split in task.splits.values():
        assert split.length == task.max_length
        drawn = jax.eval_shape(partial(task.sample, key, split.examples, split.length, split.length, split.subset))
        assert drawn.targets.shape[0] == split.examples

    steps = (4, task.max_length) if task.per == "token" else (4,)
    outputs = jnp.zeros((*steps, task.outputs))
    measured = jax.jit(lambda task, batch: (task.loss(outputs, batch), task.score(outputs, batch)))(task, whole)
    assert np.isfinite(measured).all()
    assert task.best in ("min", "max")
    assert task.baseline[1] >= 0


def test_no_answer_is_no_wrong_answer():
    """Outputs of nan score nan, but where they count for nothing."""
    targets = jnp.array([[0, 1, 1]])
    outputs = jax.nn.one_hot(targets, 2).at[0, 1].set(jnp.nan)
    batch = Batch(targets, targets, jnp.array([[1.0, 0.0, 1.0]]), targets, targets)
    assert accuracy(outputs, batch) == 1
    assert np.isfinite(cross_entropy(outputs, batch))
    assert np.isnan(accuracy(outputs, batch._replace(weights=jnp.ones((1, 3)))))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_a_pytree(name: str):
    task = TASKS[name](**DATA.get(name, {}))
    hash(jax.tree.structure(task))
    assert jax.tree.structure(jax.tree.map(jnp.asarray, task)) == jax.tree.structure(task)
    jax.tree.map(lambda leaf: None, task)
    jax.tree.map(lambda leaf: jax.sharding.PartitionSpec("x"), task)
    jax.eval_shape(lambda task: task, task)
    sample = jax.vmap(lambda task, key: task.sample(key, 2, task.max_length, task.max_length), in_axes=(None, 0))
    assert jax.eval_shape(sample, task, jax.random.split(jax.random.key(0), 3)).positions.shape == (
        3,
        2,
        task.max_length,
    )
