"""The benchmark's two layers in JAX: this project's mixers, and the step or token loop around any JAX layer."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import models
from experiments.benchmarks.cell import (
    COMPARED_STEPS,
    LAYERS,
    LEARNING_RATE,
    LEARNING_RATES,
    TOKENS_PER_CALL,
    Cell,
    TimedCall,
    draw_arrays,
)
from models import cost

Layer = Callable[[Any, Any, Any], tuple[Any, Any]]  # (weights, x, state) → (y, state)


class _Program(NamedTuple):
    """A function `step(carry) → carry`, its first carry, and how to read the outcome out of a carry."""

    step: Callable[[Any], Any]
    first: Any
    read: Callable[[Any], float]


def build_jax_call(cell: Cell, weights: Any, layer: Layer, state: Any, variant: str = "") -> TimedCall:
    """Compile the two layers. `state` is a layer's state before the token; it is None for a step.

    `variant` is "" for one device and one step a call, "shared" for a batch split over all devices, or "loop" for
    TOKENS_PER_CALL tokens a call.
    """
    if cell.what == "step":
        program = _training_program(cell, weights, layer, shared=variant == "shared")
    else:
        program = _inference_program(cell, weights, layer, state)
    carry = jax.tree.map(jnp.array, program.first)
    begun = time.perf_counter()
    compiled: Any = jax.jit(program.step, donate_argnums=0).lower(carry).compile()
    compile_seconds = time.perf_counter() - begun
    products, others = cost.op_counts(program.step, carry)
    extra = {
        "compile_seconds": compile_seconds,
        "products": products,
        "others": others,
        # The state that a token leaves behind stays where it is, so it isn't counted as moved.
        "bytes": cost.bytes_moved(program.step, carry, include_arguments=cell.what != "token"),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "parameters": cost.count_params(weights),
        "device": jax.devices()[0].device_kind,
    }
    outcome = []
    for _ in range(COMPARED_STEPS):
        carry = compiled(carry)
        outcome.append(program.read(carry))
    if variant != "loop":
        return TimedCall(compiled, carry, jax.block_until_ready, outcome, 1, extra)
    loop = jax.jit(partial(_loop_tokens, program.step), donate_argnums=0)
    return TimedCall(loop, carry, jax.block_until_ready, outcome, TOKENS_PER_CALL, extra)


def _apply_layers(layer: Layer, weights: Any, x: Any, states: Any) -> tuple[Any, Any]:
    after = []
    for own_weights, state in zip(weights, states, strict=True):
        x, state = layer(own_weights, x, state)
        after.append(state)
    return x, after


def _training_program(cell: Cell, weights: Any, layer: Layer, *, shared: bool) -> _Program:
    """Gradient descent on the mean square of the distance from fixed targets; the outcome is the loss."""
    dtype = jnp.dtype(cell.dtype)
    rate = LEARNING_RATES.get(cell.mixer, LEARNING_RATE)
    x, target = (jax.device_put(array) for array in draw_arrays(cell))

    def loss(weights: Any, x: Any, target: Any) -> Any:
        y, _ = _apply_layers(layer, weights, x.astype(dtype), [None] * LAYERS)
        return jnp.square(y.astype(jnp.float32) - target).mean()

    loss_and_gradient = jax.value_and_grad(loss)
    if shared:
        mesh = jax.make_mesh((len(jax.devices()),), ("batch",))
        split, replicated = jax.P("batch"), jax.P()
        x, target = (jax.device_put(array, jax.NamedSharding(mesh, split)) for array in (x, target))
        weights = jax.device_put(weights, jax.NamedSharding(mesh, replicated))
        loss_and_gradient = jax.shard_map(
            lambda *args: jax.lax.pmean(jax.value_and_grad(loss)(*args), "batch"),
            mesh=mesh,
            in_specs=(replicated, split, split),
            out_specs=replicated,
            check_vma=False,
        )

    def step(carry: Any) -> Any:
        weights, _, x, target = carry
        value, gradient = loss_and_gradient(weights, x, target)
        return jax.tree.map(lambda w, g: w - rate * g, weights, gradient), value, x, target

    return _Program(step, (weights, jnp.float32(0), x, target), lambda carry: float(carry[1]))


def _inference_program(cell: Cell, weights: Any, layer: Layer, state: Any) -> _Program:
    """The outputs are the next inputs; of a token, its state is the next state. The outcome is the mean output."""
    dtype = jnp.dtype(cell.dtype)
    x, _ = draw_arrays(cell)

    def step(carry: Any) -> Any:
        weights, x, states = carry
        y, after = _apply_layers(layer, weights, x, states)
        return weights, y.astype(dtype), after if cell.what == "token" else states

    first = (weights, jax.device_put(x).astype(dtype), [state] * LAYERS)
    return _Program(step, first, lambda carry: float(carry[1].mean()))


def _loop_tokens(step: Callable[[Any], Any], carry: Any) -> Any:
    """TOKENS_PER_CALL calls of `step` in one program, which keeps the weights out of the loop's carry."""
    weights, *rest = carry

    def body(rest: Any, _: Any) -> tuple[Any, None]:
        return step((weights, *rest))[1:], None

    return weights, *jax.lax.scan(body, tuple(rest), length=TOKENS_PER_CALL)[0]


# ---- this project's mixers ------------------------------------------------------------------------------------------


def make_layer(cell: Cell) -> Any:
    """The mixer's Linen module, as wide as the cell says."""
    mixer: Any = models.MIXERS[cell.mixer]
    sizes = {"width": cell.width, "hidden_size": cell.width, "max_length": cell.length}
    return mixer(**sizes, dtype=np.dtype(cell.dtype), **dict(cell.options))


def initial_weights(cell: Cell) -> list[dict[str, Any]]:
    """Each layer's initial parameters, as `models` draws them."""
    mixer = make_layer(cell)
    x, positions = jnp.zeros((1, 1, cell.width)), jnp.zeros((1, 1), jnp.int32)
    init = jax.jit(lambda key: mixer.init(key, x, positions=positions, segments=positions + 1)["params"])
    return [jax.device_get(init(jax.random.key(seed, impl="threefry2x32"))) for seed in range(LAYERS)]


def save_initial_weights(cell: Cell, path: Path) -> None:
    """Write `initial_weights` for all libraries' processes."""
    np.save(path, np.array(initial_weights(cell), dtype=object), allow_pickle=True)


def build_own_call(cell: Cell, weights: Any, variant: str = "") -> TimedCall:
    """The two layers as this project has them."""
    mixer = make_layer(cell)
    steps = jnp.arange(cell.length)

    def layer(weights: Any, x: Any, state: Any) -> tuple[Any, Any]:
        positions = jnp.broadcast_to(steps if state is None else steps[-1:], x.shape[:2])
        segments = jnp.ones_like(positions)
        y, after = mixer.apply({"params": weights}, x, state=state, positions=positions, segments=segments)
        if state is not None:  # a cache that counts its tokens stays full, and never runs over
            after = jax.tree.map(lambda new, old: new if new.ndim else old, after, state)
        return y, after

    state = _full_state(cell, mixer, weights[0]) if cell.what == "token" else None
    return build_jax_call(cell, weights, layer, state, variant)


def _full_state(cell: Cell, mixer: Any, weights: Any) -> Any:
    """The state after `length` − 1 tokens, as zeros: times don't depend on the values."""
    before = cell.length - 1
    x = jax.ShapeDtypeStruct((cell.batch, before, cell.width), jnp.dtype(cell.dtype))
    ones = jax.ShapeDtypeStruct((cell.batch, before), jnp.int32)

    def state_after(weights: Any, x: Any, ones: Any) -> Any:
        return mixer.apply({"params": weights}, x, positions=ones, segments=ones)[1]

    shapes = jax.eval_shape(state_after, weights, x, ones)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if leaf.ndim else jnp.int32(before), shapes)
    if "segments" in state:  # a cache knows its tokens' segments, and 0 would mark them as padding
        positions = jnp.broadcast_to(jnp.arange(cell.length), (cell.batch, cell.length))
        return {**state, "segments": jnp.ones_like(state["segments"]), "positions": positions}
    if "segment" in state:
        return {**state, "segment": jnp.ones_like(state["segment"])}
    return state
