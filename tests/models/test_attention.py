from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.attention import Attention, attend, visible

D, N, HEADS, STEPS = 6, 8, 2, 5
random = np.random.default_rng(0)
X = jnp.asarray(random.normal(size=(2, STEPS, D)), jnp.float32)
DIRECTION = jnp.asarray(random.normal(size=X.shape), jnp.float32)
PLACES = jnp.broadcast_to(jnp.arange(STEPS), (2, STEPS))
ONES = jnp.ones_like(PLACES)
CAUSAL = Attention(D, N, max_length=STEPS, heads=HEADS)


def drawn(module: Attention) -> Any:
    """Parameters drawn so that no bias is zero."""
    shapes = jax.eval_shape(partial(module.init, positions=PLACES, segments=ONES), jax.random.key(0), X)
    random = np.random.default_rng(1)
    return jax.tree.map(lambda p: jnp.asarray(random.normal(0, 0.4, p.shape), p.dtype), shapes)


@partial(jax.jit, static_argnums=0)
def call(module: Attention, params: Any, x: Any, positions: Any = PLACES, segments: Any = ONES, state: Any = None):
    return module.apply(params, x, positions=positions, segments=segments, state=state)


def flaxen(params: Any) -> Any:
    """The same weights as `flax.linen.MultiHeadDotProductAttention` names and shapes them."""
    own = params["params"]
    made = {
        name: {
            "kernel": own[f"{name}_kernel"].reshape(D, HEADS, -1),
            "bias": own[f"{name}_bias"].reshape(HEADS, -1),
        }
        for name in ("query", "key", "value")
    }
    out = {"kernel": own["output"]["kernel"].reshape(HEADS, -1, D), "bias": own["output"]["bias"]}
    return {"params": made | {"out": out}}


@pytest.mark.parametrize("causal", [True, False])
def test_it_agrees_with_flax(causal: bool):
    """Outputs and the gradients of all parameters and inputs."""
    theirs = nn.MultiHeadDotProductAttention(HEADS, qkv_features=N, out_features=D)
    ours = CAUSAL.clone(causal=causal)
    mask = nn.make_causal_mask(jnp.ones((2, STEPS))) if causal else None

    def our(params: Any, x: Any):
        y, _ = ours.apply(params, x, positions=PLACES, segments=ONES)
        return (y * DIRECTION).sum(), y

    def their(params: Any, x: Any):
        y: Any = theirs.apply(flaxen(params), x, mask=mask)
        return (y * DIRECTION).sum(), y

    found, expected = (jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(drawn(CAUSAL), X) for f in (our, their))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)


def test_attend_is_the_written_loop():
    """softmax(q·k/√K + bias)-weighted means of values; weights are ≥ 0, sum to 1 and are 0 where masked."""
    q, k = (random.normal(size=(HEADS, steps, 4)).astype(np.float32) for steps in (3, STEPS))
    v, bias = (random.normal(size=(HEADS, n, STEPS)).astype(np.float32) for n in (STEPS, 3))
    v = v[..., :4]
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0] * 5], bool)
    expected = np.zeros((HEADS, 3, 4))
    for h in range(HEADS):
        for t in range(2):
            seen = [s for s in range(STEPS) if mask[t, s]]
            e = np.exp([q[h, t] @ k[h, s] / 2 + bias[h, t, s] for s in seen])
            expected[h, t] = sum(w * v[h, s] for w, s in zip(e / e.sum(), seen, strict=True))
    arrays = list(map(jnp.asarray, (q, k, v, mask, bias)))
    np.testing.assert_allclose(jax.jit(attend)(*arrays), expected, atol=1e-5)

    basis = jnp.broadcast_to(jnp.eye(STEPS)[:, :4], (HEADS, STEPS, 4))  # what returns are the weights of keys 0 … 3
    weights = np.asarray(jax.jit(attend)(*arrays[:2], basis, *arrays[3:]))
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights[:, 0].sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(weights[:, ~mask[:, :4]], 0)


def test_a_query_that_sees_nothing_gets_zeros():
    """Not nan, not a mean of what is hidden; and no gradient but zero."""
    q, k, v = (jnp.asarray(random.normal(size=(1, 3, 4)), jnp.float32) for _ in range(3))

    def total(q: Any, k: Any, v: Any):
        y = attend(q, k, v, jnp.zeros((3, 3), bool))
        return y.sum(), y

    (_, y), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(q, k, v)
    for array in (y, *gradients):
        np.testing.assert_array_equal(array, 0)


def test_visible_is_segment_and_order():
    queries, keys = jnp.array([2, 0, 3]), jnp.array([1, 2, 2, 0, 3, 0])  # query t stands at place 2 + t
    both = [[0, 1, 1, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 1, 0]]
    np.testing.assert_array_equal(visible(queries, keys, 2, causal=True), both)
    np.testing.assert_array_equal(visible(queries, keys, 1, causal=True), [[0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6])
    np.testing.assert_array_equal(visible(queries, keys, 0, causal=False), both)


@pytest.mark.parametrize(("positions", "equivariant"), [("none", True), ("rope", False), ("alibi", False)])
def test_without_positions_it_does_not_know_order(positions: str, equivariant: bool):
    """Permuted tokens give the same outputs, permuted, unless it looks back only or is told where they stand."""
    order = np.array([3, 0, 4, 1, 2])
    module = CAUSAL.clone(causal=False, positions=positions)
    y, permuted = (np.asarray(call(module, drawn(CAUSAL), x)[0]) for x in (X, X[:, order]))
    assert bool(np.abs(permuted - y[:, order]).max() < 1e-5) is equivariant
    causal, permuted = (np.asarray(call(CAUSAL, drawn(CAUSAL), x)[0]) for x in (X, X[:, order]))
    assert np.abs(permuted - causal[:, order]).max() > 0.01


@pytest.mark.parametrize("positions", ["rope", "alibi"])
def test_only_distances_matter_to_it(positions: str):
    """Every token moved by as much changes nothing, also by places that leave gaps; tokens moved apart change it."""
    module, params = CAUSAL.clone(positions=positions), drawn(CAUSAL)
    y, moved, apart = (np.asarray(call(module, params, X, at)[0]) for at in (PLACES, PLACES + 17, PLACES * 3))
    np.testing.assert_allclose(moved, y, atol=1e-5)
    assert np.abs(apart - y)[:, 1:].max() > 0.01


def test_a_full_cache_refuses_more():
    """ValueError where the count is known, nan where it is traced: never a wrong answer. Filling it is fine."""
    params = drawn(CAUSAL)
    y, state = call(CAUSAL, params, X[:, :4], PLACES[:, :4], ONES[:, :4])
    last, full = call(CAUSAL, params, X[:, 4:], PLACES[:, 4:], ONES[:, 4:], state)
    np.testing.assert_allclose(jnp.concatenate([y, last], axis=1), call(CAUSAL, params, X)[0], atol=1e-5)
    assert int(full["count"]) == STEPS
    over, _ = call(CAUSAL, params, X[:, 4:], PLACES[:, 4:], ONES[:, 4:], full)
    assert np.isnan(over).all()
    with pytest.raises(
        ValueError, match=r"holds 5 tokens, of which 5 are used: 1 more don't fit; raise model.max_leng"
    ):
        CAUSAL.apply(params, X[:, 4:], positions=PLACES[:, 4:], segments=ONES[:, 4:], state=full)


def test_a_longer_first_call_makes_a_larger_cache():
    """What was seen can't be forgotten: capacity is the first call's length where that is more than `max_length`."""
    for max_length, capacity in ((2, STEPS), (STEPS, STEPS), (9, 9)):
        _, state = jax.eval_shape(partial(call, CAUSAL.clone(max_length=max_length)), drawn(CAUSAL), X)
        assert state["key"].shape == state["value"].shape == (2, HEADS, capacity, N // HEADS)
        assert state["positions"].shape == state["segments"].shape == (2, capacity)


def test_looking_ahead_can_not_be_streamed():
    module = CAUSAL.clone(causal=False)
    assert jax.eval_shape(partial(call, module), drawn(CAUSAL), X)[1] is None
    _, state = jax.eval_shape(partial(call, CAUSAL), drawn(CAUSAL), X)
    with pytest.raises(ValueError, match="not causal sees the whole sequence at once and can't be streamed"):
        jax.eval_shape(partial(call, module), drawn(CAUSAL), X, PLACES, ONES, state)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 3}, r"model\.attention\.heads=3: attention's inner width 8 must be divisible by it"),
        ({"heads": 8, "positions": "rope"}, r"model\.positions=rope: the head size 1 must be even"),
    ],
)
def test_heads_that_do_not_fit(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        drawn(CAUSAL.clone(**fields))


def test_bias_can_be_left_out():
    names = {"/".join(p.key for p in path[1:]) for path, _ in jax.tree.leaves_with_path(drawn(CAUSAL))}
    bare = {"/".join(p.key for p in path[1:]) for path, _ in jax.tree.leaves_with_path(drawn(CAUSAL.clone(bias=False)))}
    assert bare == {"query_kernel", "key_kernel", "value_kernel", "output/kernel"}
    assert names - bare == {"query_bias", "key_bias", "value_bias", "output/bias"}
