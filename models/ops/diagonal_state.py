"""Diagonal states in chunks: what is read from them is computed chunk by chunk, and states only where chunks meet.

    h_t = a_t ⊙ h_{t−1} + b_t·u_t,   y_t = read(h_t)

Where a, b and the read are the same at every step, the outputs of a chunk are two products of matrices: of a causal
Toeplitz matrix with the chunk's inputs (the convolution of Gu et al. 2022, arXiv 2206.11893, eq. 9), and of powers of a
with the state before the chunk. Nothing larger than the inputs is ever stored.

A new segment begins anywhere in a row. So products go over the segments of each chunk, one after the other: the first
segments of all chunks at once, then the second ones of those that have any. Sums never hold a term of another segment.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float, Int, Shaped

from models.ops.padding import move_padding_back, move_padding_behind
from models.ops.scan import linear_scan, unrolled_scan

IMPLEMENTATIONS = ("chunks", "steps")
CHUNK_SIZE = 32
SELECTIVE_CHUNK_SIZE = 16


def scan_invariant_steps(
    state: Complex[Array, "B N S"],
    u: Float[Array, "B T N"],
    a: Complex[Array, "N S"],
    b: Complex[Array, "N S"],
    read: Complex[Array, "N S"],
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
) -> tuple[Complex[Array, "B N S"], Float[Array, "B T N"]]:
    """`scan_invariant_chunks` one step at a time, with the states of all steps at once in memory."""
    added = u[..., None] * b[None, None]
    h = jax.vmap(linear_scan)(jnp.broadcast_to(a, added.shape), added, state, start, valid)
    return h[:, -1], 2 * (h * read[None, None]).real.sum(axis=-1)


def scan_invariant_chunks(
    state: Complex[Array, "B N S"],
    u: Float[Array, "B T N"],
    a: Complex[Array, "N S"],
    b: Complex[Array, "N S"],
    read: Complex[Array, "N S"],
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    *,
    chunk_size: int = CHUNK_SIZE,
) -> tuple[Complex[Array, "B N S"], Float[Array, "B T N"]]:
    """h_t = a ⊙ h_{t−1} + b·u_t and y_t = 2·Re Σ_s read_s·h_ts, from h_{−1} = `state`: the last state, and all outputs.

    The state is zeroed before each `start` and held where not `valid`; outputs there mean nothing.
    """
    rows, steps, features = u.shape
    states = a.shape[1]
    chunks = -(-steps // min(chunk_size, steps))
    size = -(-steps // chunks)
    (u, start), behind = move_padding_behind((jnp.where(valid[:, :, None], u, 0), start), valid)
    u = jnp.pad(u, [(0, 0), (0, chunks * size - steps), (0, 0)])
    start = jnp.pad(start, [(0, 0), (0, chunks * size - steps)]).reshape(rows, chunks, size)
    fresh = start[:, :, 0]
    segment = jnp.cumsum(start, axis=2) - fresh[:, :, None]  # 0 for the segment that a chunk begins in

    powers = _powers(a, size)  # [N, size + 1, S]
    inputs = _stack_parts(b[:, None] * powers[:, -2::-1])  # what is left of each input at the end of a chunk
    weights = 2 * read[:, None] * powers
    kernel = (b[:, None] * weights[:, :-1]).real.sum(axis=2)
    outputs = _stack_parts(weights[:, 1:].conj()).swapaxes(1, 2)  # what is read of the state before the chunk

    by_feature = u.reshape(rows * chunks, size, features).transpose(2, 0, 1)
    segment_rows = segment.reshape(rows * chunks, size)
    last = jnp.broadcast_to(segment_rows[:, -1:], (rows * chunks, 2 * states))
    added = multiply_within_segments(by_feature, inputs, segment_rows, last)
    added = _join_parts(added).reshape(features, rows, chunks, states).transpose(1, 2, 0, 3)
    decay, ones = jnp.broadcast_to(powers[:, -1], added.shape), jnp.ones((rows, chunks), bool)
    after = jax.vmap(linear_scan)(decay, added, state, start.any(axis=2), ones)
    before = jnp.concatenate([state[:, None], after[:, :-1]], axis=1)

    by_state = _stack_parts(before).transpose(2, 0, 1, 3).reshape(features, rows * chunks, 2 * states)
    first = jnp.broadcast_to(jnp.where(fresh, -1, 0).reshape(-1, 1), (rows * chunks, 2 * states))
    y = multiply_within_segments(
        jnp.concatenate([by_feature, by_state], axis=2),
        jnp.concatenate([_toeplitz(kernel), outputs], axis=1),
        jnp.concatenate([segment_rows, first], axis=1),
        segment_rows,
    )
    y = y.transpose(1, 2, 0).reshape(rows, chunks * size, features)[:, :steps]

    # The last state: a row ends anywhere in a chunk, so its last `size` steps are taken.
    lengths = valid.sum(axis=1)
    chunk = jnp.minimum(lengths // size, chunks - 1)
    length = lengths - chunk * size  # within the last chunk
    at = (length - size)[:, None] + jnp.arange(size)[None]
    last_segment = jnp.take_along_axis(segment, chunk[:, None, None], axis=1)[:, 0]
    segment_of = partial(jnp.take_along_axis, last_segment, axis=1)
    ends_in = segment_of(jnp.maximum(length - 1, 0)[:, None])
    counts = (at >= 0) & (segment_of(jnp.maximum(at, 0)) == ends_in)
    steps_of = jnp.maximum((chunk * size)[:, None] + at, 0)
    window = jnp.where(counts[:, :, None], jnp.take_along_axis(u, steps_of[:, :, None], axis=1), 0)
    added = _join_parts(jnp.einsum("bjn,njs->bns", window, inputs, precision="highest"))
    going_on = (ends_in[:, 0] == 0) & ~jnp.take_along_axis(fresh, chunk[:, None], axis=1)[:, 0]
    held = jnp.take_along_axis(before, chunk[:, None, None, None], axis=1)[:, 0]
    held = jnp.where(going_on[:, None, None], powers.swapaxes(0, 1)[length] * held, 0)
    return held + added, move_padding_back(y, behind, valid)


# ---- coefficients of their own at each step --------------------------------------------------------------------------


def scan_selective_steps(
    state: Float[Array, "B N S"],
    step: Float[Array, "B T N"],
    drive: Float[Array, "B T N"],
    b: Float[Array, "B T S"],
    c: Float[Array, "B T S"],
    rates: Float[Array, "N S"],
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
) -> tuple[Float[Array, "B N S"], Float[Array, "B T N"]]:
    """`scan_selective_chunks` one step at a time, with the states of all steps at once in memory."""
    a, added = jax.vmap(selective_coefficients, in_axes=(0, 0, 0, None))(step, drive, b, rates)
    h = jax.vmap(linear_scan)(a, added, state, start, valid)
    return h[:, -1], jnp.einsum("btns,bts->btn", h, c)


def selective_coefficients(
    step: Float[Array, "T N"], drive: Float[Array, "T N"], b: Float[Array, "T S"], rates: Float[Array, "N S"]
) -> tuple[Float[Array, "T N S"], Float[Array, "T N S"]]:
    """exp(−step_t·rates) and drive_t ⊗ b_t   (Gu and Dao 2023, arXiv 2312.00752, eq. 4, B̄ as in their code)."""
    return jnp.exp(-step[..., None] * rates[None]), drive[..., None] * b[:, None]


def scan_selective_chunks(
    state: Float[Array, "B N S"],
    step: Float[Array, "B T N"],
    drive: Float[Array, "B T N"],
    b: Float[Array, "B T S"],
    c: Float[Array, "B T S"],
    rates: Float[Array, "N S"],
    start: Bool[Array, "B T"],
    valid: Bool[Array, "B T"],
    *,
    chunk_size: int = SELECTIVE_CHUNK_SIZE,
) -> tuple[Float[Array, "B N S"], Float[Array, "B T N"]]:
    """h_t = exp(−step_t·rates) ⊙ h_{t−1} + drive_t ⊗ b_t and y_t = h_t·c_t, from h_{−1} = `state`: the last state, and
    all outputs.

    The state is zeroed before each `start` and held where not `valid`; outputs there mean nothing. The states of one
    chunk are in memory at a time; in the backward pass they are made again.
    """
    rows, steps, _ = drive.shape
    chunks = -(-steps // min(chunk_size, steps))
    size = -(-steps // chunks)

    def split_into_chunks(x: Array) -> Array:
        x = jnp.pad(x.swapaxes(0, 1), [(0, chunks * size - steps)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(chunks, size, *x.shape[1:])

    # Without a step and a drive, nothing fades and nothing is added.
    step, drive = (jnp.where(valid[..., None], x, 0) for x in (step, drive))
    sequence = jax.tree.map(split_into_chunks, (step, drive, b, c, start))
    state, y = _scan_selective(state.swapaxes(1, 2), rates.T, *sequence)
    return state.swapaxes(1, 2), y.reshape(chunks * size, rows, -1)[:steps].swapaxes(0, 1)


@jax.custom_vjp
def _scan_selective(
    state: Float[Array, "B S N"],
    rates: Float[Array, "S N"],
    step: Float[Array, "G C B N"],
    drive: Float[Array, "G C B N"],
    b: Float[Array, "G C B S"],
    c: Float[Array, "G C B S"],
    start: Bool[Array, "G C B"],
) -> tuple[Float[Array, "B S N"], Float[Array, "G C B N"]]:
    """The last state and all outputs, over G chunks of C steps."""
    return _selective_forward(state, rates, step, drive, b, c, start)[0]


def _selective_forward(state: Array, rates: Array, *sequence: Array) -> tuple[tuple[Array, Array], tuple]:
    def run_chunk(state: Array, chunk: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        step, drive, b, c, start = chunk
        after, kept = _run_through(state, _decays(step, rates, start), drive, b)
        y = jnp.einsum("tbsn,tbs->tbn", kept, c, precision="highest") + drive * (b * c).sum(axis=-1)[..., None]
        return after, (state, y)

    after, (borders, y) = jax.lax.scan(run_chunk, state, sequence)
    return (after, y), (rates, borders, sequence)


def _selective_backward(residuals: tuple, gradients: tuple[Array, Array]) -> tuple:
    rates, borders, sequence = residuals
    state_gradient, y_gradient = gradients

    def run_chunk(carry: tuple[Array, Array], chunk: tuple) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        state_gradient, rates_gradient = carry
        state, (step, drive, b, c, start), dy = chunk
        decays = _decays(step, rates, start)
        _, kept = _run_through(state, decays, drive, b)

        def run_back(later: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
            decay, c, dy = x
            dh = later + c[..., None] * dy[:, None]
            return decay * dh, dh

        def add_step_gradient(s: Array, total: Array) -> Array:  # a sum over states, which XLA's CPU code takes slowly
            return total - dh[:, :, s] * kept[:, :, s] * rates[s][None, None]

        state_gradient, dh = unrolled_scan(run_back, state_gradient, (decays, c, dy), reverse=True)
        einsum = partial(jnp.einsum, precision="highest")
        dstep = jax.lax.fori_loop(0, rates.shape[0], add_step_gradient, jnp.zeros_like(step))
        rates_gradient = rates_gradient - (dh * kept * step[:, :, None]).sum(axis=(0, 1))
        ddrive = einsum("tbsn,tbs->tbn", dh, b)
        db = einsum("tbsn,tbn->tbs", dh, drive)
        dc = einsum("tbsn,tbn->tbs", kept, dy) + b * (drive * dy).sum(axis=-1)[..., None]
        return (state_gradient, rates_gradient), (dstep, ddrive, db, dc)

    carry = state_gradient, jnp.zeros_like(rates)
    carry, of_sequence = jax.lax.scan(run_chunk, carry, (borders, sequence, y_gradient), reverse=True)
    return (*carry, *of_sequence, None)


_scan_selective.defvjp(_selective_forward, _selective_backward)


def _decays(
    step: Float[Array, "C B N"], rates: Float[Array, "S N"], start: Bool[Array, "C B"]
) -> Float[Array, "C B S N"]:
    """exp(−step·rates), and 0 where a segment starts."""
    return jnp.where(start[..., None, None], 0, jnp.exp(-step[:, :, None] * rates[None, None]))


def _run_through(
    state: Float[Array, "B S N"],
    decays: Float[Array, "C B S N"],
    drive: Float[Array, "C B N"],
    b: Float[Array, "C B S"],
) -> tuple[Float[Array, "B S N"], Float[Array, "C B S N"]]:
    """The last state of a chunk, and what each of its steps keeps of the state before it."""

    def run_step(state: Array, x: tuple[Array, ...]) -> tuple[Array, Array]:
        decay, drive, b = x
        kept = decay * state
        return kept + drive[:, None] * b[..., None], kept

    return unrolled_scan(run_step, state, (decays, drive, b))


# ---- products that keep segments apart ------------------------------------------------------------------------------


@jax.custom_vjp
def multiply_within_segments(
    x: Float[Array, "N M J"],
    matrix: Float[Array, "N J K"],
    x_segment: Int[Array, "M J"],
    y_segment: Int[Array, "M K"],
) -> Float[Array, "N M K"]:
    """Σ_j x[n, m, j]·matrix[n, j, k] over the j of k's segment, by x_segment[m, j] = y_segment[m, k].

    Segments are numbered from 0, and -1 is none. There are as many products as one m has segments.
    """
    return _multiply_in_turn(x, matrix, 1, x_segment, y_segment)


def _multiply_in_turn(x: Array, matrix: Array, axis: int, x_segment: Array, y_segment: Array) -> Array:
    """`multiply_within_segments`, summed over this axis of the matrix.

    One m is added: features that lie a power of two apart share few lines of a CPU's cache, and moving features behind
    steps, which often comes next, then takes up to eight times as long.
    """
    rows = x.shape[1]
    x = jnp.pad(x, [(0, 0), (0, 1), (0, 0)])
    x_segment, y_segment = (jnp.pad(s, [(0, 1), (0, 0)]) for s in (x_segment, y_segment))

    def add_segment(segment: Array, y: Array) -> Array:
        product = _batch_product(jnp.where((x_segment == segment)[None], x, 0), matrix, 2, axis)
        return jnp.where((y_segment == segment)[None], product, y)

    zeros = jnp.zeros((*x.shape[:2], matrix.shape[3 - axis]), x.dtype)
    return jax.lax.fori_loop(0, 1 + x_segment.max(), add_segment, zeros)[:, :rows]


def _multiply_forward(x: Array, matrix: Array, x_segment: Array, y_segment: Array) -> tuple[Array, tuple]:
    return multiply_within_segments(x, matrix, x_segment, y_segment), (x, matrix, x_segment, y_segment)


def _multiply_backward(residuals: tuple, gradient: Array) -> tuple:
    x, matrix, x_segment, y_segment = residuals

    def add_segment(segment: Array, total: Array) -> Array:
        part = jnp.where((x_segment == segment)[None], x, 0)
        return total + _batch_product(part, jnp.where((y_segment == segment)[None], gradient, 0), 1, 1)

    of_matrix = jax.lax.fori_loop(0, 1 + x_segment.max(), add_segment, jnp.zeros_like(matrix))
    of_x = _multiply_in_turn(gradient, matrix, 2, y_segment, x_segment)
    return of_x, of_matrix, None, None


multiply_within_segments.defvjp(_multiply_forward, _multiply_backward)


def _batch_product(x: Array, y: Array, x_axis: int, y_axis: int) -> Array:
    """The products of x[n] and y[n] over one axis of each, in float32 also where the device would round."""
    return jax.lax.dot_general(x, y, (((x_axis,), (y_axis,)), ((0,), (0,))), precision="highest")


# ---- complex numbers as pairs, and their powers ----------------------------------------------------------------------


def _stack_parts(x: Complex[Array, "*T S"]) -> Float[Array, "*T R"]:
    """Real parts, and behind them imaginary ones."""
    return jnp.concatenate([x.real, x.imag], axis=-1)


def _join_parts(x: Float[Array, "*T R"]) -> Complex[Array, "*T S"]:
    return jax.lax.complex(*jnp.split(x, 2, axis=-1))


def _powers(a: Shaped[Array, "N S"], count: int) -> Shaped[Array, "N T S"]:
    """a⁰ … a^count, by doubling their number, so that few roundings add up."""
    powers, factor = jnp.ones_like(a)[:, None], a[:, None]
    while powers.shape[1] <= count:
        powers, factor = jnp.concatenate([powers, powers * factor], axis=1), factor * factor
    return powers[:, : count + 1]


def _toeplitz(kernel: Float[Array, "N C"]) -> Float[Array, "N C C"]:
    """The matrix [j, t] of kernel[t − j], zero for t < j: rows that are one longer than read, so that each moves on."""
    n, c = kernel.shape
    rows = jnp.broadcast_to(jnp.pad(kernel, [(0, 0), (0, c)])[:, None], (n, c, 2 * c))
    return rows.reshape(n, -1)[:, : c * (2 * c - 1)].reshape(n, c, -1)[:, :, :c]
