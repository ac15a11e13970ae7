"""How like a query is to a key, over all pairs: the scores that attention turns into weights.

    dot       q·k                       Luong et al. 2015 (arXiv 1508.04025), §3.1
    scaled    q·k / √K                  Vaswani et al. 2017 (arXiv 1706.03762), eq. 1
    cosine    e^τ · q·k / (|q|·|k|)     Graves et al. 2014 (arXiv 1410.5401), eq. 5; e^τ is their key strength
    additive  v·tanh(q + k)             Bahdanau et al. 2015 (arXiv 1409.0473), appendix A.1.2
    general   q·W·k                     Luong et al. 2015

q and k are already projected: Bahdanau's two matrices are those that make queries and keys. Scores are in float32 at
least whatever q and k are in, and so is all that is done on the way to them.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Weights = dict[str, Array]  # what a similarity learns for one head; most learn nothing


def dot(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    return product(query, key)


def scaled(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    return product(query, key) * query.shape[-1] ** -0.5


def cosine(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    of_query = jnp.exp(weights["temperature"]) * shortened(query)
    return product(query, key) * of_query[:, None] * shortened(key)[None]


def additive(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    """T·S·K numbers are held at once, which the products spare."""
    query, key = fine(query), fine(key)
    return jnp.tanh(query[:, None] + key[None]) @ weights["direction"]


def general(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: Weights) -> Float[Array, "T S"]:
    return product(fine(query) @ weights["between"], key)


def product(query: Float[Array, "T K"], key: Float[Array, "S K"]) -> Float[Array, "T S"]:
    """q·k summed, and returned, in float32 at least: products of two bfloat16 numbers are exact there."""
    found = jnp.promote_types(jnp.promote_types(query.dtype, key.dtype), jnp.float32)
    return jnp.einsum("tk,sk->ts", query, key, preferred_element_type=found)


def fine(x: Array) -> Array:
    """In float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def shortened(x: Float[Array, "*T K"]) -> Float[Array, "*T"]:
    """What brings each row to length 1; a row of zeros gets a finite number, with a finite gradient."""
    x = fine(x)
    return jax.lax.rsqrt((x * x).sum(axis=-1) + 1e-6)


def unit(x: Float[Array, "*T K"]) -> Float[Array, "*T K"]:
    """Each row at length 1; a row of zeros stays, with a finite gradient."""
    return x * shortened(x)[..., None].astype(x.dtype)


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
