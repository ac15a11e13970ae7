from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from models.mixers.state_space import S4D, s4d_coefficients
from models.ops.diagonal_state import selective_coefficients
from models.ops.scan import linear_scan

N, S, STEPS = 3, 4, 12
random = np.random.default_rng(0)
NEW, REAL = jnp.zeros(STEPS, bool), jnp.ones(STEPS, bool)
LOG_STEP, LOG_REAL = random.normal(-2, 0.5, N), random.normal(-0.7, 0.3, (N, S))
IMAGINARY = np.pi * np.arange(S) * np.ones((N, 1))


def scanned(a: Any, b: Any) -> Any:
    return linear_scan(a, b, jnp.zeros(b.shape[1:], b.dtype), NEW, REAL)


def test_s4d_is_a_convolution():
    """The recurrence equals u * K with K_t = 2·Re Σ C·exp(t·Δ·A)·B̄, by FFT: what S4D computes in its paper (eq. 9)."""
    u, c = random.normal(size=(STEPS, N)), random.normal(size=(N, S)) + 1j * random.normal(size=(N, S))
    rates = -np.exp(LOG_REAL) + 1j * IMAGINARY
    step = np.exp(LOG_STEP)[:, None]
    powers = np.exp(np.arange(STEPS)[:, None, None] * step * rates)
    kernel = 2 * (c * powers * (np.exp(step * rates) - 1) / rates).real.sum(axis=-1)
    spectrum = np.fft.rfft(kernel, 2 * STEPS, axis=0) * np.fft.rfft(u, 2 * STEPS, axis=0)
    expected = np.fft.irfft(spectrum, axis=0)[:STEPS]

    a, b = s4d_coefficients(*(jnp.asarray(v, jnp.float32) for v in (LOG_STEP, LOG_REAL, IMAGINARY)))
    drive = jnp.asarray(u, jnp.float32)[..., None] * b
    y = 2 * (scanned(jnp.broadcast_to(a, drive.shape), drive) * jnp.asarray(c, jnp.complex64)).real.sum(axis=-1)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_s4d_holds_the_continuous_solution():
    """A step of input held constant is dx/dt = A·x + u solved exactly: many small steps of Euler's come near it."""
    a, b = s4d_coefficients(*(jnp.asarray(v, jnp.float32) for v in (LOG_STEP, LOG_REAL, IMAGINARY)))
    rates, x, small = -np.exp(LOG_REAL) + 1j * IMAGINARY, np.ones((N, S), complex), 20000
    for _ in range(small):
        x = x + np.exp(LOG_STEP)[:, None] / small * (rates * x + 0.7)
    np.testing.assert_allclose(a * 1 + b * 0.7, x, atol=1e-3)


def test_s6_is_its_definition():
    u, b = random.normal(size=(STEPS, N)), random.normal(size=(STEPS, S))
    step, log_rates = np.exp(random.normal(-1, 0.5, (STEPS, N))), random.normal(size=(N, S))
    h, expected = np.zeros((N, S)), []
    for t in range(STEPS):
        for n in range(N):
            for s in range(S):
                h[n, s] = np.exp(-step[t, n] * np.exp(log_rates[n, s])) * h[n, s] + step[t, n] * b[t, s] * u[t, n]
        expected.append(h.copy())
    inputs = (step, step * u, b, np.exp(log_rates))
    found = scanned(*selective_coefficients(*(jnp.asarray(v, jnp.float32) for v in inputs)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_s6_forgets_where_its_step_is_long_and_ignores_where_it_is_nothing():
    """Δ → ∞ resets to the present, Δ = 0 keeps all and takes nothing: what selection means (Gu and Dao, §3.5.2)."""
    step, b, rates = jnp.array([[100.0], [0.0]]), jnp.ones((2, 1)), jnp.ones((1, 1))
    a, drive = selective_coefficients(step, step, b, rates)
    np.testing.assert_allclose(a[:, 0, 0], [0, 1], atol=1e-6)
    np.testing.assert_allclose(drive[:, 0, 0], [100, 0])


def test_a_state_space_at_the_same_input_is_shift_invariant():
    """S4D's response to a later impulse is the earlier one's, later."""
    module: Any = S4D(width=N, hidden_size=N, state_size=S)
    steps = jnp.arange(STEPS)[None]
    impulses = jnp.zeros((2, STEPS, N)).at[0, 0].set(1).at[1, 4].set(1)
    places, ones = jnp.broadcast_to(steps, (2, STEPS)), jnp.ones((2, STEPS), jnp.int32)
    (y, _), _ = jax.jit(module.init_with_output)(jax.random.key(0), impulses, positions=places, segments=ones)
    np.testing.assert_allclose(y[1, 4:], y[0, :-4], atol=1e-6)


def test_gradients_are_finite_differences():
    with jax.enable_x64(True):
        u, step = jnp.asarray(random.normal(size=(STEPS, N))), jnp.asarray(np.exp(random.normal(size=(STEPS, N))))
        b, rates = jnp.asarray(random.normal(size=(STEPS, S))), jnp.asarray(random.normal(size=(N, S)))
        check_grads(
            jax.jit(lambda *args: scanned(*selective_coefficients(*args))), (step, u, b, rates), order=1, modes=["rev"]
        )

        def response(u, log_step, log_rates, turning_rates):
            a, b = s4d_coefficients(log_step, log_rates, turning_rates)
            drive = u[..., None] * b
            h = scanned(jnp.broadcast_to(a, drive.shape), drive)
            return h.real, h.imag

        check_grads(jax.jit(response), (u, *map(jnp.asarray, (LOG_STEP, LOG_REAL, IMAGINARY))), order=1, modes=["rev"])
