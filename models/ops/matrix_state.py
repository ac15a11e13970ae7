"""The recurrence of a matrix memory that keys write to and queries read from, one step at a time or in chunks:

    S_t = diag(g_t)·S_{t−1} + what is written,   y_t = S_tᵀ·q_t
    sum rule:    + k_t ⊗ v_t
    delta rule:  + k_t ⊗ β_t·(v_t − (diag(g_t)·S_{t−1})ᵀ·k_t), which replaces what the key reads by the new value
    in general:  + k_t ⊗ v_t + w_t ⊗ (diag(g_t)·S_{t−1})ᵀ·r_t, which reads by one vector and writes by another

A new segment forgets the memory before its first step, and padding holds it.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from models.ops.scan import unrolled_scan
from models.ops.segment_decay import Decay, decay_of_features, decay_of_heads, segment_masks
from models.ops.small_matrices import multiply_small, solve_unit_lower, transpose_small, unit_lower_inverse

IMPLEMENTATIONS = ("chunks", "steps")
_CHUNK_SIZE = 32  # steps whose pairs are computed
_CHUNKS_PER_SPAN = 32  # chunks computed at once; only what is at the borders of spans is kept for the gradient
_LOG_NOTHING = -1000.0  # of gates that let nothing through, also in float64
_Memory = tuple[Float[Array, "B H K _"], ...]  # the matrix, and a column to which every key writes 1 if there is one
Erase = tuple[Float[Array, "B T H K"], Float[Array, "B T H K"]]  # what is read by, r, and what is written by, w


def scan_matrix_state(
    memory: Float[Array, "B H K V"],
    query: Float[Array, "B T H K"],
    key: Float[Array, "B T H K"],
    value: Float[Array, "B T H V"],
    log_gate: Float[Array, "B T H G"] | None,
    strength: Float[Array, "B T H"] | None,
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    *,
    erase: Erase | None = None,
    implementation: str = "chunks",
    chunk_size: int = _CHUNK_SIZE,
) -> tuple[Float[Array, "B H K V"], Float[Array, "B T H V"]]:
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
    query: Float[Array, "B T H K"],
    key: Float[Array, "B T H K"],
    value: Float[Array, "B T H V"],
    log_gate: Float[Array, "B T H G"] | None,
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    *,
    implementation: str = "chunks",
    chunk_size: int = _CHUNK_SIZE,
) -> tuple[Float[Array, "B H K _"], Float[Array, "B T H V"], Float[Array, "B T H 1"]]:
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


def _use_steps(implementation: str, query: Float[Array, "B T H K"]) -> bool:
    """Whether to take one step at a time. A single step is none the faster in chunks."""
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation={implementation}: must be one of {', '.join(IMPLEMENTATIONS)}")
    return implementation == "steps" or query.shape[1] == 1


def _scan_chunks(
    memory: _Memory, per_head: Any, start: Bool[Array, "B T"], valid: Bool[Array, "B T"], chunk_size: int
) -> tuple[_Memory, tuple[Float[Array, "B T H V"], ...]]:
    """All steps in chunks, and these in spans: of one chunk on a CPU for the sum rule with a gate for each feature,
    whose many arrays then stay in the cache."""
    arguments = (memory, per_head, start, valid)
    by_span = partial(_scan_spans, chunk_size=chunk_size, per_span=_CHUNKS_PER_SPAN)
    _, _, _, log_gate, strength, erase = per_head
    has_gates = log_gate is not None and log_gate.shape[-1] > 1
    if has_gates and strength is None and erase is None and start.shape[1] > chunk_size:
        return jax.lax.platform_dependent(*arguments, cpu=partial(by_span, per_span=1), default=by_span)
    return by_span(*arguments)


def _scan_spans(
    memory: _Memory,
    per_head: Any,
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    *,
    chunk_size: int,
    per_span: int,
) -> tuple[_Memory, tuple[Float[Array, "B T H V"], ...]]:
    steps = start.shape[1]
    chunk_size = min(chunk_size, 1 << (steps - 1).bit_length())
    chunks = -(-steps // chunk_size)
    spans = -(-chunks // per_span)
    shape = (spans, -(-chunks // spans), chunk_size)
    inputs = jax.tree.map(partial(_split_into_chunks, shape=shape), (per_head, (start, valid)))
    if spans == 1:
        memory, ys = _compute_span(memory, jax.tree.map(lambda a: a[0], inputs))
        ys = jax.tree.map(lambda a: a[None], ys)
    else:
        memory, ys = jax.lax.scan(jax.checkpoint(_compute_span, prevent_cse=False), memory, inputs)

    def join_chunks(y: Array) -> Array:
        y = y.transpose(2, 0, 1, 4, 3, 5)
        return y.reshape(len(y), -1, *y.shape[-2:])[:, :steps]

    return memory, jax.tree.map(join_chunks, ys)


def _split_into_chunks(a: Shaped[Array, "B T *S"], shape: tuple[int, int, int]) -> Shaped[Array, "M N B *R"]:
    """`a` with its steps padded with zeros and split into `shape`: M spans of N chunks, in front, of C steps.

    Heads, if there are any, come to stand before the steps of a chunk, in the same copy.
    """
    a = jnp.pad(a, [(0, 0), (0, math.prod(shape) - a.shape[1])] + [(0, 0)] * (a.ndim - 2))
    a = jnp.moveaxis(a.reshape(len(a), *shape, *a.shape[2:]), 0, 2)
    return a if a.ndim == 4 else jnp.swapaxes(a, 3, 4)


def _scan_steps(
    memory: Float[Array, "B H K V"], per_head: Any, start: Bool[Array, "B T"], valid: Bool[Array, "B T"]
) -> tuple[Float[Array, "B H K V"], Float[Array, "B T H V"]]:
    def step(memory: Array, inputs: Any) -> tuple[Array, Array]:
        per_head, start, valid = inputs
        before = jnp.where(start[:, None, None, None], 0, memory)
        after, y = _compute_step(before, *per_head)
        return jnp.where(valid[:, None, None, None], after, before), y

    inputs = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), (per_head, start, valid))
    if start.shape[1] == 1:
        memory, y = step(memory, jax.tree.map(lambda a: a[0], inputs))
        return memory, y[:, None]
    memory, y = unrolled_scan(step, memory, inputs)
    return memory, jnp.moveaxis(y, 0, 1)


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
    if "erase" in vectors.reads:
        return _apply_erasing(memory, vectors, decay)
    query, key = vectors.reads["query"] * decay.of_memory, vectors.writes["key"] * decay.at_end
    scores = decay.scores(vectors.reads["query"], vectors.writes["key"], True)
    new = multiply_small(transpose_small(key), vectors.value)
    written = (new, key.sum(-2)[..., None])[: len(memory)]

    states, memory = _scan_states(memory, decay.through, written)
    ys = (multiply_small(query, states[0]) + multiply_small(scores, vectors.value),)
    if len(memory) == 1:
        return memory, ys
    return memory, (
        *ys,
        (query * jnp.swapaxes(states[1], -1, -2)).sum(-1, keepdims=True) + scores.sum(-1, keepdims=True),
    )


def _apply_erasing(memory: _Memory, vectors: _Vectors, decay: Decay) -> tuple[_Memory, tuple[Array, ...]]:
    """`_apply_decay` for the delta rule and the general one.

    What is written by the keys w of a chunk solves a triangular system whose right side reads the memory before it
    (Yang et al. 2406.06484, §3.2). The inverses are computed for all chunks at once, what follows from one to the next.
    """
    reads, writes, value, strength = vectors
    query, key, reading, writing = reads["query"], writes["key"], reads["erase"], writes.get("erase", writes["key"])
    lower, scores = decay.scores(reading, writing, False), decay.scores(query, writing, True)
    reading, query = reading * decay.of_memory, query * decay.of_memory
    if strength is not None:
        lower, fixed, reading, own, summed = strength * lower, strength * value, -strength * reading, None, None
    else:
        fixed = multiply_small(decay.scores(reads["erase"], key, False), value)
        own = multiply_small(decay.scores(reads["query"], key, True), value)
        lower, summed = -lower, multiply_small(transpose_small(key * decay.at_end), value)
    inverse = jax.lax.stop_gradient(unit_lower_inverse(lower))
    chunks = (lower, inverse, fixed, reading, query, scores, transpose_small(writing * decay.at_end), decay.through)

    def step(memory: Array, chunk: Any) -> tuple[Array, Array]:
        (lower, inverse, fixed, reading, query, scores, write, through), own, summed = chunk
        written = solve_unit_lower(lower, inverse, fixed + multiply_small(reading, memory))
        y = multiply_small(query, memory) + multiply_small(scores, written)
        memory = through * memory + multiply_small(write, written)
        return (memory, y) if own is None else (memory + summed, y + own)

    after, y = unrolled_scan(step, memory[0], (chunks, own, summed), gpu_unroll=4)
    return (after,), (y,)


def _scan_states(memory: _Memory, through: Array, written: tuple[Array, ...]) -> tuple[tuple[Array, ...], _Memory]:
    """The memory before each chunk [N B H K V], of which `through` is left behind it, and after the last."""

    def step(memory: _Memory, chunk: tuple[Array, tuple[Array, ...]]) -> tuple[_Memory, _Memory]:
        through, written = chunk
        return jax.tree.map(lambda before, new: through * before + new, memory, written), memory

    memory, states = unrolled_scan(step, memory, (through, written), gpu_unroll=4)
    return states, memory
