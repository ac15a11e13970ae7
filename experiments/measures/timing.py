"""The time of a training step against length, and of a streamed token."""

import statistics as spread
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import configs.recall
import models
from training import builder, runtime, trainer

_MIN_SECONDS = 0.3  # seconds of measuring, and
_MIN_REPEATS = 5  # calls, whichever takes longer


class Timing(NamedTuple):
    """Median seconds of one call, and the quartiles around it; `parameters` of the network that was timed."""

    mixer: str
    length: int
    seconds: float
    low: float
    high: float
    parameters: int


def build_timed_run(mixer: str, length: int, width: int, batch: int) -> builder.Run:
    """The recall network at this length, with one block per mixer in the pattern.

    Mixers are matched as `models.resolve_model` can: `dense` can't be at every length, which its parameters show.
    """
    config: Any = configs.recall.get_config(mixer)
    config.task.pairs, config.task.max_length = 2, length
    config.model.width, config.model.depth = width, len(models.parse_layer_pattern(mixer))
    config.training.update(steps=1, steps_per_call=1, eval_every=1, batch=batch)
    return builder.build_run(config)


def time_training_steps(mixers: Sequence[str], lengths: Sequence[int], width: int, batch: int) -> Iterator[Timing]:
    """Time one training step (data, forward, backward and update) of each mixer at each length."""

    def program(cell: tuple[str, int]):
        run = build_timed_run(*cell, width=width, batch=batch)
        replica = jax.eval_shape(lambda: trainer.init_train_state(run, 0, 1e-3))
        step = jax.jit(lambda replica: trainer.train_steps(run, replica, run.task)[0], donate_argnums=0)
        return run, zeros_like_shapes(replica), step.lower(replica).compile()

    for cell, (run, replica, step) in compile_ahead(
        program, [(mixer, length) for mixer in mixers for length in lengths]
    ):
        mixer, length = cell
        yield Timing(mixer, length, *measure_seconds(step, replica), parameters=trainer.run_costs(run)["parameters"])


def time_streamed_tokens(mixers: Sequence[str], context: int, width: int) -> Iterator[Timing]:
    """Time one token of one sequence through the whole network, after `context` − 1 tokens.

    The token that comes out is the next one to go in, so that nothing of the network can be left out.
    """

    def program(mixer: str):
        run = build_timed_run(mixer, context, width, batch=1)
        params = jax.eval_shape(lambda: trainer.init_params(run, jnp.uint32(0)))
        one = jax.ShapeDtypeStruct((1, 1), jnp.int32)
        last = jnp.full((1, 1), context - 1)

        def apply(params, token, state=None):
            outputs, state = run.model.apply(
                {"params": params}, token, state=state, positions=last, segments=jnp.ones_like(last)
            )
            return outputs.argmax(axis=-1).astype(jnp.int32), state

        def step(carried):
            params, token, state = carried
            token, after = apply(params, token, state)
            # Attention's cache counts its tokens: held at `context` − 1, it stays full and never runs over.
            return params, token, jax.tree.map(lambda new, old: old if new.ndim == 0 else new, after, state)

        _, state = jax.eval_shape(apply, params, one)
        compiled = jax.jit(step, donate_argnums=0).lower((params, one, state)).compile()
        state = jax.tree.map(lambda leaf: leaf if leaf.ndim else jnp.int32(context - 1), zeros_like_shapes(state))
        return run, (*zeros_like_shapes((params, one)), state), compiled

    for mixer, (run, carried, step) in compile_ahead(program, mixers):
        yield Timing(mixer, context, *measure_seconds(step, carried), parameters=trainer.run_costs(run)["parameters"])


def zeros_like_shapes(shapes: Any) -> Any:
    """Arrays of zeros of these shapes: how long a product takes does not depend on the numbers in it."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def compile_ahead(function: Callable, items: Iterable) -> Iterator[tuple[Any, Any]]:
    """Pairs (item, function(item)) in order; all are computed, on every core, before the first is yielded and timed."""
    items = list(items)
    with ThreadPoolExecutor(runtime.usable_cores()) as pool:
        results = list(pool.map(function, items))
    return zip(items, results, strict=True)


def measure_seconds(step: Callable, carried: Any) -> tuple[float, float, float]:
    """Median and quartiles of the seconds of `carried = step(carried)`, after two calls to warm up."""
    for _ in range(2):
        carried = jax.block_until_ready(step(carried))
    times = []
    while len(times) < _MIN_REPEATS or sum(times) < _MIN_SECONDS:
        begun = time.perf_counter()
        carried = jax.block_until_ready(step(carried))
        times.append(time.perf_counter() - begun)
    low, middle, high = spread.quantiles(times, n=4)
    return middle, low, high
