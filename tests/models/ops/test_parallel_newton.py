from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.parallel_cells import paralstm_step
from models.mixers.recurrent import RECURRENT_CELLS, Recurrence, diagonal_matvec, recurrent_matvec
from models.ops.parallel_newton import (
    NewtonReport,
    compute_if,
    linear_scan_associative,
    linear_scan_sequential,
    newton_scan,
)
from models.ops.scan import masked_scan, segment_boundaries
from tests import assert_close

N, STEPS = 4, 13
SEGMENTS = jnp.array([[1] * STEPS, [0, 2, 2, 2, 0, 2, 3, 3, 0, 4, 4, 0, 0], [0] * STEPS])
START, VALID, _ = jax.vmap(segment_boundaries)(
    SEGMENTS, jnp.array([1, 2, 3])
)  # the first rows go on with what is carried


def normal(seed: int, *shape: int, scale: float = 1.0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(0, scale, shape), jnp.float32)


def made(cell: str, scale: float = 0.5) -> tuple[Any, Any, Any]:
    """Weights, carries and drives of three rows."""
    gates = RECURRENT_CELLS[cell].num_gates * N
    weights = {"recurrent": normal(1, N, gates, scale=scale)}
    if cell == "gru":
        weights["candidate_bias"] = normal(2, N)
    return weights, {name: normal(3, 3, N) for name in RECURRENT_CELLS[cell].carry_names}, normal(4, 3, STEPS, gates)


def solve(
    cell: str, solver: str, weights: Any, carry: Any, drive: Any, **options: Any
) -> tuple[Any, Any, NewtonReport | None]:
    """The rows side by side. An LSTM's drive is also seen by its y, which a carry alone would not show."""

    def one(carry, drive, start, valid):
        step = partial(RECURRENT_CELLS[cell].step, weights)
        if solver == "sequential":
            return *masked_scan(step, carry, drive, start, valid), None
        near = partial(step, times=diagonal_matvec) if solver == "quasi" else None
        return newton_scan(
            step, carry, drive, start, valid, method="quasi" if near else "full", diagonal_step=near, **options
        )

    carry, y, report = jax.vmap(one)(carry, drive, START, VALID)
    return carry, jnp.where(VALID[..., None], y, 0), report


@partial(jax.jit, static_argnums=(0, 1), static_argnames=("max_iterations", "chunk_size", "linear_solver"))
def with_gradient(cell: str, solver: str, arrays: Any, **options: Any):
    """Carry, ys and report, and the gradient to weights, carry and drives of a function of both answers."""

    def measure(arrays):
        carry, y, report = solve(cell, solver, *arrays, **options)
        loss = sum((leaf * normal(5, *leaf.shape)).sum() for leaf in [*jax.tree.leaves(carry), y])
        return 1e4 * loss, (carry, y, report)

    (_, (carry, y, report)), gradient = jax.value_and_grad(measure, has_aux=True)(arrays)
    return (carry, y, gradient), report


@pytest.mark.parametrize("solver", ["newton", "quasi"])
@pytest.mark.parametrize(
    ("cell", "scan"), [*((cell, "sequential") for cell in RECURRENT_CELLS), ("lstm", "associative")]
)
def test_it_is_the_sequential_scan(cell: str, solver: str, scan: str):
    """Outputs, final carries and all gradients, in rows of several segments and padding, in chunks that don't fit."""
    arrays = made(cell)
    found, report = with_gradient(cell, solver, arrays, chunk_size=5, linear_solver=scan)
    expected, _ = with_gradient(cell, "sequential", arrays)
    assert_close(found, expected, within=2e-5)
    assert report is not None
    assert report.converged.all()
    assert (report.residual < 1e-5).all()
    assert not report.sequential_steps.any()
    assert report.iterations[2] <= 3 * 2, "padding alone is solved by the guess, and the next chunk too"


@pytest.mark.parametrize("scan", ["sequential", "associative"])
def test_diagonal_is_newton_and_quasi_newton_where_no_unit_affects_another(scan: str):
    """Outputs, carries and gradients of a ParaLSTM, in no more iterations."""
    weights = {"recurrent": normal(1, 3, N), "peephole": normal(2, 2, N)}
    carry, xs = {"c": normal(3, N), "h": normal(4, N)}, normal(5, STEPS, 3 * N)

    def solve(method: str, weights: Any, carry: Any, xs: Any) -> Any:
        step = partial(paralstm_step, weights)
        carry, y, report = newton_scan(
            step, carry, xs, START[1], VALID[1], method=method, chunk_size=5, linear_solver=scan
        )
        loss = (jnp.where(VALID[1, :, None], y, 0) ** 2).sum() + sum(leaf.sum() for leaf in carry.values())
        return loss, (carry, jnp.where(VALID[1, :, None], y, 0), report)

    found, full, quasi = (
        jax.jit(jax.value_and_grad(partial(solve, method), (0, 1, 2), has_aux=True))(weights, carry, xs)
        for method in ("diagonal", "full", "quasi")
    )
    for (value, (*states, report)), gradient in (full, quasi):
        assert_close((found[0][0], found[0][1][:2], found[1]), (value, tuple(states), gradient), within=2e-5)
        assert found[0][1][2].iterations <= report.iterations


@pytest.mark.parametrize(("cell", "solver"), [("gru", "newton"), ("lstm", "quasi")])
def test_where_it_does_not_converge_the_scan_runs(cell: str, solver: str):
    """And is exact, gradients too; the row of nothing but padding converges beside those that do not."""
    arrays = made(cell, scale=3.0)
    found, report = with_gradient(cell, solver, arrays, max_iterations=1)
    expected, _ = with_gradient(cell, "sequential", arrays)
    assert_close(found, expected, within=1e-5)
    assert report is not None
    assert report.converged.tolist() == [False, False, True]
    assert report.sequential_steps.tolist() == [STEPS, STEPS, 0]
    assert report.iterations.tolist() == [1, 1, 1]


def test_far_from_the_root_nothing_overflows():
    """At h = 0 each step multiplies by 30, which 300 steps make 1e443; at the root, of tanh'(30), by almost nothing."""
    step = lambda h, x: (jnp.tanh(30 * h + x), h)  # noqa: E731
    arrays = jnp.full(1, 1e-3), normal(0, 300, 1, scale=0.1), jnp.zeros(300, bool), jnp.ones(300, bool)
    for how in ("full", "quasi"):
        run = jax.jit(partial(newton_scan, step, method=how, chunk_size=300))
        (carry, y, report), pull = jax.vjp(run, *arrays)
        np.testing.assert_allclose(y, masked_scan(step, *arrays)[1], atol=1e-5)
        assert np.isfinite(pull((carry, y, jax.tree.map(np.zeros_like, report)))[0]).all()


def test_a_linear_recurrence_takes_one_iteration():
    """The first is exact, whatever the guess; the second, which has nothing to do, tells so."""
    a = normal(0, N, N, scale=0.5)
    step = lambda h, x: (a @ h + x, h)  # noqa: E731
    arrays = normal(1, N), normal(2, STEPS, N), jnp.zeros(STEPS, bool), jnp.ones(STEPS, bool)
    *_, report = jax.jit(partial(newton_scan, step, max_iterations=1))(*arrays)
    assert report.residual < 1e-6
    *found, report = jax.jit(partial(newton_scan, step))(*arrays)
    assert_close(found, list(masked_scan(step, *arrays)))
    assert (int(report.iterations), bool(report.converged)) == (2, True)


def test_a_slow_drift_is_followed():
    """Every step is within 1e-6 of holding still, which a bound on residuals would take for an answer."""
    step = lambda h, x: (h + x, h)  # noqa: E731
    arrays = jnp.zeros(1), jnp.full((2000, 1), 1e-6), jnp.zeros(2000, bool), jnp.ones(2000, bool)
    for how in ("full", "quasi"):
        carry, *_ = jax.jit(partial(newton_scan, step, method=how))(*arrays)
        np.testing.assert_allclose(carry, 2e-3, rtol=1e-3)


def test_the_residual_is_the_largest_that_is_left():
    """|f(h_{t−1}, x_t) − h_t| / max(1, |h_t|), of a solution that was stopped early."""
    step = lambda h, x: (3 * jnp.tanh(2 * h[::-1]) + x, h)  # noqa: E731
    xs, valid = normal(0, STEPS, N, scale=0.3), jnp.arange(STEPS) < STEPS - 1  # the last step, held, has none
    run = jax.jit(partial(newton_scan, step, max_iterations=4, tolerance=100.0))
    carry, y, report = run(jnp.zeros(N), xs, ~valid, valid)
    assert report.iterations == 1
    h = jnp.concatenate([y[1:], carry[None]])[:-1]  # what each step but the last ended in
    left = jnp.abs(jax.vmap(step)(y, xs)[0][:-1] - h) / jnp.maximum(1, jnp.abs(h))
    np.testing.assert_allclose(report.residual, left[:-1].max(), rtol=1e-4)
    assert report.residual > 0.1


@pytest.mark.parametrize("cell", RECURRENT_CELLS)
def test_quasi_newton_goes_by_what_a_unit_does_to_itself(cell: str):
    """`unitwise` has the values of the product and, in one sweep, the diagonals of its step's Jacobian blocks."""
    weights, carries, drives = made(cell)
    carry, drive = jax.tree.map(lambda leaf: leaf[0], carries), drives[0, 0]
    assert_close(diagonal_matvec(carry["h"], weights["recurrent"]), recurrent_matvec(carry["h"], weights["recurrent"]))
    step = lambda carry, **times: RECURRENT_CELLS[cell].step(weights, carry, drive, **times)[0]  # noqa: E731
    whole = jax.jit(jax.jacfwd(step))(carry)
    for name, one in carry.items():
        ones = jax.tree.map(jnp.zeros_like, carry) | {name: jnp.ones_like(one)}
        _, column = jax.jit(partial(jax.jvp, partial(step, times=diagonal_matvec)))((carry,), (ones,))
        assert_close(column, {to: jnp.diagonal(whole[to][name]) for to in carry})


def test_without_a_near_step_the_blocks_are_cut_out():
    weights, carries, drives = made("lstm")
    carry, step = jax.tree.map(lambda leaf: leaf[0], carries), partial(RECURRENT_CELLS["lstm"].step, weights)
    found, expected = (
        jax.jit(partial(newton_scan, step, method="quasi", diagonal_step=near))(carry, drives[0], START[0], VALID[0])
        for near in (None, partial(step, times=diagonal_matvec))
    )
    assert_close(found, expected)


@pytest.mark.parametrize("whole", [True, False])
def test_the_linear_recurrence_can_be_solved_by_halves(whole: bool):
    """Blocks that don't commute: 1×1 of whole matrices, 2×2 of diagonals."""
    vectors = 1 if whole else 2
    shape = (STEPS, N, N) if whole else (STEPS, N)
    blocks = [[normal(10 * i + j, *shape, scale=0.5) for j in range(vectors)] for i in range(vectors)]
    r = [normal(100 + i, STEPS, N) for i in range(vectors)]
    found, by_tree = (
        jax.jit(way, static_argnums=2)(blocks, r, whole) for way in (linear_scan_sequential, linear_scan_associative)
    )
    assert_close(by_tree, found)
    assert_close([leaf[0] for leaf in found], [leaf[0] for leaf in r])
    if whole:
        np.testing.assert_allclose(found[0][1], blocks[0][0][1] @ r[0][0] + r[0][1], rtol=1e-4, atol=1e-6)


def test_a_batch_that_nobody_wants_is_left_out():
    """Where lax.cond, vmapped, would compute both sides."""
    ran = []

    def one(wanted):
        def function():
            jax.debug.callback(lambda: ran.append(1))
            return jnp.float32(1)

        return compute_if(wanted, function, jnp.float32(0))

    for wanted in ([False, False], [False, True]):
        np.testing.assert_array_equal(jax.vmap(one)(jnp.array(wanted)), wanted)
        jax.effects_barrier()
        assert bool(ran) == any(wanted)


@pytest.mark.parametrize("solver", ["newton", "quasi"])
def test_a_mixer_is_the_same_whichever_way_it_is_solved(solver: str):
    """Outputs, state and the gradient of parameters; how it went is there for whoever asks."""
    x, places = normal(0, 3, STEPS, N), jnp.broadcast_to(jnp.arange(STEPS), (3, STEPS))
    module = Recurrence(cell="lstm", width=N, hidden_size=3)
    params = jax.jit(module.init)(jax.random.key(0), x, positions=places, segments=SEGMENTS)

    @partial(jax.jit, static_argnums=0)
    def run(module, params):
        def loss(params):
            (y, state), kept = module.apply(params, x, positions=places, segments=SEGMENTS, mutable=["intermediates"])
            return (jnp.where(VALID[..., None], y, 0) ** 2).sum(), (state, kept)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (expected, (state, _)), gradient = run(module, params)
    (found, (solved, kept)), solved_gradient = run(module.clone(solver=solver), params)
    assert_close((found, solved, solved_gradient), (expected, state, gradient))
    (report,) = kept["intermediates"]["newton"]
    assert report.converged.tolist() == [True] * 3


def test_what_does_not_exist_is_refused():
    arrays = jnp.zeros(N), jnp.zeros((STEPS, N)), jnp.zeros(STEPS, bool), jnp.ones(STEPS, bool)
    with pytest.raises(ValueError, match="method=half: must be one of full, quasi"):
        newton_scan(lambda h, x: (h, x), *arrays, method="half")
    with pytest.raises(ValueError, match="linear_solver=chunked: must be one of auto, associative, sequential"):
        newton_scan(lambda h, x: (h, x), *arrays, linear_solver="chunked")
