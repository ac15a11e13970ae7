"""The same attention in other orders of its sums, for long sequences: blocks of queries, and cuDNN's kernel.

    y_t = Σ_{s ≤ end of t's block} weight(t, s)·v_s, block by block

A block of queries needs the keys up to its last and no others, which spares half of the work; and scores are made anew
in the backward pass where all of them together would be large, so that memory grows with the length and not with its
square (Rabe and Staats 2021, arXiv 2112.05682; Dao et al. 2022, arXiv 2205.14135). A block sees all of its keys at
once, so that any normaliser will do.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MIN_BLOCKWISE_LENGTH = 64  # from how many tokens on "auto" takes blocks
MAX_KV_BUCKETS = 16  # how many different numbers of keys blocks have, at most: each is compiled apart
REMAT_LENGTH = 1024  # above so many tokens a block's scores are made anew for the backward pass


def blockwise_attention(
    rows: Callable[[dict[str, Array], dict[str, Array], Array | int], Array],
    new: dict[str, Array],
    seen: dict[str, Array],
    causal: bool,
) -> Float[Array, "H T V"]:
    """`rows(queries, keys, offset)`, the plain form for some queries from place `offset` on, over all of one sequence.

    `new` holds what goes with each query and `seen` what goes with each key, place by place.
    """
    steps = new["segments"].shape[-1]
    size = min(128, max(32, steps // 4))
    stair = size * -(-steps // (size * MAX_KV_BUCKETS))

    def of_block(new: dict[str, Array], seen: dict[str, Array], offset: Array | int) -> Array:
        return rows(new, _swap_time_and_features(seen), offset)

    seen = _swap_time_and_features(seen)
    of_block = jax.checkpoint(of_block) if steps > REMAT_LENGTH else of_block
    read = []
    for begin in range(0, steps, stair):
        end = min(begin + stair, steps)
        keys = jax.tree.map(lambda a, end=end: jax.lax.slice_in_dim(a, 0, end, axis=a.ndim - 1), seen)
        keys = keys if causal else seen
        alike = (end - begin) // size if stair > size else 0

        def cut(a: Array, begin: int = begin, alike: int = alike) -> Array:
            axis = token_axis(a)
            part = jax.lax.slice_in_dim(a, begin, begin + alike * size, axis=axis)
            return jnp.moveaxis(part.reshape(*a.shape[:axis], alike, size, *a.shape[axis + 1 :]), axis, 0)

        if alike:
            places = begin + size * jnp.arange(alike)
            found = jax.lax.map(lambda one, keys=keys: of_block(one[0], keys, one[1]), (jax.tree.map(cut, new), places))
            read += list(found)
        begin += alike * size
        if begin < end:
            rest = jax.tree.map(lambda a: jax.lax.slice_in_dim(a, begin, end, axis=token_axis(a)), new)  # noqa: B023
            read.append(of_block(rest, keys, begin))
    return jnp.concatenate(read, axis=1)


def _swap_time_and_features(seen: dict[str, Array]) -> dict[str, Array]:
    """Features before tokens, or back: a key's gradient Σ_t d_ts·q_tk is then formed with the narrow q as its first
    factor, which is the one that XLA's CPU compiler moves, and not with d: a training step takes 0.85 of the time."""
    return {name: a.swapaxes(-1, -2) if a.ndim > 1 else a for name, a in seen.items()}


def cudnn_attention(
    query: Float[Array, "B H T K"],
    key: Float[Array, "B G T K"],
    value: Float[Array, "B G T K"],
    segments: Int[Array, "B T"],
    causal: bool,
    scale: float,
) -> Float[Array, "B H T K"]:
    """cuDNN's kernel, which knows one sequence a row with padding behind it: a row that is anything else gives nan."""
    lengths = (segments != 0).sum(axis=1)
    simple = (segments == segments[:, :1]) | (jnp.arange(segments.shape[1])[None] >= lengths[:, None])
    heads_last = (a.swapaxes(1, 2) for a in (query, key, value))
    y = jax.nn.dot_product_attention(
        *heads_last, scale=scale, is_causal=causal, query_seq_lengths=lengths, key_value_seq_lengths=lengths,
        implementation="cudnn",
    )  # fmt: skip
    return jnp.where(simple.all(axis=1)[:, None, None, None], y.swapaxes(1, 2), jnp.nan)


def token_axis(array: Array) -> int:
    """Which axis of `[B, G, L, K]` or `[B, L]`, or of these without the batch, is the one over tokens."""
    return array.ndim // 2
