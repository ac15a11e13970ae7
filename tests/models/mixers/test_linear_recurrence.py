from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from models.mixers.linear_recurrence import (
    LRU,
    RGLRU,
    lru_coefficients,
    mingru_coefficients,
    minlstm_coefficients,
    rglru_coefficients,
)
from models.ops.scan import linear_scan

N, STEPS = 4, 9
random = np.random.default_rng(0)
NEW, REAL = jnp.zeros(STEPS, bool), jnp.ones(STEPS, bool)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@jax.jit
def scanned(a, b):
    return linear_scan(jnp.asarray(a), jnp.asarray(b), jnp.zeros(b.shape[1:], b.dtype), NEW, REAL)


def test_mingru_is_its_definition():
    z, c = random.normal(size=(2, STEPS, N))
    h, expected = np.zeros(N), []
    for t in range(STEPS):
        h = (1 - sigmoid(z[t])) * h + sigmoid(z[t]) * c[t]
        expected.append(h)
    np.testing.assert_allclose(scanned(*mingru_coefficients(jnp.concatenate([z, c], axis=1))), expected, atol=1e-5)


def test_minlstm_is_its_definition():
    f, i, c = random.normal(size=(3, STEPS, N))
    h, expected = np.zeros(N), []
    for t in range(STEPS):
        both = sigmoid(f[t]) + sigmoid(i[t])
        h = sigmoid(f[t]) / both * h + sigmoid(i[t]) / both * c[t]
        expected.append(h)
    np.testing.assert_allclose(scanned(*minlstm_coefficients(jnp.concatenate([f, i, c], axis=1))), expected, atol=1e-5)


def test_minlstm_with_both_gates_shut_is_still_a_mean():
    """σ(f) + σ(i) = 0 in float32 at −200, where the plain quotient would be nan."""
    a, b = minlstm_coefficients(jnp.array([[-200.0, -200.0, 1.0]]))
    np.testing.assert_allclose([a[0, 0], b[0, 0]], 0.5)


def test_lru_is_its_definition():
    drive = random.normal(size=(STEPS, N)) + 1j * random.normal(size=(STEPS, N))
    decay, phase = random.normal(size=(2, N))
    eigenvalue = np.exp(-np.exp(decay) + 1j * np.exp(phase))
    h, expected = np.zeros(N, complex), []
    for t in range(STEPS):
        h = eigenvalue * h + np.sqrt(1 - np.abs(eigenvalue) ** 2) * drive[t]
        expected.append(h)
    a, b = lru_coefficients(jnp.asarray(drive, jnp.complex64), jnp.asarray(decay), jnp.asarray(phase))
    np.testing.assert_allclose(scanned(jnp.broadcast_to(a, b.shape), b), expected, atol=1e-5)


def test_rg_lru_is_its_definition():
    x, r, i = random.normal(size=(3, STEPS, N))
    decay = random.normal(size=N)
    h, expected = np.zeros(N), []
    for t in range(STEPS):
        a = sigmoid(-decay) ** (8 * sigmoid(r[t]))  # 1 − σ(decay) = exp(−softplus(decay))
        h = a * h + np.sqrt(1 - a**2) * sigmoid(i[t]) * x[t]
        expected.append(h)
    np.testing.assert_allclose(scanned(*rglru_coefficients(*map(jnp.asarray, (x, r, i, decay)))), expected, atol=1e-5)


def test_the_rg_lru_s_first_token_scaled_or_whole():
    """The module as a stack of plain loops, in rows with two segments: with the root at each segment's start, and
    without, which is all that the option changes."""
    x = random.normal(size=(1, STEPS, 3)).astype(np.float32)
    places, segments = jnp.arange(STEPS)[None], jnp.array([[1] * 5 + [2] * 4])

    def run(scale_first: bool) -> tuple[Any, Any]:
        module = RGLRU(width=3, hidden_size=N, kernel=1, scale_first=scale_first)
        given = {"positions": places, "segments": segments}
        (y, _), params = jax.jit(partial(module.init_with_output, **given))(jax.random.key(1), x)
        return y[0], jax.tree.map(np.asarray, params["params"])

    for scale_first in (True, False):
        found, own = run(scale_first)
        gate, u = (x[0] @ own[name]["kernel"] + own[name]["bias"] for name in ("gate", "input"))
        u = u * own["kernel"][0]
        r, i = np.split(sigmoid(u @ own["gates"]["kernel"] + own["gates"]["bias"]), 2, axis=1)
        h, expected = np.zeros(N), []
        for t in range(STEPS):
            start = t in (0, 5)
            a = sigmoid(-own["decay"]) ** (8 * r[t])
            root = np.sqrt(1 - a**2) if scale_first or not start else 1
            h = (0 if start else a * h) + root * i[t] * u[t]
            expected.append(h)
        joined = np.array(expected) * np.asarray(jax.nn.gelu(gate))
        np.testing.assert_allclose(found, joined @ own["output"]["kernel"] + own["output"]["bias"], atol=1e-5)
    assert RGLRU(width=3, hidden_size=N).scale_first  # the paper's


numbers = st.lists(st.floats(-20, 20, width=32), min_size=STEPS * N, max_size=STEPS * N)


@settings(deadline=None)  # the first example compiles
@given(numbers, numbers)
def test_a_positive_diagonal_can_not_flip_a_sign(gates: list[float], more: list[float]):
    """Without input, what the state holds keeps its sign and never grows, whatever the gates say (Grazzi 2024)."""
    z, other = (np.array(values, np.float32).reshape(STEPS, N) for values in (gates, more))
    for a, _ in (
        mingru_coefficients(jnp.concatenate([z, other], axis=1)),
        minlstm_coefficients(jnp.concatenate([z, other, z], axis=1)),
        rglru_coefficients(*map(jnp.asarray, (z, other, z, z[0]))),
    ):
        assert ((np.asarray(a) >= 0) & (np.asarray(a) <= 1)).all()


def test_the_rg_lru_with_its_gate_shut_has_a_gradient():
    """It holds what it had; with r far below zero, 1 − a² is 0, of which a root has no derivative."""
    x, decay = jnp.ones((3, 2)), jnp.zeros(2)
    r = jnp.array([[-200.0, -90.0], [-50.0, -20.0], [0.0, 5.0]])
    gradients = jax.grad(lambda *args: sum(map(jnp.sum, rglru_coefficients(*args))), (0, 1, 2, 3))(x, r, x, decay)
    assert all(np.isfinite(one).all() for one in gradients)
    a, b = rglru_coefficients(x, r, x, decay)
    np.testing.assert_array_equal(a[0], 1)
    assert np.abs(b[0]).max() < 1e-5


def test_the_lru_starts_on_its_ring():
    """|a| between `smallest` and `largest`, the angle within `phase`, and evenly over the ring's area."""
    places = jnp.zeros((1, 1), jnp.int32)
    module = LRU(width=2, hidden_size=4000, min_radius=0.6, max_radius=0.9, max_phase=1.5)
    init = jax.jit(module.init)
    params: Any = init(jax.random.key(0), jnp.zeros((1, 1, 2)), positions=places, segments=places)["params"]
    a, _ = lru_coefficients(jnp.zeros((1, 4000), jnp.complex64), params["decay"], params["phase"])
    radius, angle = np.abs(a), np.angle(a)
    assert 0.6 <= radius.min() <= 0.61
    assert 0.89 <= radius.max() <= 0.9
    assert angle.min() >= 0
    assert 1.4 <= angle.max() <= 1.5
    assert np.mean(radius**2) == pytest.approx((0.6**2 + 0.9**2) / 2, abs=0.01)


def test_the_rg_lru_starts_slow():
    places = jnp.zeros((1, 1), jnp.int32)
    module = RGLRU(width=2, hidden_size=500)
    init = jax.jit(module.init)
    params: Any = init(jax.random.key(0), jnp.zeros((1, 1, 2)), positions=places, segments=places)["params"]
    a = np.exp(-8 * np.log1p(np.exp(params["decay"])))  # with r wide open
    assert (a >= 0.899).all()
    assert (a <= 0.9991).all()


def test_gradients_are_finite_differences():
    with jax.enable_x64(True):
        drive, vector = jnp.asarray(random.normal(size=(STEPS, 3 * N))), jnp.asarray(random.normal(size=N))
        for run in (
            lambda d, v: scanned(*mingru_coefficients(d[:, : 2 * N])) * v,
            lambda d, v: scanned(*minlstm_coefficients(d)) * v,
            lambda d, v: scanned(*rglru_coefficients(d[:, :N], d[:, N : 2 * N], d[:, 2 * N :], v)),
        ):
            check_grads(jax.jit(run), (drive, vector), order=1, modes=["rev"])

        def real(d, v):
            a, b = lru_coefficients(jax.lax.complex(d[:, :N], d[:, N : 2 * N]), v, v)
            h = scanned(jnp.broadcast_to(a, b.shape), b)
            return h.real, h.imag

        check_grads(jax.jit(real), (drive, vector), order=1, modes=["rev"])
