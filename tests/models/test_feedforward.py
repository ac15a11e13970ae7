import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from models.feedforward import ACTIVATIONS, FeedForward

X = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
FORMULAS = {
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "silu": lambda x: x * expit(x),
    "identity": lambda x: x,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_two_products_with_the_activation_between(activation: str):
    layer = FeedForward(width=4, hidden_size=6, activation=activation)
    params = jax.jit(layer.init)(jax.random.key(0), jnp.asarray(X))
    up, down = params["params"]["up"], params["params"]["down"]
    up["bias"], down["bias"] = jnp.linspace(-1, 1, 6), jnp.linspace(-1, 1, 4)
    expected = FORMULAS[activation](X @ up["kernel"] + up["bias"]) @ down["kernel"] + down["bias"]
    np.testing.assert_allclose(jax.jit(layer.apply)(params, jnp.asarray(X)), expected, atol=1e-5)


def test_each_token_stands_alone():
    layer = FeedForward(width=4, hidden_size=6)
    params = jax.jit(layer.init)(jax.random.key(0), jnp.asarray(X))
    order = np.array([3, 1, 4, 0, 2])
    before, after = (np.asarray(jax.jit(layer.apply)(params, jnp.asarray(x))) for x in (X, X[:, order]))
    np.testing.assert_allclose(after, before[:, order], atol=1e-6)
