"""Scores put together from parts of a split: equal to those of the whole, in the memory of one part."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from data import SPLITS
from tasks import TASKS
from tasks.base import Split
from tasks.real.text import Text
from tests import tiny_config
from tests.tasks.fingerprints import example
from tests.training.test_carried_state import make_run
from training import builder, scoring, trainer

PARTS, ROWS = 3, 2  # the last part ends with a row of padding


def cut_into_parts(leaf: Any) -> Any:
    padded = jnp.pad(leaf, [(0, PARTS * ROWS - len(leaf)), *[(0, 0)] * (leaf.ndim - 1)])
    return padded.reshape(PARTS, ROWS, *leaf.shape[1:])


@pytest.mark.parametrize("name", TASKS)
def test_parts_give_the_scores_of_the_whole(name: str):
    """Also where a row, and with it most of a part, counts for nothing."""
    task, count = example(name), PARTS * ROWS - 1
    batch = task.sample(tasks.random_key(0), count, task.max_length, task.max_length)
    batch = batch._replace(weights=batch.weights.at[0].set(0))
    outputs = jax.random.normal(jax.random.key(1), (*batch.weights.shape, task.outputs))
    whole = scoring.score_batch(task, outputs, batch)
    in_parts = jax.tree.map(cut_into_parts, (outputs, batch))
    parts = jax.lax.map(lambda part: scoring.summarize_part(task, *part), in_parts)
    joined = scoring.join_parts(task, parts, count)
    assert joined.keys() == whole.keys()
    for score, value in whole.items():
        np.testing.assert_allclose(joined[score], value, rtol=2e-6, atol=1e-7, err_msg=score)
    if task.target_level == "token":
        assert task.score_parts != "none", "the outputs of all tokens of a split would be kept"


def test_a_score_that_says_nothing_of_its_parts_sees_all_outputs():
    class Own(tasks.Recall):
        def score(self, outputs, batch):  # pyright: ignore
            return jnp.square(super().score(outputs, batch))

    class Stated(Own):
        score_parts = "mean"

    class Further(Own):
        def score_weights(self, batch):  # pyright: ignore
            return batch.weights

    assert [cls.score_parts for cls in (tasks.Recall, Own, Stated, Further)] == ["mean", "none", "mean", "none"]


@pytest.mark.parametrize("name", ["recall", "text"])
def test_an_unknown_score_of_a_part_is_that_of_the_whole_if_it_counts(name: str):
    task = example(name)
    batch = task.sample(tasks.random_key(0), 4, task.max_length, task.max_length)
    outputs = jnp.zeros((*batch.weights.shape, task.outputs)).at[0].set(jnp.nan)
    two = jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]), (outputs, batch))
    parts = jax.lax.map(lambda part: scoring.summarize_part(task, *part), two)
    assert all(np.isnan(value) for value in scoring.join_parts(task, parts, 4).values())


WORDS, LENGTH, ROWS_AT_ONCE = 4096, 32, 8


def count_temporary_bytes(examples: int, carry_state: bool) -> int:
    """Those of the compiled evaluation of so many windows of a text with a large vocabulary."""
    text = {subset: np.arange(50_000, dtype=np.int32) % WORDS for subset in SPLITS}
    task = Text(text, None, tuple(f"w{i}" for i in range(WORDS)), max_length=LENGTH)
    run = make_run("gru", task, training__carry_state=carry_state, model__depth=1)
    state = jax.eval_shape(partial(trainer.init_train_state, run), 0, 1e-2)
    evaluate = jax.jit(partial(trainer.evaluate_split, run, Split(LENGTH, examples)))
    program = evaluate.lower(state, run.task, trainer.split_seed("test")).compile()
    memory = program.memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


@pytest.mark.parametrize("carry_state", [False, True])
def test_an_evaluation_needs_the_memory_of_one_part(carry_state: bool, monkeypatch: pytest.MonkeyPatch):
    """However many sequences a split has: beyond that of a part, only their own tokens take room."""
    monkeypatch.setattr(trainer, "EVAL_OUTPUTS", ROWS_AT_ONCE * LENGTH * WORDS)
    few, many = (count_temporary_bytes(examples, carry_state) for examples in (ROWS_AT_ONCE, 1024))
    outputs, tokens = 4 * ROWS_AT_ONCE * LENGTH * WORDS, 4 * 1024 * LENGTH
    assert outputs <= few < 3 * outputs
    assert many - few < 20 * tokens  # inputs, targets, weights, positions and segments, and copies of them


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (32, trainer.EVAL_BATCH_SIZE),  # small outputs: as many at once as ever
        (2**20, 32),  # 2**22 numbers each
        (2**27, 4),  # never fewer than a training step has
        (2**29, 1),
    ],
)
def test_large_outputs_go_through_in_small_parts(length: int, expected: int):
    run = builder.build_run(tiny_config())
    task = type("Task", (), {"outputs": 4, "max_length": min(length, 2**27)})()
    assert trainer._eval_call_limit(run._replace(task=task), length) == expected
