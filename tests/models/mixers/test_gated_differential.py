"""Attention's options `output_gate` and `differential`, held to their papers' equations in float64, key by key."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.mixers.attention import Attention
from models.ops.differential_attention import initial_lambda, join_halves, split_halves
from tests.models.contract import initial_params, noisy_params, normal
from tests.models.mixers.reference import WIDTH, assert_near, outputs_and_reference, sigmoid
from tests.models.mixers.test_attention import resolved

HEADS, SIZE = 4, 4
LAYER = 3  # as the paper counts them, from 1
ALIBI_SLOPES = [2.0 ** (-8 * h / HEADS) for h in range(1, HEADS + 1)]
OPTIONS: list[dict[str, Any]] = [
    {"output_gate": True},
    {"output_gate": True, "positions": "rope", "kv_heads": 2},
    {"differential": True},
    {"differential": True, "positions": "rope"},
    {"differential": True, "positions": "alibi", "bias": False},
    {"differential": True, "positions": "t5", "causal": False},
    {"differential": True, "positions": "hard_alibi", "output_gate": True},
    {"differential": True, "kv_heads": 2, "window": 3, "output_gate": True},
    {"differential": True, "kv_heads": 1, "normalizer": "sigmoid"},
    {"differential": True, "similarity": "cosine"},
    {"differential": True, "positions": "transformer_xl"},
]


def attend_loop(x: np.ndarray, p: Any, options: dict[str, Any]) -> np.ndarray:
    """One sequence through gated or differential attention, one query, head and key after another."""
    differential = options.get("differential", False)
    steps, groups = len(x), options.get("kv_heads", HEADS)

    def project(name: str) -> np.ndarray:
        return x @ p[f"{name}_kernel"] + p.get(f"{name}_bias", 0)

    query, key, value = project("query"), project("key"), project("value")
    start = 0.8 - 0.6 * np.exp(-0.3 * (LAYER - 1))
    subtracted = 0.0
    if differential:
        exponents = [p[f"lambda_query_{i}"] @ p[f"lambda_key_{i}"] for i in (1, 2)]
        subtracted = np.exp(exponents[0]) - np.exp(exponents[1]) + start
    part = SIZE // 2 if differential else SIZE
    y = np.zeros((steps, HEADS * SIZE))
    for h in range(HEADS):
        g = h * groups // HEADS
        for t in range(steps):
            seen = [s for s in range(steps) if can_see(t, s, h, options)]
            z = np.zeros(SIZE)
            for half in range(2 if differential else 1):
                begin = half * part
                scores = []
                for s in seen:
                    q = query[t, h * SIZE + begin : h * SIZE + begin + part]
                    k = key[s, g * SIZE + begin : g * SIZE + begin + part]
                    scores.append(score(q, k, t, s, h, half, p, options))
                if options.get("normalizer") == "sigmoid":
                    weights = sigmoid(np.array(scores) - np.log(len(seen)))
                else:
                    weights = np.exp(scores) / np.exp(scores).sum()
                sign = 1 if half == 0 else -subtracted
                for w, s in zip(weights, seen, strict=True):
                    z += sign * w * value[s, g * SIZE : (g + 1) * SIZE]
            if differential:
                z = (1 - start) * p["norm"]["scale"] * z / np.sqrt((z**2).mean() + 1e-5)
            y[t, h * SIZE : (h + 1) * SIZE] = z
    if options.get("output_gate"):
        y = y * sigmoid(x @ p["output_gate"]["kernel"])
    return y @ p["output"]["kernel"] + p["output"].get("bias", 0)


def can_see(t: int, s: int, h: int, options: dict[str, Any]) -> bool:
    if options.get("causal", True) and s > t:
        return False
    if options.get("positions") == "hard_alibi" and h < HEADS // 2:
        return t - s <= h
    return abs(t - s) < options.get("window", 10**6)


def score(q: np.ndarray, k: np.ndarray, t: int, s: int, h: int, half: int, p: Any, options: dict[str, Any]) -> float:
    positions = options.get("positions", "none")
    if positions == "rope":
        q, k = rotate(q, t), rotate(k, s)
    if options.get("similarity") == "cosine":
        strength = np.exp(p["temperature"].reshape(2, HEADS)[half, h])
        return float(strength * (q @ k) / np.sqrt((q @ q + 1e-6) * (k @ k + 1e-6)))
    bias = 0.0
    if positions == "alibi":
        bias = -ALIBI_SLOPES[h] * (t - s)
    elif positions == "t5":  # both ways: 16 buckets of distances ahead and 16 of those back, single ones up to 8
        bias = p["distance_bias"][h, (16 if t < s else 0) + abs(t - s)]
    elif positions == "transformer_xl":
        softmax = half * HEADS + h
        angles = (t - s) * 10000.0 ** (-2 * np.arange(WIDTH // 2) / WIDTH)
        features = np.concatenate([np.sin(angles), np.cos(angles)]) @ p["distance_kernel"][:, softmax]
        bias = (q + p["distance_v"][softmax, 0]) @ features / np.sqrt(len(q))
        q = q + p["distance_u"][softmax, 0]
    return float(q @ k / np.sqrt(len(q)) + bias)


def rotate(x: np.ndarray, position: int) -> np.ndarray:
    """Feature i and feature i + K/2 are a pair, turned by position·10000^(−2i/K)."""
    angles = position * 10000.0 ** (-2 * np.arange(len(x) // 2) / len(x))
    first, second = np.split(x, 2)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin])


def make_module(**options: Any) -> Any:
    return Attention(WIDTH, HEADS * SIZE, max_length=32, heads=HEADS, depth_index=LAYER - 1, **options)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_is_the_attention_of_the_paper(options: dict[str, Any]):
    """Over packed and padded rows, with every option that has a part in it."""
    y, expected = outputs_and_reference(make_module(**options), lambda x, p: attend_loop(x, p, options))
    assert_near(y, expected)


def test_a_gate_of_zeros_is_half_open():
    """σ(0) = ½, so that outputs are half of those without a gate."""
    gated, plain = make_module(output_gate=True, bias=False), make_module(bias=False)
    params: Any = dict(noisy_params(gated)["params"])
    x, ones = jnp.asarray(normal(2, 1, 7, WIDTH)), jnp.ones((1, 7), jnp.int32)
    places: Any = {"positions": jnp.arange(7)[None], "segments": ones}
    half_open = params | {"output_gate": jax.tree.map(jnp.zeros_like, params["output_gate"])}
    y, _ = gated.apply({"params": half_open}, x, **places)
    without = {name: p for name, p in params.items() if name != "output_gate"}
    np.testing.assert_allclose(y, 0.5 * plain.apply({"params": without}, x, **places)[0], atol=1e-6)


def test_what_is_sown_is_what_is_compared_and_read():
    """Queries and keys whole, scores of both halves; weights are their softmaxes' difference, and sum to 1 − λ."""
    module = make_module(differential=True, kv_heads=2)
    params: Any = noisy_params(module)
    x, steps = jnp.asarray(normal(3, 1, 6, WIDTH)), jnp.arange(6)[None]
    _, kept = module.apply(params, x, positions=steps, segments=jnp.ones_like(steps), mutable="intermediates")
    stages = {name: stage[0][0] for name, stage in kept["intermediates"].items()}
    sown = {name: np.asarray(stage, np.float64) for name, stage in stages.items()}
    assert {name: a.shape for name, a in sown.items()} == {
        "query": (HEADS, 6, SIZE),
        "key": (2, 6, SIZE),
        "value": (2, 6, SIZE),
        "scores": (2 * HEADS, 6, 6),
        "weights": (HEADS, 6, 6),
        "heads": (HEADS, 6, SIZE),
    }
    scores = [sown["query"][h, :, -2:] @ sown["key"][h // 2, :, -2:].T / np.sqrt(2) for h in range(HEADS)]
    np.testing.assert_allclose(sown["scores"][HEADS:], scores, atol=1e-5)
    sums = sown["weights"].sum(axis=-1)
    np.testing.assert_allclose(sums, sums[0, 0], atol=1e-5)
    assert not np.triu(sown["weights"], 1).any()
    read = [sown["weights"][h] @ sown["value"][h // 2] for h in range(HEADS)]
    np.testing.assert_allclose(sown["heads"], read, atol=1e-5)


def test_each_layer_knows_its_place():
    """λ₀ rises from 0.2 in the first block towards 0.8; blocks with other mixers count too."""
    assert initial_lambda(0) == pytest.approx(0.2)
    assert initial_lambda(1) == pytest.approx(0.8 - 0.6 * np.exp(-0.3))
    assert initial_lambda(50) == pytest.approx(0.8, abs=1e-6)
    model = resolved(mixer="gru,attention", gru={}, depth=4, attention={"differential": True})
    network = models.build_model(model, vocabulary=5, channels=0, outputs=5, per="token")
    mixers = [make(width=64) for make in network.mixers]  # pyright: ignore[reportAttributeAccessIssue]
    assert [mixer.depth_index for mixer in mixers if isinstance(mixer, Attention)] == [1, 3]


def test_halves_are_laid_out_as_heads():
    x = jnp.asarray(normal(4, 2, 3, 5, 6))
    halves = split_halves(x)
    np.testing.assert_array_equal(halves[:, :3], x[..., :3])
    np.testing.assert_array_equal(halves[:, 3:], x[..., 3:])
    np.testing.assert_array_equal(join_halves(halves), x)


def test_parameters_without_the_options_are_as_before():
    names = {f"{name}_{kind}" for name in ("query", "key", "value") for kind in ("kernel", "bias")} | {"output"}
    assert set(initial_params(make_module())["params"]) == names
    both: Any = initial_params(make_module(output_gate=True, differential=True))["params"]
    vectors = {f"lambda_{name}_{i}" for name in ("query", "key") for i in (1, 2)}
    assert set(both) == names | vectors | {"norm", "output_gate"}


@pytest.mark.parametrize(
    ("own", "fields", "message"),
    [
        (
            {"heads": 4},
            {"width": 60},
            r"attention\.differential=True: the head size 15 must be a multiple of 2; model.attention.heads=",
        ),
        (
            {"heads": 4},
            {"width": 24, "positions": "rope"},
            r"rope with model\.attention\.differential: the head size 6 must be a multiple of 4; .*: 3 and 6 do",
        ),
        (
            {"implementation": "cudnn"},
            {"dtype": "bfloat16"},
            r"=cudnn: does not go with model\.attention\.differential=True, only with False; use implementation=blocks",
        ),
    ],
    ids=str,
)
def test_halves_that_can_not_be_are_refused(own: dict[str, Any], fields: dict[str, Any], message: str):
    """In one line that says what would be right; a layer that is made without a config says it too."""
    with pytest.raises(ValueError, match=message) as caught:
        resolved(attention={"differential": True, **own}, **fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "positions"), [(15, "none"), (6, "rope")])
def test_a_layer_of_such_a_size_is_refused(size: int, positions: str):
    module: Any = Attention(WIDTH, 2 * size, max_length=8, heads=2, differential=True, positions=positions)
    with pytest.raises(ValueError, match="the head size"):
        initial_params(module)
