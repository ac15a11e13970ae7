"""What several measures share: their types, the test sequences that they read, and parts of a network."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import tasks
from training import builder

SAMPLE_KEY = 2**31 + 1  # of the random draws of measures: no seed of a run is this large
NUM_SEQUENCES = 32
MeasureValue = float | dict[int, float]  # a number, or a curve {x: number}
Evaluate = Callable[[Any, int], MeasureValue]  # (params, seed) → value
Measure = Callable[[builder.Run], Evaluate]


def sample_test_batch(run: builder.Run, sequences: int = NUM_SEQUENCES) -> tasks.Batch:
    """Sequences of the test split, of the task's length; the same for every model."""
    length, subset = run.task.max_length, run.task.splits["test"].subset
    return run.task.sample(tasks.random_key(np.uint32(SAMPLE_KEY)), sequences, length, length, subset)


def apply_to_batch(run: builder.Run, params: Any, batch: tasks.Batch, **more: Any) -> Any:
    """What the model's `apply` returns for a batch; `more` are further arguments of it."""
    return run.model.apply({"params": params}, batch.inputs, positions=batch.positions, segments=batch.segments, **more)


def skip_embedding(run: builder.Run, params: Any) -> tuple[Any, Any]:
    """The network from its embedded inputs [B, T, D] on, and its parameters: the same outputs as from the inputs."""
    width = run.model.width
    own = {**params, "embed": {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}}
    if run.model.tie_embeddings:  # the head reads by the table, which is no embedding any more
        table = params["embed"]["embedding"]
        own["head"] = {"kernel": table.T, "bias": jnp.zeros(len(table))}
    return run.model.clone(vocabulary=0, channels=width), own


def last_output(y: Float[Array, "B *T O"]) -> Float[Array, "B O"]:
    """The output for a whole sequence: after its last step, where there is an output per step."""
    return y if y.ndim == 2 else y[:, -1]
