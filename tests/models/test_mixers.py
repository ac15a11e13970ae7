"""The contract of models/mixers/base.py, for every mixer in MIXERS: a new one is covered without any edit here."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import models
from examples.add_a_mixer import MovingAverage
from tests.models.contract import (
    LONG,
    ROWS,
    STEPS,
    WHOLE,
    WIDTH,
    apply_in_calls,
    assert_finite,
    assert_same,
    initial_params,
    is_causal,
    make,
    noisy_params,
    normal,
    outcome,
    positions_of,
    run,
    uneven_calls,
)

# Every mixer is tested with its defaults, or with these settings of its options where some have code of their own.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "attention": [{"heads": 2, "positions": positions} for positions in ("none", "rope", "alibi")]
    + [
        {"heads": 2, "causal": False},
        {"heads": 4, "hidden_size": 8, "kv_heads": 2, "window": 4, "similarity": "cosine", "positions": "t5"},
        {"heads": 2, "window": 3, "similarity": "dot", "positions": "transformer_xl"},
        {"heads": 2, "kv_heads": 1, "similarity": "additive", "normalizer": "sigmoid", "positions": "hard_alibi"},
        {"heads": 2, "similarity": "general", "normalizer": "none", "positions": "learned", "position_injection": "qk"},
        {"heads": 2, "output_gate": True},
        {"heads": 2, "hidden_size": 8, "differential": True, "depth_index": 3, "positions": "rope"},
        {"heads": 4, "hidden_size": 8, "kv_heads": 2, "window": 4, "differential": True, "output_gate": True},
    ],
    "dense": [{}, {"hidden_size": WIDTH}],
    "lstm": [{}, {"disabled_gates": "if"}],
    "gru": [{}, {"causal": False}],
    "paragru": [{}, {"solver": "newton"}],
    "paralstm": [{}, {"solver": "newton"}],
    "linear": [{"heads": 2}, {"heads": 2, "feature": "dpfp", "dpfp_nu": 2}],
    "gla": [
        {"heads": 2, "hidden_size": WIDTH, "kernel": 3},
        {"heads": 2, "hidden_size": WIDTH, "implementation": "steps"},
    ],
    "delta": [{"heads": 2, "hidden_size": WIDTH, "allow_negative_eigenvalues": True}],
    "gated_delta": [
        {"heads": 2, "hidden_size": WIDTH},
        {"heads": 2, "hidden_size": WIDTH, "implementation": "steps"},
    ],
    "mlstm": [{"heads": 2}, {"heads": 2, "implementation": "steps"}],
    "mamba2": [{"heads": 2, "hidden_size": WIDTH, "state_size": 3}],
    "hgrn2": [{"heads": 2, "hidden_size": WIDTH, "depth_fraction": 0.5}],
    "rwkv7": [{"heads": 2, "hidden_size": WIDTH}],
    "gated_delta_product": [{"heads": 2, "hidden_size": WIDTH}],
    "loglinear": [{"heads": 2, "hidden_size": WIDTH}],
    "kda": [{"heads": 2, "hidden_size": WIDTH}],
    "rglru": [{}, {"scale_first": False}],
    "s4d": [{}, {"implementation": "steps"}],
    "s6": [{}, {"implementation": "steps"}],
    "tcn": [{"layers": 2}, {"layers": 2, "block": "single"}],
}
# How far bfloat16 may be from float32, root mean square over root mean square, where it is more than usual: a norm of
# each head's output divides by what may be small, and so does the sum rule.
BFLOAT16_ERROR = dict.fromkeys(["linear", "gla", "delta", "gated_delta", "mlstm"], 0.05)
BFLOAT16_ERROR |= dict.fromkeys(["mamba2", "hgrn2", "rwkv7", "gated_delta_product", "loglinear", "kda"], 0.05)
# How far float32 may be from itself in another order. With β up to 2 the delta rule reflects instead of forgetting; the
# sum rule divides by weights that are near 0 with some features; KDA's rates gather gradients of a whole head.
FLOAT32_ERROR = {"delta": 4e-5, "linear": 3e-5, "kda": 3e-5, "gated_delta_product": 3e-5}
# The same of one variant, where it is streamed: 1.02e-5, and 1e-14 in float64. Its gate is behind a norm of what two
# softmaxes differ by.
STREAMING_ERROR = {"attention-4-8-2-4-True-True": 2e-5}
VARIANTS = [(name, options) for name in models.MIXERS for options in SETTINGS.get(name, [{}])]

X = normal(1, ROWS, STEPS, WIDTH)
ONES = np.ones((ROWS, STEPS), np.int32)
BEHIND = (np.arange(STEPS) < np.array([[STEPS], [7], [0]])).astype(np.int32)
MIXED = np.array([[1] * 5 + [2] * 4 + [3] * 3, [0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0], [0] * STEPS], np.int32)


def variant_name(variant: tuple[str, dict[str, Any]]) -> str:
    return "-".join([variant[0], *map(str, variant[1].values())])


@pytest.fixture(scope="module", params=[*VARIANTS, ("ema", {})], ids=variant_name)
def variant(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    """A mixer and its options; "ema" is what a newcomer would write, and is registered for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param[0] == "ema":
            patch.setitem(models.MIXERS, "ema", models.MixerEntry(MovingAverage, "an example"))
        yield request.param


@pytest.fixture(scope="module")
def mixer(variant: tuple[str, dict[str, Any]]) -> nn.Module:
    return make(variant[0], **variant[1])


@pytest.fixture(scope="module")
def causal(mixer: nn.Module) -> nn.Module:
    if not is_causal(mixer):
        pytest.skip("not causal")
    return mixer


def row(words: list[str]) -> list[int]:
    """Segments of a row in which each step is padding, goes on with a segment or starts a new one."""
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


@settings(deadline=None, max_examples=6, derandomize=True)  # six fixed examples, drawn by hypothesis
@example(ONES, 0)
@example(BEHIND, 1)
@given(packings, st.integers(0, 99))
def test_streaming_equals_one_call(variant: tuple[str, dict[str, Any]], causal: nn.Module, segments: Any, seed: int):
    """Outputs, all of the final state and gradients, wherever segments start and padding lies. The first call has one
    step, so that a sequence of one token gives what the first token of a longer one gives."""
    x = normal(seed, ROWS, STEPS, WIDTH)
    streamed, whole = run(causal, x, segments, uneven_calls(causal)), run(causal, x, segments)
    broken = f"calls of {uneven_calls(causal)} steps (0: one by one) differ from one call over the whole"
    assert_same(
        streamed, whole, broken, STREAMING_ERROR.get(variant_name(variant), FLOAT32_ERROR.get(variant[0], 1e-5))
    )


@pytest.mark.parametrize("segments", [ONES, MIXED], ids=["alone", "packed"])
def test_no_output_depends_on_a_later_step_or_another_segment(causal: nn.Module, segments: np.ndarray):
    """Another x_t changes y_t, and not one bit of what comes before it or belongs to another segment."""
    before = run(causal, X, segments)["y"]
    for t in (0, 3, 7):
        x = X.copy()
        x[:, t] += 1
        after = run(causal, x, segments)["y"]
        earlier, other = np.broadcast_to(np.arange(STEPS) < t, segments.shape), segments != segments[:, t : t + 1]
        assert np.array_equal(after[earlier], before[earlier]), f"outputs before step {t} change with its input"
        assert np.array_equal(after[other], before[other]), f"outputs change across a segment boundary (input {t})"
        real = segments[:, t] != 0
        assert real.any()
        moved = np.abs(after[real, t] - before[real, t]).max(axis=-1)
        assert (moved > 1e-4).all(), f"the output of step {t} does not depend on its own input"


def test_padding_changes_nothing(mixer: nn.Module):
    """Twelve steps with padding behind, in front or between them give what the twelve give alone, gradients too."""
    places = np.array([range(STEPS), range(LONG - STEPS, LONG), [0, 1, 2, 5, 6, 10, 11, 33, 40, 41, 42, 60]])[..., None]
    segments = np.zeros((ROWS, LONG, 1), np.int32)
    np.put_along_axis(segments, places, 1, axis=1)
    x, direction = 10 * normal(2, ROWS, LONG, WIDTH), normal(3, ROWS, LONG, WIDTH)
    np.put_along_axis(x, places, X, axis=1)
    alone = run(mixer, X, ONES, direction=np.take_along_axis(direction, places, axis=1))
    padded = run(mixer, x, segments[..., 0], direction=direction)
    for name in ("y", "x"):
        gathered = {name: np.take_along_axis(padded[name], places, axis=1)}
        assert_same(gathered, {name: alone[name]}, "padding changes the result")
    assert_same({"params": padded["params"]}, {"params": alone["params"]}, "padding changes the result")
    assert not (padded["x"] * (segments == 0)).any(), "padding gets a gradient"


@pytest.mark.parametrize("calls", ["one call", "several calls"])
def test_packed_sequences_are_as_if_alone(variant: tuple[str, dict[str, Any]], mixer: nn.Module, calls: str):
    """Three sequences in one row, also fed in calls that split them, give what each gives in a row of its own."""
    if calls != "one call" and not is_causal(mixer):
        pytest.skip("not causal")
    packed = np.array([[1] * 5 + [2] * 4 + [3] * 3, [0] * STEPS, [0] * STEPS])
    places = [packed[0] == segment for segment in (1, 2, 3)]
    direction = normal(3, ROWS, STEPS, WIDTH)
    x, row_direction = (np.zeros_like(X) for _ in range(2))
    for i, place in enumerate(places):
        x[i, : place.sum()], row_direction[i, : place.sum()] = X[0, place], direction[0, place]
    alone_segments = [(np.arange(STEPS) < place.sum()).astype(int) for place in places]
    alone = run(mixer, x, alone_segments, direction=row_direction)
    together = run(mixer, X, packed, WHOLE if calls == "one call" else uneven_calls(mixer), direction)
    broken, tolerance = f"a new segment does not reset the state (in {calls})", FLOAT32_ERROR.get(variant[0], 1e-5)
    for name in ("y", "x"):
        joined = np.concatenate([alone[name][i, : place.sum()] for i, place in enumerate(places)])
        assert_same({name: together[name][0]}, {name: joined}, broken, tolerance)
    assert_same({"params": together["params"]}, {"params": alone["params"]}, broken, tolerance)


def test_padding_holds_the_state(causal: nn.Module):
    """A call of nothing but padding returns the state that it was given."""
    params, x, none = noisy_params(causal), jnp.asarray(X), jnp.zeros((ROWS, 2), jnp.int32)

    @jax.jit
    def states() -> Any:
        one = jnp.ones((ROWS, 1), jnp.int32)
        _, before = causal.apply(params, x[:, :1], positions=0 * one, segments=one)
        return before, causal.apply(params, x[:, 1:3], state=before, positions=none, segments=none)[1]

    before, after = jax.tree.map(np.asarray, states())
    if "count" in before:  # a cache stores padding too, which is masked by its segment: only what is read must stay
        before, after = ({name: a[name][..., :1] for name in ("segments",)} for a in (before, after))
    assert_same(after, before, "the state after padding differs", tolerance=0)


def test_a_row_of_padding_is_finite(mixer: nn.Module):
    """Its outputs, though they mean nothing, and all gradients, which are zero."""
    for segments in (np.zeros_like(MIXED), MIXED):
        result = run(mixer, X, segments)
        assert_finite(result, "with a row of nothing but padding")
        assert not result["x"][~segments.any(axis=1)].any(), "a row of padding gets a gradient"


def test_a_foreign_state_is_refused(causal: nn.Module):
    """One of another batch size or of another mixer would be broadcast, or mean something else."""
    params = noisy_params(causal)
    x, ones = jnp.asarray(X), jnp.asarray(ONES)
    call = jax.jit(
        lambda x, state=None: causal.apply(params, x, state=state, positions=ones[: len(x)], segments=ones[: len(x)])
    )
    state: Any = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(call, x)[1])
    foreign = {"another batch size": (x[:1], state), "another mixer": (x, {"other": state}), "a tuple": (x, (x,))}
    for name, (inputs, wrong) in foreign.items():
        refusal = ""
        try:
            jax.eval_shape(call, inputs, wrong)
        except ValueError as error:
            refusal = str(error)
        expected = "can't be gone on from here; this mixer and batch have"
        assert expected in refusal, f"a state of {name} is not refused with ValueError: {refusal or 'no error'}"


def test_the_initial_state_is_like_every_other(causal: nn.Module):
    """`initial_state` has the structure, shapes and dtypes of the state after a call, which can go on from it."""
    params, ones = noisy_params(causal), jnp.asarray(ONES)
    call = partial(causal.apply, params, jnp.asarray(X), positions=ones, segments=ones)
    initial = jax.eval_shape(lambda: causal.initial_state(ROWS))  # pyright: ignore[reportAttributeAccessIssue]
    for state in (None, initial):
        after = jax.eval_shape(lambda state: call(state=state)[1], state)
        shapes, expected = (jax.tree.map(lambda a: f"{a.dtype}{a.shape}", state) for state in (after, initial))
        assert shapes == expected, "initial_state differs from the state of a call in structure, shapes or dtypes"


def test_rows_are_independent(mixer: nn.Module):
    """Rows in another order give the same in that order, and the gradients of parameters are sums over rows."""
    direction = normal(99, *X.shape)
    together = run(mixer, X, MIXED, direction=direction)
    order = [2, 0, 1]
    moved = run(mixer, X[order], MIXED[order], direction=direction[order])
    for name in ("y", "x"):
        assert_same({name: moved[name]}, {name: together[name][order]}, "rows in another order give other results")
    rows = [run(mixer, X, MIXED, direction=direction * (np.arange(ROWS) == i)[:, None, None]) for i in range(ROWS)]
    for i, result in enumerate(rows):
        assert not np.delete(result["x"], i, axis=0).any(), f"row {i} depends on the inputs of other rows"
    summed = jax.tree.map(lambda *leaves: sum(leaves), *(result["params"] for result in rows))
    assert_same({"params": together["params"]}, {"params": summed}, "gradients are not sums over rows")


def test_an_ensemble_is_its_members(mixer: nn.Module):
    """Three seeds, vmapped over their own parameters and data, also where the rows of some are packed."""
    x, direction = normal(5, 3, ROWS, STEPS, WIDTH), normal(99, ROWS, STEPS, WIDTH)
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(noisy_params(mixer, seed) for seed in range(3)))
    vmapped = jax.jit(jax.vmap(partial(outcome, mixer, WHOLE), in_axes=(0, 0, 0, 0, None)))
    for segments in ([ONES, MIXED, ONES], [ONES, ONES, ONES], [MIXED, MIXED[::-1], MIXED]):
        positions = np.stack([positions_of(s) for s in segments])
        together = jax.tree.map(np.asarray, vmapped(params, x, positions, np.stack(segments), direction))
        for i in range(3):
            alone = run(mixer, x[i], segments[i], direction=direction, seed=i)
            member = jax.tree.map(lambda leaf, i=i: leaf[i], together)
            assert_same(member, alone, f"member {i} of a vmapped ensemble differs from the same alone")


def test_gradients_over_64_steps_reach_everything(mixer: nn.Module):
    """From the initial parameters: finite, and not zero for any parameter or step."""
    steps = np.broadcast_to(np.arange(LONG), (ROWS, LONG))
    segments = np.where([[False], [True], [True]], 1 + steps // 32, 1)
    x, direction = normal(6, ROWS, LONG, WIDTH), normal(7, ROWS, LONG, WIDTH)
    result = run(mixer, x, segments, direction=direction, params=initial_params(mixer))
    assert_finite(result, "over 64 steps")
    for path, leaf in jax.tree.leaves_with_path(result["params"]):
        assert np.any(leaf), f"no gradient reaches the parameter {jax.tree_util.keystr(path)}"
    assert np.any(result["x"], axis=-1).all(), "no gradient reaches some step"


def test_bfloat16_is_near_float32(variant: tuple[str, dict[str, Any]], mixer: nn.Module):
    """In a call and then streamed; what a recurrence accumulates from step to step stays in float32."""
    module = make(variant[0], **variant[1], dtype=jnp.bfloat16)
    exact, params = run(mixer, X, ONES)["y"], noisy_params(mixer)
    calls = (8, 0) if is_causal(mixer) else WHOLE
    apply = jax.jit(partial(apply_in_calls, module, calls=calls))
    y, state = apply(params, X.astype(jnp.bfloat16), positions_of(ONES), ONES)
    assert y.dtype == jnp.bfloat16, f"outputs are {y.dtype} and not bfloat16"
    error = np.sqrt(((y.astype(jnp.float32) - exact) ** 2).mean() / (exact**2).mean())
    allowed = BFLOAT16_ERROR.get(variant[0], 0.02)
    assert 0 < error < allowed, f"outputs in bfloat16 are off by {error:.3g} of float32's (allowed: {allowed})"
    for path, leaf in jax.tree.leaves_with_path(state):
        name = jax.tree_util.keystr(path)
        if not any(word in name for word in ("key", "value", "window", "past")):  # copies of inputs
            exact_types = (jnp.float32, jnp.complex64, jnp.int32)
            assert leaf.dtype in exact_types, f"the state {name} accumulates in {leaf.dtype}, not float32"
