from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.rwkv7 import RWKV7
from models.ops.matrix_state import scan_matrix_state
from tests.models.mixers.reference import WIDTH, assert_near, heads_of, outputs_and_reference, sigmoid, unit

HEADS, SIZE = 2, 3
STREAMS = ("receptance", "key", "value", "decay", "rate", "gate")
random = np.random.default_rng(0)


def by_hand(x: np.ndarray, params: Any) -> np.ndarray:
    """Peng et al., eq. 3 to 20, with the paper's row vectors: wkv ← wkv·(diag(w) − κᵀ·(a ⊙ κ)) + vᵀ·k̃."""
    before = np.concatenate([np.zeros((1, WIDTH)), x[:-1]])
    blend = params["blend"] if "blend" in params else np.zeros((len(STREAMS), WIDTH))
    stream = {name: x + mu * (before - x) for name, mu in zip(STREAMS, blend, strict=False)}

    def low_rank(name: str, activation: Any) -> np.ndarray:
        up = params[f"{name}_up"]
        return activation(stream[name] @ params[f"{name}_down"]["kernel"]) @ up["kernel"] + up.get("bias", 0)

    r, k, v = (stream[name] @ params[name]["kernel"] for name in ("receptance", "key", "value"))
    w = np.exp(-np.exp(-0.5) * sigmoid(low_rank("decay", np.tanh)))
    a = sigmoid(low_rank("rate", lambda x: x))
    removal = unit(heads_of(k * params["removal_scale"], HEADS))
    written = heads_of(k * (1 + (a - 1) * params["rate_share"]), HEADS)
    r, v, w, a = (heads_of(array, HEADS) for array in (r, v, w, a))
    bonus, scale, bias = (params[n].reshape(HEADS, SIZE) for n in ("bonus", "norm_scale", "norm_bias"))
    wkv, y = np.zeros((HEADS, SIZE, SIZE)), np.zeros((len(x), HEADS, SIZE))
    for t in range(len(x)):
        for h in range(HEADS):
            kappa = removal[t, h]
            wkv[h] = wkv[h] @ (np.diag(w[t, h]) - np.outer(kappa, a[t, h] * kappa)) + np.outer(v[t, h], written[t, h])
            p = r[t, h] @ wkv[h].T
            p = scale[h] * (p - p.mean()) / np.sqrt(p.var() + 64e-5) + bias[h]
            y[t, h] = p + (r[t, h] * bonus[h] * written[t, h]).sum() * v[t, h]
    y = y.reshape(len(x), -1)
    if "gate_up" in params:
        y = y * low_rank("gate", sigmoid)
    return y @ params["output"]["kernel"]


@pytest.mark.parametrize("options", [{}, {"kernel": 0, "output_gate": False, "implementation": "steps"}])
def test_rwkv7_is_its_recurrence(options: dict[str, Any]):
    module = RWKV7(width=WIDTH, hidden_size=HEADS * SIZE, heads=HEADS, **options)
    assert_near(*outputs_and_reference(module, by_hand))


def step_matrix(w: np.ndarray, a: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """What one step multiplies the memory by, as the scan computes it from RWKV-7's gates."""
    gate, rate, removal = (jnp.asarray(array, jnp.float32)[None, None, None] for array in (w, a, kappa))
    nothing, masks = jnp.zeros((1, 1, 1, len(w))), (jnp.zeros((1, 1), bool), jnp.ones((1, 1), bool))
    memory, erase = jnp.eye(len(w))[None, None], (removal / gate, -rate * removal)
    after, _ = scan_matrix_state(memory, nothing, nothing, nothing, jnp.log(gate), None, *masks, erase=erase)
    return np.asarray(after[0, 0])


def test_a_step_has_real_eigenvalues_between_minus_1_and_1():
    """And a norm of at most 1 in the basis √a, so that steps with the same a never blow the memory up."""
    for _ in range(20):
        w, a = random.uniform(np.exp(-np.exp(-0.5)), 1, 4), random.uniform(0.01, 1, 4)
        matrix = step_matrix(w, a, unit(random.normal(size=4)))
        eigenvalues = np.linalg.eigvals(matrix)
        assert np.abs(eigenvalues.imag).max() < 1e-5
        assert eigenvalues.real.min() > -1
        assert eigenvalues.real.max() <= 1 + 1e-6
        assert np.linalg.norm(np.diag(a**-0.5) @ matrix @ np.diag(a**0.5), 2) <= 1 + 1e-5


def test_the_euclidean_norm_of_a_step_may_exceed_1():
    """Where rates differ between features: κ = (1, 1)/√2, a = (1, 0), w = 1 gives [[½, −½], [0, 1]], of norm 1.144. Two
    steps whose a differ can have an eigenvalue above 1: here (1.89 + √0.3321)/2."""
    kappa = np.array([1.0, 1.0]) / np.sqrt(2)
    first = step_matrix(np.ones(2), np.array([1.0, 0.0]), kappa)
    np.testing.assert_allclose(first, [[0.5, -0.5], [0, 1]], atol=1e-6)
    assert np.linalg.norm(first, 2) == pytest.approx(1.1441, abs=1e-3)
    first = step_matrix(np.ones(2), np.array([1.0, 0.0]), np.sqrt([0.1, 0.9]))
    second = step_matrix(np.ones(2), np.array([0.0, 1.0]), np.sqrt([0.9, 0.1]))
    assert np.abs(np.linalg.eigvals(first @ second)).max() == pytest.approx(1.2331, abs=1e-3)


def test_a_rate_of_one_and_no_decay_reflect_nothing_but_remove():
    """w = 1, a = 1: 1 − κ·κᵀ, which erases what κ reads and leaves the rest, as the delta rule with β = 1."""
    kappa = unit(random.normal(size=3))
    matrix = step_matrix(np.ones(3), np.ones(3), kappa)
    np.testing.assert_allclose(matrix, np.eye(3) - np.outer(kappa, kappa), atol=1e-6)
