"""A non-linear recurrence for all its steps at once, by Newton's method on the whole sequence.

The sequence with h_t = f(h_{t−1}, x_t) is the root of r_t(h) = f(h_{t−1}, x_t) − h_t. From a guess of all steps,
Newton's method goes on to h + δ, where δ solves r linearised about h, which is a linear recurrence:

    δ_t = J_t·δ_{t−1} + r_t,   J_t = ∂f/∂h at (h_{t−1}, x_t),   δ_0 = 0.

An associative scan solves it in about 2·log₂T parallel steps of N×N products (DEER: Lim et al. 2024, arXiv
2309.12252). Quasi-Newton keeps only how a unit acts on itself, which costs T·N in place of T·N³ and takes more
iterations. Gonzalez et al. 2024 (arXiv 2407.19115) keep the diagonal of J; here an LSTM's unit, whose c and h act on
each other, keeps its 2×2 block, which took a third fewer iterations where both converged. Whatever J is, the root is
the same, and every iteration makes one step more of the sequence exact.

Where a chunk of the sequence does not converge it is run step by step: the answer is right in any case, and a
`NewtonReport` says which it was.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from models.ops.scan import Carry, scan_chunks

RecurrentStep = Callable[[Carry, Any], tuple[Carry, Any]]
_JacobianBlocks = list[
    list[Float[Array, "..."]]
]  # K×K of a Jacobian, [N, N] each or, where units act on themselves alone, [N]

# The change at which iterations end. It tells of errors, which a residual does not: on a slow drift, 1e-6 a step adds
# up. What is left to change is about the square of it for Newton's method, and for quasi-Newton a part of it.
_TOLERANCES = {"full": 1e-5, "quasi": 3e-6}
# How many times larger than the largest that f returns a guess may be: far from the root, products of Jacobians
# overflow within a few hundred steps, and what they then say is worth nothing.
_TRUST_REGION = 10.0


class NewtonReport(NamedTuple):
    """How a sequence was solved.

    The `iterations` of all its chunks together; whether every chunk `converged`; the largest `residual`, which is
    |f(h_{t−1}, x_t) − h_t| / max(1, |h_t|), that iterations ended with; and how many steps were `sequential_steps`, run one
    by one because their chunk did not converge.
    """

    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    residual: Float[Array, ""]
    sequential_steps: Int[Array, ""]


class _NewtonSettings(NamedTuple):
    """What `newton_scan` was asked for, as its gradient needs it again."""

    how: str
    iterations: int
    tolerance: float
    chunk: int
    scan: str
    beyond: float = _TRUST_REGION


def newton_scan(
    step: RecurrentStep,
    carry: Carry,
    xs: Any,
    start: Bool[Array, "T"],
    valid: Bool[Array, "T"],
    *,
    method: str = "full",
    diagonal_step: RecurrentStep | None = None,
    max_iterations: int = 50,
    tolerance: float | None = None,
    chunk_size: int = 256,
    linear_solver: str = "auto",
) -> tuple[Carry, Any, NewtonReport]:
    """What `linear_solver.masked_scan(step, carry, xs, start, valid)` returns, with its gradients, and a report.

    Each `chunk_size` starts where the one before ended and takes at most so many `max_iterations`, until no element
    changes by more than `tolerance`, relative to those above 1. (A trained LSTM converged in chunks where 4096 steps
    at once did not, and on two cores chunks took less time; the whole, where it converges, has far fewer iterations to take one
    after another.) The carry is a tree of real arrays. For "quasi" these are all [N], one number a unit, and
    `diagonal_step` is a step with the values of `step` in whose derivative a unit acts on itself alone; without one,
    whole Jacobians are formed and most of them thrown away. `linear_solver` says how linear recurrences are solved: "associative",
    "sequential", or "auto", which is sequential on a CPU, as in `linear_solver.linear_scan`. Gradients are those of
    reverse mode, once.
    """
    if method not in _TOLERANCES:
        raise ValueError(f"how={method}: must be one of {', '.join(_TOLERANCES)}")
    if linear_solver not in ("auto", "associative", "sequential"):
        raise ValueError(f"scan={linear_solver}: must be one of auto, associative, sequential")
    settings = _NewtonSettings(
        method, max_iterations, _TOLERANCES[method] if tolerance is None else tolerance, chunk_size, linear_solver
    )
    x = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), xs)
    step, weights = jax.closure_convert(step, carry, x)  # what a step closes over has gradients too
    diagonal_step, near_weights = jax.closure_convert(diagonal_step, carry, x) if diagonal_step else (None, [])
    return _solve_with_vjp(step, diagonal_step, settings, weights, near_weights, carry, xs, start, valid)


def _mask_step(step: Callable, weights: Any) -> RecurrentStep:
    """The step that zeroes the carry at a start and holds it where not valid, as in `scan.masked_scan`."""

    def over(carry, inputs):
        x, start, valid = inputs
        before = jax.tree.map(lambda c: jnp.where(start, 0, c), carry)
        after, y = step(before, x, *weights)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before), y

    return over


# ---- the answer, and its gradient -----------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _solve_with_vjp(
    step: Callable, near: Callable | None, settings: _NewtonSettings, *arrays: Any
) -> tuple[Carry, Any, NewtonReport]:
    return _solve_forward(step, near, settings, *arrays)[0]


def _solve_forward(step, near, settings, weights, near_weights, carry, xs, start, valid):
    """The answer, and what the gradient needs of it: the trajectory, but no Jacobian."""
    run = _mask_step(step, weights)

    def remembering(carry, inputs):
        after, y = run(carry, inputs)
        return after, (carry, y)

    near = near and _mask_step(near, near_weights)
    carry, (befores, ys), report = _solve_chunks(remembering, near, settings, carry, (xs, start, valid))
    return (carry, ys, report), (weights, near_weights, befores, xs, start, valid)


def _solve_backward(step, near, settings, kept, cotangents):
    """Backpropagation through time is a recurrence too, a linear one in reversed time, and solved like the first."""
    weights, near_weights, befores, xs, start, valid = kept
    last, ys, _ = cotangents
    largest = jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves((last, ys))]).max()
    scale = jnp.where(largest > 0, largest, 1)  # a tolerance must not depend on the unit that a loss is measured in
    last, ys = jax.tree.map(lambda leaf: leaf / scale, (last, ys))

    def back(run):
        def step(cotangent, at):
            before, inputs, y = at
            _, pull = jax.vjp(lambda before: run(before, inputs), before)
            return pull((cotangent, y))[0], cotangent

        return step

    near = near and back(_mask_step(near, near_weights))
    reversed_ = jax.tree.map(lambda leaf: leaf[::-1], (befores, (xs, start, valid), ys))
    settings = settings._replace(beyond=jnp.inf)  # a gradient has no size that it can't go beyond
    first, cotangents, _ = _solve_chunks(back(_mask_step(step, weights)), near, settings, last, reversed_)
    cotangents = jax.tree.map(lambda leaf: leaf[::-1], cotangents)

    def all_steps(weights, xs):
        return jax.vmap(_mask_step(step, weights))(befores, (xs, start, valid))

    _, pull = jax.vjp(all_steps, weights, xs)

    def scaled(leaf):  # the gradient of an integer input is of no numeric type
        return leaf * scale if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    of_weights, of_xs, of_carry = jax.tree.map(scaled, (*pull((cotangents, ys)), first))
    return of_weights, None, of_carry, of_xs, None, None


_solve_with_vjp.defvjp(_solve_forward, _solve_backward)


# ---- the iterations -------------------------------------------------------------------------------------------------


def _solve_chunks(
    step: RecurrentStep, near: RecurrentStep | None, settings: _NewtonSettings, carry: Carry, xs: Any
) -> tuple[Carry, Any, NewtonReport]:
    """`jax.lax.scan(step, carry, xs)` a chunk at a time: by Newton's method from the guess that nothing changes, and
    step by step where that fails."""
    how, most, tolerance, chunk, order, beyond = settings
    # The carry as a list of vectors: one for Newton's method, and for quasi-Newton one of each number that a unit has.
    split = jax.tree.leaves if how == "quasi" else lambda carry: [ravel_pytree(carry)[0]]
    joined = jax.tree.structure(carry).unflatten if how == "quasi" else lambda h: ravel_pytree(carry)[1](h[0])

    def linearised(h: list[Array], x: Any) -> tuple[list[Array], _JacobianBlocks]:
        """f, and the blocks of its Jacobian: how each vector of the list acts on each."""

        def after(step):
            return lambda h: split(step(joined(h), x)[0])

        if how == "full":
            return after(step)(h), jax.jacfwd(after(step))(h)
        if near is None:
            return after(step)(h), jax.tree.map(jnp.diagonal, jax.jacfwd(after(step))(h))
        _, push = jax.linearize(after(near), h)  # all units at once: what one of them does is not seen by the others
        columns = [push([jnp.full_like(leaf, i == j) for i, leaf in enumerate(h)]) for j in range(len(h))]
        return after(step)(h), [list(row) for row in zip(*columns, strict=True)]

    def one(state: tuple[Carry, NewtonReport], *xs: Any) -> tuple[tuple[Carry, NewtonReport], Any]:
        carry, report = state
        first, steps = split(carry), len(jax.tree.leaves(xs)[0])

        def going_on(loop):
            count, _, change = loop
            return (count < most) & (change > tolerance)  # which nan is not

        def iteration(loop):
            count, h, _ = loop
            after, blocks = jax.vmap(linearised)(_shift_right(first, h), xs)
            moves = _solve_linear(blocks, jax.tree.map(jnp.subtract, after, h), order)
            moved = [_clip_update(a + b, plain, beyond) for a, b, plain in zip(h, moves, after, strict=True)]
            return count + 1, moved, _max_relative_difference(moved, h)

        guess = [jnp.broadcast_to(leaf, (steps, *leaf.shape)) for leaf in first]
        count, h, change = jax.lax.while_loop(going_on, iteration, (jnp.int32(0), guess, jnp.float32(jnp.inf)))
        after, ys = jax.vmap(step)(jax.vmap(joined)(_shift_right(first, h)), xs)
        residual = _max_relative_difference(jax.vmap(split)(after), h)
        converged = change <= tolerance
        found = jax.tree.map(lambda leaf: leaf[-1], after), ys
        carry, ys = compute_if(~converged, lambda: jax.lax.scan(step, carry, xs), found)
        report = NewtonReport(
            report.iterations + count,
            report.converged & converged,
            jnp.maximum(report.residual, residual),
            report.sequential_steps + jnp.where(converged, 0, steps),
        )
        return (carry, report), ys

    none = NewtonReport(jnp.int32(0), jnp.bool_(True), jnp.float32(0), jnp.int32(0))
    (carry, report), ys = scan_chunks(one, (carry, none), xs, chunk)
    return carry, ys, report


def _shift_right(first: list[Array], h: list[Array]) -> list[Array]:
    """h_0 … h_{T−1}, of h_0 and h_1 … h_T."""
    return [jnp.concatenate([a[None], b[:-1]]) for a, b in zip(first, h, strict=True)]


def _clip_update(moved: Float[Array, "T N"], plain: Float[Array, "T N"], beyond: float) -> Float[Array, "T N"]:
    """`moved`, but where it is far larger than anything that f returned, or not finite: what f returned there."""
    return jnp.where(jnp.abs(moved) <= beyond * jnp.maximum(1, jnp.abs(plain).max()), moved, plain)


def _max_relative_difference(a: list[Array], b: list[Array]) -> Float[Array, ""]:
    """The largest |a − b| / max(1, |b|)."""
    return jnp.stack([(jnp.abs(a - b) / jnp.maximum(1, jnp.abs(b))).max() for a, b in zip(a, b, strict=True)]).max()


def compute_if(wanted: Bool[Array, ""], function: Callable[[], Any], otherwise: Any) -> Any:
    """`function()` where wanted, else `otherwise`.

    A loop of one turn or none. Vmapped, it turns if any of a batch wants it to; a vmapped `lax.cond` always runs both.
    """
    return jax.lax.while_loop(lambda loop: loop[0], lambda loop: (jnp.bool_(False), function()), (wanted, otherwise))[1]


# ---- the linear recurrence ------------------------------------------------------------------------------------------


def _solve_linear(blocks: _JacobianBlocks, r: list[Float[Array, "T N"]], scan: str) -> list[Float[Array, "T N"]]:
    """δ_t = J_t·δ_{t−1} + r_t from δ_0 = 0, of K vectors and K×K blocks.

    On a CPU, step by step: an associative scan multiplies Jacobians with each other, N times the work.
    """
    whole = blocks[0][0].ndim > r[0].ndim
    ways = {
        "sequential": partial(linear_scan_sequential, whole=whole),
        "associative": partial(linear_scan_associative, whole=whole),
    }
    if scan == "auto":
        return jax.lax.platform_dependent(blocks, r, cpu=ways["sequential"], default=ways["associative"])
    return ways[scan](blocks, r)


def linear_scan_sequential(
    blocks: _JacobianBlocks, r: list[Float[Array, "T N"]], whole: bool
) -> list[Float[Array, "T N"]]:
    def step(before: list[Array], at: tuple[list[list[Array]], list[Array]]) -> tuple[list[Array], list[Array]]:
        blocks, r = at
        after = [a + b for a, b in zip(_apply_blocks(blocks, before, whole), r, strict=True)]
        return after, after

    return jax.lax.scan(step, [jnp.zeros_like(leaf[0]) for leaf in r], (blocks, r))[1]


def linear_scan_associative(
    blocks: _JacobianBlocks, r: list[Float[Array, "T N"]], whole: bool
) -> list[Float[Array, "T N"]]:
    """Affine maps, composed as a tree (Blelloch 1990)."""

    def compose(first: tuple, then: tuple) -> tuple:
        (a, p), (b, q) = first, then
        columns = [_apply_blocks(b, list(column), whole) for column in zip(*a, strict=True)]
        product = [list(row) for row in zip(*columns, strict=True)]
        return product, [a + b for a, b in zip(_apply_blocks(b, p, whole), q, strict=True)]

    return jax.lax.associative_scan(compose, (blocks, r))[1]


def _apply_blocks(blocks: list[list[Array]], to: list[Array], whole: bool) -> list[Array]:
    """K×K blocks, diagonals unless `whole`, times a column of K vectors or K blocks."""

    def times(block: Array, x: Array) -> Array:
        if not whole:
            return block * x
        return block @ x if block.ndim == x.ndim else (block @ x[..., None])[..., 0]

    rows = [[times(block, x) for block, x in zip(row, to, strict=True)] for row in blocks]
    return [sum(row[1:], start=row[0]) for row in rows]
