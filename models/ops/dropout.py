"""Dropout, and the keys for it: without a key nothing is dropped, which is how a network is evaluated."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray


def fold_rng(rng: PRNGKeyArray | None, index: int) -> PRNGKeyArray | None:
    """The key for use number `index` of `rng`, or None where there is no key."""
    return None if rng is None else jax.random.fold_in(rng, index)


def apply_dropout(x: Array, rate: float, rng: PRNGKeyArray | None) -> Array:
    """Zero each element with probability `rate` and scale the rest by 1/(1 − rate); x itself without an `rng`."""
    if rng is None or not rate:
        return x
    return jnp.where(jax.random.bernoulli(rng, 1 - rate, x.shape), x / (1 - rate), 0)
