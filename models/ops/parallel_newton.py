"""A non-linear recurrence solved for all steps at once, by Newton's method on the whole sequence.

The sequence with h_t = f(h_{t−1}, x_t) is the root of r_t(h) = f(h_{t−1}, x_t) − h_t. From a guess of all steps,
Newton's method moves to h + δ, where δ solves r linearized about h, which is a linear recurrence:

    δ_t = J_t·δ_{t−1} + r_t,   J_t = ∂f/∂h at (h_{t−1}, x_t),   δ_0 = 0.

An associative scan solves it in about 2·log₂T parallel steps of N×N products (DEER: Lim et al. 2024, arXiv 2309.12252).
Quasi-Newton only keeps each unit's effect on itself, which costs T·N instead of T·N³ and takes more iterations.
Gonzalez et al. 2024 (arXiv 2407.19115) keep the diagonal of J; here a unit of an LSTM keeps the 2×2 block of its c and
h, which took a third fewer iterations where both converged. The root is the same for any J, and each iteration makes at
least one more step of the sequence exact.

Where no unit affects another ("diagonal": Danieli et al. 2025, arXiv 2510.21450), these blocks are all of J, so that
Newton's method itself costs T·N.

A chunk of the sequence that does not converge is scanned step by step, so that the result is right in any case; a
`NewtonReport` says which chunks were.
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
_JacobianBlocks = list[list[Float[Array, "..."]]]  # K×K blocks of a Jacobian: [N, N] each, or their diagonals [N]

# Iterations stop when no element changes by more than this. A small change bounds the error, which a small residual
# does not: in a slow drift, residuals of 1e-6 per step add up. The error left is about the square of the change for
# Newton's method, and a fraction of it for quasi-Newton.
_TOLERANCES = {"full": 1e-5, "quasi": 3e-6, "diagonal": 1e-5}
# A guess may be this many times larger than the largest value of f. Far from the root, products of Jacobians overflow
# within a few hundred steps, and their updates are worthless.
_TRUST_REGION = 10.0
CHUNK_SIZE = 256  # steps solved at once


class NewtonReport(NamedTuple):
    """How a sequence was solved."""

    iterations: Int[Array, ""]  # of all chunks together
    converged: Bool[Array, ""]  # every chunk
    residual: Float[Array, ""]  # the largest |f(h_{t−1}, x_t) − h_t| / max(1, |h_t|) after the last iteration
    sequential_steps: Int[Array, ""]  # scanned one by one, since their chunk did not converge


class _NewtonSettings(NamedTuple):
    """The arguments of `newton_scan`, which its gradient needs again."""

    method: str
    max_iterations: int
    tolerance: float
    chunk_size: int
    linear_solver: str
    trust_region: float = _TRUST_REGION


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
    chunk_size: int = CHUNK_SIZE,
    linear_solver: str = "auto",
) -> tuple[Carry, Any, NewtonReport]:
    """`scan.masked_scan(step, carry, xs, start, valid)` by Newton's method: final carry, ys and a report.

    Chunks of `chunk_size` steps are solved one after another, each in at most `max_iterations`, until no element
    changes by more than `tolerance`, relative to those above 1. (A trained LSTM converged in chunks where 4096 steps at
    once did not, and on two cores chunks were faster; a whole sequence that converges takes far fewer iterations in a
    row.)

    `method` is "full", "quasi" or "diagonal". The carry is a tree of real arrays; but for "full" they are all [N]. For
    "quasi", `diagonal_step` is a step with the values of `step` whose derivative keeps each unit's effect on itself
    alone; without it, full Jacobians are computed and mostly discarded. For "diagonal", no unit of `step` may affect
    another; the gradient then takes a single linear recurrence, and no bit of a step depends on later ones where all
    converge. `linear_solver` solves the linear recurrences: "associative", "sequential", or "auto", which is sequential
    on a CPU, as in `scan.linear_scan`. Reverse-mode gradients, once.
    """
    if method not in _TOLERANCES:
        raise ValueError(f"method={method}: must be one of {', '.join(_TOLERANCES)}")
    if linear_solver not in ("auto", "associative", "sequential"):
        raise ValueError(f"linear_solver={linear_solver}: must be one of auto, associative, sequential")
    settings = _NewtonSettings(
        method, max_iterations, _TOLERANCES[method] if tolerance is None else tolerance, chunk_size, linear_solver
    )
    x = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), xs)
    step, weights = jax.closure_convert(step, carry, x)  # the arrays that a step closes over have gradients too
    diagonal_step, diagonal_weights = jax.closure_convert(diagonal_step, carry, x) if diagonal_step else (None, [])
    return _solve_with_vjp(step, diagonal_step, settings, weights, diagonal_weights, carry, xs, start, valid)


def _mask_step(step: Callable, weights: Any) -> RecurrentStep:
    """The step that zeroes the carry before a start and holds it where not valid, as in `scan.masked_scan`."""

    def masked_step(carry, inputs):
        x, start, valid = inputs
        before = jax.tree.map(lambda c: jnp.where(start, 0, c), carry)
        after, y = step(before, x, *weights)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before), y

    return masked_step


# ---- the solution, and its gradient ---------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _solve_with_vjp(
    step: Callable, near: Callable | None, settings: _NewtonSettings, *arrays: Any
) -> tuple[Carry, Any, NewtonReport]:
    return _solve_forward(step, near, settings, *arrays)[0]


def _solve_forward(step, near, settings, weights, diagonal_weights, carry, xs, start, valid):
    """The solution and the residuals of its gradient: the trajectory, but no Jacobian."""
    run = _mask_step(step, weights)

    def step_and_save(carry, inputs):
        after, y = run(carry, inputs)
        return after, (carry, y)

    near = near and _mask_step(near, diagonal_weights)
    carry, (befores, ys), report = _solve_chunks(step_and_save, near, settings, carry, (xs, start, valid))
    return (carry, ys, report), (weights, diagonal_weights, befores, xs, start, valid)


def _solve_backward(step, near, settings, residuals, cotangents):
    """Backpropagation through time is a linear recurrence in reversed time, and is solved the same way."""
    weights, diagonal_weights, befores, xs, start, valid = residuals
    last, ys, _ = cotangents
    largest = jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves((last, ys))]).max()
    scale = jnp.where(largest > 0, largest, 1)  # the tolerance must not depend on the scale of the loss
    last, ys = jax.tree.map(lambda leaf: leaf / scale, (last, ys))

    def backward_step(run):
        def step(cotangent, at):
            before, inputs, y = at
            _, pull = jax.vjp(lambda before: run(before, inputs), before)
            return pull((cotangent, y))[0], cotangent

        return step

    near = near and backward_step(_mask_step(near, diagonal_weights))
    if settings.method == "diagonal":
        run = _mask_step(step, weights)
        first, cotangents = _backpropagate_units(run, befores, (xs, start, valid), last, ys, settings.linear_solver)
    else:
        reversed_ = jax.tree.map(lambda leaf: leaf[::-1], (befores, (xs, start, valid), ys))
        settings = settings._replace(trust_region=jnp.inf)  # gradients have no natural size
        first, cotangents, _ = _solve_chunks(backward_step(_mask_step(step, weights)), near, settings, last, reversed_)
        cotangents = jax.tree.map(lambda leaf: leaf[::-1], cotangents)

    def all_steps(weights, xs):
        return jax.vmap(_mask_step(step, weights))(befores, (xs, start, valid))

    _, pull = jax.vjp(all_steps, weights, xs)

    def rescale(leaf):  # the gradient of an integer input has no numeric type
        return leaf * scale if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    d_weights, d_xs, d_carry = jax.tree.map(rescale, (*pull((cotangents, ys)), first))
    return d_weights, None, d_carry, d_xs, None, None


_solve_with_vjp.defvjp(_solve_forward, _solve_backward)


def _backpropagate_units(
    run: RecurrentStep, befores: Carry, inputs: Any, last: Carry, ys: Any, linear_solver: str
) -> tuple[Carry, Carry]:
    """The cotangents λ of the first carry, and of the carry after each step, where no unit affects another.

    λ_{t−1} = J_tᵀ·λ_t + (∂y_t/∂h_{t−1})ᵀ·ȳ_t from the last λ, with the blocks J_t at the known trajectory.
    """
    join = jax.tree.structure(last).unflatten

    def linearize(before: Carry, inputs: Any, y: Any) -> tuple[_JacobianBlocks, list[Array]]:
        blocks = _linearize_units(lambda h: jax.tree.leaves(run(join(h), inputs)[0]), jax.tree.leaves(before))[1]
        _, pull = jax.vjp(lambda before: run(before, inputs)[1], before)
        return [list(column) for column in zip(*blocks, strict=True)], jax.tree.leaves(pull(y)[0])

    blocks, r = jax.tree.map(lambda leaf: leaf[::-1], jax.vmap(linearize)(befores, inputs, ys))
    ends = _apply_blocks(jax.tree.map(lambda leaf: leaf[0], blocks), jax.tree.leaves(last), whole=False)
    r = [leaf.at[0].add(end) for leaf, end in zip(r, ends, strict=True)]
    earlier = [leaf[::-1] for leaf in _solve_linear(blocks, r, linear_solver)]
    after = [jnp.concatenate([a[1:], b[None]]) for a, b in zip(earlier, jax.tree.leaves(last), strict=True)]
    return join([leaf[0] for leaf in earlier]), join(after)


def _linearize_units(
    f: Callable[[list[Array]], list[Array]], h: list[Float[Array, "N"]]
) -> tuple[list[Float[Array, "N"]], _JacobianBlocks]:
    """f(h), and the diagonals of the blocks of its Jacobian: for all units at once, since none affects another."""
    after, push = jax.linearize(f, h)
    columns = [push([jnp.full_like(leaf, i == j) for i, leaf in enumerate(h)]) for j in range(len(h))]
    return after, [list(row) for row in zip(*columns, strict=True)]


# ---- the iterations -------------------------------------------------------------------------------------------------


def _solve_chunks(
    step: RecurrentStep, near: RecurrentStep | None, settings: _NewtonSettings, carry: Carry, xs: Any
) -> tuple[Carry, Any, NewtonReport]:
    """`jax.lax.scan(step, carry, xs)` chunk by chunk: by Newton's method from a constant guess, and step by step where
    that does not converge."""
    whole, tolerance = settings.method == "full", settings.tolerance
    # The carry as a list of vectors: a single one for a whole Jacobian, and one of each leaf for blocks of it.
    split = (lambda carry: [ravel_pytree(carry)[0]]) if whole else jax.tree.leaves
    join = (lambda h: ravel_pytree(carry)[1](h[0])) if whole else jax.tree.structure(carry).unflatten

    def linearize(h: list[Array], x: Any) -> tuple[list[Array], _JacobianBlocks]:
        """f, and the blocks of its Jacobian: the derivative of each vector of the list by each."""

        def next_carry(step):
            return lambda h: split(step(join(h), x)[0])

        if settings.method == "diagonal":
            return _linearize_units(next_carry(step), h)
        if whole:
            return next_carry(step)(h), jax.jacfwd(next_carry(step))(h)
        if near is None:
            return next_carry(step)(h), jax.tree.map(jnp.diagonal, jax.jacfwd(next_carry(step))(h))
        return next_carry(step)(h), _linearize_units(next_carry(near), h)[1]

    def solve_chunk(state: tuple[Carry, NewtonReport], *xs: Any) -> tuple[tuple[Carry, NewtonReport], Any]:
        carry, report = state
        first, steps = split(carry), len(jax.tree.leaves(xs)[0])

        def has_not_converged(loop):
            count, _, change = loop
            return (count < settings.max_iterations) & (change.max() > tolerance)  # nan is not, and stops too

        def iterate(loop):
            count, h, change = loop
            after, blocks = jax.vmap(linearize)(_shift_right(first, h), xs)
            updates = _solve_linear(blocks, jax.tree.map(jnp.subtract, after, h), settings.linear_solver)
            updated = [_clip_update(a + b, f, settings.trust_region) for a, b, f in zip(h, updates, after, strict=True)]
            if settings.method == "diagonal":  # no bit of a step depends on how long later ones take
                left = jnp.arange(steps) >= jnp.argmax(change > tolerance)
                updated = [jnp.where(left[:, None], a, b) for a, b in zip(updated, h, strict=True)]
            return count + 1, updated, _relative_differences(updated, h)

        guess = [jnp.broadcast_to(leaf, (steps, *leaf.shape)) for leaf in first]
        loop = jnp.int32(0), guess, jnp.full(steps, jnp.inf)
        count, h, change = jax.lax.while_loop(has_not_converged, iterate, loop)
        after, ys = jax.vmap(step)(jax.vmap(join)(_shift_right(first, h)), xs)
        residual = _relative_differences(jax.vmap(split)(after), h).max()
        converged = change.max() <= tolerance
        solution = jax.tree.map(lambda leaf: leaf[-1], after), ys
        carry, ys = compute_if(~converged, lambda: jax.lax.scan(step, carry, xs), solution)
        report = NewtonReport(
            report.iterations + count,
            report.converged & converged,
            jnp.maximum(report.residual, residual),
            report.sequential_steps + jnp.where(converged, 0, steps),
        )
        return (carry, report), ys

    empty_report = NewtonReport(jnp.int32(0), jnp.bool_(True), jnp.float32(0), jnp.int32(0))
    (carry, report), ys = scan_chunks(solve_chunk, (carry, empty_report), xs, settings.chunk_size)
    return carry, ys, report


def _shift_right(first: list[Array], h: list[Array]) -> list[Array]:
    """h_0 … h_{T−1}, given h_0 and h_1 … h_T."""
    return [jnp.concatenate([a[None], b[:-1]]) for a, b in zip(first, h, strict=True)]


def _clip_update(updated: Float[Array, "T N"], f: Float[Array, "T N"], trust_region: float) -> Float[Array, "T N"]:
    """Clip Newton's update: entries beyond `trust_region` × max|f(h)|, or not finite, are replaced by f(h)."""
    return jnp.where(jnp.abs(updated) <= trust_region * jnp.maximum(1, jnp.abs(f).max()), updated, f)


def _relative_differences(a: list[Float[Array, "T N"]], b: list[Float[Array, "T N"]]) -> Float[Array, "T"]:
    """The largest |a − b| / max(1, |b|) of each step."""
    largest = [(jnp.abs(a - b) / jnp.maximum(1, jnp.abs(b))).max(axis=-1) for a, b in zip(a, b, strict=True)]
    return jnp.stack(largest).max(axis=0)


def compute_if(wanted: Bool[Array, ""], function: Callable[[], Any], otherwise: Any) -> Any:
    """`function()` if `wanted`, else `otherwise`: a loop of one iteration or none.

    Vmapped, it runs if any row of the batch wants it to; a vmapped `lax.cond` would always compute both branches.
    """
    return jax.lax.while_loop(lambda loop: loop[0], lambda loop: (jnp.bool_(False), function()), (wanted, otherwise))[1]


# ---- the linear recurrence ------------------------------------------------------------------------------------------


def _solve_linear(blocks: _JacobianBlocks, r: list[Float[Array, "T N"]], solver: str) -> list[Float[Array, "T N"]]:
    """Solve δ_t = J_t·δ_{t−1} + r_t from δ_0 = 0, with K vectors and K×K blocks.

    "auto" is sequential on a CPU: an associative scan multiplies Jacobians with each other, which is N times the work.
    """
    whole = blocks[0][0].ndim > r[0].ndim
    solvers = {
        "sequential": partial(linear_scan_sequential, whole=whole),
        "associative": partial(linear_scan_associative, whole=whole),
    }
    if solver == "auto":
        return jax.lax.platform_dependent(blocks, r, cpu=solvers["sequential"], default=solvers["associative"])
    return solvers[solver](blocks, r)


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
    """The same by composing affine maps in a tree (Blelloch 1990)."""

    def compose(first: tuple, then: tuple) -> tuple:
        (a, p), (b, q) = first, then
        columns = [_apply_blocks(b, list(column), whole) for column in zip(*a, strict=True)]
        product = [list(row) for row in zip(*columns, strict=True)]
        return product, [a + b for a, b in zip(_apply_blocks(b, p, whole), q, strict=True)]

    return jax.lax.associative_scan(compose, (blocks, r))[1]


def _apply_blocks(blocks: list[list[Array]], to: list[Array], whole: bool) -> list[Array]:
    """Multiply K×K blocks (diagonals unless `whole`) with a column of K vectors or K blocks."""

    def times(block: Array, x: Array) -> Array:
        if not whole:
            return block * x
        return block @ x if block.ndim == x.ndim else (block @ x[..., None])[..., 0]

    rows = [[times(block, x) for block, x in zip(row, to, strict=True)] for row in blocks]
    return [sum(row[1:], start=row[0]) for row in rows]
