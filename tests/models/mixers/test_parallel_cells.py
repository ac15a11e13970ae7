from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.mixers.parallel_cells import PARALLEL_CELLS
from tests.models.contract import assert_same, initial_params, make, noisy_params, normal, run
from tests.models.mixers.reference import sigmoid, silu

CELLS = {"paragru": 1, "paralstm": 2}  # and how many vectors they carry
SEGMENTS = np.array([[1] * 40, [0, 0, 1, 1, 0] + [2] * 20 + [0] * 3 + [3] * 12], np.int32)


def loop(name: str, params: Any, x: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs (0 at padding) and the last carry of one row, by the paper's equations in float64.

    Parameters of a short convolution and an output gate are used where there are any.
    """
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    n, taps = p["recurrent"].shape[1], p.get("kernel", np.ones((1, x.shape[1])))
    h, c, before, past, ys = np.zeros(n), np.zeros(n), 0, [], []
    for x_t, segment in zip(x.astype(np.float64), segments, strict=True):
        if segment == 0:
            ys.append(np.zeros(x.shape[1]))
            continue
        if segment != before:
            h, c, before, past = np.zeros(n), np.zeros(n), segment, []
        past = [x_t, *past]
        u_t = np.sum([w * u for w, u in zip(taps, past, strict=False)], axis=0)
        first, second, third = np.split(u_t @ p["input"]["kernel"] + p["input"]["bias"], 3)
        a = p["recurrent"]
        if name == "paragru":
            z, r = sigmoid(first + a[0] * h), sigmoid(second + a[1] * h)
            h = (1 - z) * h + z * np.tanh(third + a[2] * (h * r))
        else:
            forget = sigmoid(first + a[0] * h + p["peephole"][0] * c)
            c = forget * c + (1 - forget) * np.tanh(second + a[1] * h)
            h = sigmoid(third + a[2] * h + p["peephole"][1] * c) * np.tanh(c)
        gate = silu(x_t @ p["output_gate"]["kernel"]) if "output_gate" in p else 1
        ys.append((gate * h) @ p["output"]["kernel"] + p["output"]["bias"])
    return np.array(ys), [c, h][-CELLS[name] :]


@pytest.mark.parametrize("options", [{}, {"kernel": 3, "output_gate": True}], ids=str)
@pytest.mark.parametrize("solver", ["sequential", "newton"])
@pytest.mark.parametrize("name", CELLS)
def test_it_is_the_recurrence_of_the_paper(name: str, solver: str, options: dict[str, Any]):
    """Step by step in float64, with segments and padding, at parameters far from the first ones."""
    module, x = make(name, solver=solver, **options), normal(1, 2, SEGMENTS.shape[1], 8)
    params = jax.tree.map(lambda p: 4 * p, noisy_params(module))
    result = run(module, x, SEGMENTS, params=params)
    for row in range(len(x)):
        y, carry = loop(name, params, x[row], SEGMENTS[row])
        np.testing.assert_allclose(result["y"][row], y, atol=2e-5)
        for found, expected in zip(result["state"]["carry"].values(), carry, strict=True):
            np.testing.assert_allclose(found[row], expected, atol=2e-5)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("scale", [1, 5])
def test_newton_is_the_scan(name: str, scale: float):
    """Outputs, final state and gradients over several chunks, in few iterations, which are counted."""
    steps = 600
    module, x = make(name), normal(2, 2, steps, 8)
    segments = np.stack([np.ones(steps), 1 + np.arange(steps) // 250]).astype(np.int32)
    params = jax.tree.map(lambda p: scale * p, noisy_params(module))
    expected = run(module, x, segments, params=params)
    found = run(module.clone(solver="newton"), x, segments, params=params)
    assert_same(found, expected, "Newton's solution differs from the scan's", 2e-5)
    report = newton_report(module, params, x, segments)
    assert report.converged.all()
    assert not report.sequential_steps.any()
    assert (report.iterations >= 3).all()
    assert (report.iterations <= 3 * (8 if scale == 1 else 20)).all(), "of three chunks of at most 256 steps"


def newton_report(module: Any, params: Any, x: np.ndarray, segments: np.ndarray) -> Any:
    module = module.clone(solver="newton")
    apply = jax.jit(partial(module.apply, mutable=["intermediates"]))
    _, kept = apply(params, x, positions=np.zeros_like(segments), segments=segments)
    return kept["intermediates"]["newton"][0]


@pytest.mark.parametrize("name", CELLS)
def test_newton_converges_with_products_in_bfloat16(name: str):
    """Since nothing from step to step is in bfloat16; outputs are the scan's to a rounding of bfloat16."""
    module, x, ones = make(name, dtype=jnp.bfloat16), normal(3, 2, 60, 8), np.ones((2, 60), np.int32)
    params = noisy_params(module)
    report = newton_report(module, params, x, ones)
    assert report.converged.all()
    expected, found = (run(module.clone(solver=solver), x, ones, params=params) for solver in ("sequential", "newton"))
    np.testing.assert_allclose(found["y"].astype(float), expected["y"].astype(float), atol=0.02)
    assert_same(found["state"], expected["state"], "the state differs")


@pytest.mark.parametrize("name", CELLS)
def test_no_unit_affects_another(name: str):
    """A change of one unit's state changes nothing in the others' for ever."""
    cell = PARALLEL_CELLS[name.removeprefix("para")]
    weights = {key: jnp.asarray(normal(4, rows, 5)) for key, rows in cell.weights.items()}
    carry = {key: jnp.asarray(normal(5, 5)) for key in cell.carry_names}
    jacobian = jax.jacfwd(lambda carry: cell.step(weights, carry, jnp.asarray(normal(6, 15)))[0])(carry)
    for block in jax.tree.leaves(jacobian):
        assert np.count_nonzero(block) == np.count_nonzero(np.diag(block)) == 5


def test_the_first_gate_starts_between_half_and_a_quarter_open():
    """Its bias falls from 0 to −1 over the units, as in the authors' code; the other biases are 0."""
    bias = initial_params(make("paralstm"))["params"]["input"]["bias"]
    np.testing.assert_allclose(bias, [0, -1 / 3, -2 / 3, -1] + [0] * 8, atol=1e-6)


def test_an_unknown_solver_is_refused():
    options = models.MixerOptions("paragru", {"solver": "quasi"}, {"solver": "sequential"}, 4, {})
    with pytest.raises(ValueError, match=r"model\.paragru\.solver=quasi: must be one of sequential, newton"):
        models.mixer_class("paragru").validate(options)
