from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.ops.diagonal_state import (
    multiply_within_segments,
    scan_invariant_chunks,
    scan_invariant_steps,
    scan_selective_chunks,
    scan_selective_steps,
)
from models.ops.scan import segment_boundaries

B, T, N, S = 4, 33, 3, 5
random = np.random.default_rng(0)
LENGTHS = np.array([[0], [T // 2], [T - 1], [T]])
PACKED = 1 + np.cumsum(random.random((B, T)) < 0.2, axis=1)
SEGMENTS = {
    "one sequence": np.ones((B, T), int),
    "packed": PACKED,
    "padded behind": np.where(np.arange(T) < LENGTHS, 1 + np.arange(T) // 10, 0),
    "padded anywhere": np.where(random.random((B, T)) < 0.7, PACKED, 0),
}


def normal(*shape: int) -> Any:
    return jnp.asarray(random.normal(size=shape), jnp.float32)


def complex_normal(*shape: int) -> Any:
    return jax.lax.complex(normal(*shape), normal(*shape))


def invariant_inputs() -> tuple[Any, ...]:
    turn = complex_normal(N, S)
    a = turn / jnp.abs(turn) * jnp.asarray(random.uniform(0.5, 0.999, (N, S)), jnp.float32)
    return complex_normal(B, N, S), normal(B, T, N), a, complex_normal(N, S), complex_normal(N, S)


def selective_inputs() -> tuple[Any, ...]:
    rates = jnp.exp(normal(N, S))
    return normal(B, N, S), jnp.exp(normal(B, T, N)), normal(B, T, N), normal(B, T, S), normal(B, T, S), rates


FORMS = {
    "invariant": (scan_invariant_steps, scan_invariant_chunks, invariant_inputs()),
    "selective": (scan_selective_steps, scan_selective_chunks, selective_inputs()),
}


@partial(jax.jit, static_argnums=0)
def outcome(scan: Any, arrays: Any, start: Any, valid: Any) -> Any:
    """The last state, the outputs, and the gradients of a sum over both."""

    def total(*arrays: Any) -> Any:
        state, y = scan(*arrays, start, valid)
        y = jnp.where(valid[..., None], y, 0)
        along = [jnp.cos(jnp.arange(x.size)).reshape(x.shape) for x in (state, y)]
        return (along[0] * (state.real + 2 * state.imag)).sum() + (along[1] * y).sum(), (state, y)

    gradients, results = jax.grad(total, tuple(range(len(arrays))), has_aux=True)(*arrays)
    return results, gradients


@pytest.mark.parametrize("chunk", [1, 8, 64])
@pytest.mark.parametrize("packing", SEGMENTS)
@pytest.mark.parametrize("form", FORMS)
def test_chunks_are_the_steps(form: str, packing: str, chunk: int):
    """Outputs, last state and all gradients, where the rows go on from a state or begin anew."""
    steps, chunks, arrays = FORMS[form]
    last = jnp.array([1, 0, 1, 0])
    start, valid, _ = jax.vmap(segment_boundaries)(jnp.asarray(SEGMENTS[packing]), last)
    expected = outcome(steps, arrays, start, valid)
    found = outcome(partial(chunks, chunk_size=chunk), arrays, start, valid)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-6 * max(1, float(jnp.abs(theirs).max())))


@pytest.mark.parametrize("form", FORMS)
def test_no_bit_comes_from_another_segment_or_a_later_step(form: str):
    """Also within a chunk."""
    _, scan, (state, *arrays) = FORMS[form]
    segments = SEGMENTS["packed"]
    start, valid, _ = jax.vmap(segment_boundaries)(jnp.asarray(segments), jnp.ones(B, int))
    run = jax.jit(partial(scan, chunk_size=16))
    before = run(state, *arrays, start, valid)[1]
    for t in (0, 5, 20):
        changed = [x.at[:, t].add(1) if x.ndim == 3 else x for x in arrays]
        after = run(state, *changed, start, valid)[1]
        untouched = (segments != segments[:, t : t + 1]) | (np.arange(T) < t)
        np.testing.assert_array_equal(after[untouched], before[untouched])


@pytest.mark.parametrize("form", FORMS)
def test_members_of_an_ensemble_may_be_packed_in_different_ways(form: str):
    _, scan, arrays = FORMS[form]
    boundaries = jax.vmap(segment_boundaries)
    packings = [boundaries(jnp.asarray(s), jnp.zeros(B, int))[:2] for s in SEGMENTS.values()]
    start, valid = (jnp.stack(masks) for masks in zip(*packings, strict=True))
    run = partial(outcome, partial(scan, chunk_size=8))
    together = jax.vmap(run, in_axes=(None, 0, 0))(arrays, start, valid)
    for i in range(len(packings)):
        alone = run(arrays, start[i], valid[i])
        for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(ours[i], theirs, rtol=0, atol=3e-6 * max(1, float(jnp.abs(theirs).max())))


def test_a_product_within_segments_is_its_definition():
    """Terms count where input and output are of one segment, and -1 is of none."""
    x, matrix = normal(2, 4, 5), normal(2, 5, 3)
    x_segment, y_segment = random.integers(-1, 3, (4, 5)), random.integers(-1, 4, (4, 3))
    same = (x_segment[:, :, None] == y_segment[:, None]) & (x_segment >= 0)[:, :, None]
    expected = np.einsum("nmj,njk,mjk->nmk", x, matrix, same)
    found = jax.jit(multiply_within_segments)(x, matrix, jnp.asarray(x_segment), jnp.asarray(y_segment))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("form", "most"), [("invariant", 24), ("selective", 12)])
def test_memory_of_a_gradient_holds_no_state_of_each_step(form: str, most: float):
    """Temporary bytes in inputs [B, T, N] of float32, of which a copy of all states would be 32, or 16 if real."""
    batch, steps, features, states = 2, 2048, 8, 16
    _, scan, arrays = FORMS[form]
    sizes = {B: batch, T: steps, N: features, S: states}
    shapes = [jax.ShapeDtypeStruct(tuple(sizes[n] for n in x.shape), x.dtype) for x in arrays]
    mask = jax.ShapeDtypeStruct((batch, steps), bool)

    def gradients(start: Any, valid: Any, *arrays: Any) -> Any:
        return jax.grad(lambda *arrays: scan(*arrays, start, valid)[1].sum(), tuple(range(len(arrays))))(*arrays)

    compiled = jax.jit(gradients).lower(mask, mask, *shapes).compile()
    memory: Any = compiled.memory_analysis()
    assert memory.temp_size_in_bytes < most * 4 * batch * steps * features
