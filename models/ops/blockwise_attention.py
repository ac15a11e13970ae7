"""Attention for long sequences: in blocks of queries, and by cuDNN's kernel.

    y_t = Σ_{s ≤ end of t's block} weight(t, s)·v_s, block by block

A block of queries only needs the keys up to its last query, which halves the work. For long sequences the scores are
recomputed in the backward pass, so that memory grows with the length and not with its square (Rabe and Staats 2021,
arXiv 2112.05682; Dao et al. 2022, arXiv 2205.14135). A block sees all of its keys at once, so any normalizer will do.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MIN_BLOCKWISE_LENGTH = 64  # from this length on, "auto" takes blocks
MAX_KV_BUCKETS = 16  # different numbers of keys that blocks may have: each is compiled by itself
REMAT_LENGTH = 1024  # above this length, a block's scores are recomputed in the backward pass


def blockwise_attention(
    attend: Callable[[dict[str, Array], dict[str, Array], Array | int], Array],
    queries: dict[str, Array],
    keys: dict[str, Array],
    causal: bool,
) -> Float[Array, "H T V"]:
    """`attend(queries, keys, offset)`, the plain form for queries from place `offset` on, for all of one sequence.

    `queries` holds the arrays with an entry for each query, and `keys` those with an entry for each key.
    """
    steps = queries["segments"].shape[-1]
    largest = 256 if steps <= REMAT_LENGTH else 128  # larger ones are faster, and need more memory at once
    size = min(largest, max(32, steps // 4))
    bucket = size * -(-steps // (size * MAX_KV_BUCKETS))  # queries that are given the same keys

    def attend_block(queries: dict[str, Array], keys: dict[str, Array], offset: Array | int) -> Array:
        return attend(queries, _swap_time_and_features(keys), offset)

    swapped = _swap_time_and_features(keys)
    attend_block = jax.checkpoint(attend_block) if steps > REMAT_LENGTH else attend_block
    outputs = []
    for begin in range(0, steps, bucket):
        end = min(begin + bucket, steps)
        visible = jax.tree.map(lambda a, end=end: jax.lax.slice_in_dim(a, 0, end, axis=a.ndim - 1), swapped)
        visible = visible if causal else swapped
        blocks = (end - begin) // size if bucket > size else 0

        def split_into_blocks(a: Array, begin: int = begin, blocks: int = blocks) -> Array:
            axis = token_axis(a)
            part = jax.lax.slice_in_dim(a, begin, begin + blocks * size, axis=axis)
            return jnp.moveaxis(part.reshape(*a.shape[:axis], blocks, size, *a.shape[axis + 1 :]), axis, 0)

        if blocks:
            xs = jax.tree.map(split_into_blocks, queries), begin + size * jnp.arange(blocks)
            outputs += list(jax.lax.map(lambda block, keys=visible: attend_block(block[0], keys, block[1]), xs))
        begin += blocks * size
        if begin < end:
            rest = jax.tree.map(lambda a: jax.lax.slice_in_dim(a, begin, end, axis=token_axis(a)), queries)  # noqa: B023
            outputs.append(attend_block(rest, visible, begin))
    return jnp.concatenate(outputs, axis=1)


def _swap_time_and_features(arrays: dict[str, Array]) -> dict[str, Array]:
    """Swap the last two axes. XLA:CPU transposes the left operand of the key-gradient product; with features before
    time
    that is the small query and not the large gradient of the scores (0.85 × the time of a training step)."""
    return {name: a.swapaxes(-1, -2) if a.ndim > 1 else a for name, a in arrays.items()}


def cudnn_attention(
    query: Float[Array, "B H T K"],
    key: Float[Array, "B G T K"],
    value: Float[Array, "B G T K"],
    segments: Int[Array, "B T"],
    causal: bool,
    scale: float,
) -> Float[Array, "B H T K"]:
    """cuDNN's kernel, for rows of one sequence followed by padding; any other row gives nan."""
    lengths = (segments != 0).sum(axis=1)
    supported = (segments == segments[:, :1]) | (jnp.arange(segments.shape[1])[None] >= lengths[:, None])
    heads_last = (a.swapaxes(1, 2) for a in (query, key, value))
    y = jax.nn.dot_product_attention(
        *heads_last,
        scale=scale,
        is_causal=causal,
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        implementation="cudnn",
    )
    return jnp.where(supported.all(axis=1)[:, None, None, None], y.swapaxes(1, 2), jnp.nan)


def token_axis(array: Array) -> int:
    """The axis over tokens of an array [B, G, L, K] or [B, L], or of either without the batch."""
    return array.ndim // 2
