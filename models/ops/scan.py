"""One recurrence over a sequence whose state starts anew with each segment and stands still over padding."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

Carry = Any  # a pytree of arrays


def segment_boundaries(
    segments: Int[Array, "T"], last: Int[Array, ""]
) -> tuple[Bool[Array, "T"], Bool[Array, "T"], Int[Array, ""]]:
    """Where a segment starts, where a step is no padding, and the segment that the sequence ends in.

    `last` is the segment that the steps before these ended in (0: there were none), so that a sequence can be cut
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
    """`carry, y = step(carry, x)` over the leading axis of `xs`: the carry is zeroed at a `start`, held where not
    `valid`. Returns the final carry and the ys, which mean nothing where not `valid`."""

    def masked(carry, inputs):
        x, start, valid = inputs
        before = jax.tree.map(lambda c: jnp.where(start, 0, c), carry)
        after, y = step(before, x)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before), y

    return unrolled_scan(masked, carry, (xs, start, valid))


def unrolled_scan(step: Callable, carry: Carry, xs: Any, *, gpu_unroll: int = 16, **how: Any) -> tuple[Carry, Any]:
    """`jax.lax.scan(step, carry, xs, **how)`; on an NVIDIA GPU with `gpu_unroll` steps laid out one after the other in
    each turn of the loop.

    What a step's kernels do there takes less time than starting them from a loop: on an H200 a training step of the
    LSTM over 1,024 steps took 22 to 25 ms with 16 in a row and 57 ms without, and twice as long to compile. Which it
    is depends on the platform that a program is made for, not on where it is traced: devices may come after that.
    """

    def so_many(unroll: int) -> Callable:
        return lambda carry, xs: jax.lax.scan(step, carry, xs, unroll=unroll, **how)

    if gpu_unroll == 1:
        return so_many(1)(carry, xs)
    return jax.lax.platform_dependent(carry, xs, cuda=so_many(gpu_unroll), default=so_many(1))


def _compose_affine(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
    """h → a·h + b twice, as one: associative, though not commutative."""
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
    """h_t = a_t·h_{t−1} + b_t, element by element, for all t; `initial` is forgotten at a `start`, h held where not
    `valid`.

    `method` says in which order: "sequential" takes T steps, "associative" about 2·log₂T (Blelloch 1990: the pairs
    (a, b) compose), "chunked" T/`chunk_size` steps and an associative scan within each, which holds a chunk's pairs
    and no more. "auto" is sequential on a CPU, where few cores make the fewest operations the fastest, and else
    chunked.
    """
    shape = (-1,) + (1,) * (b.ndim - 1)
    start, valid = start.reshape(shape), valid.reshape(shape)
    a = jnp.broadcast_to(jnp.where(valid, jnp.where(start, 0, a), 1), b.shape)
    b = jnp.where(valid, b, 0)
    ways = {
        "sequential": _sequential_scan,
        "associative": _associative_scan,
        "chunked": partial(_chunked_scan, chunk=chunk_size),
    }
    if method == "auto":
        return jax.lax.platform_dependent(a, b, initial, cpu=ways["sequential"], default=ways["chunked"])
    if method not in ways:
        raise ValueError(f"how={method}: must be one of auto, {', '.join(ways)}")
    return ways[method](a, b, initial)


def _sequential_scan(a: Shaped[Array, "T *S"], b: Shaped[Array, "T *S"], before: Shaped[Array, "*S"]) -> Array:
    def step(h: Array, ab: tuple[Array, Array]) -> tuple[Array, Array]:
        h = ab[0] * h + ab[1]
        return h, h

    return jax.lax.scan(step, before, (a, b))[1]


def _associative_scan(a: Shaped[Array, "T *S"], b: Shaped[Array, "T *S"], before: Shaped[Array, "*S"]) -> Array:
    a, b = jax.lax.associative_scan(_compose_affine, (a, b))
    return a * before[None] + b


def _chunked_scan(a: Shaped[Array, "T *S"], b: Shaped[Array, "T *S"], before: Shaped[Array, "*S"], chunk: int) -> Array:
    def one(h: Array, a: Array, b: Array) -> tuple[Array, Array]:
        h = _associative_scan(a, b, h)
        return h[-1], h

    return scan_chunks(one, before, (a, b), chunk)[1]


def causal_segment_mask(start: Bool[Array, "T"]) -> tuple[Bool[Array, "T T"], Bool[Array, "T"]]:
    """Which step s ≤ t belongs to the same segment as t, and which steps come before the first `start`."""
    begun, steps = jnp.cumsum(start), jnp.arange(len(start))
    return (steps[:, None] >= steps[None]) & (begun[:, None] == begun[None]), begun == 0


def masked_cumsum(
    x: Float[Array, "T *G"], past: Bool[Array, "T T"]
) -> tuple[Float[Array, "T *G"], Float[Array, "T *G"]]:
    """Σ_{s in past(t)} x_s for every t; unlike a difference of running sums, not one bit comes from elsewhere.

    In two parts that add up to it: the sums of x rounded to whole numbers, which float32 adds without error as far as
    2²⁴, and of what is left. One x of −1,000 between small ones then costs a difference of two sums none of its digits,
    if the parts are subtracted each by itself.
    """
    whole, add = jax.lax.stop_gradient(jnp.round(x)), partial(jnp.tensordot, axes=1, precision="highest")
    among = past.astype(x.dtype)
    return add(among, whole), add(among, x - whole)


def scan_chunks(function: Callable, carry: Carry, xs: Any, chunk_size: int, gpu_unroll: int = 1) -> tuple[Carry, Any]:
    """`carry, y = function(carry, *xs)`, which takes any number of steps, over a sequence `chunk_size` steps at a time;
    chunks are laid out `gpu_unroll` as steps are by `unrolled_scan`.

    The last chunk is filled up with zeros: steps that are not `valid`, for a function that is told so.
    """
    steps = len(jax.tree.leaves(xs)[0])
    chunk_size = min(chunk_size, steps)
    chunks = -(-steps // chunk_size)

    def cut(leaf: Array) -> Array:
        padded = jnp.pad(leaf, [(0, chunks * chunk_size - steps)] + [(0, 0)] * (leaf.ndim - 1))
        return padded.reshape(chunks, chunk_size, *leaf.shape[1:])

    carry, y = unrolled_scan(lambda carry, x: function(carry, *x), carry, jax.tree.map(cut, xs), gpu_unroll=gpu_unroll)
    return carry, jax.tree.map(lambda leaf: leaf.reshape(chunks * chunk_size, *leaf.shape[2:])[:steps], y)


def resume_state(state: Any, empty: Any) -> Any:
    """`state`, or `empty` where there is none yet.

    Raises ValueError where `state` is not one of this mixer at this size: it would be broadcast, or mean nothing.
    """
    if state is None:
        return empty
    told = [jax.tree.map(_shape_and_kind, tree) for tree in (state, empty)]
    if jax.tree.structure(state) != jax.tree.structure(empty) or told[0] != told[1]:
        raise ValueError(f"a state of {told[0]} can't be gone on from here; this mixer and batch have {told[1]}")
    return state


def _shape_and_kind(leaf: Any) -> str:
    """As "floating(3, 4)": two types of one kind differ in their precision, and in nothing that they mean."""
    kinds = (jnp.complexfloating, jnp.floating, jnp.integer, jnp.bool_)
    kind = next((kind.__name__ for kind in kinds if jnp.issubdtype(jnp.result_type(leaf), kind)), "other")
    return f"{kind}{tuple(jnp.shape(leaf))}"
