"""Normalizers, which turn a row of scores into a row of weights.

    softmax   e^s / Σ e^s       sums to 1; every weight depends on every score (Jacobian diag(p) − p·pᵀ)
    linear    s⁺ / Σ s⁺         sums to 1 by division alone; s⁺ = max(s, 0), since a sum of both signs could be 0
    sigmoid   σ(s − log n)      each key by itself, n the number of keys (Ramapuram et al. 2024, arXiv 2409.04431, §3)
    none      s                 the score itself

Each returns the weights' numerators and the denominator of each row (see attention.multi_head_attention). `mask`, one
for all heads or one for each, is True for visible keys; other weights are 0, and so is a row without a visible key.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_MASKED_SCORE = -1e30  # finite, so that a row without a visible key gives no nan

WeightParts = tuple[Float[Array, "*H T S"], Float[Array, "*#H #T #S"]]


def softmax_weights(scores: Float[Array, "*H T S"], mask: Bool[Array, "*#H T S"]) -> WeightParts:
    scores = jnp.where(mask, scores, _MASKED_SCORE)
    largest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))  # cancels, and keeps e^s in range
    numerators = jnp.exp(scores - largest)
    return numerators, jnp.where(mask.any(axis=-1, keepdims=True), numerators.sum(axis=-1, keepdims=True), jnp.inf)


def linear_weights(scores: Float[Array, "*H T S"], mask: Bool[Array, "*#H T S"]) -> WeightParts:
    numerators = jnp.where(mask, jax.nn.relu(scores), 0)
    return numerators, numerators.sum(axis=-1, keepdims=True) + 1e-6


def sigmoid_weights(scores: Float[Array, "*H T S"], mask: Bool[Array, "*#H T S"]) -> WeightParts:
    keys = jnp.maximum(mask.sum(axis=-1, keepdims=True), 1)
    return jnp.where(mask, jax.nn.sigmoid(scores - jnp.log(keys)), 0), jnp.ones((1,) * scores.ndim, scores.dtype)


def raw_weights(scores: Float[Array, "*H T S"], mask: Bool[Array, "*#H T S"]) -> WeightParts:
    return jnp.where(mask, scores, 0), jnp.ones((1,) * scores.ndim, scores.dtype)


NORMALIZERS: dict[str, Callable[[Array, Array], WeightParts]] = {
    "softmax": softmax_weights,
    "linear": linear_weights,
    "sigmoid": sigmoid_weights,
    "none": raw_weights,
}
