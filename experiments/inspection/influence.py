"""How far each token moves each prediction of a model, by occlusion and by gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import tasks
from experiments.inspection.activations import Tokens, apply_from_start, to_numpy
from experiments.measures.common import skip_embedding
from training import builder

_REPLACEMENT_KEY = 2**31 + 2  # of the tokens that others are replaced with
_NUM_REPLACEMENTS = 8  # for each token, drawn from the vocabulary
MIN_PAIRS = 5  # of tokens that a mean over distances rests on


class Influence(NamedTuple):
    """How far the prediction at t moves when the token at s changes, [t, s], each from 0 to 1."""

    occlusion: Float[np.ndarray, "R T"]
    gradient: Float[np.ndarray, "R T"]


def measure_influence(run: builder.Run, params: Any, tokens: Tokens) -> Influence:
    """Both measures, of any model that reads tokens.

    Occlusion is the total variation distance, ½ Σ |p − p′|, between what is predicted at t and what is predicted with
    another token at s, mean over `_NUM_REPLACEMENTS` others. The gradient is ‖∂ log p_t(ŷ_t) / ∂x_s‖, x_s being the
    embedding of token s and ŷ_t the likeliest output at t, as a share of its sum over s.
    """
    inputs = jnp.asarray(tokens, jnp.int32)
    replacements = draw_replacements(inputs, run.task.vocabulary)
    occlusion = jax.jit(partial(_occlusion_influence, run))(params, inputs, replacements)
    gradient = jax.jit(partial(_gradient_influence, run))(params, inputs)
    return Influence(to_numpy(occlusion), to_numpy(gradient))


def draw_replacements(tokens: Int[Array, "T"], vocabulary: int) -> Int[Array, "T N"]:
    """For each token, other tokens of the vocabulary, each once; the same for every model."""
    count = min(_NUM_REPLACEMENTS, vocabulary - 1)
    keys = jax.random.split(tasks.random_key(np.uint32(_REPLACEMENT_KEY)), len(tokens))
    steps = jax.vmap(lambda key: 1 + jax.random.permutation(key, vocabulary - 1)[:count])(keys)
    return (tokens[:, None] + steps) % vocabulary


def _occlusion_influence(run: builder.Run, params: Any, tokens: Array, replacements: Array) -> Float[Array, "R T"]:
    def influence_of(step_and_replacements: tuple[Array, Array]) -> Float[Array, "R"]:
        step, others = step_and_replacements
        rows = jax.vmap(lambda token: tokens.at[step].set(token))(jnp.append(tokens[step], others))
        y, _ = apply_from_start(run.model, params, rows)
        p = jax.nn.softmax(y.reshape(len(rows), -1, y.shape[-1]))
        return 0.5 * jnp.abs(p[1:] - p[0]).sum(axis=-1).mean(axis=0)

    return jax.lax.map(influence_of, (jnp.arange(len(tokens)), replacements)).T


def _gradient_influence(run: builder.Run, params: Any, tokens: Array) -> Float[Array, "R T"]:
    log_p, pull_back = jax.vjp(log_probability_fn(run, params), params["embed"]["embedding"][tokens])
    likeliest = log_p.argmax(axis=-1)

    def gradient_norms(row: Array) -> Float[Array, "T"]:
        return jnp.linalg.norm(pull_back(jnp.zeros_like(log_p).at[row, likeliest[row]].set(1))[0], axis=-1)

    norms = jax.lax.map(gradient_norms, jnp.arange(len(log_p)))
    return norms / jnp.maximum(norms.sum(axis=-1, keepdims=True), 1e-30)


def log_probability_fn(run: builder.Run, params: Any) -> Callable[[Array], Array]:
    """The function x [T, D] → log p [R, O]: the model from its embedded tokens on."""
    network, own = skip_embedding(run, params)

    def log_probabilities(x: Float[Array, "T D"]) -> Float[Array, "R O"]:
        y, _ = apply_from_start(network, own, x[None])
        return jax.nn.log_softmax(y.reshape(-1, y.shape[-1]))

    return log_probabilities


def mean_by_distance(influence: Float[np.ndarray, "T T"]) -> Float[np.ndarray, "D"]:
    """The mean over all pairs with t − s = 0, 1, …, while there are MIN_PAIRS of them, or one in short sequences."""
    farthest = max(len(influence) - MIN_PAIRS, min(len(influence), MIN_PAIRS) - 1)
    return np.array([np.diagonal(influence, -distance).mean() for distance in range(farthest + 1)], np.float32)
