"""No task broadcasts from a lower rank on its own: all trace where JAX is told to raise there."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from tasks import TASKS, Task
from tasks.synthetic.formal_languages import LANGUAGES

CASES = {f"{name} example": task_type.example() for name, task_type in TASKS.items()}
for _name, _type in TASKS.items():
    if all(field.default is not dataclasses.MISSING for field in dataclasses.fields(_type)):
        CASES[f"{_name} defaults"] = _type()
CASES |= {language: TASKS["formal_language"](language=language) for language in LANGUAGES}
CASES |= {"associations with replacement": TASKS["associations"](with_replacement=True)}


@pytest.mark.parametrize("task", CASES.values(), ids=CASES.keys())
def test_tasks(task: Task):
    def measure(length: jax.Array):
        batch = task.sample(jax.random.key(0), 3, task.max_length, length)
        shape = (3, task.outputs) if task.target_level == "sequence" else (3, task.max_length, task.outputs)
        loss = jax.grad(lambda outputs: task.loss(outputs, batch))(jnp.zeros(shape))
        return loss, task.score(jnp.zeros(shape), batch)

    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(measure, jnp.int32(task.max_length))
        for split in task.splits.values():
            longest = max(task.max_length, split.length)
            jax.eval_shape(
                lambda length, split=split, longest=longest: task.sample(
                    jax.random.key(0), 2, longest, length, split.subset
                ),
                jnp.int32(split.length),
            )
