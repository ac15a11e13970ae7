from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models.ops.scan import linear_scan, masked_scan, resume_state, scan_chunks, segment_boundaries, unrolled_scan

STEPS = 9
segmented = st.lists(st.integers(0, 3), min_size=STEPS, max_size=STEPS).map(
    lambda jumps: [0 if jump == 0 else 1 + sum(j == 3 for j in jumps[: t + 1]) for t, jump in enumerate(jumps)]
)


def step(carry: Any, x: Any):
    """Order matters, a carry of several leaves, and no fixed point at 0."""
    after = {"a": carry["a"] * 0.5 + x, "n": carry["n"] + 1}
    return after, after["a"] + carry["n"]


def by_hand(x: np.ndarray, segments: list[int]):
    """The definition: one plain loop that forgets at a new segment and passes over padding."""
    a, n, current, ys = 0.0, 0, 0, np.full(len(x), np.nan)
    for t, segment in enumerate(segments):
        if segment == 0:
            continue
        if segment != current:
            a, n, current = 0.0, 0, segment
        a, ys[t], n = a * 0.5 + x[t], a * 0.5 + x[t] + n, n + 1
    return a, n, current, ys


@partial(jax.jit, static_argnames="width")
def part_of(carry: Any, x: Any, segments: Any, last: Any, *, width: int):
    start, valid, after = segment_boundaries(segments[:width], last)
    carry, y = masked_scan(step, carry, x[:width], start, valid)
    return carry, y, start, valid, after


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_a_gpu_alone_has_several_steps_in_a_row(platform: str):
    """Twelve steps are three turns of four there; and it is found only where a program is made for it."""

    def total(carry: Any, xs: Any) -> Any:
        return unrolled_scan(lambda c, x: (jnp.tanh(c @ x), None), carry, xs, gpu_unroll=4)[0].sum()

    traced = jax.jit(jax.grad(total)).trace(jnp.ones((5, 5)), jnp.ones((12, 5, 5)))
    lowered = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("tensor<3x4x5x5xf32>" in lowered) == (platform == "cuda")
    assert lowered.count("stablehlo.while") == 2


@pytest.mark.parametrize("name", ["lstm", "slstm", "mlstm"])  # a step with its backward pass, one without, a chunk
def test_several_steps_in_a_row_are_as_many_turns(name: str, monkeypatch: pytest.MonkeyPatch):
    """Outputs and gradients as a GPU's program has them, of a length that is no multiple; run here."""
    steps, taken = 150, []
    at = jnp.broadcast_to(jnp.arange(steps), (2, steps))
    x, direction = np.random.default_rng(0).normal(size=(2, 2, steps, 4)).astype(np.float32)
    module: Any = models.MIXERS[name](width=4, hidden_size=4, max_length=steps)
    params = jax.jit(module.init)(jax.random.key(0), x[:, :1], positions=at[:, :1], segments=at[:, :1])

    def outcome(params: Any, x: Any) -> Any:
        def total(params: Any, x: Any) -> Any:
            y, state = module.apply(params, x, positions=at, segments=jnp.ones_like(at))
            return (y * direction).sum(), (y, state)

        return jax.value_and_grad(total, (0, 1), has_aux=True)(params, x)

    def on_a_gpu(*args: Any, default: Any, cuda: Any = None, **others: Any) -> Any:
        taken.append(cuda)
        return (cuda or default)(*args)

    plain = jax.jit(lambda *args: outcome(*args))(params, x)
    monkeypatch.setattr(jax.lax, "platform_dependent", on_a_gpu)
    in_a_row = jax.jit(lambda *args: outcome(*args))(params, x)
    assert any(taken)
    for ours, theirs in zip(jax.tree.leaves(in_a_row), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1, float(jnp.abs(theirs).max())))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(segmented, st.data())
def test_boundaries_and_scan_are_the_plain_loop(segments: list[int], data: st.DataObject):
    """Also when the sequence is cut in two anywhere, the second part beginning with what the first left."""
    cut = data.draw(st.sampled_from([0, 3, 6]))
    x = np.random.default_rng(0).normal(size=STEPS).astype(np.float32)
    carry, last, ys, starts = {"a": jnp.float32(7), "n": jnp.int32(7)}, jnp.int32(0), [], []
    for part in (slice(0, cut), slice(cut, STEPS)) if cut else (slice(0, STEPS),):
        size = part.stop - part.start
        carry, y, start, valid, last = part_of(carry, x[part], np.array(segments[part], np.int32), last, width=size)
        np.testing.assert_array_equal(valid, np.array(segments[part]) != 0)
        ys.append(y)
        starts.append(start)

    a, n, current, expected = by_hand(x, segments)
    real = np.array(segments) != 0
    np.testing.assert_allclose(np.concatenate(ys)[real], expected[real], atol=1e-5)
    assert int(last) == current
    first = [bool(s) and s not in segments[:t] for t, s in enumerate(segments)]
    np.testing.assert_array_equal(np.concatenate(starts), first)
    if real.any():
        np.testing.assert_allclose(carry["a"], a, atol=1e-5)
        assert int(carry["n"]) == n
    else:
        assert (float(carry["a"]), int(carry["n"])) == (7, 7), "padding alone leaves what was carried"


def test_a_segment_goes_on_over_a_gap_and_a_chunk():
    start, valid, last = jax.jit(segment_boundaries)(jnp.array([0, 4, 4, 0, 5, 0]), jnp.array(4))
    assert start.tolist() == [False, False, False, False, True, False]
    assert valid.tolist() == [False, True, True, False, True, False]
    assert int(last) == 5
    assert int(segment_boundaries(jnp.zeros(3, jnp.int32), jnp.array(4))[2]) == 4


def test_a_start_cuts_the_gradient():
    """No step of a segment is a function of the one before it, and padding has no influence at all."""

    def final(x: Any):
        start, valid, _ = segment_boundaries(jnp.array([1, 1, 2, 0, 2]), jnp.array(0))
        return masked_scan(step, {"a": jnp.float32(0), "n": jnp.int32(0)}, x, start, valid)[0]["a"]

    np.testing.assert_allclose(jax.jit(jax.grad(final))(jnp.ones(5)), [0, 0, 0.5, 0, 1])


@partial(jax.jit, static_argnames=("how", "chunk"))
def run_affine(a: Any, b: Any, before: Any, segments: Any, last: Any, *, how: str, chunk: int = 4):
    start, valid, _ = segment_boundaries(segments, last)
    return linear_scan(a, b, before, start, valid, method=how, chunk_size=chunk)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(segmented, st.integers(0, 2), st.integers(0, 99))
def test_the_three_ways_through_a_linear_recurrence_agree(segments: list[int], last: int, seed: int):
    """With each other and with the plain loop, wherever segments start, padding lies and the sequence was cut."""
    random = np.random.default_rng(seed)
    a, b = random.uniform(-1, 1, (2, STEPS, 2, 3)).astype(np.float32)
    h = before = random.normal(size=(2, 3)).astype(np.float32)
    current, expected = last, []
    for t, segment in enumerate(segments):
        if segment:
            h = (a[t] * h if segment == current else 0) + b[t]
            current = segment
        expected.append(h)
    for how, chunk in (
        ("auto", 4),
        ("sequential", 4),
        ("associative", 4),
        ("chunked", 4),
        ("chunked", 1),
        ("chunked", 64),
    ):
        found = run_affine(a, b, before, np.array(segments, np.int32), np.int32(last), how=how, chunk=chunk)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=how)


def test_a_gate_may_be_one_for_all_features():
    b, real = jnp.ones((3, 4)), jnp.ones(3, bool)
    found = linear_scan(jnp.array([[0.5], [0.5], [0.0]]), b, jnp.ones(4), ~real, real)
    np.testing.assert_allclose(found, [[1.5] * 4, [1.75] * 4, [1.0] * 4])


def test_another_way_is_refused():
    with pytest.raises(ValueError, match="method=newton: must be one of auto, sequential, associative, chunked"):
        linear_scan(
            jnp.ones((2, 1)), jnp.ones((2, 1)), jnp.ones(1), jnp.zeros(2, bool), jnp.ones(2, bool), method="newton"
        )


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 99])
def test_chunks_are_the_whole(chunk: int):
    """Any length, a last chunk that is not full included; what fills it up is zero."""

    def total(carry: Any, x: Any, valid: Any):
        running = carry + jnp.cumsum(jnp.where(valid, x, 1000), axis=0)  # a wrong mask would show
        return carry + jnp.where(valid, x, 0).sum(axis=0), running

    x = jnp.arange(1.0, 6.0)
    after, y = scan_chunks(total, jnp.float32(10), (x, jnp.ones(5, bool)), chunk)
    assert float(after) == 25
    np.testing.assert_allclose(y, 10 + np.cumsum(x))


def test_a_state_of_another_shape_or_kind_is_refused():
    """One of another batch size would be broadcast, one of another mixer would mean nothing."""
    empty = {"h": jnp.zeros((2, 3)), "segment": jnp.zeros(2, jnp.int32)}
    given = {"h": jnp.ones((2, 3)), "segment": jnp.ones(2, jnp.int32)}
    assert resume_state(None, empty) is empty
    assert resume_state(given, empty) is given
    coarse = {**given, "h": jnp.ones((2, 3), jnp.bfloat16)}
    assert resume_state(coarse, empty) is coarse
    for wrong in (
        {**given, "h": jnp.ones((1, 3))},
        {"h": given["h"]},
        {**given, "c": given["h"]},
        (given["h"],),
        {**given, "h": jnp.ones((2, 3), complex)},
        {**given, "segment": jnp.ones(2)},
    ):
        with pytest.raises(ValueError, match="can't be gone on from here; this mixer and batch have") as caught:
            resume_state(wrong, empty)
        assert "\n" not in str(caught.value)
