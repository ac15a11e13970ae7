"""A task without its data, as JSON: enough to build a model for it, and to encode and decode."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

import tasks
from training import files


def describe_task(task: Any) -> dict[str, Any]:
    """Describe a task's fields: the shapes and dtypes of its arrays, and the values of everything else."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        if field.metadata.get("pytree_node", True):
            shapes = jax.tree.map(lambda leaf: {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}, value)
            fields[field.name] = {"arrays": shapes}
        else:
            fields[field.name] = {"value": value}
    return {"fields": fields}


def task_from_description(config: Mapping[str, Any], description: Mapping[str, Any]) -> Any:
    """Build the task that `describe_task` described. Its arrays are jax.ShapeDtypeStructs."""
    fields = {name: _restore_field(field) for name, field in description["fields"].items()}
    return tasks.TASKS[config["task"]["name"]](**fields)


def _restore_field(field: Mapping[str, Any]) -> Any:
    if "value" in field:
        return files.lists_to_tuples(field["value"])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(tuple(leaf["shape"]), leaf["dtype"]), field["arrays"], is_leaf=_is_shape
    )


def _is_shape(tree: Any) -> bool:
    return isinstance(tree, dict) and set(tree) == {"shape", "dtype"}
