"""What a task hands to a model, and the losses and scores over it."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray, Shaped


class Batch(NamedTuple):
    """`B` sequences padded to `T` steps.

    `inputs` are token ids `[B, T]` or real vectors `[B, T, C]`; `targets` hold one entry a step (`[B, T]`) or one a
    sequence (`[B]`, or `[B, O]` for real targets) and `weights` say how much each entry counts, 0 for not at all.
    `positions` count from 0 within a segment. `segments` number the sequences packed in a row from 1; 0 is padding.
    """

    inputs: Shaped[Array, "B T *C"]
    targets: Shaped[Array, "B ..."]
    weights: Float[Array, "B *T"]
    positions: Int[Array, "B T"]
    segments: Int[Array, "B T"]


class Split(NamedTuple):
    """One evaluation set of a task: `examples` sequences of `length` steps, drawn from `subset` with a fixed key."""

    length: int
    examples: int
    subset: str = "test"


class Task(Protocol):
    """What every task states about itself. A task is a pytree: its arrays, if any, are its leaves.

    `vocabulary` is the number of input tokens, or 0 where inputs are `channels` real numbers. `outputs` is the number
    of classes, or of real numbers to predict; `per` says whether there is one target a "token" or one a "sequence", and
    `next_tokens` whether targets are inputs of later steps, which a model must then not see.
    `metric` names what `score` returns and `best` whether "max" or "min" of it is wanted; `chance` is its value for a
    uniform guess and `baseline` its value, with words, for a simple rule. It can be sampled at `min_length` to
    `max_length` steps. `VERSION` is raised by hand when the numbers drawn change.
    """

    VERSION: int

    @property
    def vocabulary(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def per(self) -> str: ...
    @property
    def next_tokens(self) -> bool: ...
    @property
    def metric(self) -> str: ...
    @property
    def best(self) -> str: ...
    @property
    def chance(self) -> float: ...
    @property
    def baseline(self) -> tuple[str, float]: ...
    @property
    def max_length(self) -> int: ...
    @property
    def min_length(self) -> int: ...
    @property
    def splits(self) -> Mapping[str, Split]: ...

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """`batch` sequences of `length` steps, padded to `max_length`; pure, and jitted into the training step."""
        ...

    def loss(self, outputs: Float[Array, "B *T O"], batch: Batch) -> Float[Array, ""]: ...
    def score(self, outputs: Float[Array, "B *T O"], batch: Batch) -> Float[Array, ""]: ...


def random_key(seed: Integer[Array, ""] | np.integer | int) -> PRNGKeyArray:
    """A key of the generator that all numbers here are drawn with, whatever jax_default_prng_impl says."""
    return jax.random.key(seed, impl="threefry2x32")


def positions_and_segments(
    batch: int, max_length: int, length: Int[Array, ""] | int
) -> tuple[Int[Array, "B T"], Int[Array, "B T"]]:
    """Positions and segments of rows that hold one sequence each, the first `length` of `max_length` steps."""
    step = jnp.broadcast_to(jnp.arange(max_length), (batch, max_length))
    return step, (step < length).astype(jnp.int32)


def sample_rows(key: PRNGKeyArray, batch: int, available: int, rows_name: str) -> Int[Array, "B"]:
    """`batch` different rows of those that are `available`, drawn uniformly. Raises ValueError where they are too
    few."""
    validate_batch_size(batch, available, rows_name)
    return jax.random.permutation(key, available)[:batch]


def validate_batch_size(batch: int, available: int, rows_name: str) -> None:
    """Refuse, with ValueError, a batch of more rows than there are."""
    if batch > available:
        raise ValueError(f"batch={batch}: the {rows_name} are {available}, so give that many or fewer")


def cross_entropy(outputs: Float[Array, "B *T O"], batch: Batch) -> Float[Array, ""]:
    """Weighted mean of −log p(target), in nats."""
    nats = optax.softmax_cross_entropy_with_integer_labels(outputs.astype(jnp.float32), batch.targets)
    return weighted_mean(nats, batch.weights)


def squared_error(outputs: Float[Array, "B *T O"], batch: Batch) -> Float[Array, ""]:
    """Weighted mean of (output − target)², summed over the `O` outputs."""
    error = jnp.square(outputs.astype(jnp.float32) - batch.targets).sum(axis=-1)
    return weighted_mean(error, batch.weights)


def accuracy(
    outputs: Float[Array, "B *T O"], batch: Batch, weights: Float[Array, "B *T"] | None = None
) -> Float[Array, ""]:
    """Share of the weighted targets that the largest output names. `weights` replaces the batch's own.

    nan where one that counts has outputs that are nan: no answer is no wrong answer.
    """
    hit = (outputs.argmax(axis=-1) == batch.targets).astype(jnp.float32)
    hit = jnp.where(jnp.isnan(outputs).any(axis=-1), jnp.nan, hit)
    return weighted_mean(hit, batch.weights if weights is None else weights)


def sequence_accuracy(outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
    """Share of the sequences whose weighted targets are all named by the largest output; nan as `accuracy`."""
    counts = batch.weights > 0
    wrong = (outputs.argmax(axis=-1) != batch.targets) & counts
    unknown = (jnp.isnan(outputs).any(axis=-1) & counts).any()
    right = (~wrong.any(axis=1)).astype(jnp.float32)
    return jnp.where(unknown, jnp.nan, weighted_mean(right, counts.any(axis=1).astype(jnp.float32)))


def weighted_mean(values: Float[Array, "B *T"], weights: Float[Array, "B *T"]) -> Float[Array, ""]:
    """Σ w·v / Σ w, and 0 where every weight is 0. What weighs nothing may be nan."""
    return jnp.where(weights > 0, values * weights, 0).sum() / jnp.maximum(weights.sum(), 1e-9)
