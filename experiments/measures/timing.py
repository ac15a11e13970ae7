"""How long a mixer takes: a training step against length, and one streamed token."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import configs.recall
import models
from training import builder, runtime, trainer

# Calls are timed until there are so many, and until they took so long.
_MIN_REPEATS = 5
_MIN_SECONDS = 0.3


class Timing(NamedTuple):
    """Median seconds of one call, and the quartiles around it; `parameters` of the network that was timed."""

    mixer: str
    length: int
    seconds: float
    low: float
    high: float
    parameters: int


def build_timed_run(mixer: str, length: int, width: int, batch: int) -> builder.Run:
    """The recall network at this length, with one block; of a pattern, with one block for each mixer in it.

    Mixers are matched as far as `models.resolve_model` can; `dense` can't be at every length, as its parameters show.
    """
    config: Any = configs.recall.get_config(mixer)
    config.task.pairs, config.task.max_length = 2, length
    config.model.width, config.model.depth = width, len(models.parse_layer_pattern(mixer))
    config.training.update(steps=1, steps_per_call=1, eval_every=1, batch_size=batch)
    return builder.build_run(config)


def time_training_steps(mixers: Sequence[str], lengths: Sequence[int], width: int, batch: int) -> Iterator[Timing]:
    """Data, forward, backward and update of one training step, for each mixer at each length."""

    def compile_step(cell: tuple[str, int]) -> tuple[builder.Run, Any, Any]:
        run = build_timed_run(*cell, width=width, batch=batch)
        shapes = jax.eval_shape(lambda: trainer.init_train_state(run, 0, 1e-3))
        step = jax.jit(lambda state: trainer.train_steps(run, state, run.task)[0], donate_argnums=0)
        return run, zeros_like_shapes(shapes), step.lower(shapes).compile()

    cells = [(mixer, length) for mixer in mixers for length in lengths]
    for (mixer, length), (run, state, step) in compile_ahead(compile_step, cells):
        yield Timing(mixer, length, *measure_seconds(step, state), parameters=trainer.run_costs(run)["parameters"])


def time_streamed_tokens(mixers: Sequence[str], context: int, width: int) -> Iterator[Timing]:
    """One token of one sequence through the whole network to the next token, given the state of `context` − 1 before.

    The token that comes out is the next one to go in, so that nothing of the network can be left out.
    """

    def compile_step(mixer: str) -> tuple[builder.Run, Any, Any]:
        run = build_timed_run(mixer, context, width, batch=1)
        params = jax.eval_shape(lambda: trainer.init_params(run, jnp.uint32(0)))
        token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
        last = jnp.full((1, 1), context - 1)

        def next_token(params: Any, token: Any, state: Any = None) -> tuple[Any, Any]:
            outputs, state = run.model.apply(
                {"params": params}, token, state=state, positions=last, segments=jnp.ones_like(last)
            )
            return outputs.argmax(axis=-1).astype(jnp.int32), state

        def step(carry: Any) -> Any:
            params, token, state = carry
            token, after = next_token(params, token, state)
            # Attention's cache counts its tokens: held at `context` − 1, it stays full and never runs over.
            return params, token, jax.tree.map(lambda new, old: old if new.ndim == 0 else new, after, state)

        _, state = jax.eval_shape(next_token, params, token)
        compiled = jax.jit(step, donate_argnums=0).lower((params, token, state)).compile()
        state = jax.tree.map(lambda leaf: leaf if leaf.ndim else jnp.int32(context - 1), zeros_like_shapes(state))
        return run, (*zeros_like_shapes((params, token)), state), compiled

    for mixer, (run, carry, step) in compile_ahead(compile_step, mixers):
        yield Timing(mixer, context, *measure_seconds(step, carry), parameters=trainer.run_costs(run)["parameters"])


def zeros_like_shapes(shapes: Any) -> Any:
    """Arrays to time with: how long a product takes does not depend on the values."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def compile_ahead(function: Callable, items: Iterable) -> Iterator[tuple[Any, Any]]:
    """Each item and `function` of it, in order. All are computed, on every core, before the first is yielded."""
    items = list(items)
    with ThreadPoolExecutor(runtime.usable_cores()) as pool:
        results = list(pool.map(function, items))
    return zip(items, results, strict=True)


def measure_seconds(step: Callable, carry: Any) -> tuple[float, float, float]:
    """Median and quartiles of the seconds that `carry = step(carry)` takes, after two calls to warm up."""
    for _ in range(2):
        carry = jax.block_until_ready(step(carry))
    times = []
    while len(times) < _MIN_REPEATS or sum(times) < _MIN_SECONDS:
        begun = time.perf_counter()
        carry = jax.block_until_ready(step(carry))
        times.append(time.perf_counter() - begun)
    low, median, high = statistics.quantiles(times, n=4)
    return median, low, high
