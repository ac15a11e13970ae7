"""The first training batch of a run, decoded as a person reads it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tasks
from tasks.preview import format_row
from tasks.real.rows import row_numbers
from training.builder import Run
from training.carried_state import Stream, first_places, read_windows
from training.stream import draw_batches
from training.trainer import batch_keys, carries_state

_SHOWN_ROWS = 2
_SHOWN_STEPS = 64


def preview_batch(run: Run) -> str:
    """The first rows of the batch that the first seed's first step trains on: inputs over the targets that count.

    Only this is computed. Nothing is written.
    """
    batch = jax.tree.map(np.asarray, first_batch(run))
    seed, size = run.config["ensemble"]["seeds"][0], len(batch.inputs)
    shown = min(_SHOWN_ROWS, size)
    rows = ["\n".join(_format_start(run.task, batch, row)) for row in range(shown)]
    return "\n\n".join([f"the first batch of seed {seed}, {shown} of {size} rows:", *rows])


def first_batch(run: Run) -> tasks.Batch:
    """The training batch of the first seed's step 0, from memory or from the disk."""
    seed, size, longest = run.config["ensemble"]["seeds"][0], run.config["training"]["batch_size"], run.task.max_length
    if carries_state(run):
        place = first_places(jnp.uint32(seed), run.task.text["train"].shape[0], size)
        nothing = jnp.zeros_like(place)
        return read_windows(run.task, "train", Stream(None, place, nothing, nothing))[0]
    length, key, _ = batch_keys(run, jnp.uint32(seed), jnp.int32(0))
    if run.rows is None:
        draw = jax.jit(lambda task, key, length: task.sample(key, size, longest, length))
        return draw(run.task, key, length)
    drawn = np.asarray(draw_batches(run, jnp.asarray([seed], jnp.uint32), jnp.zeros(1, jnp.int32)))
    rows = run.rows.gather(row_numbers(drawn, run.task.train_size).ravel(), longest)
    return run.task.collate(jax.tree.map(jnp.asarray, rows), longest, length)


def _format_start(task: Any, batch: tasks.Batch, row: int) -> list[str]:
    """The lines of one row, and how many of its steps they leave out."""
    steps = int((batch.segments[row] > 0).sum())
    per_token = ("inputs", "positions", "segments", *(["targets", "weights"] * (task.target_level == "token")))
    start = batch._replace(**{name: getattr(batch, name)[:, :_SHOWN_STEPS] for name in per_token})
    more = [f"        and {steps - _SHOWN_STEPS} more steps"] if steps > _SHOWN_STEPS else []
    return [*format_row(task, start, row), *more]
