from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import base
from models.mixers.attention import Attention, multi_head_attention, visibility_mask
from models.mixers.attention_options import POSITION_INJECTIONS, TIED_PROJECTIONS
from models.ops import normalizers, similarity
from models.ops.position_encodings import sinusoidal_encoding, window_mask

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


def resolved(**fields: Any) -> dict[str, Any]:
    config: Any = base("attention")
    model = config.model.to_dict()
    attention = model["attention"] | fields.pop("attention", {})
    return models.resolve_model({**model, "attention": attention, **fields}, 32)


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
    y, weights, _ = map(np.asarray, jax.jit(multi_head_attention)(*arrays))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights[:, :2].sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_array_equal(weights[:, ~mask], 0)


def test_a_query_that_sees_nothing_gets_zeros():
    """Not nan, not a mean of what is hidden; and no gradient but zero."""
    q, k, v = (jnp.asarray(random.normal(size=(1, 3, 4)), jnp.float32) for _ in range(3))

    def total(q: Any, k: Any, v: Any):
        y, *_ = multi_head_attention(q, k, v, jnp.zeros((3, 3), bool))
        return y.sum(), y

    (_, y), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(q, k, v)
    for array in (y, *gradients):
        np.testing.assert_array_equal(array, 0)


def test_visible_is_segment_and_order():
    queries, keys = jnp.array([2, 0, 3]), jnp.array([1, 2, 2, 0, 3, 0])  # query t stands at place 2 + t
    both = [[0, 1, 1, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 1, 0]]
    np.testing.assert_array_equal(visibility_mask(queries, keys, 2, causal=True), both)
    np.testing.assert_array_equal(
        visibility_mask(queries, keys, 1, causal=True), [[0, 1, 0, 0, 0, 0], [0] * 6, [0] * 6]
    )
    np.testing.assert_array_equal(visibility_mask(queries, keys, 0, causal=False), both)


@pytest.mark.parametrize(("positions", "equivariant"), [("none", True), ("rope", False), ("alibi", False)])
def test_without_positions_it_does_not_know_order(positions: str, equivariant: bool):
    """Permuted tokens give the same outputs, permuted, unless it looks back only or is told where they stand."""
    order = np.array([3, 0, 4, 1, 2])
    module = CAUSAL.clone(causal=False, positions=positions)
    y, permuted = (np.asarray(call(module, drawn(CAUSAL), x)[0]) for x in (X, X[:, order]))
    assert bool(np.abs(permuted - y[:, order]).max() < 1e-5) is equivariant
    causal, permuted = (np.asarray(call(CAUSAL, drawn(CAUSAL), x)[0]) for x in (X, X[:, order]))
    assert np.abs(permuted - causal[:, order]).max() > 0.01


@pytest.mark.parametrize("positions", ["rope", "alibi", "hard_alibi", "t5", "transformer_xl"])
def test_only_distances_matter_to_it(positions: str):
    """Every token moved by as much changes nothing, also by places that leave gaps; tokens moved apart change it."""
    module = CAUSAL.clone(positions=positions, heads=4, window=4 if positions == "hard_alibi" else 0)
    params = drawn(module)
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
        ({"heads": 4, "kv_heads": 3}, r"model\.attention\.kv_heads=3: must divide the 4 heads"),
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


# ---- heads, groups and windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", similarity.SIMILARITIES)
def test_a_group_of_heads_shares_a_key_and_a_value(name: str):
    """As if each head had a copy of it; what a similarity learns is still each head's own."""
    q, k, v = (jnp.asarray(random.normal(size=(n, STEPS, 4)), jnp.float32) for n in (6, 2, 2))
    learnt = {what: make(jax.random.key(1)) for what, make in similarity.similarity_initializers(name, 6, 4).items()}
    learnt = jax.tree.map(lambda p: p + jnp.asarray(random.normal(size=p.shape), jnp.float32), learnt)
    mask = jnp.tril(jnp.ones((STEPS, STEPS), bool))
    call = jax.jit(partial(multi_head_attention, score=similarity.SIMILARITIES[name]))
    shared = call(q, k, v, mask, score_params=learnt)
    copied = call(q, jnp.repeat(k, 3, axis=0), jnp.repeat(v, 3, axis=0), mask, score_params=learnt)
    for a, b in zip(shared, copied, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_are_heads_with_the_same_kernels(groups: int):
    """One group, multi-query, to as many as heads, which is what there is without groups: down to the names."""
    grouped = CAUSAL.clone(heads=4, kv_heads=groups)
    params = drawn(grouped)
    size = N // 4
    full = jax.tree.map(lambda p: p, params)
    for name in ("key_kernel", "value_kernel", "key_bias", "value_bias"):
        own = params["params"][name]
        assert own.shape[-1] == groups * size
        repeated = jnp.repeat(own.reshape(*own.shape[:-1], groups, size), 4 // groups, axis=-2)
        full["params"][name] = repeated.reshape(*own.shape[:-1], N)
    plain = CAUSAL.clone(heads=4)
    assert jax.tree.structure(drawn(plain)) == jax.tree.structure(full)
    (y, state), (expected, _) = call(grouped, params, X), call(plain, full, X)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert state["key"].shape[1] == state["value"].shape[1] == groups


@pytest.mark.parametrize("window", [1, 2, 3, STEPS, 99])
def test_a_window_is_attention_over_the_last_tokens(window: int):
    """The query's own among them; by position, so that tokens farther apart are fewer."""
    module, params = CAUSAL.clone(window=window), drawn(CAUSAL)
    y, _ = call(module, params, X)
    for t in range(STEPS):
        last = slice(max(0, t + 1 - window), t + 1)
        alone, _ = call(CAUSAL, params, X[:, last], PLACES[:, last], ONES[:, last])
        np.testing.assert_allclose(y[:, t], alone[:, -1], atol=1e-5)
    apart, _ = call(module, params, X, 50 * PLACES)
    np.testing.assert_allclose(apart, call(CAUSAL.clone(window=1 if window < 50 else 2), params, X)[0], atol=1e-5)


def test_a_window_looks_ahead_as_far_as_back():
    module, params = CAUSAL.clone(causal=False, window=2), drawn(CAUSAL)
    y, _ = call(module, params, X)
    for t in range(STEPS):
        around = slice(max(0, t - 1), t + 2)
        whole, _ = call(module.clone(window=0), params, X[:, around], PLACES[:, around], ONES[:, around])
        np.testing.assert_allclose(y[:, t], whole[:, min(t, 1)], atol=1e-5)


def test_a_window_streams_for_ever_from_a_small_cache():
    """`window` − 1 tokens, whatever `max_length` or the first call; padding takes none of their places."""
    module, steps = CAUSAL.clone(window=3), 40
    params, x = drawn(CAUSAL), jnp.asarray(random.normal(size=(2, steps, D)), jnp.float32)
    places = jnp.broadcast_to(jnp.arange(steps), (2, steps))
    whole, last = call(module, params, x, places, jnp.ones_like(places))
    padding, zeros = jnp.full((2, 1, D), 7.0), jnp.zeros((2, 1), jnp.int32)
    ys: list[Any] = []
    state: Any = None
    for t in range(steps):
        y, state = call(module, params, x[:, [t]], places[:, [t]], zeros + 1, state)
        _, state = call(module, params, padding, zeros, zeros, state)
        ys.append(y)
    np.testing.assert_allclose(jnp.concatenate(ys, axis=1), whole, atol=1e-5)
    assert state["key"].shape == (2, HEADS, 2, N // HEADS)
    np.testing.assert_array_equal(state["positions"], places[:, -2:])
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


# ---- where positions are added --------------------------------------------------------------------------------------


@pytest.mark.parametrize("placed", POSITION_INJECTIONS)
def test_positions_are_added_where_they_are_placed(placed: str):
    """To what query, key or value is made from, before its weights; elsewhere nothing is."""
    module, params = CAUSAL.clone(positions="sinusoidal", position_injection=placed), drawn(CAUSAL)
    y, _ = call(module, params, X)
    own = params["params"]
    vectors = sinusoidal_encoding(jnp.arange(STEPS), D)
    made = [
        ((X + vectors if name[0] in placed else X) @ own[f"{name}_kernel"] + own[f"{name}_bias"])
        .reshape(2, STEPS, HEADS, -1)
        .swapaxes(1, 2)
        for name in ("query", "key", "value")
    ]
    mask = jnp.tril(jnp.ones((STEPS, STEPS), bool))
    heads, *_ = jax.vmap(lambda q, k, v: multi_head_attention(q, k, v, mask))(*made)
    expected = heads.swapaxes(1, 2).reshape(2, STEPS, N) @ own["output"]["kernel"] + own["output"]["bias"]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    if placed == "qkv":
        np.testing.assert_allclose(y, call(CAUSAL, params, X + vectors)[0], atol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "randomised"])
def test_placed_positions_are_attention_s_and_not_the_embedding_s(positions: str):
    """A table in each layer, or draws by its own rng; at "embedding" the skeleton has them."""
    for placed, inside in (("embedding", False), ("qk", True)):
        network = models.build_model(
            resolved(positions=positions, attention={"position_injection": placed}),
            vocabulary=5,
            channels=0,
            outputs=5,
            per="token",
        )
        mixer: Any = network.mixers[0](width=64)
        assert (network.positions, mixer.positions) == (("none", positions) if inside else (positions, "none"))
        params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
        if positions == "learned":
            assert ("positions" in params["mixer_0"], "positions" in params) == (inside, not inside)
    module = CAUSAL.clone(positions=positions, position_injection="qk")
    params = drawn(module)
    ys = [module.apply(params, X, positions=PLACES, segments=ONES, rng=rng)[0] for rng in (None, jax.random.key(0))]
    assert bool(np.abs(ys[0] - ys[1]).max() > 1e-3) is (positions == "randomised")


@pytest.mark.parametrize("shared", TIED_PROJECTIONS[1:])
@pytest.mark.parametrize("placed", ["embedding", "v"])
def test_what_is_shared_is_one_matrix_and_one_bias(shared: str, placed: str):
    """The same as with own ones that happen to be equal; and gradients add up, since there is one to train."""
    fields: dict[str, Any] = {"positions": "sinusoidal", "position_injection": placed} if placed != "embedding" else {}
    module, apart = CAUSAL.clone(tied_projections=shared, **fields), CAUSAL.clone(**fields)
    params = drawn(module)
    names = {"q": "query", "k": "key", "v": "value"}
    owner = names[min(shared, key="qkv".index)]
    missing = {f"{names[letter]}_{what}" for letter in shared for what in ("kernel", "bias")}
    missing -= {f"{owner}_kernel", f"{owner}_bias"}
    assert drawn(apart)["params"].keys() - params["params"].keys() == missing
    own = dict(params["params"])
    own |= {name: own[f"{owner}_{name.split('_')[1]}"] for name in missing}
    np.testing.assert_array_equal(call(module, params, X)[0], call(apart, {"params": own}, X)[0])


@pytest.mark.parametrize("name", ["dot", "scaled"])
def test_transformer_xl_adds_what_each_head_wants_of_content_and_of_distance(name: str):
    """Weights are softmax((q + u)·k + (q + v)·W·φ(t − s)), all of it scaled or not (Dai et al. 2019, §3.3)."""
    module = CAUSAL.clone(positions="transformer_xl", similarity=name)
    params = drawn(module)
    _, extra = module.apply(params, X, positions=PLACES, segments=ONES, mutable="intermediates")
    own = jax.tree.map(np.asarray, params["params"])
    q, k = (
        (X @ own[f"{name}_kernel"] + own[f"{name}_bias"]).reshape(2, STEPS, HEADS, -1).swapaxes(1, 2)
        for name in ("query", "key")
    )
    angles = (np.arange(STEPS)[:, None] - np.arange(STEPS))[..., None] / 10000 ** (np.arange(3) * 2 / D)
    feature = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    scores = np.einsum("bhtk,bhsk->bhts", q + own["distance_u"], k)
    scores += np.einsum("bhtk,fhk,tsf->bhts", q + own["distance_v"], own["distance_kernel"], feature)
    scores = scores / (np.sqrt(N // HEADS) if name == "scaled" else 1) - 1e9 * np.triu(np.ones((STEPS, STEPS)), 1)
    weights: Any = extra["intermediates"]["weights"][0]
    np.testing.assert_allclose(weights, jax.nn.softmax(scores), atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"kv_heads": 1}, {"normalizer": "sigmoid"}, {"window": 2, "positions": "t5"}])
def test_every_stage_is_there_on_request(fields: dict[str, Any]):
    """A row of softmax weights sums to 1, hidden keys have none, and each stage makes the next one up to the output."""
    module = CAUSAL.clone(**fields)
    params = drawn(module)
    (y, _), extra = module.apply(params, X, positions=PLACES, segments=ONES, mutable="intermediates")
    weights, heads = (np.asarray(extra["intermediates"][name][0]) for name in ("weights", "heads"))
    assert weights.shape == (2, HEADS, STEPS, STEPS)
    assert heads.shape == (2, HEADS, STEPS, N // HEADS)
    np.testing.assert_array_equal(np.triu(weights, 1), 0)
    if "normalizer" not in fields:
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    inside = {name: jnp.asarray(value[0]) for name, value in extra["intermediates"].items()}
    mask = visibility_mask(ONES[0], ONES[0], 0, True) & (
        window_mask(PLACES[0], PLACES[0], 2) if "window" in fields else True
    )
    shares, total = normalizers.NORMALIZERS[module.normalizer](
        inside["scores"], jnp.broadcast_to(mask, inside["scores"].shape)
    )
    np.testing.assert_allclose(shares / total, weights, atol=1e-6)
    if "positions" not in fields:
        groups = module.kv_heads or HEADS
        query = inside["query"].reshape(2, groups, HEADS // groups, STEPS, -1)
        scores = jnp.einsum("bghtk,bgsk->bghts", query, inside["key"]).reshape(weights.shape) / np.sqrt(N // HEADS)
        np.testing.assert_allclose(jnp.where(mask, inside["scores"] - scores, 0), 0, atol=1e-5)
    value = jnp.repeat(inside["value"], HEADS // inside["value"].shape[1], axis=1)
    np.testing.assert_allclose(weights @ value, heads, atol=1e-5)
    output = params["params"]["output"]
    kernel = output["kernel"].reshape(HEADS, -1, D)
    np.testing.assert_allclose(np.einsum("bhtk,hkd->btd", heads, kernel) + output["bias"], y, atol=1e-5)


def test_what_nobody_asked_for_costs_nothing(monkeypatch: pytest.MonkeyPatch):
    """The program is the same, operation by operation, as if weights and heads could not be had."""

    def program() -> str:
        call = lambda params, x: CAUSAL.apply(params, x, positions=PLACES, segments=ONES)  # noqa: E731
        return str(jax.make_jaxpr(call)(drawn(CAUSAL), X))

    before = program()
    monkeypatch.setattr(Attention, "sow", lambda *_: False)
    assert program() == before


# ---- what is refused ------------------------------------------------------------------------------------------------
