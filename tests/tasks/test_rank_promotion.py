"""No task broadcasts from a lower rank on its own: all trace where JAX is told to raise there."""

import jax
import jax.numpy as jnp
import pytest

from tasks import TASKS
from tests.tasks.test_tasks import DATA


@pytest.mark.parametrize("name", TASKS)
def test_tasks(name: str):
    task = TASKS[name](**DATA.get(name, {}))

    def measured(length):
        batch = task.sample(jax.random.key(0), 3, task.max_length, length)
        shape = (3, task.outputs) if task.per == "sequence" else (3, task.max_length, task.outputs)
        loss = jax.grad(lambda outputs: task.loss(outputs, batch))(jnp.zeros(shape))
        return loss, task.score(jnp.zeros(shape), batch)

    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(measured, jnp.int32(task.max_length))
        for split in task.splits.values():
            longest = max(task.max_length, split.length)
            jax.eval_shape(
                lambda length, split=split, longest=longest: task.sample(
                    jax.random.key(0), 2, longest, length, split.subset
                ),
                jnp.int32(split.length),
            )
