"""Fingerprints of what tasks draw, by which a change of their numbers is noticed that no VERSION tells.

  python -m tests.tasks.fingerprints    write fingerprints.json anew, after a change that is meant

Whole numbers are held to a hash, real ones to sums with a tolerance.
"""

import dataclasses
import hashlib
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tasks import TASKS, Batch, Task

PATH = Path(__file__).with_name("fingerprints.json")
ROWS = 4


@partial(jax.jit, static_argnames="subset")
def draw(task: Task, key: jax.Array, length: jax.Array, subset: str = "train") -> tuple[Batch, jax.Array, jax.Array]:
    """A batch of `ROWS` rows padded to the task's longest, and the loss and the score of outputs of 0."""
    batch = task.sample(key, ROWS, task.max_length, length, subset)
    steps = (ROWS, task.max_length) if task.target_level == "token" else (ROWS,)
    outputs = jnp.zeros((*steps, task.outputs))
    return batch, task.loss(outputs, batch), task.score(outputs, batch)


@cache
def example(name: str) -> Task:
    return TASKS[name].example()


@cache
def draw_example(name: str, length: int, subset: str = "train") -> tuple[Batch, np.ndarray, np.ndarray]:
    """`draw` of a task's example with a fixed key, as NumPy arrays."""
    key = jax.random.key(1, impl="threefry2x32")
    return jax.tree.map(np.asarray, draw(example(name), key, jnp.int32(length), subset))


def settings(task: Any) -> dict[str, str]:
    return {field.name: repr(getattr(task, field.name)) for field in dataclasses.fields(task)
            if not field.metadata.get("pytree_node", True)}  # fmt: skip


def fingerprint(name: str) -> dict[str, Any]:
    """What a task's example draws of each subset: a hash of integers, two sums of floats."""
    task = example(name)
    found: dict[str, Any] = {}
    for subset in sorted({"train", *(split.subset for split in task.splits.values())}):
        batch, loss, score = draw_example(name, task.max_length, subset)
        for part, values in {**batch._asdict(), "loss": loss, "score": score}.items():
            if np.issubdtype(values.dtype, np.integer):
                found[f"{subset} {part}"] = hashlib.sha256(values.astype("<i4").tobytes()).hexdigest()[:16]
            else:
                values = np.nan_to_num(values)  # a real target that is missing
                ramp = np.arange(1, values.size + 1) / values.size  # so that the order counts
                found[f"{subset} {part}"] = [float(values.sum()), float((values.ravel() * ramp).sum())]
    return {"version": TASKS[name].VERSION, "settings": settings(task), "arrays": found}


if __name__ == "__main__":
    PATH.write_text(json.dumps({name: fingerprint(name) for name in TASKS}, indent=1) + "\n")
    print(f"{PATH}: {len(TASKS)} tasks")
