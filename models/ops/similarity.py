"""The similarity of queries and keys, over all pairs: the scores that attention turns into weights.

    dot       q·k                       Luong et al. 2015 (arXiv 1508.04025), §3.1
    scaled    q·k / √K                  Vaswani et al. 2017 (arXiv 1706.03762), eq. 1
    cosine    e^τ · q·k / (|q|·|k|)     Graves et al. 2014 (arXiv 1410.5401), eq. 5; e^τ is their key strength
    additive  v·tanh(q + k)             Bahdanau et al. 2015 (arXiv 1409.0473), appendix A.1.2
    general   q·W·k                     Luong et al. 2015

q and k are already projected: Bahdanau's two matrices are the query and key projections. Scores are at least float32
whatever the dtype of q and k, and so are all intermediate results.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

SimilarityParams = dict[str, Array]  # the trained parameters of a similarity for one head; most have none


def dot_scores(query: Float[Array, "T K"], key: Float[Array, "S K"], weights: SimilarityParams) -> Float[Array, "T S"]:
    return _pairwise_dot(query, key)


def scaled_dot_scores(
    query: Float[Array, "T K"], key: Float[Array, "S K"], weights: SimilarityParams
) -> Float[Array, "T S"]:
    return _pairwise_dot(query, key) * query.shape[-1] ** -0.5


def cosine_scores(
    query: Float[Array, "T K"], key: Float[Array, "S K"], weights: SimilarityParams
) -> Float[Array, "T S"]:
    of_query = jnp.exp(weights["temperature"]) * _inverse_norm(query)
    return _pairwise_dot(query, key) * of_query[:, None] * _inverse_norm(key)[None]


def additive_scores(
    query: Float[Array, "T K"], key: Float[Array, "S K"], weights: SimilarityParams
) -> Float[Array, "T S"]:
    """Stores T·S·K numbers at once, unlike the products."""
    query, key = at_least_float32(query), at_least_float32(key)
    return jnp.tanh(query[:, None] + key[None]) @ weights["direction"]


def general_scores(
    query: Float[Array, "T K"], key: Float[Array, "S K"], weights: SimilarityParams
) -> Float[Array, "T S"]:
    return _pairwise_dot(at_least_float32(query) @ weights["between"], key)


def _pairwise_dot(query: Float[Array, "T K"], key: Float[Array, "S K"]) -> Float[Array, "T S"]:
    """q·k for all pairs, accumulated and returned in at least float32, where products of bfloat16 numbers are exact."""
    dtype = jnp.promote_types(jnp.promote_types(query.dtype, key.dtype), jnp.float32)
    return jnp.einsum("tk,sk->ts", query, key, preferred_element_type=dtype)


def at_least_float32(x: Array) -> Array:
    """x in at least float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _inverse_norm(x: Float[Array, "*T K"]) -> Float[Array, "*T"]:
    """1/|x| for each row; finite, with a finite gradient, for a row of zeros."""
    x = at_least_float32(x)
    return jax.lax.rsqrt((x * x).sum(axis=-1) + 1e-6)


def l2_normalize(x: Float[Array, "*T K"]) -> Float[Array, "*T K"]:
    """x/|x| for each row; a row of zeros stays zero, with a finite gradient."""
    return x * _inverse_norm(x)[..., None].astype(x.dtype)


SIMILARITIES: dict[str, Callable[[Array, Array, SimilarityParams], Array]] = {
    "dot": dot_scores,
    "scaled": scaled_dot_scores,
    "cosine": cosine_scores,
    "additive": additive_scores,
    "general": general_scores,
}


def similarity_initializers(similarity: str, heads: int, size: int) -> dict[str, Callable[[PRNGKeyArray], Array]]:
    """Initializers key → [H, …] of a similarity's trained parameters, by name. The leading axis is over heads."""
    if similarity == "cosine":  # e^2.3 ≈ 10: enough for softmax to put most of its weight on one of 20,000 keys
        return {"temperature": lambda _: jnp.full((heads,), jnp.log(10.0))}
    if similarity == "additive":
        return {"direction": lambda key: nn.initializers.normal(size**-0.5)(key, (heads, size))}
    if similarity == "general":
        return {"between": lambda key: nn.initializers.normal(1 / size)(key, (heads, size, size))}
    return {}
