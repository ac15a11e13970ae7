"""The scores of a split from those of its parts, so that the outputs of one part are all that is held at a time."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

import tasks
from tasks.base import weighted_mean


def score_batch(task: Any, outputs: Array, batch: tasks.Batch) -> dict[str, Array]:
    """Loss, score and extra scores of a batch."""
    scores = {"loss": task.loss(outputs, batch), "score": task.score(outputs, batch)}
    return {**scores, **task.extra_scores(outputs, batch)}


def summarize_part(task: Any, outputs: Array, batch: tasks.Batch) -> Any:
    """What is kept of a part of a split: its scores and their weights, or all of it, as `task.score_parts` says."""
    if task.score_parts == "none":
        return outputs, batch
    return score_batch(task, outputs, batch), task.loss_weights(batch).sum(), task.score_weights(batch).sum()


def join_parts(task: Any, parts: Any, examples: int) -> dict[str, Array]:
    """The scores of a split's first `examples` sequences, from its summarized parts, leaves [parts, …].

    What is behind these must be padding, of weight 0.
    """
    if task.score_parts == "none":
        outputs, batch = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:examples], parts)
        return score_batch(task, outputs, batch)
    scores, loss_weights, score_weights = parts
    if len(score_weights) == 1:
        return {name: values[0] for name, values in scores.items()}
    loss = weighted_mean(scores["loss"], loss_weights)
    scores = {name: values for name, values in scores.items() if name != "loss"}
    if task.score_parts == "geometric mean":
        means = {name: jnp.exp(weighted_mean(jnp.log(values), score_weights)) for name, values in scores.items()}
    else:
        means = {name: weighted_mean(values, score_weights) for name, values in scores.items()}
    return {"loss": loss, **means}
