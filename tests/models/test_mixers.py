"""What every registered mixer keeps to: streaming, causality, padding, packing, batches, replicas."""

from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import models

ROWS, STEPS, LONGEST, WIDTH, INNER = 3, 12, 64, 8, 4
FIELDS: dict[str, list[dict[str, Any]]] = {
    "attention": [{"heads": 2, "positions": positions} for positions in ("none", "rope", "alibi")]
    + [
        {"heads": 2, "causal": False},
        {"heads": 4, "hidden_size": 8, "kv_heads": 2, "window": 4, "similarity": "cosine", "positions": "t5"},
        {"heads": 2, "window": 3, "similarity": "dot", "positions": "transformer_xl"},
        {"heads": 2, "kv_heads": 1, "similarity": "additive", "normalizer": "sigmoid", "positions": "hard_alibi"},
        {"heads": 2, "similarity": "general", "normalizer": "none", "positions": "learned", "position_injection": "qk"},
    ],
    "dense": [{}, {"hidden_size": WIDTH}],
    "lstm": [{}, {"disabled_gates": "if"}],
    "gru": [{}, {"causal": False}],
    "linear": [{"heads": 2}, {"heads": 2, "feature": "dpfp", "dpfp_nu": 2}],
    "gla": [{"heads": 2, "hidden_size": WIDTH, "kernel": 3}],
    "delta": [{"heads": 2, "hidden_size": WIDTH, "allow_negative_eigenvalues": True}],
    "gated_delta": [{"heads": 2, "hidden_size": WIDTH}],
    "mlstm": [{"heads": 2}],
    "rglru": [{}, {"scale_first": False}],
    "tcn": [{"layers": 2}, {"layers": 2, "block": "single"}],
}
# How far bfloat16 may be from float32, root mean square over root mean square. A norm of each head's output divides by
# what may be small, and so does the sum rule.
COARSE = dict.fromkeys(["linear", "gla", "delta", "gated_delta", "mlstm"], 0.05)
# How far float32 may be from itself in another order. With β up to 2 the delta rule reflects instead of forgetting.
FINE = {"delta": 3e-5}
VARIANTS = [(name, fields) for name in models.MIXERS for fields in FIELDS.get(name, [{}])]
WHOLE = (STEPS,)  # lengths of chunks; 0: the rest token by token


def make(name: str, **fields: Any) -> nn.Module:
    sizes = {size: fields.pop(size, usual) for size, usual in (("width", WIDTH), ("hidden_size", INNER))}
    dtype = fields.pop("dtype", jnp.float32)
    made = models.causal_or_bidirectional(name, fields.pop("causal", True), **fields)
    return made(**sizes, max_length=LONGEST, dtype=dtype)


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
def variant(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param


@pytest.fixture(scope="module")
def mixer(variant: tuple[str, dict[str, Any]]) -> nn.Module:
    return make(variant[0], **variant[1])


@pytest.fixture(scope="module")
def causal(mixer: nn.Module) -> nn.Module:
    if not getattr(mixer, "causal"):  # noqa: B009
        pytest.skip("not causal")
    return mixer


@cache
def initial(module: nn.Module) -> Any:
    x, steps = jnp.zeros((1, 1, WIDTH)), jnp.zeros((1, 1), jnp.int32)
    return jax.jit(partial(module.init, x=x, positions=steps, segments=steps))(jax.random.key(0))


def weights(module: nn.Module, seed: int = 0) -> Any:
    """What it starts from, and noise, so that no bias is zero."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda p: p + jnp.asarray(random.normal(0, 0.2, p.shape), p.dtype), initial(module))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def counted(segments: Any) -> np.ndarray:
    """Positions as the contract has them, from 0 within a segment; at padding, which has none, anything."""
    segments = np.asarray(segments)
    positions = np.random.default_rng(9).integers(0, segments.shape[1], segments.shape)
    for row, of in zip(positions, segments, strict=True):
        for segment in set(of) - {0}:
            row[of == segment] = np.arange((of == segment).sum())
    return positions.astype(np.int32)


def through(module: nn.Module, params: Any, x: Any, positions: Any, segments: Any, chunks: Any) -> Any:
    """Outputs and final state of a sequence fed in `chunks`."""

    def call(state: Any, now: Any):
        y, state = module.apply(params, now[0], state=state, positions=now[1], segments=now[2])
        return state, y

    ys, state, done, sequence = [], None, 0, (x, positions, segments)
    for steps in chunks:
        if steps:
            state, y = call(state, [array[:, done : done + steps] for array in sequence])
        else:
            tokens = [jnp.moveaxis(array[:, done:, None], 1, 0) for array in sequence]
            state, y = jax.lax.scan(call, state, tokens)
            y = jnp.moveaxis(y[:, :, 0], 0, 1)
        ys.append(y)
        done += steps
    return jnp.concatenate(ys, axis=1), state


def outcome(module: nn.Module, chunks: Any, params: Any, x: Any, positions: Any, segments: Any, direction: Any):
    """What is compared: outputs (0 at padding), state, and the gradients of a random sum of the outputs. And whether
    the outputs at padding, which mean nothing, are at least finite."""

    def total(params: Any, x: Any):
        y, state = through(module, params, x, positions, segments, chunks)
        real = jnp.where((segments != 0)[..., None], y, 0)
        return (real * direction).sum(), {"y": real, "state": state, "finite": jnp.isfinite(y).all()}

    (_, result), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(params, x)
    return result | {"params": gradients[0], "x": gradients[1]}


compiled = jax.jit(outcome, static_argnums=(0, 1))


def run(module: nn.Module, x: np.ndarray, segments: Any, chunks: Any = None, direction: Any = None, seed: int = 0):
    segments = np.asarray(segments, np.int32)
    chunks = chunks or (x.shape[1],)
    direction = normal(99, *x.shape) if direction is None else direction
    result = compiled(module, chunks, weights(module, seed), x, counted(segments), segments, direction)
    return jax.tree.map(np.asarray, result)


def same(one: Any, other: Any, tolerance: float = 1e-5) -> None:
    """Equal leaf by leaf: integers exactly, floats within a tolerance that grows with the largest in the leaf."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        at = jax.tree_util.keystr(path)
        if np.issubdtype(a.dtype, np.inexact):
            within = tolerance * max(1, np.abs(b).max(initial=0))
            np.testing.assert_allclose(a, b, rtol=0, atol=within, err_msg=at)
        else:
            np.testing.assert_array_equal(a, b, err_msg=at)


def cut(module: nn.Module) -> tuple[int, ...]:
    """A first token, a chunk that goes on from it, of another length for each mixer, and the rest token by token: one
    program, since compiling is what takes time here."""
    return 1, int(np.random.default_rng(len(repr(module))).integers(2, 7)), 0


def row(words: list[str]) -> list[int]:
    """Segments of a row of which each step is padding, goes on with a segment or starts a new one."""
    segments, segment = [], 1
    for word in words:
        segment += word == "new"
        segments.append(0 if word == "pad" else segment)
    return segments


packings = st.lists(
    st.lists(st.sampled_from(["on", "on", "on", "new", "pad"]), min_size=STEPS, max_size=STEPS).map(row),
    min_size=ROWS,
    max_size=ROWS,
)
X = normal(1, ROWS, STEPS, WIDTH)
ONES = np.ones((ROWS, STEPS), np.int32)
BEHIND = (np.arange(STEPS) < np.array([[STEPS], [7], [0]])).astype(np.int32)
MIXED = np.array([[1] * 5 + [2] * 4 + [3] * 3, [0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0], [0] * STEPS], np.int32)


@settings(deadline=None, max_examples=6, derandomize=True)
@example(ONES, 0)
@example(BEHIND, 1)
@given(packings, st.integers(0, 99))
def test_whole_is_chunked_is_streamed(variant: tuple[str, dict[str, Any]], causal: nn.Module, segments: Any, seed: int):
    """Outputs, all of the final state and gradients, wherever segments start and padding lies."""
    x = normal(seed, ROWS, STEPS, WIDTH)
    whole = run(causal, x, segments)
    same(run(causal, x, segments, cut(causal)), whole, FINE.get(variant[0], 1e-5))


@pytest.mark.parametrize("segments", [ONES, MIXED], ids=["alone", "packed"])
def test_nothing_looks_ahead(causal: nn.Module, segments: np.ndarray):
    """Another x_t changes y_t, and not one bit of what comes before it or belongs to another segment."""
    before = run(causal, X, segments)["y"]
    for t in (0, 3, 7):
        x = X.copy()
        x[:, t] += 1
        after = run(causal, x, segments)["y"]
        untouched = (np.arange(STEPS) < t) | (segments != segments[:, t : t + 1])
        np.testing.assert_array_equal(after[untouched], before[untouched])
        real = segments[:, t] != 0
        assert real.any()
        assert (np.abs(after[real, t] - before[real, t]).max(axis=-1) > 1e-4).all()


LAYOUTS = {
    "behind": [range(7)] * ROWS,
    "in front": [range(5, 12)] * ROWS,
    "in the middle": [[0, 1, 2, 5, 6, 10, 11], range(7), [1, 2, 4, 5, 7, 8, 10]],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding_changes_nothing(mixer: nn.Module, layout: str):
    """Seven steps among padding give the outputs and gradients of seven steps; padding gets no gradient."""
    places = np.array([list(places) for places in LAYOUTS[layout]])[..., None]
    segments = np.zeros((ROWS, STEPS, 1), np.int32)
    np.put_along_axis(segments, places, 1, axis=1)
    x, direction = 10 * normal(2, ROWS, STEPS, WIDTH), normal(3, ROWS, STEPS, WIDTH)
    np.put_along_axis(x, places, X[:, :7], axis=1)
    alone = run(mixer, X[:, :7], np.ones((ROWS, 7)), direction=np.take_along_axis(direction, places, axis=1))
    padded = run(mixer, x, segments[..., 0], direction=direction)
    for name in ("y", "x"):
        same(np.take_along_axis(padded[name], places, axis=1), alone[name])
    same(padded["params"], alone["params"])
    np.testing.assert_array_equal(padded["x"] * (segments == 0), 0)


@pytest.mark.parametrize("chunks", ["whole", "cut"])
def test_packed_is_alone(mixer: nn.Module, chunks: str):
    """Three sequences in one row, also fed in chunks that cut through them, equal each in a row of its own."""
    if chunks != "whole" and not getattr(mixer, "causal"):  # noqa: B009
        pytest.skip("not causal")
    packed = np.array([[1] * 5 + [2] * 4 + [3] * 3, [0] * STEPS, [0] * STEPS])
    places = [packed[0] == segment for segment in (1, 2, 3)]
    direction = normal(3, ROWS, STEPS, WIDTH)
    x, along = (np.zeros_like(X) for _ in range(2))
    for i, place in enumerate(places):
        x[i, : place.sum()], along[i, : place.sum()] = X[0, place], direction[0, place]
    alone = run(mixer, x, [(np.arange(STEPS) < place.sum()).astype(int) for place in places], direction=along)
    together = run(mixer, X, packed, WHOLE if chunks == "whole" else cut(mixer), direction)
    for name in ("y", "x"):
        same(together[name][0], np.concatenate([alone[name][i, : place.sum()] for i, place in enumerate(places)]))
    same(together["params"], alone["params"])


def test_a_row_of_padding_is_finite(mixer: nn.Module):
    """So are its outputs, though they mean nothing, and all gradients, which are zero."""
    for segments in (np.zeros_like(MIXED), MIXED):
        found = run(mixer, X, segments)
        assert found["finite"]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
        np.testing.assert_array_equal(found["x"][~segments.any(axis=1)], 0)


def test_a_single_step(causal: nn.Module):
    """A sequence of one token gives what the first token of a longer one gives."""
    one = run(causal, X[:, :1], ONES[:, :1])
    same(one["y"], run(causal, X, ONES)["y"][:, :1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one))


def test_a_foreign_state_is_refused(causal: nn.Module):
    """One of another batch size or of another mixer; it would be broadcast, or mean nothing."""
    params = weights(causal)
    x, ones = jnp.asarray(X), jnp.asarray(ONES)
    call = jax.jit(
        lambda x, state=None: causal.apply(params, x, state=state, positions=ones[: len(x)], segments=ones[: len(x)])
    )
    state: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(call, x)[1])
    for now, wrong in ((x[:1], state), (x, {"other": state}), (x, (jnp.zeros(3),))):
        with pytest.raises(ValueError, match="can't be gone on from here; this mixer and batch have"):
            jax.eval_shape(call, now, wrong)


def test_a_batch_is_its_rows(mixer: nn.Module):
    together = run(mixer, X, MIXED)
    direction = normal(99, *X.shape)
    rows = [run(mixer, X[[i]], MIXED[[i]], direction=direction[[i]]) for i in range(ROWS)]
    for name in ("y", "x"):
        same(together[name], np.concatenate([row[name] for row in rows]))
    same(together["params"], jax.tree.map(lambda *leaves: sum(leaves), *(row["params"] for row in rows)))


def test_replicas_are_one_by_one(mixer: nn.Module):
    """Three seeds, each with parameters and data of its own, side by side: also where some rows are packed."""
    x, direction = normal(5, 3, ROWS, STEPS, WIDTH), normal(99, ROWS, STEPS, WIDTH)
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(weights(mixer, seed) for seed in range(3)))
    together = jax.jit(jax.vmap(partial(outcome, mixer, WHOLE), in_axes=(0, 0, 0, 0, None)))
    for segments in ([ONES, MIXED, ONES], [ONES, ONES, ONES], [MIXED, MIXED[::-1], MIXED]):
        positions = np.stack([counted(s) for s in segments])
        side = jax.tree.map(np.asarray, together(params, x, positions, np.stack(segments), direction))
        for i in range(3):
            alone = run(mixer, x[i], segments[i], direction=direction, seed=i)
            same(jax.tree.map(lambda leaf, i=i: leaf[i], side), alone)


def test_gradients_over_64_steps_are_finite(mixer: nn.Module):
    """From what it starts from; and some gradient reaches every parameter and every step."""
    steps = np.arange(LONGEST, dtype=np.int32)[None]
    x, direction = normal(6, 1, LONGEST, WIDTH), normal(7, 1, LONGEST, WIDTH)
    for segments in (np.ones_like(steps), 1 + steps // 32):
        found = compiled(mixer, (LONGEST,), initial(mixer), x, counted(segments), segments, direction)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
        assert all(np.any(leaf) for leaf in jax.tree.leaves(found["params"]))
        assert np.any(found["x"], axis=-1).all()


def test_bfloat16_is_near_float32(variant: tuple[str, dict[str, Any]], mixer: nn.Module):
    """It runs, in a chunk and then streamed; what a recurrence adds to at every step it keeps in float32."""
    module = make(variant[0], **variant[1], dtype=jnp.bfloat16)
    exact, params = run(mixer, X, ONES)["y"], weights(mixer)
    chunks = (8, 0) if getattr(mixer, "causal") else WHOLE  # noqa: B009
    y, state = jax.jit(partial(through, module, chunks=chunks))(params, X.astype(jnp.bfloat16), counted(ONES), ONES)
    assert y.dtype == jnp.bfloat16
    off = np.sqrt(((y.astype(jnp.float32) - exact) ** 2).mean() / (exact**2).mean())
    assert 0 < off < COARSE.get(variant[0], 0.02)
    for path, leaf in jax.tree.leaves_with_path(state):
        if not any(word in jax.tree_util.keystr(path) for word in ("key", "value", "window", "past")):  # copies
            assert leaf.dtype in (jnp.float32, jnp.complex64, jnp.int32)


@pytest.mark.parametrize("name", models.MIXERS)
def test_version_is_a_number_raised_by_hand(name: str):
    assert isinstance(models.mixer_version(name), int)
    assert models.mixer_version(name) >= 1
