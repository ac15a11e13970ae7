"""A non-linear recurrence for all its steps at once, by Newton's method on the whole sequence.

The sequence with h_t = f(h_{t−1}, x_t) is the root of r_t(h) = f(h_{t−1}, x_t) − h_t. From a guess of all steps,
Newton's method goes on to h + δ, where δ solves r linearised about h, which is a linear recurrence:

    δ_t = J_t·δ_{t−1} + r_t,   J_t = ∂f/∂h at (h_{t−1}, x_t),   δ_0 = 0.

An associative scan solves it in about 2·log₂T parallel steps of N×N products (DEER: Lim et al. 2024, arXiv
2309.12252). Quasi-Newton keeps only how a unit acts on itself, which costs T·N in place of T·N³ and takes more
iterations. Gonzalez et al. 2024 (arXiv 2407.19115) keep the diagonal of J; here an LSTM's unit, whose c and h act on
each other, keeps its 2×2 block, which took a third fewer iterations where both converged. Whatever J is, the root is
the same, and every iteration makes one step more of the sequence exact.

Where a chunk of the sequence does not converge it is run step by step: the answer is right in any case, and a `Report`
says which it was.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from models.ops.scan import Carry, in_chunks

Step = Callable[[Carry, Any], tuple[Carry, Any]]
Blocks = list[list[Float[Array, "..."]]]  # K×K of a Jacobian, [N, N] each or, where units act on themselves alone, [N]

# The change at which iterations end. It tells of errors, which a residual does not: on a slow drift, 1e-6 a step adds
# up. What is left to change is about the square of it for Newton's method, and for quasi-Newton a part of it.
TOLERANCES = {"full": 1e-5, "quasi": 3e-6}
# How many times larger than the largest that f returns a guess may be: far from the root, products of Jacobians
# overflow within a few hundred steps, and what they then say is worth nothing.
BEYOND = 10.0


class Report(NamedTuple):
    """How a sequence was solved.

    The `iterations` of all its chunks together; whether every chunk `converged`; the largest `residual`, which is
    |f(h_{t−1}, x_t) − h_t| / max(1, |h_t|), that iterations ended with; and how many steps were `sequential`, run one
    by one because their chunk did not converge.
    """

    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    residual: Float[Array, ""]
    sequential: Int[Array, ""]


class Settings(NamedTuple):
    """What `newton` was asked for, as its gradient needs it again."""

    how: str
    iterations: int
    tolerance: float
    chunk: int
    scan: str
    beyond: float = BEYOND


def newton(
    step: Step,
    carry: Carry,
    xs: Any,
    start: Bool[Array, "T"],
    valid: Bool[Array, "T"],
    *,
    how: str = "full",
    near: Step | None = None,
    iterations: int = 50,
    tolerance: float | None = None,
    chunk: int = 256,
    scan: str = "auto",
) -> tuple[Carry, Any, Report]:
    """What `scan.sequential(step, carry, xs, start, valid)` returns, with its gradients, and a report.

    Each `chunk` starts where the one before ended and takes at most so many `iterations`, until no element changes by
    more than `tolerance`, relative to those above 1. (A trained LSTM converged in chunks where 4096 steps at once did
    not, and on two cores chunks took less time; the whole, where it converges, has far fewer iterations to take one
    after another.) The carry is a tree of real arrays. For "quasi" these are all [N], one number a unit, and `near` is
    a step with the values of `step` in whose derivative a unit acts on itself alone; without one, whole Jacobians are
    formed and most of them thrown away. `scan` says how linear recurrences are solved: "associative", "sequential", or
    "auto", which is sequential on a CPU, as in `scan.affine`. Gradients are those of reverse mode, once.
    """
    if how not in TOLERANCES:
        raise ValueError(f"how={how}: must be one of {', '.join(TOLERANCES)}")
    if scan not in ("auto", "associative", "sequential"):
        raise ValueError(f"scan={scan}: must be one of auto, associative, sequential")
    settings = Settings(how, iterations, TOLERANCES[how] if tolerance is None else tolerance, chunk, scan)
    x = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), xs)
    step, weights = jax.closure_convert(step, carry, x)  # what a step closes over has gradients too
    near, near_weights = jax.closure_convert(near, carry, x) if near else (None, [])
    return solved(step, near, settings, weights, near_weights, carry, xs, start, valid)


def masked(step: Callable, weights: Any) -> Step:
    """The step that zeroes the carry at a start and holds it where not valid, as in `scan.sequential`."""

    def over(carry, inputs):
        x, start, valid = inputs
        before = jax.tree.map(lambda c: jnp.where(start, 0, c), carry)
        after, y = step(before, x, *weights)
        return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, before), y

    return over


# ---- the answer, and its gradient -----------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def solved(step: Callable, near: Callable | None, settings: Settings, *arrays: Any) -> tuple[Carry, Any, Report]:
    return forward(step, near, settings, *arrays)[0]


def forward(step, near, settings, weights, near_weights, carry, xs, start, valid):
    """The answer, and what the gradient needs of it: the trajectory, but no Jacobian."""
    run = masked(step, weights)

    def remembering(carry, inputs):
        after, y = run(carry, inputs)
        return after, (carry, y)

    near = near and masked(near, near_weights)
    carry, (befores, ys), report = solve(remembering, near, settings, carry, (xs, start, valid))
    return (carry, ys, report), (weights, near_weights, befores, xs, start, valid)


def backward(step, near, settings, kept, cotangents):
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

    near = near and back(masked(near, near_weights))
    reversed_ = jax.tree.map(lambda leaf: leaf[::-1], (befores, (xs, start, valid), ys))
    settings = settings._replace(beyond=jnp.inf)  # a gradient has no size that it can't go beyond
    first, cotangents, _ = solve(back(masked(step, weights)), near, settings, last, reversed_)
    cotangents = jax.tree.map(lambda leaf: leaf[::-1], cotangents)

    def all_steps(weights, xs):
        return jax.vmap(masked(step, weights))(befores, (xs, start, valid))

    _, pull = jax.vjp(all_steps, weights, xs)

    def scaled(leaf):  # the gradient of an integer input is of no numeric type
        return leaf * scale if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    of_weights, of_xs, of_carry = jax.tree.map(scaled, (*pull((cotangents, ys)), first))
    return of_weights, None, of_carry, of_xs, None, None


solved.defvjp(forward, backward)


# ---- the iterations -------------------------------------------------------------------------------------------------


def solve(step: Step, near: Step | None, settings: Settings, carry: Carry, xs: Any) -> tuple[Carry, Any, Report]:
    """`jax.lax.scan(step, carry, xs)` a chunk at a time: by Newton's method from the guess that nothing changes, and
    step by step where that fails."""
    how, most, tolerance, chunk, order, beyond = settings
    # The carry as a list of vectors: one for Newton's method, and for quasi-Newton one of each number that a unit has.
    split = jax.tree.leaves if how == "quasi" else lambda carry: [ravel_pytree(carry)[0]]
    joined = jax.tree.structure(carry).unflatten if how == "quasi" else lambda h: ravel_pytree(carry)[1](h[0])

    def linearised(h: list[Array], x: Any) -> tuple[list[Array], Blocks]:
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

    def one(state: tuple[Carry, Report], *xs: Any) -> tuple[tuple[Carry, Report], Any]:
        carry, report = state
        first, steps = split(carry), len(jax.tree.leaves(xs)[0])

        def going_on(loop):
            count, _, change = loop
            return (count < most) & (change > tolerance)  # which nan is not

        def iteration(loop):
            count, h, _ = loop
            after, blocks = jax.vmap(linearised)(shifted(first, h), xs)
            moves = linear(blocks, jax.tree.map(jnp.subtract, after, h), order)
            moved = [bounded(a + b, plain, beyond) for a, b, plain in zip(h, moves, after, strict=True)]
            return count + 1, moved, distance(moved, h)

        guess = [jnp.broadcast_to(leaf, (steps, *leaf.shape)) for leaf in first]
        count, h, change = jax.lax.while_loop(going_on, iteration, (jnp.int32(0), guess, jnp.float32(jnp.inf)))
        after, ys = jax.vmap(step)(jax.vmap(joined)(shifted(first, h)), xs)
        residual = distance(jax.vmap(split)(after), h)
        converged = change <= tolerance
        found = jax.tree.map(lambda leaf: leaf[-1], after), ys
        carry, ys = only_if(~converged, lambda: jax.lax.scan(step, carry, xs), found)
        report = Report(
            report.iterations + count,
            report.converged & converged,
            jnp.maximum(report.residual, residual),
            report.sequential + jnp.where(converged, 0, steps),
        )
        return (carry, report), ys

    none = Report(jnp.int32(0), jnp.bool_(True), jnp.float32(0), jnp.int32(0))
    (carry, report), ys = in_chunks(one, (carry, none), xs, chunk)
    return carry, ys, report


def shifted(first: list[Array], h: list[Array]) -> list[Array]:
    """h_0 … h_{T−1}, of h_0 and h_1 … h_T."""
    return [jnp.concatenate([a[None], b[:-1]]) for a, b in zip(first, h, strict=True)]


def bounded(moved: Float[Array, "T N"], plain: Float[Array, "T N"], beyond: float) -> Float[Array, "T N"]:
    """`moved`, but where it is far larger than anything that f returned, or not finite: what f returned there."""
    return jnp.where(jnp.abs(moved) <= beyond * jnp.maximum(1, jnp.abs(plain).max()), moved, plain)


def distance(a: list[Array], b: list[Array]) -> Float[Array, ""]:
    """The largest |a − b| / max(1, |b|)."""
    return jnp.stack([(jnp.abs(a - b) / jnp.maximum(1, jnp.abs(b))).max() for a, b in zip(a, b, strict=True)]).max()


def only_if(wanted: Bool[Array, ""], function: Callable[[], Any], otherwise: Any) -> Any:
    """`function()` where wanted, else `otherwise`.

    A loop of one turn or none. Vmapped, it turns if any of a batch wants it to; a vmapped `lax.cond` always runs both.
    """
    return jax.lax.while_loop(lambda loop: loop[0], lambda loop: (jnp.bool_(False), function()), (wanted, otherwise))[1]


# ---- the linear recurrence ------------------------------------------------------------------------------------------


def linear(blocks: Blocks, r: list[Float[Array, "T N"]], scan: str) -> list[Float[Array, "T N"]]:
    """δ_t = J_t·δ_{t−1} + r_t from δ_0 = 0, of K vectors and K×K blocks.

    On a CPU, step by step: an associative scan multiplies Jacobians with each other, N times the work.
    """
    whole = blocks[0][0].ndim > r[0].ndim
    ways = {"sequential": partial(step_by_step, whole=whole), "associative": partial(as_tree, whole=whole)}
    if scan == "auto":
        return jax.lax.platform_dependent(blocks, r, cpu=ways["sequential"], default=ways["associative"])
    return ways[scan](blocks, r)


def step_by_step(blocks: Blocks, r: list[Float[Array, "T N"]], whole: bool) -> list[Float[Array, "T N"]]:
    def step(before: list[Array], at: tuple[list[list[Array]], list[Array]]) -> tuple[list[Array], list[Array]]:
        blocks, r = at
        after = [a + b for a, b in zip(applied(blocks, before, whole), r, strict=True)]
        return after, after

    return jax.lax.scan(step, [jnp.zeros_like(leaf[0]) for leaf in r], (blocks, r))[1]


def as_tree(blocks: Blocks, r: list[Float[Array, "T N"]], whole: bool) -> list[Float[Array, "T N"]]:
    """Affine maps, composed as a tree (Blelloch 1990)."""

    def compose(first: tuple, then: tuple) -> tuple:
        (a, p), (b, q) = first, then
        columns = [applied(b, list(column), whole) for column in zip(*a, strict=True)]
        product = [list(row) for row in zip(*columns, strict=True)]
        return product, [a + b for a, b in zip(applied(b, p, whole), q, strict=True)]

    return jax.lax.associative_scan(compose, (blocks, r))[1]


def applied(blocks: list[list[Array]], to: list[Array], whole: bool) -> list[Array]:
    """K×K blocks, diagonals unless `whole`, times a column of K vectors or K blocks."""

    def times(block: Array, x: Array) -> Array:
        if not whole:
            return block * x
        return block @ x if block.ndim == x.ndim else (block @ x[..., None])[..., 0]

    rows = [[times(block, x) for block, x in zip(row, to, strict=True)] for row in blocks]
    return [sum(row[1:], start=row[0]) for row in rows]
