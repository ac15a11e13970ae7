from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from models.ops.small_matrices import multiply_pairs, multiply_small, solve_unit_lower, unit_lower_inverse

random = np.random.default_rng(0)


@pytest.mark.parametrize("rows", [1, 2, 7, 32, 64])
def test_the_inverse_of_a_triangle(rows: int):
    """Also where every key is the same, when a series of powers would lose all digits."""
    invert, in_one = jax.jit(unit_lower_inverse), jax.jit(partial(unit_lower_inverse, by_halves=False))
    for lower in (np.tril(random.normal(size=(rows, rows)), -1) / 2, np.tril(np.ones((rows, rows)), -1)):
        expected = np.linalg.inv(np.eye(rows) + lower)
        for inverse in (invert(jnp.asarray(lower, jnp.float32)), in_one(jnp.asarray(lower, jnp.float32))):
            np.testing.assert_allclose(inverse, expected, rtol=1e-4, atol=1e-4)


def solve(lower: jax.Array, right: jax.Array) -> jax.Array:
    lower = jnp.tril(lower, -1)
    return solve_unit_lower(lower, unit_lower_inverse(lower), right)


def test_gradients_are_finite_differences():
    with jax.enable_x64(True):
        a, b = (jnp.asarray(random.normal(size=(2, *shape))) for shape in ((4, 4), (4, 3)))
        check_grads(jax.jit(multiply_small), (a, b), order=1, modes=["rev"])
        check_grads(jax.jit(multiply_pairs), (a, jnp.swapaxes(b, 1, 2)), order=1, modes=["rev"])
        check_grads(jax.jit(solve), (a, b), order=1, modes=["rev"])
