from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.linear_attention import LinearAttention, dpfp_features, feature_map

K, STEPS = 4, 11
random = np.random.default_rng(0)


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
