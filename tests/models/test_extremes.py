"""Every mixer at inputs, gates and parameters far from where it starts: outputs and gradients finite, and right."""

from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.mixers.linear_recurrence import lru_coefficients
from models.mixers.state_space import s4d_coefficients, s6_rates, zero_order_hold
from models.mixers.xlstm import LOG_ZERO, scan_mlstm
from models.ops.diagonal_state import selective_coefficients
from models.ops.matrix_state import scan_matrix_state
from tests.models.contract import initial_params, make, normal, outcome, positions_of

WIDTH = 8
LENGTHS = (1, 33)  # the second is a chunk of 32, and another that is not full
# How far the parameters of a mixer can be scaled up before float32 can't hold the exact result.
FARTHEST = {
    "irnn": 2,  # a ReLU bounds nothing: 30^33 is 10^48
    "s6": 30,  # outputs go with the scale to the power 12, since Δ, B, C and the gate all grow: 10^36 at 300
}


def extreme_cases(name: str, params: Any) -> dict[str, tuple[float, Any]]:
    """By name, what the inputs are scaled by, and parameters."""
    noisy = jax.tree.map(lambda p: p + jnp.asarray(normal(p.size, *p.shape)) / 5, params)

    def scaled(by: float, of: Any) -> Any:
        return jax.tree.map(lambda p: p * min(by, FARTHEST.get(name, by)), of)

    def moved(by: float) -> Any:  # all but the kernels: biases, rates, steps, the gates' among them
        keep = ("kernel", "recurrent")
        return jax.tree.map_with_path(lambda path, p: p if path[-1].key in keep else p + by, noisy)

    return {
        "inputs × 1000": (1000.0, noisy),
        "parameters × 30": (1.0, scaled(30, noisy)),
        "parameters × 300": (1.0, scaled(300, noisy)),
        "what it starts from × 300": (1.0, scaled(300, params)),
        "biases and rates + 100": (1.0, moved(100)),
        "biases and rates − 100": (1.0, moved(-100)),
    }


@cache
def built(name: str) -> tuple[nn.Module, Any]:
    """The mixer, and its initial parameters."""
    heads: dict[str, Any] = {"heads": 2} if "heads" in models.mixer_options(name) else {}
    module = make(name, width=WIDTH, hidden_size=WIDTH, **heads)
    return module, initial_params(module)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", models.MIXERS)
def test_outputs_and_gradients_are_finite(name: str, length: int):
    """Of one whole row, and of one with two segments and padding behind."""
    module, params = built(name)
    segments = np.ones((2, length), np.int32)
    segments[1] = np.where(np.arange(length) < length - 3, 1 + (np.arange(length) > length // 2), length == 1)
    x, direction = normal(1, 2, length, WIDTH), normal(2, 2, length, WIDTH)
    run = jax.jit(partial(outcome, module, (length,)))
    for case, (scale, changed) in extreme_cases(name, params).items():
        found = run(changed, scale * x, positions_of(segments), segments, direction)
        for path, leaf in jax.tree.leaves_with_path(found):
            assert np.isfinite(leaf).all(), f"{case}: {jax.tree_util.keystr(path)}"
        assert found["finite"], case


# One gate in a chunk is shut hard, among others that are wide open.
STEPS, K, V = 50, 4, 3
SHUT = {-1000.0: 20, -300.0: 41}
random = np.random.default_rng(0)
QUERY, KEY, VALUE = (random.normal(size=(STEPS, n)).astype(np.float32) for n in (K, K, V))
ALONG = random.normal(size=(STEPS, V)).astype(np.float32)
START, VALID = np.zeros(STEPS, bool), np.ones(STEPS, bool)


def near(found: Any, expected: Any, tolerance: float = 2e-6) -> None:
    """Within a share of the largest number there."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("gates", [K, 1])
@pytest.mark.parametrize("chunk", [32, 64])
def test_a_gate_shut_hard_costs_the_others_no_digits(gates: int, chunk: int):
    """Gated linear attention, one gate a feature or one for all, against the recurrence in float64."""
    log_gate = np.log(random.uniform(0.9, 1, (STEPS, gates))).astype(np.float32)
    for gate, at in SHUT.items():
        log_gate[at, 0] = gate
    memory, expected = np.zeros((K, V)), []
    for t in range(STEPS):
        memory = np.exp(log_gate[t].astype(float))[:, None] * memory + np.outer(KEY[t].astype(float), VALUE[t])
        expected.append(memory.T @ QUERY[t])
    query, key, value, gates_of_steps = (jnp.asarray(a)[None, :, None] for a in (QUERY, KEY, VALUE, log_gate))
    starts, valid = (jnp.asarray(a)[None] for a in (START, VALID))
    empty = jnp.zeros((1, 1, K, V))
    after, y = scan_matrix_state(empty, query, key, value, gates_of_steps, None, starts, valid, chunk_size=chunk)
    near(y[0, :, 0], expected)
    near(after[0, 0], memory)


def mlstm(chunk: int, query: Any, key: Any, i: Any, f: Any) -> Any:
    """The outputs of one row and one head, from an empty memory."""
    memory = {"c": jnp.zeros((1, 1, K, V + 1)), "m": jnp.full((1, 1), LOG_ZERO)}
    per_head = (jnp.asarray(a)[None, :, None] for a in (query, key, VALUE, i, f))
    masks = (jnp.asarray(a)[None] for a in (START, VALID))
    return scan_mlstm(memory, *per_head, *masks, chunk_size=chunk)[1][0, :, 0]


def xlstm(query: Any, key: Any, value: Any, i: Any, f: Any) -> tuple[np.ndarray, np.ndarray]:
    """The mLSTM one step after another in float64, and ∂/∂ĩ of the sum of its outputs along `ALONG`, by differences.

    All of it is held divided by exp(m), with m the largest ĩ, which at these gates is within float64's range."""

    def total(i: np.ndarray) -> tuple[np.ndarray, float]:
        m, c, n, ys = i.max(), np.zeros((K, V)), np.zeros(K), []
        for t in range(STEPS):
            forget, write = np.exp(-np.logaddexp(0, -f[t].astype(float))), np.exp(i[t] - m)
            c, n = forget * c + write * np.outer(key[t], value[t]), forget * n + write * key[t]
            ys.append(c.T @ query[t] / max(abs(n @ query[t]), np.exp(-m)))
        return np.array(ys), float((np.array(ys) * ALONG).sum())

    i, small = i.astype(float), 1e-5 * np.eye(STEPS)
    slopes = [(total(i + step)[1] - total(i - step)[1]) / 2e-5 for step in small]
    return total(i)[0], np.array(slopes)


@pytest.mark.parametrize("chunk", [32, 64])
@pytest.mark.parametrize("gate", [0.0, 50.0, 90.0])
def test_mlstm_with_gates_wide_open_and_shut_hard(chunk: int, gate: float):
    """Outputs and gradients, where the input gates are exp(`gate`), and some forget gates let nothing through."""
    query = np.abs(QUERY) + 0.1  # so that n·q, which outputs are divided by, is not near 0
    key, i = np.abs(KEY) + 0.1, (gate + random.normal(size=STEPS)).astype(np.float32)
    f = random.normal(3, 1, STEPS).astype(np.float32)
    for shut, at in SHUT.items():
        f[at] = shut

    def run(i: Any) -> Any:
        y = mlstm(chunk, query, key, i, f)
        return (y * ALONG).sum(), y

    gradient, y = jax.jit(jax.grad(run, has_aux=True))(jnp.asarray(i))
    expected, slopes = xlstm(query, key, VALUE, i, f)
    near(y, expected)
    near(gradient, slopes, 1e-5)


def test_mlstm_filled_up_to_a_chunk_has_the_gradients_of_its_steps_alone():
    """Input gates of exp(20 … 110) and a length that is no multiple of the chunk."""
    rise = np.linspace(20, 110, STEPS, dtype=np.float32)

    def total(chunk: int, query: Any, key: Any, i: Any) -> Any:
        return (mlstm(chunk, query, key, i, np.ones(STEPS, np.float32)) * ALONG).sum()

    filled, alone = (
        jax.jit(jax.grad(partial(total, chunk), argnums=(0, 1, 2)))(np.abs(QUERY) + 0.1, np.abs(KEY) + 0.1, rise)
        for chunk in (32, 64)
    )
    for found, expected in zip(filled, alone, strict=True):
        near(found, expected, 1e-5)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-10, 1e-5, 1e-3, 0.1, 0.49, 0.51, 3.0, 80.0, 1e4, 1e9])
def test_the_held_input_keeps_its_digits(size: float):
    """(exp(z) − 1)/z and its derivatives, at any angle in the left half, against numpy in complex128."""
    angles = np.linspace(np.pi / 2, 3 * np.pi / 2, 13)
    x, y = (np.float32(size * part(angles)) for part in (np.cos, np.sin))
    x = np.minimum(x, 0)
    z = x.astype(float) + 1j * y.astype(float)
    whole = np.expm1(z) if size < 1e5 else np.exp(z) - 1
    series = 1 + z / 2 + z**2 / 6 + z**3 / 24
    value = np.where(np.abs(z) < 1e-4, series, whole / np.where(z == 0, 1, z))
    slope = np.where(
        np.abs(z) < 0.01,
        1 / 2 + z / 3 + z**2 / 8 + z**3 / 30 + z**4 / 144,
        (np.exp(z) - value) / np.where(z == 0, 1, z),
    )
    found = zero_order_hold(jnp.asarray(x), jnp.asarray(y))
    assert np.isfinite(found).all()
    assert (np.abs(found - value) <= 1e-6 * np.abs(value) + 1e-12).all()
    by_x, by_y = (jax.jvp(zero_order_hold, (jnp.asarray(x), jnp.asarray(y)), t)[1] for t in tangents(len(x)))
    assert (np.abs(by_x - slope) <= 2e-6 * np.abs(slope) + 1e-12).all()
    assert (np.abs(by_y - 1j * slope) <= 2e-6 * np.abs(slope) + 1e-12).all()


def tangents(n: int) -> tuple[Any, Any]:
    one, nothing = jnp.ones(n), jnp.zeros(n)
    return (one, nothing), (nothing, one)


@pytest.mark.parametrize("log_step", [-200.0, -30.0, np.log(1e-5), -3.0])
def test_s4d_at_small_steps(log_step: float):
    """B̄ ≈ Δ also where nothing turns, where the rate is next to nothing, and where it is great: then 1/rate."""
    log_rates = np.array([[-100.0, np.log(0.5), np.log(0.5), 19.0]])
    turning = np.array([[0.0, 0.0, 3 * np.pi, 1.0]])
    step, z = np.exp(log_step), np.exp(log_step) * (-np.exp(log_rates) + 1j * turning)
    expected = np.where(np.abs(z) < 1e-6, step * (1 + z / 2), np.expm1(z) / (-np.exp(log_rates) + 1j * turning))
    a, b = s4d_coefficients(
        jnp.full(1, log_step), jnp.asarray(log_rates, jnp.float32), jnp.asarray(turning, jnp.float32)
    )
    assert (np.abs(a - np.exp(z)) <= 1e-6).all()
    assert (np.abs(b - expected) <= 3e-6 * np.abs(expected) + 1e-38).all()


@pytest.mark.parametrize("decay", [-1e4, -150.0, -100.0, -60.0, -20.0, -3.0, 0.0, 2.0, 5.0, 50.0, 100.0, 1e4])
def test_lru_at_extreme_rates(decay: float):
    """|a| and √(1 − |a|²), and their derivatives, where ln of the rate is from far below −100 to far above 100."""

    def both(decay: Any) -> Any:
        a, b = lru_coefficients(jnp.ones((1, 1), jnp.complex64), decay[None], jnp.full(1, -200.0))
        return jnp.stack([a[0].real, b[0, 0].real])

    rate = np.exp(min(decay, 7))
    root = np.sqrt(-np.expm1(-2 * rate))
    expected = [np.exp(-rate), root]
    slopes = [-rate * np.exp(-rate), rate * np.exp(-2 * rate) / root if root else 0]
    np.testing.assert_allclose(both(jnp.asarray(decay)), expected, rtol=2e-6, atol=1e-16)
    np.testing.assert_allclose(
        jax.jacfwd(both)(jnp.asarray(decay)), slopes, rtol=2e-6, atol=2e-7 if decay > 0 else 1e-16
    )


def test_lru_at_an_extreme_angle():
    a, b = lru_coefficients(jnp.ones((1, 3), jnp.complex64), jnp.full(3, -3.0), jnp.array([-1e3, 40.0, 1e3]))
    np.testing.assert_allclose(np.abs(a), np.exp(-np.exp(-3.0)), rtol=1e-6)
    assert np.isfinite(b).all()


def test_s6_at_extreme_rates():
    """Nothing is left of a state that fades at e^1000, whatever the step; all of it where the rate is next to 0."""
    rates = jnp.array([[-1000.0, 1000.0]])

    def decays(step: Any, rates: Any) -> Any:
        return selective_coefficients(step, step, jnp.ones((2, 2)), s6_rates(rates))[0]

    def total(step: Any, rates: Any) -> Any:
        return decays(step, rates).sum()

    a = decays(jnp.array([[1e-3], [10.0]]), rates)
    np.testing.assert_array_equal(a[:, 0], [[1, 0], [1, 0]])
    for gradient in jax.grad(total, (0, 1))(jnp.array([[1e-3], [10.0]]), rates):
        np.testing.assert_array_equal(gradient, 0)
