"""A task without its data, as JSON can hold it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

import tasks


def describe_task(task: Any) -> dict[str, Any]:
    """A task without its arrays, of which only shapes and types are kept, as JSON can hold it."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        if field.metadata.get("pytree_node", True):
            shapes = jax.tree.map(lambda leaf: {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}, value)
            found[field.name] = {"arrays": shapes}
        else:
            found[field.name] = {"value": value}
    return {"fields": found}


def task_from_description(config: Mapping[str, Any], description: Mapping[str, Any]) -> Any:
    """The task that `describe_task` is of, with nothing but the shapes of its arrays."""

    def is_shape(tree: Any) -> bool:
        return isinstance(tree, dict) and set(tree) == {"shape", "dtype"}

    def tuples(value: Any) -> Any:
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    def rebuild(field: Mapping[str, Any]) -> Any:
        if "value" in field:
            return tuples(field["value"])
        struct = lambda leaf: jax.ShapeDtypeStruct(tuple(leaf["shape"]), leaf["dtype"])  # noqa: E731
        return jax.tree.map(struct, field["arrays"], is_leaf=is_shape)

    return tasks.TASKS[config["task"]["name"]](**{k: rebuild(field) for k, field in description["fields"].items()})
