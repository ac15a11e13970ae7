from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from models.mixers.linear_attention import (
    LinearAttention,
    dpfp_features,
    feature_map,
    linear_attention_chunk,
    unit_lower_inverse,
)
from models.ops.scan import scan_chunks

K, V, STEPS = 4, 3, 11
random = np.random.default_rng(0)
QUERY, KEY, VALUE = (random.normal(size=(STEPS, n)) for n in (K, K, V))
KEY /= np.linalg.norm(KEY, axis=1, keepdims=True)
GATES, GATE = (np.log(random.uniform(0.5, 1, (STEPS, n))) for n in (K, 1))
STRENGTH = random.uniform(0, 2, STEPS)
START, VALID = jnp.arange(STEPS) == 6, jnp.arange(STEPS) != 3
RULES = {
    "sum": (np.zeros((STEPS, 1)), None),
    "gated": (GATES, None),
    "delta": (np.zeros((STEPS, 1)), STRENGTH),
    "gated delta": (GATE, STRENGTH),
    "gated delta, a gate a feature": (GATES, STRENGTH),
}


def by_hand(memory: np.ndarray, log_gate: np.ndarray, strength: np.ndarray | None):
    """The recurrence one step after another."""
    memory, ys = memory.copy(), np.zeros((STEPS, V))
    for t in range(STEPS):
        if not VALID[t]:
            continue
        memory = np.zeros_like(memory) if START[t] else memory
        memory = np.exp(log_gate[t])[:, None] * memory
        written = VALUE[t] if strength is None else strength[t] * (VALUE[t] - memory.T @ KEY[t])
        memory = memory + np.outer(KEY[t], written)
        ys[t] = memory.T @ QUERY[t]
    return memory, ys


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("chunk", [1, 4, STEPS])
def test_chunks_are_the_recurrence(rule: str, chunk: int):
    """From a memory that holds something, over a new segment and over padding."""
    log_gate, strength = RULES[rule]
    memory = random.normal(size=(K, V))
    sequence = [None if a is None else jnp.asarray(a) for a in (QUERY, KEY, VALUE, log_gate, strength, START, VALID)]
    after, y = scan_chunks(linear_attention_chunk, jnp.asarray(memory, jnp.float32), sequence, chunk)
    expected = by_hand(memory, log_gate, strength)
    np.testing.assert_allclose(after, expected[0], atol=1e-5)
    np.testing.assert_allclose(np.where(VALID[:, None], y, 0), expected[1], atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 7, 32])
def test_the_inverse_of_a_triangle(rows: int):
    """Also where every key is the same, when a series of powers would lose all digits."""
    invert = jax.jit(unit_lower_inverse)
    for lower in (np.tril(random.normal(size=(rows, rows)), -1) / 2, np.tril(np.ones((rows, rows)), -1)):
        expected = np.linalg.inv(np.eye(rows) + lower)
        np.testing.assert_allclose(invert(jnp.asarray(lower, jnp.float32)), expected, rtol=1e-4, atol=1e-4)


def test_a_strength_of_one_replaces_what_the_key_recalled():
    """Keys of length 1: after writing, the key recalls its value and nothing of what it recalled before."""
    sequence = (KEY, KEY, VALUE, np.zeros((STEPS, 1)), np.ones(STEPS), np.zeros(STEPS, bool), np.ones(STEPS, bool))
    _, y = jax.jit(linear_attention_chunk)(jnp.asarray(random.normal(size=(K, V))), *map(jnp.asarray, sequence))
    np.testing.assert_allclose(y, VALUE, atol=1e-5)


def test_a_strength_of_two_reflects():
    """1 − 2·k·kᵀ has the eigenvalue −1: the memory along the key changes sign at every write of nothing."""
    memory, key = jnp.asarray(random.normal(size=(K, V))), jnp.asarray(KEY[:1])
    told = (jnp.zeros((1, 1)), jnp.full(1, 2.0), jnp.zeros(1, bool), jnp.ones(1, bool))
    after, _ = jax.jit(linear_attention_chunk)(memory, key, key, jnp.zeros((1, V)), *told)
    np.testing.assert_allclose(key @ after, -(key @ memory), atol=1e-5)


@pytest.mark.parametrize("feature", ["elu", "dpfp"])
def test_the_sum_rule_is_attention_with_weights_in_proportion_to_similarity(feature: str):
    """The module equals Σ φ(q)·φ(k)·v / Σ φ(q)·φ(k) over the past, all pairs written out (Katharopoulos, eq. 5)."""
    heads, size, width, nu = 2, 3, 5, 2
    module = LinearAttention(
        rule="sum", width=width, hidden_size=heads * size, heads=heads, feature=feature, dpfp_nu=nu
    )
    x = random.normal(size=(1, STEPS, width)).astype(np.float32)
    places, ones = np.arange(STEPS)[None], np.ones((1, STEPS), np.int32)
    (y, _), params = jax.jit(module.init_with_output)(jax.random.key(1), x, positions=places, segments=ones)
    own: Any = jax.tree.map(np.asarray, params["params"])
    q, k, v = np.split(x[0] @ own["input"]["kernel"] + own["input"]["bias"], 3, axis=1)

    def phi(x):
        if feature == "elu":
            return np.where(x > 0, x + 1, np.exp(x))
        r = np.maximum(np.concatenate([x, -x]), 0)
        return np.array([r[i] * r[i - j] for j in range(1, nu + 1) for i in range(len(r))])

    joined = np.zeros((STEPS, heads * size))
    for h in range(heads):
        mine = slice(h * size, (h + 1) * size)
        for t in range(STEPS):
            weights = np.array([phi(q[t, mine]) @ phi(k[s, mine]) for s in range(t + 1)])
            joined[t, mine] = weights @ v[: t + 1, mine] / (weights.sum() + 1e-6)  # DPFP's may all be zero
    np.testing.assert_allclose(y[0], joined @ own["output"]["kernel"] + own["output"]["bias"], atol=1e-4)


def test_dpfp_has_the_size_and_the_sparsity_of_its_definition():
    """2·K·ν features, none negative, at most half of them not zero, since of r_i and r_{i+K} one is (Schlag, §5.2)."""
    x = jnp.asarray(random.normal(size=(STEPS, K)), jnp.float32)
    for nu in (1, 2, 3):
        found = dpfp_features(x, nu)
        assert found.shape == (STEPS, 2 * K * nu)
        assert (found >= 0).all()
        assert ((found > 0).sum(axis=1) <= K * nu).all()
    assert feature_map(x, "identity", 1) is x


@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_finite_differences(rule: str):
    with jax.enable_x64(True):
        log_gate, strength = RULES[rule]
        given = [jnp.asarray(a) for a in (random.normal(size=(K, V)), QUERY, KEY, VALUE, log_gate)]
        given += [] if strength is None else [jnp.asarray(strength)]

        def run(memory, query, key, value, log_gate, strength=None):
            return linear_attention_chunk(memory, query, key, value, log_gate, strength, START, VALID)

        check_grads(jax.jit(run), given, order=1, modes=["rev"])
