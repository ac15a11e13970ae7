"""The recurrence of a matrix memory that keys write to and queries read from, one step at a time or in chunks:

    S_t = diag(g_t)·S_{t−1} + what is written,   y_t = S_tᵀ·q_t
    sum rule:    + k_t ⊗ v_t
    delta rule:  + k_t ⊗ β_t·(v_t − (diag(g_t)·S_{t−1})ᵀ·k_t), which replaces what the key reads by the new value
    in general:  + k_t ⊗ v_t + w_t ⊗ (diag(g_t)·S_{t−1})ᵀ·r_t, which reads by one vector and writes by another

A new segment forgets the memory before its first step, and padding holds it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from models.ops.scan import causal_segment_mask, masked_cumsum, scan_chunks, unrolled_scan

IMPLEMENTATIONS = ("chunks", "steps")
_CHUNK_SIZE = 32  # steps computed at once
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
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation={implementation}: must be one of {', '.join(IMPLEMENTATIONS)}")
    per_head = (query, key, value, log_gate, strength, erase)
    if implementation == "steps" or query.shape[2] == 1:
        return _scan_steps(memory, per_head, start, valid)

    def run(memory: Array, per_head: Any, start: Array, valid: Array) -> tuple[Array, Array]:
        return scan_chunks(_compute_chunk, memory, (*per_head, start, valid), chunk_size, gpu_unroll=4)

    return jax.vmap(jax.vmap(run, in_axes=(0, 0, None, None)))(memory, per_head, start, valid)


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


def _compute_chunk(
    memory: Float[Array, "K V"],
    query: Float[Array, "C K"],
    key: Float[Array, "C K"],
    value: Float[Array, "C V"],
    log_gate: Float[Array, "C G"] | None,
    strength: Float[Array, "C"] | None,
    erase: tuple[Float[Array, "C K"], Float[Array, "C K"]] | None,
    start: Bool[Array, "C"],
    valid: Bool[Array, "C"],
) -> tuple[Float[Array, "K V"], Float[Array, "C V"]]:
    """`C` steps of one head as a few matrix products.

    With D[t, s] = Π g over s < r ≤ t, and 0 across a `start`: y_t = Σ_{s≤t} (q_t·D[t, s]·k_s)·u_s, plus the same for
    the memory from before. The delta rule's u solve a triangular system (Yang et al. 2406.06484, §3.2), as does what
    the general rule reads.
    """
    key, value = (jnp.where(valid[:, None], a, 0) for a in (key, value))
    past, before = causal_segment_mask(start)
    if log_gate is None:
        decay, memory_decay = past[..., None].astype(key.dtype), before[:, None].astype(key.dtype)
    else:
        log_decay, rest = masked_cumsum(jnp.where(valid[:, None], log_gate, 0), past)
        between = (log_decay[:, None] - log_decay[None]) + (rest[:, None] - rest[None])
        decay = jnp.exp(jnp.where(past[..., None], between, -jnp.inf))
        memory_decay = jnp.where(before[:, None], jnp.exp(log_decay + rest), 0)

    def scores(a: Array, b: Array) -> Array:
        """a_t·D[t, s]·b_s for all t and s."""
        if decay.shape[-1] == 1:
            return (a @ b.T) * decay[..., 0]
        return jnp.einsum("tk,sk,tsk->ts", a, b, decay)

    written = value
    if strength is not None:
        strength = jnp.where(valid, strength, 0)[:, None]
        system = unit_lower_inverse(strength * jnp.tril(scores(key, key), -1))
        written = system @ (strength * (value - (key * memory_decay) @ memory))
    y = (query * memory_decay) @ memory + scores(query, key) @ written
    after = memory_decay[-1][:, None] * memory + (key * decay[-1]).T @ written
    if erase is not None:
        by, write = (jnp.where(valid[:, None], a, 0) for a in erase)
        system = unit_lower_inverse(-jnp.tril(scores(by, write), -1))
        found = system @ ((by * memory_decay) @ memory + jnp.tril(scores(by, key), -1) @ value)
        y += scores(query, write) @ found
        after += (write * decay[-1]).T @ found
    return after, y


def unit_lower_inverse(lower: Float[Array, "C C"]) -> Float[Array, "C C"]:
    """(1 + lower)⁻¹ for a strictly lower triangular matrix, by joining inverses of halves, from single rows upwards.

    As accurate as forward substitution, in 2·log₂C products. XLA's own triangular solve calls LAPACK on a CPU, and two
    devices that call it at the same time can deadlock (jaxlib 0.10.2).
    """
    rows, size = len(lower), 1 << (len(lower) - 1).bit_length()
    lower = jnp.pad(lower, (0, size - rows))
    inverses = jnp.ones((size, 1, 1), lower.dtype)
    while (half := inverses.shape[-1]) < size:
        blocks = lower.reshape(size // (2 * half), 2, half, size // (2 * half), 2, half)
        corner = jnp.moveaxis(jnp.diagonal(blocks[:, 1, :, :, 0], axis1=0, axis2=2), -1, 0)
        first, second = inverses[::2], inverses[1::2]
        corner = -jnp.matmul(jnp.matmul(second, corner, precision="highest"), first, precision="highest")
        upper = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
        inverses = jnp.concatenate([upper, jnp.concatenate([corner, second], axis=-1)], axis=-2)
    return inverses[0, :rows, :rows]
