from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.loglinear import LogLinearAttention
from models.ops.fenwick import count_levels, fenwick_level
from tests.models.contract import noisy_params, normal
from tests.models.mixers.reference import (
    WIDTH,
    assert_near,
    convolve,
    heads_of,
    outputs_and_reference,
    rms_norm,
    sigmoid,
    silu,
    softplus,
    unit,
)

HEADS, SIZE, MAX_LENGTH = 2, 3, 9
LEVELS = 5


def lowest_set_bit(t: int) -> int:
    return (t & -t).bit_length() - 1


def by_hand(x: np.ndarray, params: Any, rule: str) -> np.ndarray:
    """Guo et al., §3.1 and 3.3: S⁽ℓ⁾ of each level, joined at level lssb(t) + 1 before each place t > 0."""
    mixed = x @ params["input"]["kernel"]
    mixed = silu(convolve(mixed, params["kernel"]) if "kernel" in params else mixed)
    query, key, value = (heads_of(a, HEADS) for a in np.split(mixed, 3, axis=1))
    step = softplus(x @ params["step"]["kernel"] + params["step"]["bias"])
    gate = np.exp(-np.exp(params["log_rates"]) * step)
    if rule == "gated_delta":
        query, key = unit(query), unit(key)
        beta = sigmoid(x @ params["strength"]["kernel"])
    else:
        value, beta = step[..., None] * value, np.zeros_like(step)
    weights = softplus(params["level_scale"] * heads_of(x @ params["levels"]["kernel"], HEADS))
    memory, y = np.zeros((HEADS, LEVELS, SIZE, SIZE)), np.zeros((len(x), HEADS, SIZE))
    for t in range(len(x)):
        if t:
            level = lowest_set_bit(t) + 1
            memory[:, level] = memory[:, : level + 1].sum(axis=1)
            memory[:, :level] = 0
        for h in range(HEADS):
            k = key[t, h]
            transition = gate[t, h] * (np.eye(SIZE) - beta[t, h] * np.outer(k, k))
            memory[h] = transition @ memory[h]
            memory[h, 0] = (beta[t, h] if rule == "gated_delta" else 1) * np.outer(k, value[t, h])
            y[t, h] = sum(weights[t, h, level] * memory[h, level].T @ query[t, h] for level in range(LEVELS))
    y = rms_norm(y, params["norm"]["scale"]).reshape(len(x), -1)
    if "output_gate" in params:
        y = y * silu(x @ params["output_gate"]["kernel"])
    return y @ params["output"]["kernel"]


def make_mixer(**options: Any) -> LogLinearAttention:
    return LogLinearAttention(
        **{"width": WIDTH, "hidden_size": HEADS * SIZE, "heads": HEADS, "max_length": MAX_LENGTH, **options}
    )


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "gated_delta"},
        {"rule": "gated", "kernel": 0, "output_gate": False},
        {"rule": "gated_delta", "implementation": "steps"},
    ],
)
def test_loglinear_is_its_recurrence(options: dict[str, Any]):
    assert_near(*outputs_and_reference(make_mixer(**options), lambda x, params: by_hand(x, params, options["rule"])))


def test_chunks_are_steps_over_several_chunks():
    """Over 70 places of which some are padding, and a new segment in the middle of a chunk."""
    segments = np.repeat([1, 0, 1, 2, 0, 2], [20, 3, 8, 30, 2, 7])[None]
    x, ones = jnp.asarray(normal(1, 1, 70, WIDTH)), jnp.asarray(segments)
    params = noisy_params(make_mixer(max_length=64))
    run = jax.jit(lambda module: module.apply(params, x, positions=0 * ones, segments=ones), static_argnums=0)
    (y, state), (expected, after) = (run(make_mixer(max_length=64, implementation=i)) for i in ("chunks", "steps"))
    assert_near(np.asarray(y)[segments != 0], np.asarray(expected)[segments != 0])
    np.testing.assert_allclose(state["memory"], after["memory"], atol=1e-5)
    assert state["tokens"] == after["tokens"] == 37


def test_levels_are_the_buckets_of_a_fenwick_tree():
    """Every earlier place is in one bucket; bucket ℓ > 0 of t holds 2^(ℓ−1) places if t has bit ℓ − 1, else none."""
    levels = count_levels(32)
    for t in range(32):
        found = np.asarray(fenwick_level(jnp.full(t + 1, t), jnp.arange(t + 1), levels))
        sizes = [1, *(2**bit if t >> bit & 1 else 0 for bit in range(levels - 1))]
        assert np.bincount(found, minlength=levels).tolist() == sizes
        assert (np.diff(found) <= 0).all()  # the nearer, the lower


def test_the_state_grows_with_the_logarithm_of_the_longest_sequence():
    sizes = [make_mixer(max_length=n).empty_state(1)["memory"].size for n in (2, 4, 1024, 2048)]
    assert np.array(sizes).tolist() == [HEADS * SIZE**2 * levels for levels in (2, 3, 11, 12)]
