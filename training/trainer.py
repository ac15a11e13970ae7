"""The train state of one member of the ensemble, and the pure functions on it: init, train, evaluate, keep the best."""

import math
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
from tasks.base import smoothed_cross_entropy
from training.builder import Run
from training.carried_state import Stream, apply_to_windows, evaluate_streams, init_stream, read_windows
from training.optimizer import StepValues, learning_rate_schedule
from training.scoring import join_parts, summarize_part
from training.sharding import batch_axis_size, gather_outside_blocks, sequences_at_once, shard_batch

EVAL_BATCH_SIZE = 512  # the most sequences that go through the model at once in an evaluation, and
EVAL_OUTPUTS = 2**27  # the most numbers that come out of it, unless a training step has more of them
EVAL_SEED = np.uint32(2**31)  # above every seed, so that no run trains on the sequences it is evaluated on


class TrainState(NamedTuple):
    """The state of one member. The state of an ensemble has the same fields, with a leading axis [members].

    The names of the fields are those in a checkpoint.
    """

    step: Array
    seed: Array
    learning_rate: Array  # the peak; `optimizer.learning_rate_schedule` scales it
    params: Any
    optimizer: Any
    best_params: Any  # the parameters with the best validation score
    best_score: Array  # that score
    best_scores: Any  # of `best_params`: scores by split, extra scores of "test" by name; 0 as long as best_step is 0
    best_step: Array
    alive: Array  # False once a loss or a gradient was not finite; the parameters then stay as they are
    died_at: Array  # the step at which that was, or −1
    # Those that the config has no use for are None, and in no checkpoint.
    weight_decay: Any = None  # the member's own, and its own momentum
    momentum: Any = None
    ema_params: Any = None  # the exponential average of the parameters, which is then what is evaluated
    stale_evaluations: Any = None  # how many there were since the best one
    stopped_at: Any = None  # the step at which `training.patience` ended, or −1; the parameters then stay as they are
    stream: Any = None  # with training.carry_state: what goes on to the next window, a `carried_state.Stream`


def init_train_state(
    run: Run, seed: int, learning_rate: float, weight_decay: float | None = None, momentum: float | None = None
) -> TrainState:
    """Initialize a member: the state before the first step. Weight decay and momentum are None if all share them."""
    params = init_params(run, jnp.uint32(seed))
    patience = run.config["training"]["patience"]
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
        weight_decay=None if weight_decay is None else jnp.float32(weight_decay),
        momentum=None if momentum is None else jnp.float32(momentum),
        ema_params=jax.tree.map(jnp.copy, params) if run.config["optimizer"]["ema_decay"] else None,
        **({"stale_evaluations": jnp.int32(0), "stopped_at": jnp.int32(-1)} if patience else {}),
        stream=init_stream(run, params, jnp.uint32(seed), run.task) if carries_state(run) else None,
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
    params = gather_outside_blocks(run.config, params)
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
    """Take one step of the optimizer; the new state, and loss, score and gradient norm.

    The batch depends on the member's seed and step alone. If the loss or the gradient is not finite, the member is dead
    from here on: its parameters stay as they are.
    """
    batch, dropout_key, stream = _next_batch(run, task, state, rows)
    model = run.config["model"]
    is_random = model["dropout"] or model["positions"] == "randomised" or model.get("associative_memory")
    rng = dropout_key if is_random else None
    if stream is None:
        loss, score, gradient = batch_gradient(run, task, state.params, batch, rng)
    else:
        loss, score, gradient, stream = window_gradient(run, task, state.params, batch, rng, stream)
    norm = optax.global_norm(gradient)
    params, optimizer = run.optimizer.step(gradient, state.optimizer, state.params, _step_values(run, state), loss)
    average = update_average(run, state, params)

    has_stopped = is_stopped(state)
    alive = state.alive & (jnp.isfinite(loss) & jnp.isfinite(norm) | has_stopped)
    moves = alive & ~has_stopped
    params, optimizer, average, stream = jax.tree.map(
        lambda new, old: jnp.where(moves, new, old),
        (params, optimizer, average, stream),
        (state.params, state.optimizer, state.ema_params, state.stream),
    )
    died_at = jnp.where(state.alive & ~alive, state.step, state.died_at)
    state = state._replace(step=state.step + 1, params=params, optimizer=optimizer, ema_params=average, stream=stream)
    state = state._replace(alive=alive, died_at=died_at)
    return state, {"loss": loss, "score": score, "gradient_norm": norm}


def is_stopped(state: TrainState) -> Array:
    """Whether a member has stopped, since its patience ended."""
    return jnp.zeros_like(state.alive) if state.stopped_at is None else state.stopped_at >= 0


def _step_values(run: Run, state: TrainState) -> StepValues:
    schedule = learning_rate_schedule(run.config, state.step)
    weight_decay = run.config["optimizer"]["weight_decay"] if state.weight_decay is None else state.weight_decay
    return StepValues(state.learning_rate * schedule, schedule, weight_decay, state.momentum)


def update_average(run: Run, state: TrainState, params: Any) -> Any:
    """The exponential average of the parameters after this step, or None if none is kept.

    The parameters as they were initialized are no part of it: after t steps those of step s weigh (1−d)·d^(t−s) ÷
    (1−d^t), as with `optax.ema`.
    """
    if state.ema_params is None:
        return None
    decay = run.config["optimizer"]["ema_decay"]
    weight = (1 - decay) / -jnp.expm1((state.step + 1) * math.log(decay))
    return jax.tree.map(lambda average, p: average + weight * (p - average), state.ema_params, params)


def batch_gradient(run: Run, task: Any, params: Any, batch: tasks.Batch, rng: Array | None) -> tuple[Array, Array, Any]:
    """Loss, score, and the loss's gradient of a batch, which `training.accumulate_steps` cuts into parts.

    The parts go through the model one after another. Loss and gradient are those of the whole batch, up to rounding, if
    nothing is drawn from `rng`; the score is the mean of the parts'.
    """
    parts = run.config["training"]["accumulate_steps"]
    if parts == 1:
        return _part_gradient(run, task, params, batch, rng)
    # Every part has sequences of each device that shares the batch.
    cut = jax.tree.map(lambda leaf: leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1), batch)
    of_loss, of_score = (jnp.maximum(weights.sum(), 1e-9) for weights in (task.loss_weights(batch), batch.weights))

    def add_part(sums: Any, part: tuple[Array, tasks.Batch]) -> tuple[Any, None]:
        index, batch = part[0], shard_batch(part[1])
        key = None if rng is None else jax.random.fold_in(rng, index)
        share, score_share = task.loss_weights(batch).sum() / of_loss, batch.weights.sum() / of_score
        loss, score, gradient = _part_gradient(run, task, params, batch, key)
        score = jnp.where(score_share > 0, score_share * score, 0)  # it may be nan in a part without any target
        terms = share * loss, score, jax.tree.map(lambda g: share * g, gradient)
        return jax.tree.map(jnp.add, sums, terms), None

    nothing = jnp.float32(0), jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add_part, nothing, (jnp.arange(parts), cut))[0]


def _part_gradient(run: Run, task: Any, params: Any, batch: tasks.Batch, rng: Array | None) -> tuple[Array, Array, Any]:
    def loss_fn(params: Any) -> tuple[Array, Array]:
        outputs = apply_model(run, params, batch, rng)
        return training_loss(run, task, outputs, batch), outputs

    (loss, outputs), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
    return loss, task.score(outputs, batch), gradient


def window_gradient(
    run: Run, task: Any, params: Any, batch: tasks.Batch, rng: Array | None, stream: Stream
) -> tuple[Array, Array, Any, Stream]:
    """Loss, score and gradient of windows that go on from `stream`, and the stream with the state behind them."""

    def loss_fn(params: Any) -> tuple[Array, Any]:
        outputs, model = apply_to_windows(run, params, batch, stream.model, rng)
        return training_loss(run, task, outputs, batch), (outputs, model)

    (loss, (outputs, model)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
    return loss, task.score(outputs, batch), gradient, stream._replace(model=model)


def training_loss(run: Run, task: Any, outputs: Array, batch: tasks.Batch) -> Array:
    """The task's loss, with the label smoothing and the z-loss of the config."""
    smoothing, z_loss = (float(run.config["training"][name]) for name in ("label_smoothing", "z_loss"))
    if not smoothing and not z_loss:
        return task.loss(outputs, batch)
    weighted = batch._replace(weights=task.loss_weights(batch))
    return smoothed_cross_entropy(outputs, weighted, smoothing, z_loss)


def carries_state(run: Run) -> bool:
    """Whether the model's state goes on from one window of a text to the next."""
    return bool(run.config["training"].get("carry_state"))


def _next_batch(run: Run, task: Any, state: TrainState, rows: Any) -> tuple[tasks.Batch, Array, Any]:
    """The training batch of a state, a dropout key, and the streams behind the batch, if it has streams.

    The batch is sampled for the state's seed and step, made of `rows`, or the next window of each stream.
    """
    length, batch_key, dropout_key = batch_keys(run, state.seed, state.step)
    if state.stream is not None:
        batch, stream = read_windows(task, "train", state.stream)
        return shard_batch(batch), dropout_key, stream
    if rows is None:
        batch = task.sample(batch_key, run.config["training"]["batch_size"], task.max_length, length)
    else:
        batch = task.collate(rows, task.max_length, length)
    return shard_batch(batch), dropout_key, None


def batch_keys(run: Run, seed: Array, step: Array) -> tuple[Array, Array, Array]:
    """The length of a training batch, the key that it is drawn with, and a key for dropout."""
    key = jax.random.fold_in(jax.random.fold_in(tasks.random_key(seed), 1), step)
    length_key, batch_key, dropout_key = jax.random.split(key, 3)
    length = jnp.int32(run.task.max_length)
    if run.config["training"]["min_length"]:
        length = jax.random.randint(length_key, (), run.config["training"]["min_length"], run.task.max_length + 1)
    return length, batch_key, dropout_key


# ---- evaluation -----------------------------------------------------------------------------------------------------


def evaluate_split(run: Run, split: tasks.Split, state: TrainState, task: Any, seed: Array) -> dict[str, Array]:
    """Loss, score and extra scores on a split, whose sequences are the same for every model; and for every seed too,
    unless `training.eval_sets` says that each has its own.

    `seed` is the split's own (`split_seed`). It is an argument so that splits of the same size share one program. With
    `training.carry_state` the split's text is read in order, as the training text is.
    """
    if carries_state(run):
        return evaluate_streams(run, split, evaluated_params(state), task)
    key = jax.random.fold_in(tasks.random_key(EVAL_SEED), seed)
    if run.config["training"]["eval_sets"] == "by_seed":
        key = jax.random.fold_in(key, state.seed)
    whole = task.sample(key, split.examples, max(task.max_length, split.length), split.length, split.subset)
    calls = -(-split.examples // _eval_call_limit(run, whole.positions.shape[1]))
    size = -(-split.examples // calls)
    size += -size % batch_axis_size()
    padding = calls * size - split.examples

    def cut_into_calls(leaf):
        padded = jnp.pad(leaf, [(0, padding), *[(0, 0)] * (leaf.ndim - 1)])
        return padded.reshape(calls, size, *leaf.shape[1:])

    params = evaluated_params(state)

    def evaluate_part(batch: tasks.Batch) -> Any:
        batch = shard_batch(batch)
        return summarize_part(task, apply_model(run, params, batch), batch)

    return join_parts(task, jax.lax.map(evaluate_part, jax.tree.map(cut_into_calls, whole)), split.examples)


def _eval_call_limit(run: Run, length: int) -> int:
    """The most sequences of a length that go through the model at once in an evaluation."""
    trained = sequences_at_once(run.config) * run.task.max_length // length
    return min(EVAL_BATCH_SIZE, max(1, trained, EVAL_OUTPUTS // (length * run.task.outputs)))


def split_seed(split: str) -> np.uint32:
    """The seed of a split's sequences: a hash of its name, so that adding a split leaves the others as they are."""
    return np.uint32(zlib.crc32(split.encode()))


def evaluated_params(state: TrainState) -> Any:
    """The parameters that are evaluated: their average, if one is kept."""
    return state.params if state.ema_params is None else state.ema_params


def keep_best(run: Run, state: TrainState, scores: Mapping[str, Array]) -> TrainState:
    """Keep the evaluated parameters and their `scores`, as `best_scores` names them, if no validation score was better.

    Of equal scores the later one counts: when a score has reached its limit, the model may still be learning. With
    `training.keep` "last" the later one counts whatever its score. A dead member keeps what it has, and so does one
    that has stopped. With `training.patience` a member stops after so many evaluations in a row that were not better;
    an equal score is none.
    """
    score, best = scores["validation"], state.best_score
    takes_part = state.alive & ~is_stopped(state)
    is_better = takes_part & (score >= best if run.task.metric_mode == "max" else score <= best)
    if run.config["training"]["keep"] == "last":
        is_better = takes_part
    new = (evaluated_params(state), score, dict(scores), state.step)
    old = (state.best_params, best, state.best_scores, state.best_step)
    params, score, scores, step = jax.tree.map(lambda n, o: jnp.where(is_better, n, o), new, old)
    if state.stopped_at is not None:
        stale = jnp.where(is_better & (score != best), 0, state.stale_evaluations + takes_part)
        is_out = takes_part & (stale >= run.config["training"]["patience"])
        state = state._replace(stale_evaluations=stale, stopped_at=jnp.where(is_out, state.step, state.stopped_at))
    return state._replace(best_params=params, best_score=score, best_scores=scores, best_step=step)


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
