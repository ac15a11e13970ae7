from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.mixers.attention import Attention
from models.ops import blockwise_attention

FORMED = [
    {},
    {"positions": "rope", "kv_heads": 2},
    {"positions": "alibi"},
    {"positions": "t5", "similarity": "cosine"},
    {"positions": "hard_alibi"},
    {"positions": "transformer_xl"},
    {"window": 9},
    {"normalizer": "sigmoid"},
    {"normalizer": "linear", "causal": False},
    {"similarity": "additive", "normalizer": "none"},
    {"output_gate": True, "differential": True, "positions": "alibi", "kv_heads": 2},
]
LENGTHS = [(own, 150) for own in FORMED] + [(FORMED[0], 1), (FORMED[1], 33), (FORMED[8], 33), (FORMED[2], 300)]


@pytest.mark.parametrize(("own", "steps"), LENGTHS, ids=str)
def test_by_blocks_is_all_at_once(own: dict[str, Any], steps: int, monkeypatch: pytest.MonkeyPatch):
    """Outputs, state and gradients, packed and padded; from 150 on in two stairs, of several blocks, whose scores are
    made anew."""
    monkeypatch.setattr(blockwise_attention, "MAX_KV_BUCKETS", 2)
    monkeypatch.setattr(blockwise_attention, "REMAT_LENGTH", 100)
    random = np.random.default_rng(0)
    segments = jnp.asarray(np.repeat(random.integers(0, 4, (2, -(-steps // 7))), 7, axis=1)[:, :steps], jnp.int32)
    at = jnp.broadcast_to(jnp.arange(steps), (2, steps))
    x, direction = (jnp.asarray(random.normal(size=(2, steps, 8)), jnp.float32) for _ in range(2))
    module = Attention(width=8, hidden_size=8, max_length=steps, heads=4, **own)
    params = jax.jit(module.init)(jax.random.key(0), x[:, :1], positions=at[:, :1], segments=at[:, :1])

    @partial(jax.jit, static_argnums=0)
    def outcome(form: str, params: Any, x: Any):
        def total(params: Any, x: Any):
            y, state = module.clone(implementation=form).apply(params, x, positions=at, segments=segments)
            kept = jnp.where((segments != 0)[..., None], y, 0)
            return (kept * direction).sum(), (kept, state)

        return jax.value_and_grad(total, (0, 1), has_aux=True)(params, x)

    for ours, theirs in zip(*(jax.tree.leaves(outcome(f, params, x)) for f in ("blocks", "plain")), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-5 * max(1, float(jnp.abs(theirs).max(initial=0))))


def test_blocks_need_memory_that_grows_with_the_length():
    """All at once it grows with its square."""

    def needed(form: str, steps: int) -> int:
        module = Attention(width=8, hidden_size=8, max_length=steps, heads=2, implementation=form)
        x, at = jnp.zeros((1, steps, 8)), jnp.ones((1, steps), jnp.int32)
        initial = partial(module.init, positions=at[:, :1], segments=at[:, :1])
        params = jax.eval_shape(initial, jax.random.key(0), x[:, :1])
        loss = lambda params: module.apply(params, x, positions=at, segments=at)[0].sum()  # noqa: E731
        found: Any = jax.jit(jax.grad(loss)).lower(params).compile().memory_analysis()
        return found.temp_size_in_bytes

    assert needed("blocks", 4096) < 2.5 * needed("blocks", 2048)
    assert needed("plain", 4096) > 3.5 * needed("plain", 2048) > 3.5 * needed("blocks", 2048)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("causal", [True, False])
def test_cudnn_gives_what_the_plain_form_gives(causal: bool):
    """Outputs and gradients, with padding behind; and nan where a second sequence follows in a row."""
    random, steps = np.random.default_rng(0), 40
    segments = jnp.asarray(np.arange(steps) < np.array([[steps], [17]]), jnp.int32)
    at = jnp.broadcast_to(jnp.arange(steps), (2, steps))
    x, direction = (jnp.asarray(random.normal(size=(2, steps, 64)), jnp.bfloat16) for _ in range(2))
    module = Attention(
        width=64, hidden_size=64, max_length=steps, heads=2, causal=causal, bias=False, dtype=jnp.bfloat16
    )
    params = jax.jit(module.init)(jax.random.key(0), x[:, :1], positions=at[:, :1], segments=at[:, :1])

    def total(form: str, params: Any, x: Any, segments: Any = segments):
        y, _ = module.clone(implementation=form).apply(params, x, positions=at, segments=segments)
        kept = jnp.where((segments != 0)[..., None], y, 0)
        return (kept * direction).astype(jnp.float32).sum(), kept

    gradient = jax.jit(jax.value_and_grad(total, (1, 2), has_aux=True), static_argnums=0)
    for ours, theirs in zip(*(jax.tree.leaves(gradient(f, params, x)) for f in ("cudnn", "plain")), strict=True):
        ours, theirs = (np.asarray(a, np.float32) for a in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.03 * max(1, np.abs(theirs).max()))
    assert np.isnan(total("cudnn", params, x, segments.at[0, 12:].set(2))[0])
