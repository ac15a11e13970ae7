"""The recurrence of a matrix memory that keys write to and queries read from, one step at a time or in chunks:

    S_t = diag(g_t)·S_{t−1} + what is written,   y_t = S_tᵀ·q_t
    sum rule:    + k_t ⊗ v_t
    delta rule:  + k_t ⊗ β_t·(v_t − (diag(g_t)·S_{t−1})ᵀ·k_t), which replaces what the key reads by the new value
    in general:  + k_t ⊗ v_t + w_t ⊗ (diag(g_t)·S_{t−1})ᵀ·r_t, which reads by one vector and writes by another

A new segment forgets the memory before its first step, and padding holds it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from models.ops.scan import unrolled_scan
from models.ops.segment_decay import Decay, decay_of_features, decay_of_heads, segment_masks
from models.ops.small_matrices import add_axes, multiply_small, solve_unit_lower, transpose_small

IMPLEMENTATIONS = ("chunks", "steps")
_CHUNK_SIZE = 32  # steps whose pairs are computed
_CHUNKS_PER_SPAN = 32  # chunks computed at once; only what is at the borders of spans is kept for the gradient
_LOG_NOTHING = -1000.0  # of gates that let nothing through, also in float64
_Memory = tuple[Float[Array, "B H K _"], ...]  # the matrix, and a column to which every key writes 1 if there is one
Erase = tuple[Float[Array, "B H T K"], Float[Array, "B H T K"]]  # what is read by, r, and what is written by, w


def scan_matrix_state(
    memory: Float[Array, "B H K V"],
    query: Float[Array, "B H T K"],
    key: Float[Array, "B H T K"],
    value: Float[Array, "B H T V"],
    log_gate: Float[Array, "B H T G"] | None,
    strength: Float[Array, "B H T"] | None,
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    *,
    erase: Erase | None = None,
    implementation: str = "chunks",
    chunk_size: int = _CHUNK_SIZE,
) -> tuple[Float[Array, "B H K V"], Float[Array, "B H T V"]]:
    """The memory after the last step, and what the queries read; see the module's docstring.

    `log_gate` is log g, at most 0, or None for g = 1; G is K, or 1 if all features share a gate. `strength` is β of the
    delta rule, `erase` is (r, w) of the general one; with neither it is the sum rule. `implementation` is one of
    IMPLEMENTATIONS: "steps" is the definition, "chunks" computes `chunk_size` steps at once in matrix products.
    """
    if strength is not None and erase is not None:
        raise ValueError("a strength and what erases are two rules; give one of them")
    per_head = (query, key, value, log_gate, strength, erase)
    if _use_steps(implementation, query):
        return _scan_steps(memory, per_head, start, valid)
    (memory,), (y,) = _scan_chunks((memory,), per_head, start, valid, chunk_size)
    return memory, y


def scan_weighted_state(
    memory: Float[Array, "B H K _"],
    query: Float[Array, "B H T K"],
    key: Float[Array, "B H T K"],
    value: Float[Array, "B H T V"],
    log_gate: Float[Array, "B H T G"] | None,
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    *,
    implementation: str = "chunks",
    chunk_size: int = _CHUNK_SIZE,
) -> tuple[Float[Array, "B H K _"], Float[Array, "B H T V"], Float[Array, "B H T 1"]]:
    """`scan_matrix_state` by the sum rule, with a last column of the memory to which every key writes 1: the memory,
    what the queries read, and the sum of the weights in it, which the last column gives."""
    if _use_steps(implementation, query):
        ones = jnp.ones_like(value[..., :1])
        per_head = (query, key, jnp.concatenate([value, ones], axis=-1), log_gate, None, None)
        memory, y = _scan_steps(memory, per_head, start, valid)
        return memory, y[..., :-1], y[..., -1:]
    parts = (memory[..., :-1], memory[..., -1:])
    parts, (y, weight) = _scan_chunks(parts, (query, key, value, log_gate, None, None), start, valid, chunk_size)
    return jnp.concatenate(parts, axis=-1), y, weight


def _use_steps(implementation: str, query: Float[Array, "B H T K"]) -> bool:
    """Whether to take one step at a time. A single step is none the faster in chunks."""
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation={implementation}: must be one of {', '.join(IMPLEMENTATIONS)}")
    return implementation == "steps" or query.shape[2] == 1


def _scan_chunks(
    memory: _Memory, per_head: Any, start: Bool[Array, "B T"], valid: Bool[Array, "B T"], chunk_size: int
) -> tuple[_Memory, tuple[Float[Array, "B H T V"], ...]]:
    steps = start.shape[1]
    chunk_size = min(chunk_size, 1 << (steps - 1).bit_length())
    chunks = -(-steps // chunk_size)
    spans = -(-chunks // _CHUNKS_PER_SPAN)
    shape = (spans, -(-chunks // spans), chunk_size)
    inputs = (
        jax.tree.map(partial(_split_into_chunks, axis=2, shape=shape), per_head),
        jax.tree.map(partial(_split_into_chunks, axis=1, shape=shape), (start, valid)),
    )
    if spans == 1:
        memory, ys = _compute_span(memory, jax.tree.map(lambda a: a[0], inputs))
        ys = jax.tree.map(lambda a: a[None], ys)
    else:
        memory, ys = jax.lax.scan(jax.checkpoint(_compute_span, prevent_cse=False), memory, inputs)

    def join_chunks(y: Array) -> Array:
        y = jnp.moveaxis(y, (0, 1), (2, 3))
        return y.reshape(*y.shape[:2], -1, y.shape[-1])[:, :, :steps]

    return memory, jax.tree.map(join_chunks, ys)


def _split_into_chunks(a: Array, axis: int, shape: tuple[int, int, int]) -> Array:
    """`a` with its steps, along `axis`, padded with zeros and split into `shape`: spans and chunks first."""
    padding = [(0, 0)] * a.ndim
    padding[axis] = (0, math.prod(shape) - a.shape[axis])
    a = jnp.pad(a, padding).reshape(*a.shape[:axis], *shape, *a.shape[axis + 1 :])
    return jnp.moveaxis(a, (axis, axis + 1), (0, 1))


def _scan_steps(
    memory: Float[Array, "B H K V"], per_head: Any, start: Bool[Array, "B T"], valid: Bool[Array, "B T"]
) -> tuple[Float[Array, "B H K V"], Float[Array, "B H T V"]]:
    def step(memory: Array, inputs: Any) -> tuple[Array, Array]:
        per_head, start, valid = inputs
        before = jnp.where(start[:, None, None, None], 0, memory)
        after, y = _compute_step(before, *per_head)
        return jnp.where(valid[:, None, None, None], after, before), y

    inputs = (jax.tree.map(lambda a: jnp.moveaxis(a, 2, 0), per_head), start.T, valid.T)
    if start.shape[1] == 1:
        memory, y = step(memory, jax.tree.map(lambda a: a[0], inputs))
        return memory, y[:, :, None]
    memory, y = unrolled_scan(step, memory, inputs)
    return memory, jnp.moveaxis(y, 0, 2)


def _compute_step(
    memory: Float[Array, "B H K V"],
    query: Float[Array, "B H K"],
    key: Float[Array, "B H K"],
    value: Float[Array, "B H V"],
    log_gate: Float[Array, "B H G"] | None,
    strength: Float[Array, "B H"] | None,
    erase: tuple[Float[Array, "B H K"], Float[Array, "B H K"]] | None,
) -> tuple[Float[Array, "B H K V"], Float[Array, "B H V"]]:
    def read(by: Array) -> Array:
        return (by[..., None] * memory).sum(-2)

    if log_gate is not None:
        memory = jnp.exp(log_gate)[..., None] * memory
    if strength is not None:
        value = strength[..., None] * (value - read(key))
    written = key[..., None] * value[..., None, :]
    if erase is not None:
        written += erase[1][..., None] * read(erase[0])[..., None, :]
    memory = memory + written
    return memory, read(query)


class _Vectors(NamedTuple):
    """What a span's decays act on, each [N B H C ...]: memory is read by `reads` and written by `writes`."""

    reads: dict[str, Array]
    writes: dict[str, Array]
    value: Array
    strength: Array | None


def _compute_span(memory: _Memory, inputs: Any) -> tuple[_Memory, tuple[Array, ...]]:
    """N chunks of C steps, inputs [N B H C ...] and [N B C]: the memory after them, and what the queries read."""
    (query, key, value, log_gate, strength, erase), (start, valid) = inputs
    past, before = segment_masks(start, valid)
    reads, writes = {"query": query}, {"key": key}
    if strength is not None:
        strength, reads["erase"] = jnp.where(valid[:, :, None], strength, 0)[..., None], key
    elif erase is not None:
        reads["erase"], writes["erase"] = jnp.where(valid[:, :, None, :, None], erase[0], 0), erase[1]
    vectors = _Vectors(reads, writes, value, strength)
    if log_gate is None:
        return _apply_decay(memory, vectors, decay_of_heads(None, past, before))
    log_gate = jnp.where(valid[:, :, None, :, None], jnp.maximum(log_gate, _LOG_NOTHING), 0)
    return _apply_gates(memory, vectors, log_gate, past, before)


def _decay_by_gates(
    memory: _Memory, vectors: _Vectors, log_gate: Array, past: Array, before: Array
) -> tuple[_Memory, tuple[Array, ...]]:
    decay = decay_of_heads if log_gate.shape[-1] == 1 else decay_of_features
    return _apply_decay(memory, vectors, decay(log_gate, past, before))


@jax.custom_vjp
def _apply_gates(
    memory: _Memory, vectors: _Vectors, log_gate: Array, past: Array, before: Array
) -> tuple[_Memory, tuple[Array, ...]]:
    """`_apply_decay` by these gates, with their gradients made of those of the vectors.

    A gate scales all that is read after it, and the inverse of that all that is written: with Γ_t = Π g over r ≤ t, the
    outputs are functions of q_t·Γ_t and k_s/Γ_s. So ∂/∂log Γ_t = q_t·∂/∂q_t − k_t·∂/∂k_t (Yang et al. 2312.06635, §C).
    """
    return _decay_by_gates(memory, vectors, log_gate, past, before)


def _apply_gates_forward(memory: _Memory, vectors: _Vectors, log_gate: Array, past: Array, before: Array) -> Any:
    (after, ys), pull = jax.vjp(lambda m, v: _decay_by_gates(m, v, log_gate, past, before), memory, vectors)
    return (after, ys), (pull, vectors, log_gate, past, before, after)


def _apply_gates_backward(kept: Any, slopes: tuple[_Memory, Any]) -> Any:
    pull, vectors, log_gate, past, before, after = kept
    of_memory, of_vectors = pull(slopes)

    def combine(given: dict[str, Array], slopes: dict[str, Array]) -> Array:
        return sum(given[name] * slopes[name] for name in given)  # pyright: ignore[reportReturnType]

    at = combine(vectors.reads, of_vectors.reads) - combine(vectors.writes, of_vectors.writes)
    end: Any = sum((state * slope).sum(-1) for state, slope in zip(after, slopes[0], strict=True))
    if log_gate.shape[-1] == 1:
        at, end = at.sum(-1, keepdims=True), end.sum(-1, keepdims=True)
    later = jnp.broadcast_to(jnp.swapaxes(past, -1, -2), (*at.shape[:-1], at.shape[-2]))
    within = jnp.matmul(later.astype(at.dtype), at, precision="highest")

    def step(flow: Array, chunk: tuple[Array, Array]) -> tuple[Array, Array]:
        first, through = chunk
        return first + through * flow, flow

    first = jnp.where(before[..., None], at, 0).sum(-2)
    _, flow = jax.lax.scan(step, end, (first, before[..., -1:].astype(at.dtype)), reverse=True)
    return of_memory, of_vectors, within + past[..., -1, :, None] * flow[..., None, :], None, None


_apply_gates.defvjp(_apply_gates_forward, _apply_gates_backward)


def _apply_decay(memory: _Memory, vectors: _Vectors, decay: Decay) -> tuple[_Memory, tuple[Array, ...]]:
    """All that is within a chunk for all chunks at once, then the memory from one to the next."""
    query, key = vectors.reads["query"] * decay.of_memory, vectors.writes["key"] * decay.at_end
    if "erase" in vectors.reads:
        return _apply_erasing(memory, vectors, decay)
    scores = decay.scores(vectors.reads["query"], vectors.writes["key"], True)
    new = multiply_small(transpose_small(key), vectors.value)
    written = (new, key.sum(-2)[..., None])[: len(memory)]

    def keep(through: Array, memory: _Memory) -> _Memory:
        return tuple(through * part for part in memory)

    states, memory = _scan_states(memory, keep, decay.through, written)
    ys = (multiply_small(query, states[0]) + multiply_small(scores, vectors.value),)
    if len(memory) == 1:
        return memory, ys
    return memory, (
        *ys,
        (query * jnp.swapaxes(states[1], -1, -2)).sum(-1, keepdims=True) + scores.sum(-1, keepdims=True),
    )


def _apply_erasing(memory: _Memory, vectors: _Vectors, decay: Decay) -> tuple[_Memory, tuple[Array, ...]]:
    """`_apply_decay` for the delta rule and the general one.

    What is written by the keys w of these, u = fixed + moved·S, solves a triangular system (Yang et al. 2406.06484,
    §3.2).
    """
    reads, writes, value, strength = vectors
    query, key, reading, writing = reads["query"], writes["key"], reads["erase"], writes.get("erase", writes["key"])

    def write(by: Array, what: Array) -> Array:
        return multiply_small(transpose_small(by * decay.at_end), what)

    lower = decay.scores(reading, writing, False)
    if strength is not None:
        right = (strength * value, -strength * decay.of_memory * reading)
        fixed, moved = solve_unit_lower(strength * lower, right)
        summed, own = 0, 0
    else:
        right = (multiply_small(decay.scores(reading, key, False), value), reading * decay.of_memory)
        fixed, moved = solve_unit_lower(-lower, right)
        summed, own = write(key, value), multiply_small(decay.scores(query, key, True), value)
    transition = decay.through * add_axes(jnp.eye(key.shape[-1]), key) + write(writing, moved)

    def keep(through: Array, memory: _Memory) -> _Memory:
        return (multiply_small(through, memory[0]),)

    (states,), memory = _scan_states(memory, keep, transition, (write(writing, fixed) + summed,))
    y = multiply_small(query * decay.of_memory, states) + own
    return memory, (y + multiply_small(decay.scores(query, writing, True), fixed + multiply_small(moved, states)),)


def _scan_states(
    memory: _Memory, keep: Callable[[Array, _Memory], _Memory], through: Array, written: tuple[Array, ...]
) -> tuple[tuple[Array, ...], _Memory]:
    """The memory before each chunk [N B H K V], and after the last; `keep(through, memory)` is what a chunk leaves."""

    def step(memory: _Memory, chunk: tuple[Array, tuple[Array, ...]]) -> tuple[_Memory, _Memory]:
        through, written = chunk
        return jax.tree.map(jnp.add, keep(through, memory), written), memory

    memory, states = unrolled_scan(step, memory, (through, written), gpu_unroll=4)
    return states, memory
