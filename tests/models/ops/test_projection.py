"""A product for every token is `nn.Dense`'s, whatever shape the tokens stand in."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.ops.projection import Projection, flat_dot_general


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 2, 3, 5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_it_is_dense(shape, dtype):
    x = jax.random.normal(jax.random.key(0), shape)
    ours, flax = Projection(7, dtype=dtype), nn.Dense(7, dtype=dtype)
    weights = ours.init(jax.random.key(1), x)
    assert jax.tree.structure(weights) == jax.tree.structure(flax.init(jax.random.key(1), x))

    def loss(layer):
        return lambda weights, x: (layer.apply(weights, x).astype(jnp.float32) ** 2).sum()

    assert ours.apply(weights, x).dtype == dtype
    for a, b in zip(
        jax.tree.leaves(jax.value_and_grad(loss(ours), (0, 1))(weights, x)),
        jax.tree.leaves(jax.value_and_grad(loss(flax), (0, 1))(weights, x)),
        strict=True,
    ):
        tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * float(jnp.abs(b).max()))


def test_over_replicas_it_is_one_of_each():
    x = jax.random.normal(jax.random.key(0), (4, 2, 3, 5))
    kernels = jax.random.normal(jax.random.key(1), (4, 5, 7))
    product = lambda x, kernel: flat_dot_general(x, kernel, (((2,), (0,)), ((), ())))  # noqa: E731
    np.testing.assert_allclose(
        jax.vmap(product)(x, kernels), jnp.einsum("rbtn,rnm->rbtm", x, kernels), rtol=1e-5, atol=1e-5
    )


def test_no_other_product_is_taken_for_it():
    with pytest.raises(ValueError, match="must be the last of x"):
        flat_dot_general(jnp.zeros((2, 3)), jnp.zeros((3, 2)), (((0,), (1,)), ((), ())))
