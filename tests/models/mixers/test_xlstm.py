from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from models.mixers.xlstm import LOG_ZERO, MLSTM, SLSTM, scan_mlstm, slstm_step
from models.ops.scan import masked_scan

N, K, V, STEPS = 4, 3, 5, 11
random = np.random.default_rng(0)
START, VALID = jnp.arange(STEPS) == 6, jnp.arange(STEPS) != 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_slstm_is_its_definition_without_the_stabiliser():
    """c = f·c + i·tanh(g), n = f·n + i, h = σ(o)·c/n with i = exp(ĩ): no m anywhere (Beck et al., eq. 8–14)."""
    drive, recurrent = random.normal(size=(STEPS, 4 * N)), random.normal(0, 0.3, (N, 4 * N))
    zero = {name: jnp.zeros(N) for name in "cnmh"}
    weights = {"recurrent": jnp.asarray(recurrent, jnp.float32)}
    _, found = masked_scan(
        lambda c, x: slstm_step(weights, c, x), zero, jnp.asarray(drive, jnp.float32), jnp.asarray(START), VALID
    )
    c = n = h = np.zeros(N)
    for t in range(STEPS):
        if not VALID[t]:
            continue
        if START[t]:
            c = n = h = np.zeros(N)
        i, f, g, o = np.split(drive[t] + h @ recurrent, 4)
        c, n = sigmoid(f) * c + np.exp(i) * np.tanh(g), sigmoid(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        np.testing.assert_allclose(found[t], h, atol=1e-5)


def memories(scale: float) -> tuple[Any, ...]:
    query, key, value = (random.normal(size=(STEPS, n)) for n in (K, K, V))
    i, f = random.normal(size=(2, STEPS)) * scale
    return query, key, value, i, f


def by_hand(query: Any, key: Any, value: Any, i: Any, f: Any) -> np.ndarray:
    """C = f·C + i·v⊗k, n = f·n + i·k, C·q / max(|n·q|, 1), in float64 and without m (Beck et al., eq. 19–27)."""
    c, n, ys = np.zeros((K, V)), np.zeros(K), np.zeros((STEPS, V))
    for t in range(STEPS):
        if not VALID[t]:
            continue
        if START[t]:
            c, n = np.zeros((K, V)), np.zeros(K)
        c = sigmoid(f[t]) * c + np.exp(i[t]) * np.outer(key[t], value[t])
        n = sigmoid(f[t]) * n + np.exp(i[t]) * key[t]
        ys[t] = c.T @ query[t] / max(abs(n @ query[t]), 1)
    return ys


def mlstm(*sequence: Any, **form: Any) -> Any:
    """The outputs of one row and one head, from an empty memory."""
    memory = {"c": jnp.zeros((1, 1, K, V + 1)), "m": jnp.full((1, 1), LOG_ZERO)}
    query, key, value, i, f = (a[None, :, None] for a in sequence)
    return scan_mlstm(memory, query, key, value, i, f, START[None], VALID[None], **form)[1][0, :, 0]


@pytest.mark.parametrize("form", [{"implementation": "steps"}, *({"chunk_size": size} for size in (2, 4, 16))])
@pytest.mark.parametrize("scale", [1, 8])
def test_every_form_of_the_mlstm_is_its_definition_without_the_stabiliser(form: dict[str, Any], scale: int):
    """Also with input gates of exp(±16), over a new segment and over padding."""
    sequence = memories(scale)
    y = jax.jit(partial(mlstm, **form))(*(jnp.asarray(a, jnp.float32) for a in sequence))
    expected = by_hand(*sequence)
    np.testing.assert_allclose(np.where(VALID[:, None], y, 0), expected, rtol=1e-3, atol=1e-4)


def test_gates_too_large_for_float32_do_no_harm():
    """exp(200) is infinite in float32; what is carried is divided by it, so that outputs and gradients are finite."""
    query, key, value, i, f = (jnp.asarray(a, jnp.float32) for a in memories(1))

    def total(i: Any) -> Any:
        return jnp.where(VALID[:, None], mlstm(query, key, value, i, f), 0).sum()

    value_and_gradient = jax.jit(jax.value_and_grad(total))(200 * i)
    assert all(np.isfinite(a).all() for a in value_and_gradient)


def test_gradients_are_finite_differences():
    with jax.enable_x64(True):
        sequence = [jnp.asarray(a) for a in memories(1)]

        def run(*sequence: Any) -> Any:
            return jnp.where(VALID[:, None], mlstm(*sequence, chunk_size=4), 0)

        check_grads(jax.jit(run), sequence, order=1, modes=["rev"])
        weights = {"recurrent": jnp.asarray(random.normal(0, 0.3, (N, 4 * N)))}
        zero, drive = {name: jnp.zeros(N) for name in "cnmh"}, jnp.asarray(random.normal(size=(STEPS, 4 * N)))

        def hidden(weights: Any, drive: Any) -> Any:
            return masked_scan(lambda c, x: slstm_step(weights, c, x), zero, drive, START, VALID)[1]

        check_grads(jax.jit(hidden), (weights, drive), order=1, modes=["rev"])


def initial(module: Any, steps: int = 1) -> Any:
    x, places = jnp.zeros((1, steps, module.width)), jnp.zeros((1, steps), jnp.int32)
    return jax.jit(lambda key: module.init(key, x, positions=places, segments=places + 1))(jax.random.key(0))["params"]


def test_the_slstm_starts_as_its_authors_does():
    """The figures of their package (xlstm 2.0.6, one head of 64): forget biases in the first of several blocks, in the
    last, and as "small_init"; zeros else."""
    figures = {
        (0.0, "powerlaw"): {0: 5, 1: 1.5376, 31: -4.7004, 63: -7},
        (1.0, "powerlaw"): {0: 5, 1: 4.9842, 31: 1.1415, 63: -7},
        (0.5, "linspace"): {0: 3, 21: 4, 42: 5, 63: 6},
    }
    for (place, start), units in figures.items():
        params = initial(SLSTM(width=5, hidden_size=64, depth_fraction=place, gate_init=start))
        i, f, g, o = np.split(params["input"]["bias"], 4)
        np.testing.assert_allclose([f[unit] for unit in units], list(units.values()), atol=1e-4)
        assert not np.concatenate([i, g, o, params["recurrent"].ravel()]).any()
    assert (SLSTM(width=5, hidden_size=64).gate_init, SLSTM(width=5, hidden_size=64).depth_fraction) == ("powerlaw", 0)
    plain = initial(SLSTM(width=5, hidden_size=6, gate_init="plain"))
    assert not plain["input"]["bias"].any()
    for block in np.split(plain["recurrent"], 4, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(6), atol=1e-5)


def test_the_mlstm_starts_as_its_authors_does():
    """Forget biases 3 to 6 over the heads, input biases normal at 0.1, weights of the gates 0."""
    params = initial(MLSTM(width=5, hidden_size=400, heads=100))["gates"]
    np.testing.assert_allclose(params["bias"][100:], np.linspace(3, 6, 100), atol=1e-5)
    assert params["bias"][:100].std() == pytest.approx(0.1, rel=0.3)
    assert not params["kernel"].any()
    assert MLSTM(width=5, hidden_size=4).gate_init == "linspace"
    plain = initial(MLSTM(width=5, hidden_size=8, heads=2, gate_init="plain"))["gates"]
    np.testing.assert_array_equal(plain["bias"], [0, 0, 3, 3])
    assert plain["kernel"].any()


@pytest.mark.parametrize(("start", "least", "most"), [("powerlaw", 1e-3, 1), ("linspace", 1e-3, 1), ("plain", 0, 1e-9)])
def test_what_reaches_64_steps_back_at_the_start(start: str, least: float, most: float):
    """The gradient of the last output there, as a share of that at the last step."""
    module = SLSTM(width=16, hidden_size=32, gate_init=start)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 65, 16)), jnp.float32)  # whatever test ran before
    places = jnp.arange(65)[None]

    def last(x: Any) -> Any:
        return module.apply({"params": params}, x, positions=places, segments=places * 0 + 1)[0][0, -1]

    params = initial(module)
    sizes = np.sqrt((np.asarray(jax.jit(jax.jacrev(last))(x)) ** 2).sum(axis=(0, 1, 3)))
    assert least < sizes[0] / sizes[-1] < most
