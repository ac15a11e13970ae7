"""No task broadcasts from a lower rank on its own: all trace where JAX is told to raise there."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tasks import TASKS
from tasks.synthetic.formal_languages import LANGUAGES
from tests.tasks.test_tasks import DATA

CASES = [(name, DATA.get(name, {})) for name in TASKS]
CASES += [("formal_language", {"language": language}) for language in LANGUAGES]
CASES += [("associations", {"again": True}), ("recall", {"pairs": 3})]


@pytest.mark.parametrize(("name", "fields"), CASES, ids=[f"{n}-{f.get('language', '')}" for n, f in CASES])
def test_tasks(name: str, fields: dict[str, Any]):
    task = TASKS[name](**fields)

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
