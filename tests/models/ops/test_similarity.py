import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from models.ops.similarity import (
    SIMILARITIES,
    additive_scores,
    cosine_scores,
    dot_scores,
    general_scores,
    scaled_dot_scores,
    similarity_initializers,
)

T, S, K = 4, 5, 6
random = np.random.default_rng(0)
QUERY, KEY = (random.normal(size=(steps, K)) for steps in (T, S))
LEARNT = {
    "temperature": np.float64(0.7),
    "direction": random.normal(size=K),
    "between": random.normal(size=(K, K)),
}
WRITTEN = {
    "dot": lambda q, k: sum(a * b for a, b in zip(q, k, strict=True)),
    "scaled": lambda q, k: sum(a * b for a, b in zip(q, k, strict=True)) / np.sqrt(K),
    "cosine": lambda q, k: np.exp(0.7) * q @ k / (np.linalg.norm(q) * np.linalg.norm(k)),
    "additive": lambda q, k: sum(LEARNT["direction"][i] * np.tanh(q[i] + k[i]) for i in range(K)),
    "general": lambda q, k: sum(q[i] * LEARNT["between"][i, j] * k[j] for i in range(K) for j in range(K)),
}


def score(name: str, query: np.ndarray = QUERY, key: np.ndarray = KEY) -> np.ndarray:
    return np.asarray(SIMILARITIES[name](jnp.asarray(query), jnp.asarray(key), jax.tree.map(jnp.asarray, LEARNT)))


@pytest.mark.parametrize("name", SIMILARITIES)
def test_it_is_the_written_formula(name: str):
    expected = [[WRITTEN[name](q, k) for k in KEY] for q in QUERY]
    np.testing.assert_allclose(score(name), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_gradients_are_finite_differences(name: str):
    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (QUERY, KEY, LEARNT))
        jax.test_util.check_grads(jax.jit(SIMILARITIES[name]), arguments, 2, atol=1e-5)


def test_cosine_sees_directions_alone():
    """Longer or shorter queries and keys change nothing; it is e^τ for a key that points as the query does."""
    np.testing.assert_allclose(score("cosine", 7 * QUERY, 0.3 * KEY), score("cosine"), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.diag(score("cosine", QUERY, 2 * QUERY)), np.exp(0.7), rtol=1e-5)
    assert np.abs(score("dot", 7 * QUERY) - score("dot")).max() > 1


def test_a_query_of_zeros_is_like_no_key():
    """Where a cosine is not defined it is 0, and its gradient finite."""
    zeros = jnp.zeros((1, K))
    own = {"temperature": jnp.float32(0.7)}
    total = lambda q: cosine_scores(q, jnp.asarray(KEY, jnp.float32), own).sum()  # noqa: E731
    value, gradient = jax.value_and_grad(total)(zeros)
    assert value == 0
    assert np.isfinite(gradient).all()


def test_general_without_a_matrix_is_dot():
    q, k = jnp.asarray(QUERY), jnp.asarray(KEY)
    np.testing.assert_allclose(general_scores(q, k, {"between": jnp.eye(K)}), dot_scores(q, k, {}), rtol=1e-6)
    np.testing.assert_allclose(scaled_dot_scores(q, k, {}), dot_scores(q, k, {}) / np.sqrt(K), rtol=1e-5)


def test_additive_does_not_multiply():
    """It is bounded by Σ|v| however long queries and keys are, which no product is."""
    most = np.abs(LEARNT["direction"]).sum()
    own = {"direction": jnp.asarray(LEARNT["direction"])}
    assert np.abs(additive_scores(jnp.asarray(100 * QUERY), jnp.asarray(100 * KEY), own)).max() <= most + 1e-5
    assert np.abs(score("dot", 100 * QUERY, 100 * KEY)).max() > 100 * most


@pytest.mark.parametrize("name", SIMILARITIES)
def test_scores_start_near_one(name: str):
    """What is learned starts such that standard normal queries and keys get scores that softmax can work with, and
    has a leading axis over heads."""
    q, k = (jnp.asarray(random.normal(size=(50, 64)), jnp.float32) for _ in range(2))
    own = {what: make(jax.random.key(0)) for what, make in similarity_initializers(name, 3, 64).items()}
    assert all(len(array) == 3 for array in own.values())
    spread = np.std([SIMILARITIES[name](q, k, {what: array[h] for what, array in own.items()}) for h in range(3)])
    assert 6 < spread < 10 if name == "dot" else 0.5 < spread < 1.5
