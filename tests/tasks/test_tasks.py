"""What every task promises. A task that is added to TASKS is covered here with no other edit."""

import dataclasses
import importlib
import inspect
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import TASKS, Batch, Counting
from tasks.base import Task, accuracy, cross_entropy, static
from tasks.preview import preview_task
from tests.tasks import fingerprints
from tests.tasks.fingerprints import ROWS, draw, draw_example, example


def have_same_arrays(ours: Batch, theirs: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def lengths_of(task: Task) -> tuple[int, ...]:
    return task.min_length, (task.min_length + task.max_length) // 2, task.max_length


@pytest.mark.parametrize("name", TASKS)
def test_the_key_alone_decides_what_is_drawn(name: str):
    task = example(name)
    length = lengths_of(task)[1]
    batch, _, _ = draw_example(name, length)
    key = jax.random.key(1, impl="threefry2x32")
    again = jax.jit(lambda: task.sample(key, ROWS, task.max_length, length))()
    assert have_same_arrays(batch, again), "the draw depends on whether length and task are traced"
    full, _, _ = draw_example(name, task.max_length)
    other, _, _ = draw(task, jax.random.key(2, impl="threefry2x32"), jnp.int32(task.max_length), "train")
    assert not have_same_arrays(full, other), "two keys give the same batch"


@pytest.mark.parametrize("name", TASKS)
def test_one_compilation_serves_every_length(name: str):
    task = example(name)

    def sample(length: jax.Array) -> Batch:
        return task.sample(jax.random.key(0), ROWS, task.max_length, length)

    shapes = {jax.tree.map(jnp.shape, jax.eval_shape(sample, jnp.int32(length))) for length in lengths_of(task)}
    assert len(shapes) == 1, "the shapes of a batch change with its length"


@pytest.mark.parametrize("name", TASKS)
def test_batches_have_the_form_that_models_take(name: str):
    task = example(name)
    steps = np.tile(np.arange(task.max_length), (ROWS, 1))
    for length in lengths_of(task):
        batch, loss, score = draw_example(name, length)
        where = f"at length {length}: "
        form = (ROWS, task.max_length) if task.vocabulary else (ROWS, task.max_length, task.channels)
        assert batch.inputs.shape == form, where + "inputs are tokens [B, T], or vectors [B, T, channels]"
        assert batch.inputs.dtype == (jnp.int32 if task.vocabulary else jnp.float32), where + "inputs' dtype"
        assert np.array_equal(batch.positions, steps), where + "positions count from 0 in a row of one sequence"
        assert batch.segments.dtype == jnp.int32, where + "segments are int32"
        assert np.isin(batch.segments, (0, 1)).all(), where + "segments are 1, and 0 in padding"
        assert (np.diff(batch.segments, axis=1) <= 0).all(), where + "padding stands behind a sequence, not in it"
        assert (batch.segments[:, 0] == 1).all(), where + "no row is padding alone"
        assert not batch.segments[:, length:].any(), where + "a sequence goes on past the length that was asked for"
        if length in (task.min_length, task.max_length) and not task.rows_end_early:
            assert (batch.segments.sum(axis=1) == length).all(), (
                where + "a row ends before that; if rows may, the task must state rows_end_early = True"
            )
        assert not batch.inputs[:, length:].any(), where + "padding isn't blank in the inputs"
        if task.target_level == "token":
            assert batch.weights.shape == steps.shape, where + "one weight per step"
            of_step = () if np.issubdtype(batch.targets.dtype, np.integer) else (task.outputs,)
            assert batch.targets.shape == (*steps.shape, *of_step), (
                where + "one target per step, real ones of all outputs"
            )
            assert not batch.targets[:, length:].any(), where + "padding isn't blank in the targets"
            assert not (batch.weights * (batch.segments == 0)).any(), where + "padding counts for the loss"
        else:
            assert batch.targets.shape[0] == ROWS, where + "a target for each sequence"
            assert np.array_equal(batch.weights, np.ones(ROWS)), where + "every sequence of training counts"
        if task.vocabulary:
            assert 0 <= batch.inputs.min() <= batch.inputs.max() < task.vocabulary, where + "a token out of range"
        if np.issubdtype(batch.targets.dtype, np.integer):
            assert 0 <= batch.targets.min() <= batch.targets.max() < task.outputs, where + "a target out of range"
        assert np.isfinite([loss, score]).all(), where + "loss or score of outputs of 0 is nan or infinite"


@pytest.mark.parametrize("name", TASKS)
def test_next_tokens_is_stated_where_targets_are_inputs_of_later_steps(name: str):
    batch, _, _ = draw_example(name, example(name).max_length)
    if example(name).next_tokens:
        counts = batch.weights[:, :-1] > 0
        assert (batch.targets[:, :-1] == batch.inputs[:, 1:])[counts].mean() > 0.5, "targets aren't the next inputs"


@pytest.mark.parametrize("name", TASKS)
def test_facts_and_evaluation_sets(name: str):
    task = example(name)
    assert isinstance(TASKS[name].VERSION, int), "VERSION is a whole number"
    assert TASKS[name].VERSION >= 1
    assert task.target_level in ("token", "sequence")
    assert task.metric_mode in ("min", "max")
    assert 1 <= task.min_length <= task.max_length
    rule, score = task.baseline
    assert rule, "the baseline needs words"
    assert score >= 0
    assert np.isfinite([score, task.chance]).all()
    assert set(task.splits) >= {"validation", "test"}, "every task has a validation and a test set"
    for split_name, split in task.splits.items():
        size = max(task.max_length, split.length)

        def sample(length: jax.Array, split=split, size=size) -> Batch:
            return task.sample(jax.random.key(0), split.examples, size, length, split.subset)

        batch = jax.eval_shape(sample, jnp.int32(split.length))
        assert batch.targets.shape[0] == split.examples, f"{split_name} has another number of examples than it says"
        assert split.length >= task.min_length, f"{split_name} is of shorter sequences than can be drawn"
    assert task.splits["validation"].length <= task.max_length, "validation is of sequences that training has"


@pytest.mark.parametrize("name", TASKS)
def test_extra_scores_have_names_that_no_split_has(name: str):
    task = example(name)
    batch, _, _ = draw_example(name, task.max_length)
    given = task.extra_scores(jnp.zeros((*batch.weights.shape, task.outputs)), Batch(*map(jnp.asarray, batch)))
    assert set(given) <= set(task.EXTRA_METRICS)
    assert not set(task.EXTRA_METRICS) & {"loss", "score", *task.splits}
    assert not any(character in extra for extra in task.EXTRA_METRICS for character in "_@;,")  # see a study's metrics


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_a_pytree_whose_leaves_are_its_arrays(name: str):
    task = example(name)
    hash(jax.tree.structure(task))
    assert jax.tree.structure(jax.tree.map(jnp.asarray, task)) == jax.tree.structure(task)
    jax.tree.map(lambda leaf: None, task)
    jax.tree.map(lambda leaf: jax.sharding.PartitionSpec("x"), task)
    jax.eval_shape(lambda task: task, task)
    sample = jax.vmap(lambda task, key: task.sample(key, 2, task.max_length, task.max_length), in_axes=(None, 0))
    keys = jax.random.split(jax.random.key(0), 3)
    assert jax.eval_shape(sample, task, keys).positions.shape == (3, 2, task.max_length), "no vmap over keys"


# ---- VERSION is raised when the numbers change -----------------------------------------------------------------------

RENEW = "python -m tests.tasks.fingerprints"
STORED = json.loads(fingerprints.PATH.read_text())


@pytest.mark.parametrize("name", TASKS)
def test_a_version_stands_for_the_numbers_that_are_drawn(name: str):
    if name not in STORED:
        pytest.skip(f"{name} has no fingerprint yet: {RENEW} stores it")
    found, stored, source = fingerprints.fingerprint(name), STORED[name], inspect.getsourcefile(TASKS[name])
    assert found["settings"] == stored["settings"], f"the settings of {name}'s example() have changed: run {RENEW}"
    assert found["version"] == stored["version"], f"{name} has another VERSION than its fingerprint: run {RENEW}"
    assert found["arrays"].keys() == stored["arrays"].keys(), f"{name} has other subsets than its fingerprint"
    for part, value in stored["arrays"].items():
        same = found["arrays"][part] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5, abs=1e-6))
        assert same, (
            f"{name} gives other numbers ({part}) than before under VERSION {stored['version']}. If that is meant, "
            f"raise VERSION in {source} and run {RENEW}; results of the old version are then not reused"
        )


def test_every_fingerprint_is_of_a_task():
    assert set(STORED) <= set(TASKS), f"fingerprints of tasks that are no more: run {RENEW}"


def test_a_change_of_the_numbers_is_noticed(monkeypatch: pytest.MonkeyPatch):
    class Changed(Counting):
        def sample(self, key, *rest, **more):  # pyright: ignore
            return super().sample(jax.random.fold_in(key, 1), *rest, **more)

    monkeypatch.setitem(TASKS, "counting", Changed)
    monkeypatch.setattr(fingerprints, "example", fingerprints.example.__wrapped__)
    monkeypatch.setattr(fingerprints, "draw_example", fingerprints.draw_example.__wrapped__)
    with pytest.raises(AssertionError, match=r"raise VERSION in .* and run python -m tests\.tasks\.fingerprints"):
        test_a_version_stands_for_the_numbers_that_are_drawn("counting")


# ---- docstrings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_the_example_in_the_docstring_is_what_is_drawn(name: str):
    doc = inspect.cleandoc(TASKS[name].__doc__ or "")
    assert re.match(r"[A-Z].*\.$", doc.partition("\n")[0]), "the first line says, in a sentence, what is asked for"
    if "Example:" not in doc:
        pytest.skip(f"{name} shows no example: paste what python -m tasks {name} --rows=1 prints")
    shown = inspect.cleandoc(doc.partition("Example:")[2])
    assert shown == preview_task(example(name), rows=1), f"paste what python -m tasks {name} --rows=1 prints"


# ---- the base class --------------------------------------------------------------------------------------------------


def test_a_task_that_lacks_something_is_told_what():
    with pytest.raises(TypeError, match=r"^the task Half must state vocabulary, chance, baseline, sample: see tasks"):
        type("Half", (Task,), {"outputs": 2, "max_length": static(3), "__annotations__": {"max_length": int}})


def test_a_setting_without_a_default_may_be_what_a_task_must_state():
    class Given(Task):
        max_length: int = static()
        vocabulary, outputs, chance, baseline = 2, 2, 0.5, ("always 0", 0.5)

        def sample(self, key, batch, max_length, length, subset="train"):  # pyright: ignore
            raise NotImplementedError

    assert Given(max_length=3).splits["test"] == (3, 512, "test")
    assert dataclasses.replace(Given(max_length=3), max_length=4).max_length == 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        Given(max_length=3).max_length = 4  # pyright: ignore


def test_no_answer_is_no_wrong_answer():
    """Outputs of nan score nan, unless they count for nothing."""
    targets = jnp.array([[0, 1, 1]])

    @jax.jit
    def grade(weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs = jax.nn.one_hot(targets, 2).at[0, 1].set(jnp.nan)
        batch = Batch(targets, targets, weights, targets, targets)
        return accuracy(outputs, batch), cross_entropy(outputs, batch)

    score, loss = grade(jnp.array([[1.0, 0.0, 1.0]]))
    assert score == 1
    assert np.isfinite(loss)
    assert np.isnan(grade(jnp.ones((1, 3)))[0])


def test_every_task_of_the_package_is_in_the_table():
    modules = {cls.__module__ for cls in TASKS.values()}
    found = {
        member
        for module in modules
        for member in vars(importlib.import_module(module)).values()
        if isinstance(member, type) and issubclass(member, Task) and member is not Task
    }
    assert found == set(TASKS.values())
