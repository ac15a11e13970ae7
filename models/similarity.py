"""How like a query is to a key, over all pairs: the scores that attention turns into weights.

    dot       q·k                       Luong et al. 2015 (arXiv 1508.04025), §3.1
    scaled    q·k / √K                  Vaswani et al. 2017 (arXiv 1706.03762), eq. 1
    cosine    e^τ · q·k / (|q|·|k|)     Graves et al. 2014 (arXiv 1410.5401), eq. 5; e^τ is their key strength
    additive  v·tanh(q + k)             Bahdanau et al. 2015 (arXiv 1409.0473), appendix A.1.2
    general   q·W·k                     Luong et al. 2015

q and k are already projected: Bahdanau's two matrices are those that make queries and keys.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Weights = dict[str, Array]  # what a similarity learns for one head; most learn nothing


def dot(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    return jnp.einsum("tk,sk->ts", query, key)


def scaled(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    return dot(query * query.shape[-1] ** -0.5, key, weights)


def cosine(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    return jnp.exp(weights["temperature"]).astype(query.dtype) * (unit(query) @ unit(key).T)


def additive(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    """T·S·K numbers are held at once, which the products spare."""
    return jnp.tanh(query[:, None] + key[None]) @ weights["direction"].astype(query.dtype)


def general(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    return query @ weights["between"].astype(query.dtype) @ key.T


def unit(x: Float[Array, "*T K"]) -> Float[Array, "*T K"]:
    """Each row at length 1; a row of zeros stays, with a finite gradient."""
    return x * jax.lax.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-6)


SIMILARITIES: dict[str, Callable[[Array, Array, Weights], Array]] = {
    "dot": dot,
    "scaled": scaled,
    "cosine": cosine,
    "additive": additive,
    "general": general,
}


def initial(similarity: str, heads: int, size: int) -> dict[str, Callable[[PRNGKeyArray], Array]]:
    """What a similarity learns, as `{name: key → [H, …]}`: a leading axis over heads, to be vmapped over."""
    if similarity == "cosine":  # e^2.3 ≈ 10: softmax can then put most of its weight on one key in twenty thousand
        return {"temperature": lambda _: jnp.full((heads,), jnp.log(10.0))}
    if similarity == "additive":
        return {"direction": lambda key: nn.initializers.normal(size**-0.5)(key, (heads, size))}
    if similarity == "general":
        return {"between": lambda key: nn.initializers.normal(1 / size)(key, (heads, size, size))}
    return {}
