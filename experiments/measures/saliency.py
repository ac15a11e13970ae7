"""Whether a classifier looks where its class is made: three kinds of saliency against a task's known sites."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

import tasks
from experiments.measures.attention import attention_weights
from experiments.measures.common import Evaluate, skip_embedding
from training import builder, trainer


def occlusion_on_site(run: builder.Run) -> Evaluate:
    """The share of test sequences whose most influential position is a site of their class.

    Influence is by occlusion: how far another token there, mean over all others, moves the class probabilities (total
    variation). Chance is a class's sites over the positions of a sequence.
    """
    batch, is_site = sequences_with_sites(run)
    tokens = run.task.vocabulary

    @jax.jit
    def share(params: Any) -> Array:
        def class_probabilities(inputs: Array) -> Array:
            return jax.nn.softmax(trainer.apply_model(run, params, batch._replace(inputs=inputs)))

        original = class_probabilities(batch.inputs)

        def influence_of(place: Array) -> Array:
            def distance_with(offset: Array) -> Array:  # tokens are numbered from 1
                replaced = 1 + (batch.inputs[:, place] - 1 + offset) % (tokens - 1)
                occluded = class_probabilities(batch.inputs.at[:, place].set(replaced))
                return 0.5 * jnp.abs(occluded - original).sum(axis=-1)

            return jax.lax.map(distance_with, jnp.arange(1, tokens - 1)).mean(axis=0)

        influence = jax.lax.map(influence_of, jnp.arange(batch.inputs.shape[1]))
        return share_on_site(influence.T * (batch.segments != 0), is_site)

    return lambda params, seed: float(share(params))


def gradient_on_site(run: builder.Run) -> Evaluate:
    """As `occlusion_on_site`, by the gradient norm of the class's log probability in the embedded token."""
    batch, is_site = sequences_with_sites(run)

    @jax.jit
    def share(params: Any) -> Array:
        network, own = skip_embedding(run, params)

        def log_probability(x: Array) -> Array:
            y, _ = network.apply({"params": own}, x, positions=batch.positions, segments=batch.segments)
            return jnp.take_along_axis(jax.nn.log_softmax(y), batch.targets[:, None], axis=-1).sum()

        gradient = jax.grad(log_probability)(params["embed"]["embedding"][batch.inputs])
        return share_on_site(jnp.linalg.norm(gradient, axis=-1), is_site)

    return lambda params, seed: float(share(params))


def attention_on_site(run: builder.Run) -> Evaluate:
    """As `occlusion_on_site`, by the attention weight of a position, mean over queries, heads and blocks."""
    batch, is_site = sequences_with_sites(run)

    @jax.jit
    def share(params: Any) -> Array:
        by_block = [weights.mean(axis=(1, 2)) for weights in attention_weights(run, params, batch)]
        return share_on_site(jnp.stack(by_block).mean(axis=0), is_site)

    return lambda params, seed: float(share(params))


def sequences_with_sites(run: builder.Run) -> tuple[tasks.Batch, Array]:
    """The test sequences whose class has sites, and which positions are sites [N, T].

    Raises ValueError for a task without sites.
    """
    if not any(getattr(run.task, "sites", ())):
        raise ValueError("a measure of sites needs a task that has some, as that of the data set splice")
    split = run.task.splits["test"]
    batch = run.task.sample(tasks.random_key(0), split.examples, split.length, split.length, split.subset)
    has_sites = np.isin(np.asarray(batch.targets), [i for i, places in enumerate(run.task.sites) if places])
    batch = jax.tree.map(lambda leaf: leaf[has_sites], batch)
    is_site = np.zeros((len(run.task.sites), split.length), bool)
    for of_class, places in zip(is_site, run.task.sites, strict=True):
        of_class[list(places)] = True
    return batch, jnp.asarray(is_site)[batch.targets]


def share_on_site(saliency: Float[Array, "N T"], is_site: Bool[Array, "N T"]) -> Float[Array, ""]:
    """The share of rows whose largest entry is at a site."""
    return jnp.take_along_axis(is_site, saliency.argmax(axis=1)[:, None], axis=1).mean()
