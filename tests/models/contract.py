"""Shared by the tests of the mixers' contract: modules, parameters, inputs, comparisons that name what is broken."""

from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import models

ROWS, STEPS, LONG, WIDTH, HIDDEN = 3, 12, 64, 8, 4
WHOLE = (STEPS,)  # lengths of the calls that a sequence is split into; 0: the rest token by token
PARTS = {
    "y": "outputs",
    "state": "the final state",
    "params": "the gradients of parameters",
    "x": "the gradients of inputs",
}


def make(name: str, **options: Any) -> nn.Module:
    """The mixer `name` at the sizes of the tests."""
    sizes = {size: options.pop(size, default) for size, default in (("width", WIDTH), ("hidden_size", HIDDEN))}
    dtype = options.pop("dtype", jnp.float32)
    constructor = models.causal_or_bidirectional(name, options.pop("causal", True), **options)
    return constructor(**sizes, max_length=LONG, dtype=dtype)


def is_causal(module: nn.Module) -> bool:
    return getattr(module, "causal")  # noqa: B009


@cache
def initial_params(module: nn.Module) -> Any:
    x, steps = jnp.zeros((1, 1, WIDTH)), jnp.zeros((1, 1), jnp.int32)
    with jax.numpy_rank_promotion("raise"):
        return jax.jit(partial(module.init, x=x, positions=steps, segments=steps))(jax.random.key(0))


def noisy_params(module: nn.Module, seed: int = 0) -> Any:
    """The initial parameters with noise, so that no bias is zero."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda p: p + jnp.asarray(random.normal(0, 0.2, p.shape), p.dtype), initial_params(module))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def positions_of(segments: Any) -> np.ndarray:
    """Positions from 0 within each segment; at padding, which has none, random ones."""
    segments = np.asarray(segments)
    positions = np.random.default_rng(9).integers(0, segments.shape[1], segments.shape)
    for row, row_segments in zip(positions, segments, strict=True):
        for segment in set(row_segments) - {0}:
            row[row_segments == segment] = np.arange((row_segments == segment).sum())
    return positions.astype(np.int32)


def apply_in_calls(module: nn.Module, params: Any, x: Any, positions: Any, segments: Any, calls: Any) -> Any:
    """Outputs and final state of a sequence that is fed in `calls` of these lengths."""

    def call(state: Any, arrays: Any):
        y, state = module.apply(params, arrays[0], state=state, positions=arrays[1], segments=arrays[2])
        return state, y

    outputs, state, begin, sequence = [], None, 0, (x, positions, segments)
    for steps in calls:
        if steps:
            state, y = call(state, [array[:, begin : begin + steps] for array in sequence])
        else:
            tokens = [jnp.moveaxis(array[:, begin:, None], 1, 0) for array in sequence]
            state, y = jax.lax.scan(call, state, tokens)
            y = jnp.moveaxis(y[:, :, 0], 0, 1)
        outputs.append(y)
        begin += steps
    return jnp.concatenate(outputs, axis=1), state


def outcome(module: nn.Module, calls: Any, params: Any, x: Any, positions: Any, segments: Any, direction: Any):
    """Outputs (0 at padding), the final state, and the gradients of the outputs' sum along `direction`; and whether the
    outputs at padding, which mean nothing, are at least finite."""

    def total(params: Any, x: Any):
        y, state = apply_in_calls(module, params, x, positions, segments, calls)
        real = jnp.where((segments != 0)[..., None], y, 0)
        return (real * direction).sum(), {"y": real, "state": state, "finite": jnp.isfinite(y).all()}

    with jax.numpy_rank_promotion("raise"):  # nothing broadcasts from a lower rank on its own
        (_, result), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(params, x)
    return result | {"params": gradients[0], "x": gradients[1]}


compiled = jax.jit(outcome, static_argnums=(0, 1))


def run(
    module: nn.Module,
    x: np.ndarray,
    segments: Any,
    calls: Any = None,
    direction: Any = None,
    seed: int = 0,
    params: Any = None,
) -> dict[str, Any]:
    """The outcome for noisy parameters, unless `params` are given, as numpy arrays."""
    segments = np.asarray(segments, np.int32)
    calls = calls or (x.shape[1],)
    direction = normal(99, *x.shape) if direction is None else direction
    params = noisy_params(module, seed) if params is None else params
    return jax.tree.map(np.asarray, compiled(module, calls, params, x, positions_of(segments), segments, direction))


def uneven_calls(module: nn.Module) -> tuple[int, ...]:
    """A single step, a few that go on from it (how many differs between mixers), and the rest one by one; in one
    program, since compiling takes most of the time here."""
    return 1, int(np.random.default_rng(len(repr(module))).integers(2, 7)), 0


def assert_same(actual: Any, expected: Any, broken: str, tolerance: float = 1e-5) -> None:
    """Fail with `broken`, the part and its largest difference, unless integers are equal and floats are within a
    tolerance that is relative to the largest number of their leaf."""
    structures = jax.tree.structure(actual), jax.tree.structure(expected)
    assert structures[0] == structures[1], f"{broken}: the structure is {structures[0]} instead of {structures[1]}"
    for (path, a), b in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        part = PARTS.get(getattr(path[0], "key", ""), "") if path else ""
        name = f"{broken}: {part or 'values'} ({jax.tree_util.keystr(path)})"
        assert a.dtype == b.dtype, f"{name} are {a.dtype} instead of {b.dtype}"
        assert a.shape == b.shape, f"{name} have shape {a.shape} instead of {b.shape}"
        if np.issubdtype(a.dtype, np.inexact):
            allowed = tolerance * max(1, np.abs(b).max(initial=0))
            difference = np.abs(a - b).max(initial=0)
            assert difference <= allowed, f"{name} differ by up to {difference:.3g} (allowed: {allowed:.3g})"
        else:
            assert np.array_equal(a, b), f"{name} differ"


def assert_finite(result: Any, where: str) -> None:
    for path, leaf in jax.tree.leaves_with_path(result):
        part = PARTS.get(getattr(path[0], "key", ""), "values")
        assert np.isfinite(leaf).all(), f"{part} ({jax.tree_util.keystr(path)}) are not finite {where}"
    assert result["finite"], f"outputs at padding are not finite {where}"
