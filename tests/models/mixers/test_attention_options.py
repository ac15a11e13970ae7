"""What attention refuses, and options that change its arithmetic only in rounding."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.mixers.attention import Attention
from models.ops import normalizers, position_encodings, similarity
from tests.models.mixers.test_attention import CAUSAL, ONES, PLACES, X, call, drawn, resolved


@pytest.mark.parametrize("window", [0, 3])
def test_a_state_of_something_else_is_refused(window: int):
    """Another batch size, other heads, another mixer, or a cache where a window belongs: never broadcast."""
    module = CAUSAL.clone(window=window)
    params = drawn(module)
    token = partial(call, module, params, X[:, :1], PLACES[:, :1], ONES[:, :1])
    _, right = jax.eval_shape(token)
    jax.eval_shape(token, right)
    _, single = jax.eval_shape(partial(call, module, params, X[:1], PLACES[:1], ONES[:1]))
    _, shared = jax.eval_shape(partial(call, module.clone(kv_heads=1)), drawn(module.clone(kv_heads=1)), X)
    _, other = jax.eval_shape(partial(call, module.clone(window=3 - window)), params, X)
    for state in (single, shared, other, {"carry": right["key"], "segment": right["segments"]}, (right,), right["key"]):
        with pytest.raises(ValueError, match="can't be gone on from here; this mixer and batch have"):
            jax.eval_shape(token, state)


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"kv_heads": 3}, r"model\.attention\.kv_heads=3: must divide the 4 heads; 2 and 4 do"),
    ({}, {"kv_heads": 8}, r"model\.attention\.kv_heads=8: must divide the 4 heads; 4 does"),
    ({}, {"kv_heads": -1}, r"model\.attention\.kv_heads=-1: must be 0 or more"),
    ({}, {"window": -2}, r"model\.attention\.window=-2: must be 0 or more"),
    ({}, {"similarity": "cosin"}, r"model\.attention\.similarity=cosin: must be one of dot, .*; did you mean cosine\?"),
    ({}, {"normalizer": "soft"}, r"model\.attention\.normalizer=soft: must be one of softmax, linear, sigmoid, none"),
    (
        {"positions": "learned"},
        {"position_injection": "kq"},
        r"model\.attention\.position_injection=kq: must be one of embedding, q, .*qk",
    ),
    (
        {"positions": "rope"},
        {"position_injection": "qk"},
        r"position_injection=qk: says where .* model\.positions=rope adds none; use one of s",
    ),
    (
        {},
        {"position_injection": "v"},
        r"position_injection=v: says where positions are added, and model\.positions=none adds none",
    ),
    (
        {"positions": "hard_alibi"},
        {"heads": 1},
        r"model\.positions=hard_alibi: .* model\.attention\.heads must be 2 or",
    ),
    (
        {"positions": "transformer_xl"},
        {"similarity": "cosine"},
        r"=transformer_xl: .* must be dot or scaled, not cosine",
    ),
    ({}, {"tied_projections": "qq"}, r"model\.attention\.tied_projections=qq: must be empty or one of qk, qv, kv, qkv"),
    (
        {},
        {"tied_projections": "kv", "kv_heads": 2},
        r"tied_projections=kv: keys and values must be as wide as queries; use kv_heads=0, not 2",
    ),
    ({"positions": "randomised", "max_length": 4096}, {}, r"=randomised: are drawn from 2048, so .*4096 is too long"),
    ({"positions": "hardalibi"}, {}, r"model\.positions=hardalibi: must be one of .*; did you mean hard_alibi\?"),
]


@pytest.mark.parametrize(("fields", "own", "message"), BAD, ids=[f"{f}-{o}" for f, o, _ in BAD])
def test_what_can_not_be_attention_is_refused(fields: dict[str, Any], own: dict[str, Any], message: str):
    """In one line that names the field and says what would be right."""
    with pytest.raises(ValueError, match=message) as caught:
        resolved(**fields, attention=own)
    assert "\n" not in str(caught.value)


def test_an_older_record_is_still_a_model():
    """One written before there were groups, windows and the rest, which mean what they then were."""
    model = resolved()
    model["attention"] = {"heads": 4, "bias": True}
    old, new = (models.build_model(m, vocabulary=5, channels=0, outputs=5, per="token") for m in (model, resolved()))
    assert old.mixers[0](width=64) == new.mixers[0](width=64)


def test_every_normaliser_and_similarity_can_be_built():
    for name in similarity.SIMILARITIES:
        for normalizer in normalizers.NORMALIZERS:
            resolved(attention={"similarity": name, "normalizer": normalizer})


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (
            {"implementation": "block"},
            r"model\.attention\.implementation=block: must be one of auto, .*; did you mean blocks",
        ),
        (
            {"implementation": "cudnn"},
            r"implementation=cudnn: does not go with model\.dtype=float32, only with bfloat16; use implementation=b",
        ),
        ({"implementation": "cudnn", "window": 3}, "implementation=cudnn: does not go with model"),
    ],
    ids=str,
)
def test_a_form_that_can_not_be(own: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        resolved(attention=own)


def softmax_in_float64(name: str, query: Any, key: Any, own: Any, bias: Any) -> np.ndarray:
    """Causal weights of one head, from queries and keys as they are."""
    q, k = np.asarray(query, np.float64), np.asarray(key, np.float64)
    lengths = np.sqrt((q * q).sum(-1)[:, None] * (k * k).sum(-1))
    scores = {
        "dot": lambda: q @ k.T,
        "scaled": lambda: q @ k.T / np.sqrt(q.shape[1]),
        "cosine": lambda: np.exp(own["temperature"]) * (q @ k.T) / lengths,
        "additive": lambda: np.tanh(q[:, None] + k) @ own["direction"],
        "general": lambda: q @ own["between"] @ k.T,
    }[name]()
    scores = np.where(np.tri(len(q), dtype=bool), scores + bias, -np.inf)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("positions", ["none", "alibi", "t5", "transformer_xl"])
@pytest.mark.parametrize("name", similarity.SIMILARITIES)
def test_weights_of_bfloat16_are_those_of_float64(name: str, positions: str):
    """Queries, keys and values rounded as they are, nothing behind them is coarser than float32; by blocks neither."""
    if positions == "transformer_xl" and name not in ("dot", "scaled"):
        pytest.skip("made of dot products")
    wide, steps = 48, 96
    module = Attention(
        wide,
        wide,
        max_length=steps,
        heads=2,
        similarity=name,
        positions=positions,
        dtype=jnp.bfloat16,
        implementation="plain",
    )
    places, ones = jnp.arange(steps)[None], jnp.ones((1, steps), jnp.int32)
    draws = np.random.default_rng(2)
    x = jnp.asarray(draws.normal(size=(1, steps, wide)), jnp.float32)
    params: Any = jax.jit(module.init)(jax.random.key(0), x, positions=places, segments=ones)
    kernels = {what: 1.5 * w for what, w in params["params"].items() if what.endswith("_kernel")}
    own = {what: jnp.asarray(draws.normal(size=w.shape), jnp.float32) for what, w in params["params"].items()
           if what.startswith("distance_b") or what in ("distance_u", "distance_v")}  # fmt: skip
    own |= {"output": {"kernel": jnp.eye(wide), "bias": jnp.zeros(wide)}}
    params = {"params": {**params["params"], **kernels, **own}}
    with jax.disable_jit():  # a compiler may leave roundings out
        y, seen = module.apply(params, x, positions=places, segments=ones, mutable="intermediates")
        by_blocks, _ = module.clone(implementation="blocks").apply(params, x, positions=places, segments=ones)
    query, key, value, weights = (
        np.asarray(seen["intermediates"][what][0][0], np.float64) for what in ("query", "key", "value", "weights")
    )
    learnt = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    read, distance = [], np.subtract.outer(np.arange(steps), np.arange(steps))
    for h in range(2):
        bias = np.zeros((steps, steps))
        of = {what: learnt[what][h] for what in similarity.similarity_initializers(name, 2, wide // 2)}
        asked = query[h]
        if positions == "alibi":
            bias = -(2.0 ** (-4 * (h + 1))) * distance
        elif positions == "t5":
            bias = learnt["distance_bias"][h][np.asarray(position_encodings.t5_bucket(jnp.asarray(distance), True))]
        elif positions == "transformer_xl":
            angles = distance[..., None] / 10000.0 ** (np.arange(wide // 2) * 2 / wide)
            features = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
            toward = np.einsum("tk,fk->tf", asked + learnt["distance_v"][h], learnt["distance_kernel"][:, h])
            bias = np.einsum("tf,tsf->ts", toward, features) * (1 if name == "dot" else (wide // 2) ** -0.5)
            asked = asked + learnt["distance_u"][h]
        expected = softmax_in_float64(name, asked, key[h], of, bias)
        assert np.abs(weights[h] - expected).max() < 1e-5
        read.append(expected @ value[h])
    expected = np.concatenate(read, axis=1)
    for found in (y, by_blocks):
        error = np.asarray(found[0], np.float64) - expected
        assert np.sqrt((error**2).mean() / (expected**2).mean()) < 2.5e-3
