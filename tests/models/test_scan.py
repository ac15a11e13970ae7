from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scan import boundaries, sequential

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
    start, valid, after = boundaries(segments[:width], last)
    carry, y = sequential(step, carry, x[:width], start, valid)
    return carry, y, start, valid, after


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
    start, valid, last = jax.jit(boundaries)(jnp.array([0, 4, 4, 0, 5, 0]), jnp.array(4))
    assert start.tolist() == [False, False, False, False, True, False]
    assert valid.tolist() == [False, True, True, False, True, False]
    assert int(last) == 5
    assert int(boundaries(jnp.zeros(3, jnp.int32), jnp.array(4))[2]) == 4


def test_a_start_cuts_the_gradient():
    """No step of a segment is a function of the one before it, and padding has no influence at all."""

    def final(x: Any):
        start, valid, _ = boundaries(jnp.array([1, 1, 2, 0, 2]), jnp.array(0))
        return sequential(step, {"a": jnp.float32(0), "n": jnp.int32(0)}, x, start, valid)[0]["a"]

    np.testing.assert_allclose(jax.jit(jax.grad(final))(jnp.ones(5)), [0, 0, 0.5, 0, 1])
