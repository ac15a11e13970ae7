from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.cost import count_params
from models.mixers.dense_window import DenseWindow, is_unpacked

WINDOW, WIDTH = 6, 5
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, WINDOW, WIDTH)), jnp.float32)
PLACES = jnp.broadcast_to(jnp.arange(WINDOW), (2, WINDOW))
WIDE, NARROW = DenseWindow(WIDTH, WIDTH, WINDOW), DenseWindow(WIDTH, 3, WINDOW)


def initial(module: DenseWindow) -> Any:
    """Parameters drawn so that no bias is zero."""
    shapes = jax.eval_shape(partial(module.init, positions=PLACES, segments=PLACES), jax.random.key(0), X)
    random = np.random.default_rng(1)
    return jax.tree.map(lambda p: jnp.asarray(random.normal(0, 0.3, p.shape), p.dtype), shapes)


@partial(jax.jit, static_argnums=0)
def call(module: DenseWindow, params: Any, x: Any, positions: Any, segments: Any, state: Any = None):
    return module.apply(params, x, positions=positions, segments=segments, state=state)


@pytest.mark.parametrize("module", [WIDE, NARROW], ids=["wide", "bottleneck"])
@pytest.mark.parametrize("steps", [WINDOW, 4])
def test_it_is_one_block_lower_triangular_matrix(module: DenseWindow, steps: int):
    """Times the whole window as one long vector."""
    params = initial(module)
    own = jax.tree.map(np.asarray, params["params"])
    given, got = own["blocks"].shape[1:]
    matrix = np.zeros((WINDOW * given, WINDOW * got))
    for number, (t, s) in enumerate(zip(*np.tril_indices(WINDOW), strict=True)):
        matrix[s * given : (s + 1) * given, t * got : (t + 1) * got] = own["blocks"][number]
    u = np.asarray(X[:, :steps])
    if module is NARROW:
        u = u @ own["input"]["kernel"] + own["input"]["bias"]
    flat = np.zeros((2, WINDOW * given))
    flat[:, : steps * given] = u.reshape(2, -1)
    expected = (flat @ matrix + own["bias"].reshape(-1)).reshape(2, WINDOW, got)[:, :steps]
    if module is NARROW:
        expected = expected @ own["output"]["kernel"] + own["output"]["bias"]
    y, _ = call(module, params, X[:, :steps], PLACES[:, :steps], jnp.ones((2, steps), jnp.int32))
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_it_refuses_what_is_longer_than_its_window():
    x, places = jnp.zeros((1, WINDOW + 1, WIDTH)), jnp.arange(WINDOW + 1)[None]
    with pytest.raises(ValueError, match=rf"window of {WINDOW} tokens and can't take {WINDOW + 1}; raise model") as at:
        WIDE.init(jax.random.key(0), x, positions=places, segments=jnp.ones_like(places))
    assert "\n" not in str(at.value)


def test_a_place_past_the_window_is_nan():
    """Where the place is traced it can't be refused; it must not pass for a known one, nor spoil what is known."""
    params, ones = initial(WIDE), jnp.ones((2, WINDOW), jnp.int32)
    y, state = call(WIDE, params, X, PLACES, ones)
    assert np.isfinite(y).all()
    y, after = call(WIDE, params, X, PLACES + WINDOW - 2, ones, state)
    assert np.isfinite(y[:, :2]).all()
    assert np.isnan(y[:, 2:]).all()
    np.testing.assert_array_equal(after["window"][:, : WINDOW - 2], state["window"][:, : WINDOW - 2])
    y, _ = call(WIDE, params, X, PLACES + 2, ones)
    assert np.isnan(y[:, -2:]).all()


@pytest.mark.parametrize(("width", "hidden_size"), [(5, 5), (5, 3), (8, 2), (4, 7)])
def test_parameters_grow_with_the_square_of_the_window(width: int, hidden_size: int):
    """W(W+1)/2 blocks of N², or of ⌈N/2⌉·N with a bottleneck, W biases of N, and the products around them."""

    def count(window: int) -> int:
        x, places = jnp.zeros((1, 1, width)), jnp.zeros((1, 1), jnp.int32)
        module = DenseWindow(width, hidden_size, window)
        return count_params(
            jax.eval_shape(lambda: module.init(jax.random.key(0), x, positions=places, segments=places))
        )

    given = width if hidden_size == width else (hidden_size + 1) // 2
    around = 0 if hidden_size == width else (width + 1) * given + (hidden_size + 1) * width
    for window in (1, 6, 64):
        assert count(window) == window * (window + 1) // 2 * given * hidden_size + window * hidden_size + around
    assert count(256) / count(128) == pytest.approx(4, rel=0.03)


def test_order_matters_to_it():
    """Each place has weights of its own: permuted tokens do not give permuted outputs, nor the same last one."""
    params, ones = initial(WIDE), jnp.ones((2, WINDOW), jnp.int32)
    order = jnp.array([2, 0, 1, 3, 4, 5])
    y, permuted = (call(WIDE, params, x, PLACES, ones)[0] for x in (X, X[:, order]))
    assert np.abs(permuted - y[:, order]).max() > 0.1
    assert (np.abs(permuted[:, -1] - y[:, -1]).max(axis=-1) > 0.01).all()


GAP, BEHIND = [1, 1, 0, 1], [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("positions", "segments", "answer"),
    [
        ([0, 1, 2, 3], [1, 1, 1, 1], True),
        ([0, 1, 9, 9], BEHIND, True),
        ([7, 7, 7, 7], [0, 0, 0, 0], True),
        ([0, 1, 9, 2], GAP, False),
        ([0, 0, 1, 2], [0, 1, 1, 1], False),
        ([0, 1, 0, 1], [1, 1, 2, 2], False),
        ([0, 1, 2, 3], [1, 1, 2, 2], False),
        ([1, 2, 3, 4], [1, 1, 1, 1], False),
    ],
)
def test_only_rows_in_order_take_the_one_product(positions: list[int], segments: list[int], answer: bool):
    """And under `vmap` one answer for all replicas, also where they share one of the two arrays."""
    p, s = jnp.array([positions]), jnp.array([segments])
    assert bool(is_unpacked(p, s)) is answer
    good_p, good_s = jnp.arange(4)[None], jnp.ones((1, 4), jnp.int32)
    assert jax.vmap(is_unpacked)(jnp.stack([good_p, p]), jnp.stack([good_s, s])).tolist() == [answer] * 2
    assert jax.vmap(is_unpacked, (None, 0))(p, jnp.stack([s, s])).tolist() == [answer] * 2
    assert jax.vmap(is_unpacked, (0, None))(jnp.stack([p, p]), s).tolist() == [answer] * 2
