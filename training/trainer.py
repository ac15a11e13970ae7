"""The train state of one member of the ensemble, and the pure functions on it: init, train, evaluate, keep the best."""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

import tasks
from models import cost
from training.builder import Run

EVAL_BATCH_SIZE = 512  # the most sequences that go through the model at once in an evaluation
EVAL_SEED = np.uint32(2**31)  # above every seed, so that no run trains on the sequences it is evaluated on


class TrainState(NamedTuple):
    """The state of one member. The state of an ensemble has the same fields, with a leading axis [members].

    The names of the fields are those in a checkpoint.
    """

    step: Array
    seed: Array
    learning_rate: Array  # the peak; `learning_rate_schedule` scales it
    params: Any
    optimizer: Any
    best_params: Any  # the parameters with the best validation score
    best_score: Array  # that score
    best_scores: Any  # of `best_params`: scores by split, extra scores of "test" by name; 0 as long as best_step is 0
    best_step: Array
    alive: Array  # False once a loss or a gradient was not finite; the parameters then stay as they are
    died_at: Array  # the step at which that was, or −1


def init_train_state(run: Run, seed: int, learning_rate: float) -> TrainState:
    """Initialize a member: the state before the first step."""
    params = init_params(run, jnp.uint32(seed))
    worst = -jnp.inf if run.task.metric_mode == "max" else jnp.inf
    return TrainState(
        step=jnp.int32(0),
        seed=jnp.uint32(seed),
        learning_rate=jnp.float32(learning_rate),
        params=params,
        optimizer=run.optimizer.init(params),
        best_params=jax.tree.map(jnp.copy, params),  # a copy: a donated buffer can't be in the state twice
        best_score=jnp.float32(worst),
        # Not NaN: over several processes, jax.device_put would find it unequal to that of another process.
        best_scores={name: jnp.float32(0) for name in [*run.task.splits, *extra_score_names(run)]},
        best_step=jnp.int32(0),
        alive=jnp.bool_(True),
        died_at=jnp.int32(-1),
    )


def init_params(run: Run, seed: Array) -> Any:
    """Initialize the model's parameters, which depend on `seed` alone."""
    inputs = jax.eval_shape(lambda task: sample_longest(task, 1), run.task).inputs
    inputs = jnp.zeros(inputs.shape, inputs.dtype)
    return run.model.init(jax.random.fold_in(tasks.random_key(seed), 0), inputs)["params"]


def extra_score_names(run: Run) -> list[str]:
    """The names of the task's extra scores, from shapes alone."""
    if not run.task.EXTRA_METRICS:
        return []

    def extra_scores(task: Any) -> dict[str, Array]:
        batch = sample_longest(task, 1)
        return task.extra_scores(jnp.zeros((*batch.weights.shape, task.outputs)), batch)

    return list(jax.eval_shape(extra_scores, run.task))


def sample_longest(task: Any, batch_size: int) -> tasks.Batch:
    """Sample a batch of sequences of the task's maximum length."""
    return task.sample(tasks.random_key(0), batch_size, task.max_length, task.max_length)


def apply_model(run: Run, params: Any, batch: tasks.Batch, rng: Array | None = None) -> Array:
    """Apply the model to a batch of whole sequences; its outputs, without the final state."""
    outputs, _ = run.model.apply(
        {"params": params}, batch.inputs, positions=batch.positions, segments=batch.segments, rng=rng
    )
    return outputs


# ---- training -------------------------------------------------------------------------------------------------------


def train_steps(run: Run, state: TrainState, task: Any, rows: Any = None) -> tuple[TrainState, dict[str, Array]]:
    """Take `training.steps_per_call` steps under `lax.scan`; the new state, and the means of the steps' metrics.

    `rows` are those of all steps, [steps, batch, …], where the training rows are not part of the task.
    """

    def scan_step(state: TrainState, rows: Any) -> tuple[TrainState, dict[str, Array]]:
        return train_step(run, task, state, rows)

    state, metrics = jax.lax.scan(scan_step, state, rows, length=run.config["training"]["steps_per_call"])
    return state, jax.tree.map(jnp.mean, metrics)


def train_step(run: Run, task: Any, state: TrainState, rows: Any = None) -> tuple[TrainState, dict[str, Array]]:
    """Take one step of AdamW; the new state, and loss, score and gradient norm.

    The batch depends on the member's seed and step alone. If the loss or the gradient is not finite, the member is dead
    from here on: its parameters stay as they are.
    """
    batch, dropout_key = _sample_batch(run, task, state, rows)
    model = run.config["model"]
    is_random = model["dropout"] or model["positions"] == "randomised" or model.get("associative_memory")

    def loss_fn(params):
        outputs = apply_model(run, params, batch, dropout_key if is_random else None)
        return task.loss(outputs, batch), outputs

    (loss, outputs), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    norm = optax.global_norm(gradient)
    direction, optimizer = run.optimizer.update(gradient, state.optimizer, state.params)
    rate = state.learning_rate * learning_rate_schedule(run.config, state.step)
    params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)

    alive = state.alive & jnp.isfinite(loss) & jnp.isfinite(norm)
    params, optimizer = jax.tree.map(
        lambda new, old: jnp.where(alive, new, old), (params, optimizer), (state.params, state.optimizer)
    )
    died_at = jnp.where(state.alive & ~alive, state.step, state.died_at)
    state = state._replace(step=state.step + 1, params=params, optimizer=optimizer, alive=alive, died_at=died_at)
    return state, {"loss": loss, "score": task.score(outputs, batch), "gradient_norm": norm}


def _sample_batch(run: Run, task: Any, state: TrainState, rows: Any) -> tuple[tasks.Batch, Array]:
    """Sample the training batch of the state's seed and step, or make it of `rows`; the batch, and a dropout key."""
    length, batch_key, dropout_key = batch_keys(run, state.seed, state.step)
    if rows is None:
        batch = task.sample(batch_key, run.config["training"]["batch_size"], task.max_length, length)
    else:
        batch = task.collate(rows, task.max_length, length)
    return shard_batch(batch), dropout_key


def batch_keys(run: Run, seed: Array, step: Array) -> tuple[Array, Array, Array]:
    """The length of a training batch, the key that it is drawn with, and a key for dropout."""
    key = jax.random.fold_in(jax.random.fold_in(tasks.random_key(seed), 1), step)
    length_key, batch_key, dropout_key = jax.random.split(key, 3)
    length = jnp.int32(run.task.max_length)
    if run.config["training"]["min_length"]:
        length = jax.random.randint(length_key, (), run.config["training"]["min_length"], run.task.max_length + 1)
    return length, batch_key, dropout_key


def learning_rate_schedule(config: Mapping[str, Any], step: Array) -> Array:
    """The factor of the learning rate: a linear warm-up to 1, then a half cosine.

    The cosine would reach 0 one step after the last.
    """
    warmup, steps = config["optimizer"]["warmup_steps"], config["training"]["steps"]
    rising = (step + 1) / max(warmup, 1)
    falling = 0.5 * (1 + jnp.cos(jnp.pi * (step - warmup) / max(steps - warmup, 1)))
    return jnp.where(step < warmup, jnp.minimum(rising, 1.0), falling)


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate_split(run: Run, split: tasks.Split, state: TrainState, task: Any, seed: Array) -> dict[str, Array]:
    """Loss, score and extra scores on a split, whose sequences are the same for every model and seed.

    `seed` is the split's own (`split_seed`). It is an argument so that splits of the same size share one program.
    """
    key = jax.random.fold_in(tasks.random_key(EVAL_SEED), seed)
    whole = task.sample(key, split.examples, max(task.max_length, split.length), split.length, split.subset)
    calls = -(-split.examples // EVAL_BATCH_SIZE)
    size = -(-split.examples // calls)
    size += -size % batch_axis_size()
    padding = calls * size - split.examples

    def cut_into_calls(leaf):
        padded = jnp.pad(leaf, [(0, padding), *[(0, 0)] * (leaf.ndim - 1)])
        return padded.reshape(calls, size, *leaf.shape[1:])

    batches = jax.tree.map(cut_into_calls, whole)
    outputs = jax.lax.map(lambda batch: apply_model(run, state.params, shard_batch(batch)), batches)
    outputs = outputs.reshape(calls * size, *outputs.shape[2:])[: split.examples]
    scores = {"loss": task.loss(outputs, whole), "score": task.score(outputs, whole)}
    return {**scores, **task.extra_scores(outputs, whole)}


def split_seed(split: str) -> np.uint32:
    """The seed of a split's sequences: a hash of its name, so that adding a split leaves the others as they are."""
    return np.uint32(zlib.crc32(split.encode()))


def keep_best(run: Run, state: TrainState, scores: Mapping[str, Array]) -> TrainState:
    """Keep the current parameters and their `scores`, as `best_scores` names them, if no validation score was better.

    Of equal scores the later one counts: when a score has reached its limit, the model may still be learning. A dead
    member keeps what it has.
    """
    score, best = scores["validation"], state.best_score
    is_better = state.alive & (score >= best if run.task.metric_mode == "max" else score <= best)
    new = (state.params, score, dict(scores), state.step)
    old = (state.best_params, best, state.best_scores, state.best_step)
    params, score, scores, step = jax.tree.map(lambda n, o: jnp.where(is_better, n, o), new, old)
    return state._replace(best_params=params, best_score=score, best_scores=scores, best_step=step)


# ---- sharing a batch among devices ----------------------------------------------------------------------------------


def batch_axis_size() -> int:
    """How many devices share a batch in the function being traced: 1 outside of `ensemble.map_over_ensemble`."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if "batch" in mesh.manual_axes else dict(mesh.shape).get("batch", 1)


def shard_batch(batch: tasks.Batch) -> tasks.Batch:
    """The same batch, its sequences split evenly over the devices that share it."""
    if batch_axis_size() == 1:
        return batch
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, jax.P("batch")), batch)


# ---- costs ----------------------------------------------------------------------------------------------------------


class RunCosts(TypedDict):
    """What one member costs, on any machine."""

    parameters: int
    mixer_parameters: int
    state_floats: int  # numbers in the state that the model carries from one token to the next, for one sequence
    step_flops: int  # floating-point operations of the matrix products in one training step


def run_costs(run: Run) -> RunCosts:
    """Count the parameters, the floats of state and the FLOPs of one member, from shapes alone."""
    batch = jax.eval_shape(lambda task: sample_longest(task, run.config["training"]["batch_size"]), run.task)
    params = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
    sequence = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), batch)
    _, state = jax.eval_shape(
        lambda p, b: run.model.apply({"params": p}, b.inputs, positions=b.positions, segments=b.segments),
        params,
        sequence,
    )
    loss_gradient = jax.grad(lambda p, b: run.task.loss(apply_model(run, p, b), b))
    return {
        "parameters": cost.count_params(params),
        "mixer_parameters": cost.count_mixer_params(params),
        "state_floats": cost.count_state_floats(state),
        "step_flops": cost.count_flops(loss_gradient, params, batch),
    }
