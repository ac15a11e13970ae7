"""The train state of one replica and the pure functions on it: initialise, train, evaluate, keep the best."""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

import tasks
from models import cost
from training.builder import Run

EVAL_BATCH_SIZE = 512  # the most sequences that go through the model at once in an evaluation
EVAL_SEED = np.uint32(2**31)  # seeds are below it, so no run trains on what it is evaluated on


class TrainState(NamedTuple):
    """One model in training. A run's state is a Replica whose every leaf has a leading axis, one entry a replica."""

    step: Array
    seed: Array
    learning_rate: Array
    params: Any
    optimizer: Any
    best_params: Any  # those with the best validation score
    best_score: Array
    best_scores: Any  # what they score, by split; nothing yet at best_step 0
    best_step: Array
    alive: Array  # False once a loss or gradient was not finite; it is not updated any more
    died_at: Array  # the step whose update was refused, or −1


def init_train_state(run: Run, seed: int, learning_rate: float) -> TrainState:
    """A replica before its first step."""
    params = init_params(run, jnp.uint32(seed))
    worst = -jnp.inf if run.task.best == "max" else jnp.inf
    return TrainState(
        step=jnp.int32(0),
        seed=jnp.uint32(seed),
        learning_rate=jnp.float32(learning_rate),
        params=params,
        optimizer=run.optimizer.init(params),
        best_params=jax.tree.map(jnp.copy, params),  # a copy: a donated buffer can't be in the state twice
        best_score=jnp.float32(worst),
        # Not nan, which JAX would take for unequal to that of another process.
        best_scores={split: jnp.float32(0) for split in run.task.splits},
        best_step=jnp.int32(0),
        alive=jnp.bool_(True),
        died_at=jnp.int32(-1),
    )


def init_params(run: Run, seed: Array) -> Any:
    inputs = jax.eval_shape(lambda task: sample_longest(task, 1), run.task).inputs
    inputs = jnp.zeros(inputs.shape, inputs.dtype)
    return run.model.init(jax.random.fold_in(tasks.random_key(seed), 0), inputs)["params"]


def sample_longest(task: Any, batch_size: int) -> tasks.Batch:
    """A batch of sequences as long as the task's longest."""
    return task.sample(tasks.random_key(0), batch_size, task.max_length, task.max_length)


def train_step(run: Run, task: Any, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
    """One step of AdamW on a batch that depends on the seed and the step alone; its loss, score and gradient norm."""
    training = run.config["training"]
    key = jax.random.fold_in(jax.random.fold_in(tasks.random_key(state.seed), 1), state.step)
    for_length, for_batch, for_dropout = jax.random.split(key, 3)
    length = jnp.int32(task.max_length)
    if training["min_length"]:
        length = jax.random.randint(for_length, (), training["min_length"], task.max_length + 1)
    batch = shard_batch(task.sample(for_batch, training["batch_size"], task.max_length, length))

    def objective(params):
        model = run.config["model"]
        draws = model["dropout"] or model["positions"] == "randomised" or model.get("associative_memory")
        outputs = apply_model(run, params, batch, for_dropout if draws else None)
        return task.loss(outputs, batch), outputs

    (loss, outputs), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
    norm = optax.global_norm(gradient)
    direction, optimizer = run.optimizer.update(gradient, state.optimizer, state.params)
    rate = state.learning_rate * learning_rate_schedule(run.config, state.step)
    params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)

    alive = state.alive & jnp.isfinite(loss) & jnp.isfinite(norm)
    params, optimizer = jax.tree.map(
        lambda new, old: jnp.where(alive, new, old), (params, optimizer), (state.params, state.optimizer)
    )
    died_at = jnp.where(state.alive & ~alive, state.step, state.died_at)
    after = state._replace(step=state.step + 1, params=params, optimizer=optimizer, alive=alive, died_at=died_at)
    return after, {"loss": loss, "score": task.score(outputs, batch), "gradient_norm": norm}


def train_steps(run: Run, state: TrainState, task: Any) -> tuple[TrainState, dict[str, Array]]:
    """`steps_per_call` steps, and the means of what they measured."""
    step = lambda replica, _: train_step(run, task, replica)  # noqa: E731
    state, measured = jax.lax.scan(step, state, length=run.config["training"]["steps_per_call"])
    return state, jax.tree.map(jnp.mean, measured)


def evaluate_split(run: Run, split: tasks.Split, state: TrainState, task: Any, seed: Array) -> dict[str, Array]:
    """Loss and score of a replica on a split, whose sequences are the same for every model and seed.

    `seed` tells apart splits that are otherwise alike, which then share one program.
    """
    key = jax.random.fold_in(tasks.random_key(EVAL_SEED), seed)
    whole = task.sample(key, split.examples, max(task.max_length, split.length), split.length, split.subset)
    calls = -(-split.examples // EVAL_BATCH_SIZE)
    size = -(-split.examples // calls)
    size += -size % batch_axis_size()
    over = calls * size - split.examples

    def cut(leaf):
        padded = jnp.pad(leaf, [(0, over), *[(0, 0)] * (leaf.ndim - 1)])
        return padded.reshape(calls, size, *leaf.shape[1:])

    outputs = jax.lax.map(lambda batch: apply_model(run, state.params, shard_batch(batch)), jax.tree.map(cut, whole))
    outputs = outputs.reshape(calls * size, *outputs.shape[2:])[: split.examples]
    return {"loss": task.loss(outputs, whole), "score": task.score(outputs, whole)}


def split_seed(split: str) -> np.uint32:
    """A number for the name of a split, which adding another split does not change."""
    return np.uint32(zlib.crc32(split.encode()))


def keep_best(run: Run, state: TrainState, scores: Mapping[str, Array]) -> TrainState:
    """Remember the parameters, and their scores on every split, if none before did better on the validation split.

    Of equal scores the later counts: a score that can't rise any more says nothing of what is learnt behind it. A
    replica that is not updated any more stays as it is.
    """
    score, best = scores["validation"], state.best_score
    better = state.alive & (score >= best if run.task.best == "max" else score <= best)
    new = (state.params, score, dict(scores), state.step)
    old = (state.best_params, best, state.best_scores, state.best_step)
    params, score, scores, step = jax.tree.map(lambda n, o: jnp.where(better, n, o), new, old)
    return state._replace(best_params=params, best_score=score, best_scores=scores, best_step=step)


def apply_model(run: Run, params: Any, batch: tasks.Batch, rng: Array | None = None) -> Array:
    outputs, _ = run.model.apply(
        {"params": params}, batch.inputs, positions=batch.positions, segments=batch.segments, rng=rng
    )
    return outputs


def learning_rate_schedule(config: Mapping[str, Any], step: Array) -> Array:
    """1 at the end of a linear warm-up, then a half cosine that would reach 0 with one step more than there are."""
    warmup, steps = config["optimizer"]["warmup_steps"], config["training"]["steps"]
    rising = (step + 1) / max(warmup, 1)
    falling = 0.5 * (1 + jnp.cos(jnp.pi * (step - warmup) / max(steps - warmup, 1)))
    return jnp.where(step < warmup, jnp.minimum(rising, 1.0), falling)


def batch_axis_size() -> int:
    """How many devices share a batch where this is traced: 1 outside of `over_replicas`."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if "batch" in mesh.manual_axes else dict(mesh.shape).get("batch", 1)


def shard_batch(batch: tasks.Batch) -> tasks.Batch:
    """The same batch, its sequences split evenly over the devices that share it."""
    if batch_axis_size() == 1:
        return batch
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, jax.P("batch")), batch)


def run_costs(run: Run) -> dict[str, int]:
    """Parameters, floats of state, and FLOPs of the products in one training step of one replica."""
    batch = jax.eval_shape(lambda task: sample_longest(task, run.config["training"]["batch_size"]), run.task)
    params = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), batch)
    _, state = jax.eval_shape(
        lambda p, b: run.model.apply({"params": p}, b.inputs, positions=b.positions, segments=b.segments), params, one
    )
    return {
        "parameters": cost.count_params(params),
        "mixer_parameters": cost.count_mixer_params(params),
        "state_floats": cost.count_state_floats(state),
        "step_flops": cost.count_flops(jax.grad(lambda p, b: run.task.loss(apply_model(run, p, b), b)), params, batch),
    }
