"""The pure functions of one member: steps, batches, evaluation, schedule, weight decay."""

from collections import Counter
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs
import tasks
from data import SPLITS
from tasks import Pixels
from tests import (
    assert_close,
    tiny_config,
)
from tests.training import score_split
from training import builder, optimizer, trainer

REQUIRED_FIELDS = [name for name in trainer.TrainState._fields if name not in trainer.TrainState._field_defaults]
EMPTY_STATE = trainer.TrainState(**dict.fromkeys(REQUIRED_FIELDS, jnp.zeros(())))


def bare_state(run: builder.Run, seed: int = 0, step: int = 0) -> trainer.TrainState:
    """A member for where no model is asked, with next to no parameters."""
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    return EMPTY_STATE._replace(
        step=jnp.int32(step), seed=jnp.uint32(seed), learning_rate=jnp.float32(0.1), params=params,
        optimizer=run.optimizer.init(params), alive=jnp.bool_(True), died_at=jnp.int32(-1),
    )  # fmt: skip


def record_batches(monkeypatch: pytest.MonkeyPatch) -> list[tasks.Batch]:
    """From here on no model is asked, outputs are zeros, and the batches that it would have seen are put here."""
    seen: list[tasks.Batch] = []

    def apply(run: builder.Run, params: Any, batch: tasks.Batch, rng: Any = None) -> jax.Array:
        jax.debug.callback(seen.append, batch, ordered=True)
        return jnp.zeros((*batch.targets.shape, run.task.outputs))

    monkeypatch.setattr(trainer, "apply_model", apply)
    return seen


@pytest.mark.parametrize("best", ["max", "min"])
def test_the_best_parameters_are_those_of_the_best_validation_score(best: str):
    run: Any = type(
        "Run", (), {"task": type("Task", (), {"metric_mode": best}), "config": {"training": {"keep": "best"}}}
    )
    validation = [0.3, 0.7, float("nan"), 0.7, 0.1, 0.1, 0.2, 0.9, 0.0]
    worst = jnp.float32(-np.inf if best == "max" else np.inf)
    unknown = {"validation": jnp.float32(np.nan), "test": jnp.float32(np.nan)}
    member = EMPTY_STATE._replace(best_score=worst, best_scores=unknown, best_step=jnp.int32(0))
    for index, score in enumerate(validation):
        alive = jnp.bool_(index < 7)
        now = member._replace(params=jnp.float32(index), step=jnp.int32(10 * index), alive=alive)
        member = trainer.keep_best(run, now, {"validation": jnp.float32(score), "test": jnp.float32(index / 10)})
    expected = 3 if best == "max" else 5  # the later of two that are equal; what diverged is past counting
    assert (member.best_params, member.best_step, member.best_score) == (
        expected,
        10 * expected,
        np.float32(validation[expected]),
    )
    scores = {"validation": np.float32(validation[expected]), "test": np.float32(expected / 10)}
    assert member.best_scores == scores


def test_the_batch_depends_on_seed_and_step_alone(monkeypatch: pytest.MonkeyPatch):
    seen = record_batches(monkeypatch)
    for mixer, at in [("rnn", [(3, 7), (3, 8), (4, 7)]), ("attention", [(3, 7)])]:
        run = builder.build_run(tiny_config(mixer))
        step = jax.jit(partial(trainer.train_step, run))
        for seed, done in at:
            step(run.task, bare_state(run, seed, done))
            jax.effects_barrier()
    first, other_step, other_seed, other_mixer = (np.asarray(batch.inputs) for batch in seen)
    np.testing.assert_array_equal(first, other_mixer)
    assert (first != other_step).any()
    assert (first != other_seed).any()


@pytest.mark.parametrize(
    ("fields", "draws"), [({}, False), ({"model.dropout": 0.1}, True), ({"model.positions": "randomised"}, True)]
)
def test_what_is_drawn_in_training_gets_a_key(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], draws: bool):
    told = []

    def apply(run: builder.Run, params: Any, batch: tasks.Batch, rng: Any = None) -> jax.Array:
        told.append(rng is not None)
        return jnp.zeros((*batch.targets.shape, run.task.outputs))

    monkeypatch.setattr(trainer, "apply_model", apply)
    run = builder.build_run(tiny_config("attention", fields=fields))
    jax.eval_shape(partial(trainer.train_step, run), run.task, bare_state(run))
    assert set(told) == {draws}


def test_lengths_are_drawn_from_shortest_to_the_tasks(monkeypatch: pytest.MonkeyPatch):
    seen = record_batches(monkeypatch)
    run = builder.build_run(
        tiny_config(
            fields={
                "training.min_length": 4,
                "training.steps_per_call": 200,
                "training.steps": 200,
                "training.eval_every": 200,
            }
        )
    )
    jax.jit(partial(trainer.train_steps, run))(bare_state(run), run.task)
    jax.effects_barrier()
    lengths = Counter(int(np.asarray(batch.segments).sum(axis=1).max()) for batch in seen)
    assert set(lengths) == {4, 5, 6, 7, 8}
    assert min(lengths.values()) > 20
    assert all(len(set(np.asarray(batch.segments).sum(axis=1))) == 1 for batch in seen)


def test_evaluation_sees_the_same_sequences_whatever_the_model_and_seed(monkeypatch: pytest.MonkeyPatch):
    seen = record_batches(monkeypatch)
    for mixer, seed, split in [("rnn", 0, "test"), ("attention", 5, "test"), ("rnn", 0, "validation")]:
        run = builder.build_run(tiny_config(mixer))
        score_split(run, bare_state(run, seed), split)
        jax.effects_barrier()
    first, again, other = (np.asarray(batch.inputs) for batch in seen)
    assert first.shape == (512, 8)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_evaluation_in_several_calls_is_one_of_the_whole_split(monkeypatch: pytest.MonkeyPatch):
    run = builder.build_run(tiny_config("attention"))
    member = jax.jit(partial(trainer.init_train_state, run))(0, 0.1)
    whole = score_split(run, member, "test")
    monkeypatch.setattr(
        trainer, "EVAL_BATCH_SIZE", 200
    )  # 512 sequences are then 3 calls of 171, the last with one to spare
    assert_close(score_split(run, member, "test"), whole, within=1e-6)


def test_every_image_of_a_finite_split_is_evaluated_once(monkeypatch: pytest.MonkeyPatch):
    labels = np.arange(50, dtype=np.int32)
    images = {split: np.broadcast_to(labels[:, None, None], (50, 4, 1)).astype(np.float32) for split in SPLITS}
    task = Pixels(images, dict.fromkeys(SPLITS, labels), classes=50)
    run = builder.build_run(tiny_config())._replace(task=task)
    monkeypatch.setattr(trainer, "EVAL_BATCH_SIZE", 16)
    seen = []

    def outputs(run, params, batch, rng=None):
        jax.debug.callback(
            lambda inputs, segments: seen.append(inputs[segments[:, 0] > 0]), batch.inputs, batch.segments
        )
        return jax.nn.one_hot(batch.inputs[:, 0, 0], 50)  # an image says what it is: all are right

    monkeypatch.setattr(trainer, "apply_model", outputs)
    assert float(score_split(run, bare_state(builder.build_run(tiny_config())), "test")["score"]) == 1
    jax.effects_barrier()
    assert sorted(np.concatenate(seen)[:, 0, 0]) == labels.tolist()


def test_weight_decay_is_for_matrices_alone(monkeypatch: pytest.MonkeyPatch):
    record_batches(monkeypatch)  # no gradient: whatever moves is moved by the decay
    run = builder.build_run(tiny_config(fields={"optimizer.weight_decay": 0.5, "optimizer.warmup_steps": 0}))
    before = bare_state(run)  # its learning rate is 0.1
    after, _ = jax.jit(partial(trainer.train_step, run))(run.task, before)
    shrunk = jax.tree.map(lambda leaf: leaf * (1 - 0.1 * 0.5) if leaf.ndim > 1 else leaf, before.params)
    assert {leaf.ndim for leaf in jax.tree.leaves(shrunk)} == {1, 2}
    assert_close(after.params, shrunk, within=1e-6)


@pytest.mark.parametrize("mixer", ["s4d", "s6", "rglru", "lru", "lstm"])
def test_weight_decay_leaves_the_rates_of_a_state_alone(mixer: str):
    """What fades and turns a state is no product, whatever the shape it is kept in."""
    run = builder.build_run(tiny_config(mixer))
    params = jax.eval_shape(partial(trainer.init_params, run), jnp.uint32(0))["mixer_0"]
    spared = {path[0].key for path, on in jax.tree.leaves_with_path(optimizer.weight_decay_mask(params)) if not on}
    rates = {"s4d": {"log_step", "log_rates", "turning_rates"}, "s6": {"log_rates"}, "rglru": {"decay"}}
    rates["lru"] = {"decay", "phase"}
    assert rates.get(mixer, set()) <= spared
    assert all(optimizer.weight_decay_mask(params)[name]["kernel"] for name in ("input", "output"))


def test_a_field_added_later_leaves_keys_as_they_are_and_a_changed_one_does_not(monkeypatch: pytest.MonkeyPatch):
    config = builder.build_run(tiny_config()).config
    before = builder.fingerprint_fields(config)
    base = configs.base

    def later(mixer: str) -> Any:
        made: Any = base(mixer)
        made.model.invented = 7
        return made

    monkeypatch.setattr(configs, "base", later)
    assert builder.fingerprint_fields(config) == before  # one that was recorded before the field was there
    extended = {**config, "model": {**config["model"], "invented": 7}}
    assert builder.fingerprint_fields(extended) == before
    assert builder.fingerprint_fields({**config, "model": {**config["model"], "invented": 8}}) != before
    assert builder.fingerprint_fields(builder.build_run(tiny_config("gru")).config) != before
    assert before["model.mixer"] == "rnn"
    assert before["versions.loop"] == builder.VERSION
