"""Matrix memories of a past that is divided as in a Fenwick tree (Guo et al. 2025, arXiv 2506.04761, §3).

At place t of a sequence the past is split into buckets: level 0 is t itself, and level ℓ > 0 holds the places s whose
highest bit that differs from t's is bit ℓ − 1. So bucket ℓ has at most 2^(ℓ−1) places, and there are about log₂ t. Each
level has a memory of its own, S⁽ℓ⁾, in which the places of its bucket are kept; a step reads all, by a weight for each:

    y_t = Σ_ℓ λ_t⁽ℓ⁾·(S_t⁽ℓ⁾)ᵀ·q_t

All fade alike. From one place to the next, the levels up to the highest bit that changes join in one, so that at every
later t what is kept of s is at level(t, s). If all weights are 1, it is the recurrence of models/ops/matrix_state.py.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from models.ops.scan import scan_chunks, unrolled_scan
from models.ops.segment_decay import masked_cumsum, segment_masks
from models.ops.small_matrices import unit_lower_inverse

_CHUNK_SIZE = 32


def count_levels(max_length: int) -> int:
    """The number of levels that the places of a sequence of `max_length` are at; later ones share the highest."""
    return max(1, max_length - 1).bit_length() + 1


def fenwick_level(t: Int[Array, "..."], s: Int[Array, "..."], levels: int) -> Int[Array, "..."]:
    """The level at which place s is kept at place t ≥ s: 0 if t = s, else 1 + the highest bit in which they differ."""
    return jnp.minimum(32 - jax.lax.clz(t ^ s), levels - 1)


def count_places(tokens: Int[Array, ""], start: Bool[Array, "T"], valid: Bool[Array, "T"]) -> Int[Array, "T"]:
    """The place of each step in its segment, from 0, after `tokens` of it; at padding that of the last token."""
    count = jnp.cumsum(valid)
    before = jnp.where(start, count - 1, -tokens)  # −tokens is lower than any count
    return count - 1 - jax.lax.cummax(before)


def scan_log_linear(
    memory: Float[Array, "B H L K V"],
    tokens: Int[Array, "B"],
    query: Float[Array, "B T H K"],
    key: Float[Array, "B T H K"],
    value: Float[Array, "B T H V"],
    log_gate: Float[Array, "B T H 1"],
    strength: Float[Array, "B T H"] | None,
    weights: Float[Array, "B T H L"],
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    *,
    implementation: str = "chunks",
) -> tuple[Float[Array, "B H L K V"], Int[Array, "B"], Float[Array, "B T H V"]]:
    """The memories after the last step, the tokens of its segment so far, and the outputs.

    `weights` are λ. With a `strength` β memories are written to by the delta rule, else by the sum rule.
    """
    place = jax.vmap(count_places)(tokens, start, valid)
    last = jnp.concatenate([tokens[:, None] - 1, place[:, :-1]], axis=1)
    inputs = (query, key, value, log_gate, strength, weights)

    def run(memory: Array, per_head: Any, *per_row: Any) -> tuple[Array, Array]:
        if implementation == "steps" or query.shape[1] == 1:
            return unrolled_scan(lambda m, xs: log_linear_step(m, *xs[0], *xs[1]), memory, (per_head, per_row))
        return scan_chunks(log_linear_chunk, memory, (*per_head, *per_row), _CHUNK_SIZE, gpu_unroll=4)

    heads = jax.vmap(run, in_axes=(0, 1, None, None, None, None), out_axes=(0, 1))
    memory, y = jax.vmap(heads)(memory, inputs, place, last, start, valid)
    return memory, place[:, -1] + 1, y


def log_linear_step(
    memory: Float[Array, "L K V"],
    query: Float[Array, "K"],
    key: Float[Array, "K"],
    value: Float[Array, "V"],
    log_gate: Float[Array, "1"],
    strength: Float[Array, ""] | None,
    weights: Float[Array, "L"],
    place: Int[Array, ""],
    last: Int[Array, ""],
    start: Bool[Array, ""],
    valid: Bool[Array, ""],
) -> tuple[Float[Array, "L K V"], Float[Array, "V"]]:
    """One step of one head; `last` is the place of the token before."""
    before = jnp.where(start, 0, memory)
    faded = jnp.exp(log_gate)[:, None, None] * before
    if strength is not None:
        faded = faded - strength * key[None, :, None] * jnp.einsum("lkv,k->lv", faded, key)[:, None]
        value = strength * value
    levels = len(memory)
    after = jnp.einsum("lm,lkv->mkv", _join_levels(place, last, levels), faded)
    after = after.at[0].add(key[:, None] * value[None])
    return jnp.where(valid, after, before), jnp.einsum("l,lkv,k->v", weights, after, query)


def log_linear_chunk(
    memory: Float[Array, "L K V"],
    query: Float[Array, "C K"],
    key: Float[Array, "C K"],
    value: Float[Array, "C V"],
    log_gate: Float[Array, "C 1"],
    strength: Float[Array, "C"] | None,
    weights: Float[Array, "C L"],
    place: Int[Array, "C"],
    last: Int[Array, "C"],
    start: Bool[Array, "C"],
    valid: Bool[Array, "C"],
) -> tuple[Float[Array, "L K V"], Float[Array, "C V"]]:
    """`C` steps of one head in matrix products.

    Without weights, y = P·v + Q̃·S with matrices P [t, s] and Q̃ that only depend on queries, keys and gates, as in
    models/ops/matrix_state.py. The weights multiply P by λ_t at the level of s, and split the second term into levels.
    """
    levels, steps = len(memory), jnp.arange(len(query))
    key, value = (jnp.where(valid[:, None], a, 0) for a in (key, value))
    masks = segment_masks(start[None, None], valid[None, None])
    parts = masked_cumsum(jnp.where(valid[:, None], log_gate, 0)[None, None, None], masks[0])
    (past, before), (log_decay, rest) = (a[0, 0, 0] for a in masks), (a[0, 0, 0, :, 0] for a in parts)
    between = (log_decay[:, None] - log_decay[None]) + (rest[:, None] - rest[None])
    decay = jnp.exp(jnp.where(past, between, -jnp.inf))
    memory_decay = jnp.where(before, jnp.exp(log_decay + rest), 0)[:, None]

    read, read_memory = (query @ key.T) * decay, query * memory_decay
    write, keep = (key * decay[-1][:, None]).T, memory_decay[-1, 0] * jnp.eye(key.shape[1])
    if strength is not None:
        strength = jnp.where(valid, strength, 0)
        lower = strength[:, None] * jnp.tril((key @ key.T) * decay, -1)
        system = unit_lower_inverse(lower, by_halves=False) * strength[None]
        read, write = read @ system, write @ system
        read_memory, keep = read_memory - read @ (key * memory_decay), keep - write @ (key * memory_decay)

    own = fenwick_level(place[:, None], place[None], levels)
    y = (read * jnp.take_along_axis(weights, own, axis=1)) @ value
    earlier = jnp.maximum(
        fenwick_level(place, jnp.broadcast_to(last[0], place.shape), levels)[:, None], jnp.arange(levels)[None]
    )
    y += jnp.einsum("tl,tk,lkv->tv", jnp.take_along_axis(weights, earlier, axis=1), read_memory, memory)

    final = jnp.where(valid.any(), place[jnp.where(valid, steps, 0).max()], last[0])
    after = jnp.einsum("lm,kj,ljv->mkv", _join_levels(final, last[0], levels), keep, memory)
    level = fenwick_level(jnp.broadcast_to(final, place.shape), place, levels)
    return after + jnp.einsum("sl,ks,sv->lkv", jax.nn.one_hot(level, levels), write, value), y


def _join_levels(place: Int[Array, ""], last: Int[Array, ""], levels: int) -> Float[Array, "L L"]:
    """The matrix [l, m] that is 1 where what was at level l at place `last` is at level m at `place`."""
    return jax.nn.one_hot(jnp.maximum(fenwick_level(place, last, levels), jnp.arange(levels)), levels)
