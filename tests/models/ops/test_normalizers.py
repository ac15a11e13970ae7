import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from models.ops import normalizers

H, T, S = 2, 3, 5
SCORES = jnp.asarray(np.random.default_rng(0).normal(size=(H, T, S)), jnp.float32)
MASK = jnp.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool)
ALL = jnp.ones((T, S), bool)


def quotient(normalise):
    """The weights themselves."""

    def weights(scores: jax.Array, mask: jax.Array) -> jax.Array:
        numerator, denominator = normalise(scores, mask)
        return numerator / denominator

    return weights


WEIGHTS = {name: quotient(normalise) for name, normalise in normalizers.NORMALIZERS.items()}
softmax, linear, sigmoid, none = (WEIGHTS[name] for name in ("softmax", "linear", "sigmoid", "none"))


@pytest.mark.parametrize("name", ["softmax", "linear"])
def test_rows_sum_to_one(name: str):
    """Those with a key to see (and, for linear, with one of positive score)."""
    scores = jnp.abs(SCORES) + 0.1
    weights = np.asarray(WEIGHTS[name](scores, MASK))
    np.testing.assert_allclose(weights.sum(axis=-1), np.broadcast_to([1, 1, 0], (H, T)), atol=1e-5)
    assert (weights >= 0).all()


@pytest.mark.parametrize("name", WEIGHTS)
def test_what_is_masked_gets_nothing(name: str):
    """No weight and no gradient, also where nothing else is left; and what it scores changes nothing."""
    weights = np.asarray(WEIGHTS[name](SCORES, MASK))
    np.testing.assert_array_equal(weights[:, ~MASK], 0)
    hidden = jnp.where(MASK, SCORES, 1e4)
    np.testing.assert_array_equal(WEIGHTS[name](hidden, MASK), weights)
    gradient = jax.grad(lambda s: (WEIGHTS[name](s, MASK) * SCORES).sum())(hidden)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, ~MASK], 0)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_mask_may_be_one_for_each_head(name: str):
    masks = jnp.stack([MASK, ALL])
    expected = [WEIGHTS[name](SCORES[h], masks[h]) for h in range(H)]
    np.testing.assert_allclose(WEIGHTS[name](SCORES, masks), expected, atol=1e-6)
    np.testing.assert_allclose(WEIGHTS[name](SCORES, jnp.stack([MASK] * H)), WEIGHTS[name](SCORES, MASK))


@pytest.mark.parametrize("name", WEIGHTS)
def test_gradients_are_finite_differences(name: str):
    with jax.enable_x64(True):
        scores = jnp.asarray(np.random.default_rng(1).normal(size=(T, S)))
        jax.test_util.check_grads(jax.jit(lambda s: WEIGHTS[name](s, MASK)), (scores,), 2, atol=1e-5)


def jacobian(function, scores: jax.Array) -> np.ndarray:
    """∂ weight_i / ∂ score_j of one row that sees everything."""
    return np.asarray(jax.jacobian(lambda s: function(s[None], ALL[:1])[0])(scores))


def test_softmax_couples_every_weight_to_every_score():
    """Its Jacobian is diag(p) − p·pᵀ, in which no number is zero; each row and column sums to zero."""
    scores = SCORES[0, 0]
    p = np.asarray(softmax(scores[None], ALL[:1])[0], np.float64)
    found = jacobian(softmax, scores)
    np.testing.assert_allclose(found, np.diag(p) - np.outer(p, p), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-6)
    assert (np.abs(found) > 1e-4).all()


def test_linear_couples_too():
    """∂w_i/∂s_j = (δ_ij − w_i) / Σs: another weight's loss is in proportion to it."""
    scores = jnp.abs(SCORES[0, 0]) + 0.1
    w, total = np.asarray(linear(scores[None], ALL[:1])[0]), float(scores.sum())
    np.testing.assert_allclose(jacobian(linear, scores), (np.eye(S) - w[:, None]) / total, atol=1e-5)


@pytest.mark.parametrize("function", [sigmoid, none])
def test_one_key_s_weight_is_its_own(function):
    """Another score leaves it as it is, to the last bit."""
    scores = SCORES[0, 0]
    np.testing.assert_array_equal(jacobian(function, scores) * (1 - np.eye(S)), 0)
    before, after = (np.asarray(function(s[None], ALL[:1])[0]) for s in (scores, scores.at[2].add(3.0)))
    np.testing.assert_array_equal(np.delete(after, 2), np.delete(before, 2))
    assert after[2] > before[2]


def test_sigmoid_starts_near_softmax():
    """With scores of 0 each of n keys gets about 1/n, whatever n (Ramapuram et al. 2024, §3)."""
    for n in (4, 64, 1024):
        weight = sigmoid(jnp.zeros((1, n)), jnp.ones((1, n), bool))[0, 0]
        assert float(weight) * n == pytest.approx(n / (n + 1), abs=1e-4)
    seen = jnp.arange(8)[None] < 5
    np.testing.assert_allclose(sigmoid(jnp.zeros((1, 8)), seen)[0, :5], 1 / 6, rtol=1e-5)


def test_none_is_the_score_itself():
    np.testing.assert_array_equal(none(SCORES, ALL), SCORES)


def test_linear_gives_nothing_for_a_score_below_zero():
    weights = linear(jnp.array([[-1.0, 2.0, -3.0, 6.0, 0.0]]), ALL[:1])
    np.testing.assert_allclose(weights[0], [0, 0.25, 0, 0.75, 0], atol=1e-6)
    np.testing.assert_array_equal(linear(-jnp.ones((1, S)), ALL[:1]), 0)
