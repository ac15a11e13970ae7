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
import numpy as np
from jaxtyping import Array, Bool, Float

from models.ops.scan import unrolled_scan

IMPLEMENTATIONS = ("chunks", "steps")
_CHUNK_SIZE = 32  # steps whose pairs are computed
_CHUNKS_PER_SPAN = 8  # chunks computed at once; only what is at the borders of spans is kept for the gradient
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


class _Decay(NamedTuple):
    """What is left of what was written at one step, at a later one in the same segment: D[t, s] = Π g over s < r ≤ t.

    `scores(a, b, diagonal)` is a_t·D[t, s]·b_s for all s ≤ t, or s < t; the others say what is left of the memory from
    before the chunk at each step, of each step at the end of the chunk, and of the memory at the end.
    """

    scores: Callable[[Array, Array, bool], Float[Array, "N B H C C"]]
    of_memory: Float[Array, "N B #H C #K"]
    at_end: Float[Array, "N B #H C #K"]
    through: Float[Array, "N B #H #K 1"]


class _Vectors(NamedTuple):
    """What a span's decays act on, each [N B H C ...]: memory is read by `reads` and written by `writes`."""

    reads: dict[str, Array]
    writes: dict[str, Array]
    value: Array
    strength: Array | None


def _compute_span(memory: _Memory, inputs: Any) -> tuple[_Memory, tuple[Array, ...]]:
    """N chunks of C steps, inputs [N B H C ...] and [N B C]: the memory after them, and what the queries read."""
    (query, key, value, log_gate, strength, erase), (start, valid) = inputs
    past, before = _segment_masks(start, valid)
    reads, writes = {"query": query}, {"key": key}
    if strength is not None:
        strength, reads["erase"] = jnp.where(valid[:, :, None], strength, 0)[..., None], key
    elif erase is not None:
        reads["erase"], writes["erase"] = jnp.where(valid[:, :, None, :, None], erase[0], 0), erase[1]
    vectors = _Vectors(reads, writes, value, strength)
    if log_gate is None:
        return _apply_decay(memory, vectors, _decay_of_heads(None, past, before))
    log_gate = jnp.where(valid[:, :, None, :, None], jnp.maximum(log_gate, _LOG_NOTHING), 0)
    return _apply_gates(memory, vectors, log_gate, past, before)


@jax.custom_vjp
def _apply_gates(
    memory: _Memory, vectors: _Vectors, log_gate: Array, past: Array, before: Array
) -> tuple[_Memory, tuple[Array, ...]]:
    """`_apply_decay` by these gates, with their gradients made of those of the vectors.

    A gate scales all that is read after it, and the inverse of that all that is written: with Γ_t = Π g over r ≤ t, the
    outputs are functions of q_t·Γ_t and k_s/Γ_s. So ∂/∂log Γ_t = q_t·∂/∂q_t − k_t·∂/∂k_t (Yang et al. 2312.06635, §C).
    """
    decay = _decay_of_heads if log_gate.shape[-1] == 1 else _decay_of_features
    return _apply_decay(memory, vectors, decay(log_gate, past, before))


def _apply_gates_forward(memory: _Memory, vectors: _Vectors, log_gate: Array, past: Array, before: Array) -> Any:
    (after, ys), pull = jax.vjp(lambda m, v: _apply_gates.fun(m, v, log_gate, past, before), memory, vectors)
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


def _apply_decay(memory: _Memory, vectors: _Vectors, decay: _Decay) -> tuple[_Memory, tuple[Array, ...]]:
    """All that is within a chunk for all chunks at once, then the memory from one to the next."""
    query, key = vectors.reads["query"] * decay.of_memory, vectors.writes["key"] * decay.at_end
    if "erase" in vectors.reads:
        return _apply_erasing(memory, vectors, decay)
    scores = decay.scores(vectors.reads["query"], vectors.writes["key"], True)
    new = _product(_transpose(key), vectors.value)
    written = (new, key.sum(-2)[..., None])[: len(memory)]

    def keep(through: Array, memory: _Memory) -> _Memory:
        return tuple(through * part for part in memory)

    states, memory = _scan_states(memory, keep, decay.through, written)
    ys = (_product(query, states[0]) + _product(scores, vectors.value),)
    if len(memory) == 1:
        return memory, ys
    return memory, (
        *ys,
        (query * jnp.swapaxes(states[1], -1, -2)).sum(-1, keepdims=True) + scores.sum(-1, keepdims=True),
    )


def _apply_erasing(memory: _Memory, vectors: _Vectors, decay: _Decay) -> tuple[_Memory, tuple[Array, ...]]:
    """`_apply_decay` for the delta rule and the general one.

    What is written by the keys w of these, u = fixed + moved·S, solves a triangular system (Yang et al. 2406.06484,
    §3.2).
    """
    reads, writes, value, strength = vectors
    query, key, reading, writing = reads["query"], writes["key"], reads["erase"], writes.get("erase", writes["key"])

    def write(by: Array, what: Array) -> Array:
        return _product(_transpose(by * decay.at_end), what)

    lower = decay.scores(reading, writing, False)
    if strength is not None:
        right = (strength * value, -strength * decay.of_memory * reading)
        fixed, moved = _solve_unit_lower(strength * lower, right)
        summed, own = 0, 0
    else:
        right = (_product(decay.scores(reading, key, False), value), reading * decay.of_memory)
        fixed, moved = _solve_unit_lower(-lower, right)
        summed, own = write(key, value), _product(decay.scores(query, key, True), value)
    transition = decay.through * _match_rank(jnp.eye(key.shape[-1]), key) + write(writing, moved)

    def keep(through: Array, memory: _Memory) -> _Memory:
        return (_product(through, memory[0]),)

    (states,), memory = _scan_states(memory, keep, transition, (write(writing, fixed) + summed,))
    y = _product(query * decay.of_memory, states) + own
    return memory, (y + _product(decay.scores(query, writing, True), fixed + _product(moved, states)),)


@jax.custom_vjp
def _product(a: Float[Array, "*B M N"], b: Float[Array, "*B N O"]) -> Float[Array, "*B M O"]:
    return a @ b


def _product_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    a, b = kept
    return slope @ jnp.swapaxes(b, -1, -2), _transpose(a) @ slope


_product.defvjp(lambda a, b: (a @ b, (a, b)), _product_backward)


def _transpose(a: Float[Array, "*B M N"]) -> Float[Array, "*B N M"]:
    """The transposed matrices, laid out anew: XLA's products of small ones take twice as long on a CPU where they
    transpose the left one themselves."""
    return jax.lax.optimization_barrier(jnp.swapaxes(a, -1, -2))


def _scan_states(
    memory: _Memory, keep: Callable[[Array, _Memory], _Memory], through: Array, written: tuple[Array, ...]
) -> tuple[tuple[Array, ...], _Memory]:
    """The memory before each chunk [N B H K V], and after the last; `keep(through, memory)` is what a chunk leaves."""

    def step(memory: _Memory, chunk: tuple[Array, tuple[Array, ...]]) -> tuple[_Memory, _Memory]:
        through, written = chunk
        return jax.tree.map(jnp.add, keep(through, memory), written), memory

    memory, states = unrolled_scan(step, memory, (through, written), gpu_unroll=4)
    return states, memory


def _segment_masks(
    start: Bool[Array, "N B C"], valid: Bool[Array, "N B C"]
) -> tuple[Bool[Array, "N B 1 C C"], Bool[Array, "N B 1 C"]]:
    """A mask [t, s] of the steps s ≤ t that are no padding and in the segment of t, and one of the steps before the
    first `start`."""
    segment, steps = jnp.cumsum(start, axis=-1)[:, :, None], jnp.arange(start.shape[-1])
    causal = (steps[:, None] >= steps[None])[None, None, None]
    past = causal & (segment[..., :, None] == segment[..., None, :]) & valid[:, :, None, None, :]
    return past, segment == 0


def _decay_of_heads(
    log_gate: Float[Array, "N B H C 1"] | None, past: Bool[Array, "N B 1 C C"], before: Bool[Array, "N B 1 C"]
) -> _Decay:
    """One gate for all features of a head, or none."""
    if log_gate is None:
        decay, of_memory = past.astype(jnp.float32), before.astype(jnp.float32)
    else:
        whole, rest = (a[..., 0] for a in masked_cumsum(log_gate, past))
        between = (whole[..., :, None] - whole[..., None, :]) + (rest[..., :, None] - rest[..., None, :])
        decay, of_memory = jnp.exp(jnp.where(past, between, -jnp.inf)), jnp.where(before, jnp.exp(whole + rest), 0)

    def scores(a: Array, b: Array, diagonal: bool) -> Array:
        products = _product(a, jnp.swapaxes(b, -1, -2)) * decay
        return products if diagonal else jnp.tril(products, -1)

    return _Decay(scores, of_memory[..., None], decay[..., -1, :, None], of_memory[..., -1:, None])


def masked_cumsum(
    x: Float[Array, "N B H C G"], past: Bool[Array, "N B 1 C C"]
) -> tuple[Float[Array, "N B H C G"], Float[Array, "N B H C G"]]:
    """Σ_{s in past(t)} x_s for every t, in two parts that add up to it. Unlike with a difference of cumulative sums, no
    bit comes from other steps.

    The first part sums x rounded to integers, which float32 adds exactly up to 2²⁴; the second sums the remainders.
    Subtract two sums part by part: then one x of −1,000 among small ones costs the difference none of its digits.
    """
    integers = jax.lax.stop_gradient(jnp.round(x))
    mask = jnp.broadcast_to(past, (*x.shape[:-1], x.shape[-2])).astype(x.dtype)
    add = partial(jnp.matmul, mask, precision="highest")
    return add(integers), add(x - integers)


def _decay_of_features(
    log_gate: Float[Array, "N B H C K"], past: Bool[Array, "N B 1 C C"], before: Bool[Array, "N B 1 C"]
) -> _Decay:
    """A gate for each feature, which makes scores of products that are scaled on both sides of a border.

    C is halved again and again. Steps in the first half of a block decay to the border and those in the second from it,
    so that no exponent is positive (after Yang et al. 2312.06635, §4.3).
    """
    steps = log_gate.shape[-2]
    parts = masked_cumsum(log_gate, past)

    def factor(half: int) -> Array:
        """What is left at the border of halves, or since then."""

        def distance(a: Array) -> Array:
            blocks = a.reshape(*a.shape[:-2], steps // (2 * half), 2, half, a.shape[-1])
            return blocks - blocks[..., :1, -1:, :]

        between: Any = sum(map(distance, parts))
        between = between * _match_rank(np.array([-1, 1], np.float32)[:, None, None], between)
        return jnp.exp(jnp.minimum(between, 0)).reshape(log_gate.shape)

    halves = [1 << level for level in range(steps.bit_length() - 1)]
    factors = [factor(half) for half in halves]

    def scores(a: Array, b: Array, diagonal: bool) -> Array:
        second = [_match_rank(_second_half(steps, half), a) for half in halves]
        scaled = [f * jnp.where(s, a, b) for s, f in zip(second, factors, strict=True)]
        products = _add_pairs(scaled) if halves else 0
        if diagonal:
            products += _product(a, jnp.swapaxes(b, -1, -2)) * _match_rank(jnp.eye(steps), a)
        return jnp.where(past, products, 0)

    whole, rest = parts
    of_memory = jnp.where(before[..., None], jnp.exp(whole + rest), 0)
    to_end = jnp.minimum((whole[..., -1:, :] - whole) + (rest[..., -1:, :] - rest), 0)
    at_end = jnp.where(past[..., -1, :, None], jnp.exp(to_end), 0)
    return _Decay(scores, of_memory, at_end, jnp.swapaxes(of_memory[..., -1:, :], -1, -2))


def _match_rank(constant: Any, a: Array) -> Any:
    """`constant` with leading axes of 1, so that it has as many axes as `a`."""
    return constant.reshape((1,) * (a.ndim - constant.ndim) + constant.shape)


def _second_half(steps: int, half: int) -> np.ndarray:
    """The steps in the second half of their block of 2·`half`, [C 1]."""
    return (np.arange(steps) // half % 2 == 1)[:, None]


def _pairs(steps: int, half: int) -> np.ndarray:
    """Which [t, s] are of the second and the first half of one block of 2·`half`, [C C]."""
    block, second = np.arange(steps) // (2 * half), _second_half(steps, half)
    return second & ~second.T & (block[:, None] == block)


@jax.custom_vjp
def _add_pairs(scaled: list[Float[Array, "*B C K"]]) -> Float[Array, "*B C C"]:
    """x_t·x_s of the pairs of each level, from blocks of two steps upwards."""
    products = (_product(x, jnp.swapaxes(x, -1, -2)) for x in scaled)
    return sum(  # pyright: ignore[reportReturnType]
        jnp.where(_match_rank(_pairs(scaled[0].shape[-2], 1 << level), product), product, 0)
        for level, product in enumerate(products)
    )


def _add_pairs_backward(scaled: list[Array], slope: Array) -> tuple[list[Array]]:
    both = slope + jnp.swapaxes(slope, -1, -2)
    pairs = [_pairs(slope.shape[-1], 1 << level) for level in range(len(scaled))]
    pairs = [_match_rank(p | p.T, both) for p in pairs]
    return ([_product(jnp.where(p, both, 0), x) for p, x in zip(pairs, scaled, strict=True)],)


_add_pairs.defvjp(lambda scaled: (_add_pairs(scaled), scaled), _add_pairs_backward)


@jax.custom_vjp
def _solve_unit_lower(lower: Float[Array, "*B C C"], right: Any) -> Any:
    """x of (1 + lower)·x = right for every array in `right`, [*B C ...]; `lower` is strictly lower triangular."""
    return _solve_forward(lower, right)[0]


def _solve_forward(lower: Array, right: Any) -> tuple[Any, Any]:
    inverse = unit_lower_inverse(lower)
    solved = jax.tree.map(lambda r: jnp.matmul(inverse, r, precision="highest"), right)
    return solved, (inverse, solved)


def _solve_backward(kept: Any, slopes: Any) -> tuple[Array, Any]:
    inverse, solved = kept
    inverse = _transpose(inverse)
    slopes = jax.tree.map(lambda s: jnp.matmul(inverse, s, precision="highest"), slopes)
    products = jax.tree.map(lambda a, b: _product(a, jnp.swapaxes(b, -1, -2)), slopes, solved)
    return -sum(jax.tree.leaves(products)), slopes


_solve_unit_lower.defvjp(_solve_forward, _solve_backward)


def unit_lower_inverse(lower: Float[Array, "*B C C"]) -> Float[Array, "*B C C"]:
    """(1 + lower)⁻¹ for strictly lower triangular matrices, by joining inverses of halves, from single rows upwards.

    As accurate as forward substitution, in 2·log₂C products. XLA's own triangular solve calls LAPACK on a CPU, and two
    devices that call it at the same time can deadlock (jaxlib 0.10.2).
    """
    steps = lower.shape[-1]
    pairs = [_match_rank(_pairs(steps, 1 << level), lower) for level in range(max(1, (steps - 1).bit_length()))]
    inverse = _match_rank(jnp.eye(steps, dtype=lower.dtype), lower) - jnp.where(pairs[0], lower, 0)
    for pair in pairs[1:]:
        corner = jnp.matmul(jnp.matmul(inverse, lower, precision="highest"), inverse, precision="highest")
        inverse -= jnp.where(pair, corner, 0)
    return inverse
