import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.positions import alibi, learned, rope, sinusoidal


@pytest.mark.parametrize("width", [8, 7])
def test_sinusoidal_is_the_written_formula(width: int):
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(the same)   (Vaswani et al. 2017, §3.5)."""
    positions = [0, 1, 5, 63, 3]
    expected = [
        [(np.cos if k % 2 else np.sin)(p / 10000 ** (2 * (k // 2) / width)) for k in range(width)] for p in positions
    ]
    np.testing.assert_allclose(sinusoidal(jnp.array(positions), width), expected, atol=1e-5)


def test_learned_is_a_table_that_ends():
    """Rows by position; nan past the last, not its copy; gradients reach the rows that were read alone."""
    table = jnp.arange(12.0).reshape(4, 3)
    found = learned(jnp.array([2, 0, 4, 100]), table)
    np.testing.assert_array_equal(found[:2], table[jnp.array([2, 0])])
    assert np.isnan(found[2:]).all()
    gradient = jax.grad(lambda t: learned(jnp.array([2, 0, 2]), t).sum())(table)
    np.testing.assert_array_equal(gradient[:, 0], [1, 0, 2, 0])


def test_rope_turns_by_distance_alone():
    """Products of a rotated query and key depend on their distance and on no more; lengths stay."""
    random = np.random.default_rng(0)
    q, k = (jnp.asarray(random.normal(size=(2, 1, 6)), jnp.float32) for _ in range(2))

    def score(at_query: int, at_key: int) -> np.ndarray:
        turned = rope(q, jnp.array([at_query])), rope(k, jnp.array([at_key]))
        return np.asarray(jnp.einsum("htk,hsk->h", *turned))

    np.testing.assert_allclose(score(3, 1), score(40, 38), atol=1e-4)
    np.testing.assert_allclose(score(0, 0), np.einsum("htk,hsk->h", q, k), atol=1e-5)
    assert np.abs(score(3, 1) - score(4, 1)).min() > 1e-3, "the distance does matter"
    assert np.abs(score(3, 1) - score(1, 3)).min() > 1e-3, "and so does its sign"
    turned = rope(jnp.tile(q, (1, 9, 1)), jnp.arange(9) * 11)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(q, axis=-1) * np.ones(9), rtol=1e-5)


def test_rope_rotates_pair_i_by_its_frequency():
    """Feature i and i + K/2 turn together, by position / 10000^(2i/K)   (Su et al. 2021, eq. 34)."""
    x = jnp.zeros((1, 1, 4)).at[0, 0, 1].set(1.0)
    angle = 50 / 10000 ** (2 / 4)
    np.testing.assert_allclose(rope(x, jnp.array([50]))[0, 0], [0, np.cos(angle), 0, np.sin(angle)], atol=1e-6)


def test_alibi_slopes_of_eight_heads():
    """1/2, 1/4 … 1/256, and a bias linear in the distance (Press et al. 2022, §3)."""
    bias = np.asarray(alibi(jnp.array([5, 0]), jnp.array([5, 4, 2, 0]), 8))
    np.testing.assert_allclose(bias[:, 0, 1], [-(2.0**-h) for h in range(1, 9)])
    np.testing.assert_allclose(bias[:, 0], bias[:, 0, 1:2] * [0, 1, 3, 5])
    np.testing.assert_allclose(bias[:, 1], bias[:, 0, 1:2] * [5, 4, 2, 0], err_msg="by distance, ahead as behind")
