"""How outputs depend on the inputs: on their order, their distance, their number, their scale."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import tasks
from experiments.measures.common import (
    SAMPLE_KEY,
    Evaluate,
    MeasureValue,
    apply_to_batch,
    last_output,
    sample_test_batch,
    skip_embedding,
)
from tasks.base import sequence_accuracy
from training import builder, trainer

DIRECTIONS = 8  # of the estimated norm
SCORED_SEQUENCES = 256


def gradient_reach(run: builder.Run) -> Evaluate:
    """‖∂y_T/∂x_t‖ against T − t, as a share of its sum over t.

    y are the outputs at the last step and x the embedded inputs. The Frobenius norm is estimated with eight random
    directions of y (Hutchinson 1989). Bengio et al. 1994 and Pascanu et al. 2013 look at ∂h_T/∂h_t, which attention
    doesn't have; this asks the same of any model.
    """
    batch = sample_test_batch(run)

    @jax.jit
    def gradient_norms(params: Any) -> Float[Array, "T"]:
        network, own = skip_embedding(run, params)
        table = params["embed"].get("embedding")
        x = (
            table[batch.inputs]
            if table is not None
            else nn.Dense(run.model.width).apply({"params": params["embed"]}, batch.inputs)
        )

        def output_at_last_step(x: Array) -> Array:
            y, _ = network.apply({"params": own}, x, positions=batch.positions, segments=batch.segments)
            return last_output(y)

        y, pull_back = jax.vjp(output_at_last_step, x)
        directions = jax.random.normal(tasks.random_key(0), (DIRECTIONS, *y.shape))
        squares = jax.lax.map(lambda v: jnp.square(pull_back(v)[0]).sum(axis=(0, 2)), directions)
        return jnp.sqrt(squares.mean(axis=0))

    def evaluate(params: Any, seed: int) -> MeasureValue:
        norms = np.asarray(gradient_norms(params), np.float64)[::-1]
        shares = norms / max(norms.sum(), 1e-300)
        distances = [0, *(2**i for i in range((len(shares) - 1).bit_length()))]
        return {distance: float(shares[distance]) for distance in distances}

    return evaluate


def permutation_change(run: builder.Run) -> Evaluate:
    """|f(x) − f(x permuted)| / |f(x)| of the last output, mean over sequences; the last step stays where it is.

    0 means that the model can't tell one order of its inputs from another.
    """
    batch = sample_test_batch(run)
    order = jax.random.permutation(tasks.random_key(1), batch.inputs.shape[1] - (run.task.target_level == "token"))
    order = jnp.concatenate([order, jnp.arange(len(order), batch.inputs.shape[1])])

    @jax.jit
    def relative_change(params: Any) -> Array:
        def output_for(inputs: Array) -> Array:
            y, _ = apply_to_batch(run, params, batch._replace(inputs=inputs))
            return last_output(y)

        y = output_for(batch.inputs)
        change = jnp.linalg.norm(output_for(batch.inputs[:, order]) - y, axis=-1)
        return (change / jnp.maximum(jnp.linalg.norm(y, axis=-1), 1e-9)).mean()

    return lambda params, seed: float(relative_change(params))


def length_generalization(run: builder.Run) -> Evaluate:
    """The score on sequences of 1, 1¼, 1½ and 2 times the longest length of training; nan where the model refuses."""
    longest = run.task.max_length
    lengths = [longest, longest * 5 // 4, longest * 3 // 2, longest * 2]

    @jax.jit
    def score_at(params: Any, length: Array) -> Array:
        batch = run.task.sample(tasks.random_key(np.uint32(SAMPLE_KEY)), SCORED_SEQUENCES, 2 * longest, length, "test")
        return run.task.score(trainer.apply_model(run, params, batch), batch)

    def evaluate(params: Any, seed: int) -> MeasureValue:
        try:
            return {length: float(score_at(params, jnp.int32(length))) for length in lengths}
        except ValueError:  # a window that is too small for any of them
            return {length: float("nan") for length in lengths}

    return evaluate


def whole_row_accuracy(run: builder.Run) -> Evaluate:
    """The share of rows with every target right, on each test set, against the targets of its rows."""
    splits = [split for name, split in run.task.splits.items() if name.startswith("test")]

    def score_split(params: Any, split: tasks.Split) -> tuple[Array, Array]:
        batch = run.task.sample(
            tasks.random_key(np.uint32(SAMPLE_KEY)),
            min(split.examples, SCORED_SEQUENCES),
            max(run.task.max_length, split.length),
            split.length,
            split.subset,
        )
        outputs = trainer.apply_model(run, params, batch)
        return (batch.weights > 0).sum(axis=1).max(), sequence_accuracy(outputs, batch)

    scorers = [jax.jit(lambda params, split=split: score_split(params, split)) for split in splits]

    def evaluate(params: Any, seed: int) -> MeasureValue:
        scores = [score(params) for score in scorers]
        return {int(count): float(share) for count, share in sorted(scores, key=lambda pair: int(pair[0]))}

    return evaluate


def affine_deviation(run: builder.Run) -> Evaluate:
    """|f(a + b) − f(a) − f(b) + f(0)| / |f|, the largest over pairs of inputs: 0 for an affine function."""
    key = tasks.random_key(np.uint32(SAMPLE_KEY))
    a, b = jax.random.uniform(key, (2, 256, 1, run.task.channels), minval=-1, maxval=1) / 2

    @jax.jit
    def deviation(params: Any) -> Array:
        def f(x: Array) -> Array:
            return run.model.apply({"params": params}, x)[0]

        return jnp.abs(f(a + b) - f(a) - f(b) + f(0 * a)).max() / jnp.maximum(jnp.abs(f(a)).max(), 1e-9)

    return lambda params, seed: float(deviation(params))


def recalled_bits(run: builder.Run) -> Evaluate:
    """Bits that the outputs give about the targets of one sequence: Σ over its targets of log₂ of 1/chance, less the
    cross-entropy in bits. A lower bound of what the model holds in memory at once."""
    batch = sample_test_batch(run, sequences=SCORED_SEQUENCES)
    targets = float(np.asarray(batch.weights).sum() / SCORED_SEQUENCES)
    loss = jax.jit(lambda params: run.task.loss(trainer.apply_model(run, params, batch), batch))
    return lambda params, seed: max(0.0, targets * float(-np.log2(run.task.chance) - loss(params) / np.log(2)))
