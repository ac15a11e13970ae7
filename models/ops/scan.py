"""Scans over packed and padded sequences: a new segment resets the state, and padding holds it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

Carry = Any  # a pytree of arrays


def segment_boundaries(
    segments: Int[Array, "T"], last: Int[Array, ""]
) -> tuple[Bool[Array, "T"], Bool[Array, "T"], Int[Array, ""]]:
    """Masks of the steps that start a segment and of those that are not padding, and the segment that the last ends in.

    `last` is the segment that the steps before these ended in (0: there were none), so that a sequence can be split
    into chunks anywhere.
    """
    valid = segments != 0
    running = jax.lax.associative_scan(lambda a, b: jnp.where(b != 0, b, a), jnp.concatenate([last[None], segments]))
    return valid & (segments != running[:-1]), valid, running[-1]


def masked_scan(
    step: Callable[[Carry, Any], tuple[Carry, Any]],
    carry: Carry,
    xs: Any,
    start: Bool[Array, "T"],
    valid: Bool[Array, "T"],
) -> tuple[Carry, Any]:
    """Scan `carry, y = step(carry, x)` over the leading axis of `xs`, with a carry that is zeroed before each `start`
    and
    held where not `valid`. Returns the final carry and the ys, which mean nothing where not `valid`."""

    def masked_step(carry, inputs):
        x, start, valid = inputs
        before = jax.tree.map(lambda c: jnp.where(start, 0, c), carry)
        after, y = step(before, x)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before), y

    return unrolled_scan(masked_step, carry, (xs, start, valid))


def unrolled_scan(step: Callable, carry: Carry, xs: Any, *, gpu_unroll: int = 16, **kwargs: Any) -> tuple[Carry, Any]:
    """`jax.lax.scan(step, carry, xs, **kwargs)`, unrolled `gpu_unroll` times on NVIDIA GPUs.

    There a step's kernels take less time than launching them from a loop: on an H200 a training step of the LSTM over
    1,024 steps took 22 to 25 ms unrolled 16 times and 57 ms without, and twice as long to compile. The choice depends
    on the platform that the program is compiled for, not on where it is traced: devices may be chosen later.
    """

    def scan_unrolled(unroll: int) -> Callable:
        return lambda carry, xs: jax.lax.scan(step, carry, xs, unroll=unroll, **kwargs)

    if gpu_unroll == 1:
        return scan_unrolled(1)(carry, xs)
    return jax.lax.platform_dependent(carry, xs, cuda=scan_unrolled(gpu_unroll), default=scan_unrolled(1))


def _compose_affine(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
    """Two maps h → a·h + b, one after the other, as one: associative, though not commutative."""
    return then[0] * first[0], then[0] * first[1] + then[1]


def linear_scan(
    a: Shaped[Array, "T *#S"],
    b: Shaped[Array, "T *S"],
    initial: Shaped[Array, "*S"],
    start: Bool[Array, "T"],
    valid: Bool[Array, "T"],
    *,
    method: str = "auto",
    chunk_size: int = 256,
) -> Shaped[Array, "T *S"]:
    """h_t = a_t·h_{t−1} + b_t for all t, elementwise, from h_{−1} = `initial`. h is zeroed before each `start` and
    held where not `valid`.

    `method` is "sequential" (T steps), "associative" (about 2·log₂T steps, Blelloch 1990) or "chunked" (T/`chunk_size`
    steps with an associative scan in each, which only stores the pairs (a, b) of one chunk). "auto" is sequential on a
    CPU, where few cores make the fewest operations the fastest, and chunked elsewhere.
    """
    shape = (-1,) + (1,) * (b.ndim - 1)
    start, valid = start.reshape(shape), valid.reshape(shape)
    a = jnp.broadcast_to(jnp.where(valid, jnp.where(start, 0, a), 1), b.shape)
    b = jnp.where(valid, b, 0)
    methods = {
        "sequential": _sequential_scan,
        "associative": _associative_scan,
        "chunked": partial(_chunked_scan, chunk_size=chunk_size),
    }
    if method == "auto":
        return jax.lax.platform_dependent(a, b, initial, cpu=methods["sequential"], default=methods["chunked"])
    if method not in methods:
        raise ValueError(f"method={method}: must be one of auto, {', '.join(methods)}")
    return methods[method](a, b, initial)


def _sequential_scan(a: Shaped[Array, "T *S"], b: Shaped[Array, "T *S"], initial: Shaped[Array, "*S"]) -> Array:
    def step(h: Array, ab: tuple[Array, Array]) -> tuple[Array, Array]:
        h = ab[0] * h + ab[1]
        return h, h

    return jax.lax.scan(step, initial, (a, b))[1]


def _associative_scan(a: Shaped[Array, "T *S"], b: Shaped[Array, "T *S"], initial: Shaped[Array, "*S"]) -> Array:
    a, b = jax.lax.associative_scan(_compose_affine, (a, b))
    return a * initial[None] + b


def _chunked_scan(
    a: Shaped[Array, "T *S"], b: Shaped[Array, "T *S"], initial: Shaped[Array, "*S"], chunk_size: int
) -> Array:
    def scan_chunk(h: Array, a: Array, b: Array) -> tuple[Array, Array]:
        h = _associative_scan(a, b, h)
        return h[-1], h

    return scan_chunks(scan_chunk, initial, (a, b), chunk_size)[1]


def scan_chunks(function: Callable, carry: Carry, xs: Any, chunk_size: int, gpu_unroll: int = 1) -> tuple[Carry, Any]:
    """Scan `carry, y = function(carry, *xs)`, which takes any number of steps, over chunks of `chunk_size` steps.

    The last chunk is padded with zeros, so that among its `xs` a mask `valid` is False there. `gpu_unroll` unrolls the
    loop over chunks as in `unrolled_scan`.
    """
    steps = len(jax.tree.leaves(xs)[0])
    chunk_size = min(chunk_size, steps)
    chunks = -(-steps // chunk_size)

    def split_into_chunks(leaf: Array) -> Array:
        padded = jnp.pad(leaf, [(0, chunks * chunk_size - steps)] + [(0, 0)] * (leaf.ndim - 1))
        return padded.reshape(chunks, chunk_size, *leaf.shape[1:])

    carry, y = unrolled_scan(
        lambda carry, x: function(carry, *x), carry, jax.tree.map(split_into_chunks, xs), gpu_unroll=gpu_unroll
    )
    return carry, jax.tree.map(lambda leaf: leaf.reshape(chunks * chunk_size, *leaf.shape[2:])[:steps], y)


def resume_state(state: Any, empty: Any) -> Any:
    """`state`, or `empty` if there is none yet.

    Raises ValueError for a `state` whose structure, shapes or kinds of numbers are not those of `empty`: it would be
    broadcast, or mean something else.
    """
    if state is None:
        return empty
    given, expected = (jax.tree.map(_shape_and_kind, tree) for tree in (state, empty))
    if jax.tree.structure(state) != jax.tree.structure(empty) or given != expected:
        raise ValueError(f"a state of {given} can't be gone on from here; this mixer and batch have {expected}")
    return state


def _shape_and_kind(leaf: Any) -> str:
    """A leaf in words, as "floating(3, 4)". Types of one kind differ in precision alone, which a state may have."""
    kinds = (jnp.complexfloating, jnp.floating, jnp.integer, jnp.bool_)
    kind = next((kind.__name__ for kind in kinds if jnp.issubdtype(jnp.result_type(leaf), kind)), "other")
    return f"{kind}{tuple(jnp.shape(leaf))}"
