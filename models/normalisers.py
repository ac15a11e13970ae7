"""How a row of scores becomes a row of weights: what makes one key's gain another key's loss, or doesn't.

    softmax   e^s / Σ e^s       sums to 1; every weight hangs on every score (Jacobian diag(p) − p·pᵀ)
    linear    s⁺ / Σ s⁺         sums to 1 by division alone; s⁺ = max(s, 0), for with signs the sum may pass through 0
    sigmoid   σ(s − log n)      each key alone, n the number of keys (Ramapuram et al. 2024, arXiv 2409.04431, §3)
    none      s                 the score itself

Every one takes `mask`, one for all heads or one for each, and gives 0 where it is false; a row with nothing in it gets
zeros.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

LOWEST = -1e30  # finite, so that a row with no key gives no nan


def softmax(scores: Float[Array, "*H T S"], mask: Bool[Array, "*#H T S"]) -> Float[Array, "*H T S"]:
    weights = jax.nn.softmax(jnp.where(mask, scores, LOWEST), axis=-1)
    return weights * mask.any(axis=-1)[..., None]


def linear(scores: Float[Array, "*H T S"], mask: Bool[Array, "*#H T S"]) -> Float[Array, "*H T S"]:
    positive = jnp.where(mask, jax.nn.relu(scores), 0)
    return positive / (positive.sum(axis=-1, keepdims=True) + 1e-6)


def sigmoid(scores: Float[Array, "*H T S"], mask: Bool[Array, "*#H T S"]) -> Float[Array, "*H T S"]:
    keys = jnp.maximum(mask.sum(axis=-1, keepdims=True), 1)
    return jnp.where(mask, jax.nn.sigmoid(scores - jnp.log(keys)), 0)


def none(scores: Float[Array, "*H T S"], mask: Bool[Array, "*#H T S"]) -> Float[Array, "*H T S"]:
    return jnp.where(mask, scores, 0)


NORMALISERS: dict[str, Callable[[Array, Array], Array]] = {
    "softmax": softmax,
    "linear": linear,
    "sigmoid": sigmoid,
    "none": none,
}
