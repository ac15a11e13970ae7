"""What a mixer costs in time: a training step against length, and a streamed token."""

import statistics as spread
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import configs.recall
import machine
import train

AT_LEAST = 0.3  # seconds of measuring, and
REPEATS = 5  # calls, whichever takes longer


class Timing(NamedTuple):
    """Median seconds of one call, and the quartiles around it; `parameters` of the network that was timed."""

    mixer: str
    length: int
    seconds: float
    low: float
    high: float
    parameters: int


def config(mixer: str, length: int, width: int, batch: int) -> Any:
    """The recall network at this length; all mixers matched as `models.resolve` does."""
    made: Any = configs.recall.get_config(mixer)
    made.task.pairs, made.task.max_length = 2, length
    made.model.width = width
    made.training.update(steps=1, steps_per_call=1, eval_every=1, batch=batch)
    return made


def training_steps(mixers: Iterable[str], lengths: Iterable[int], width: int, batch: int) -> Iterator[Timing]:
    """Data, forward, backward and update of one step of train.py, for each mixer at each length."""
    cells = [(mixer, length) for mixer in mixers for length in lengths]

    def compiled(cell: tuple[str, int]):
        run = train.build(config(*cell, width=width, batch=batch))
        shape = jax.eval_shape(lambda: train.init(run, 0, 1e-3))
        step = jax.jit(lambda replica: train.train_steps(run, replica, run.task)[0], donate_argnums=0)
        return run, step.lower(shape).compile()

    for cell, (run, step) in zip(cells, ahead(compiled, cells), strict=True):
        replica = jax.device_put(train.init(run, 0, 1e-3), jax.devices()[0])
        times, replica = measure(step, replica)
        yield Timing(*cell, *times, parameters=train.costs(run)["parameters"])


def streamed_tokens(mixers: Iterable[str], context: int, width: int) -> Iterator[Timing]:
    """One token of one sequence through the whole network, given the state of `context` − 1 tokens before it."""
    mixers = list(mixers)

    def compiled(mixer: str):
        run = train.build(config(mixer, context, width, batch=1))
        params = train.init_params(run, jnp.uint32(0))
        one = jnp.ones((1, 1), jnp.int32)
        _, state = run.model.apply({"params": params}, one, positions=0 * one, segments=one)
        # Attention's cache holds `context` tokens; counting from its end again and again keeps it full and legal.
        state = jax.tree.map(lambda leaf: jnp.full_like(leaf, context - 1) if leaf.ndim == 0 else leaf, state)

        def step(state):
            positions = jnp.full((1, 1), context - 1)
            _, after = run.model.apply({"params": params}, one, state=state, positions=positions, segments=one)
            return jax.tree.map(lambda new, old: old if new.ndim == 0 else new, after, state)

        return run, state, jax.jit(step, donate_argnums=0).lower(state).compile()

    for mixer, (run, state, step) in zip(mixers, ahead(compiled, mixers), strict=True):
        times, _ = measure(step, state)
        yield Timing(mixer, context, *times, parameters=train.costs(run)["parameters"])


def ahead(function: Callable, items: list) -> Iterator:
    """`function` of each item in order: all made, on every core, before the first comes out and is timed."""
    with ThreadPoolExecutor(machine.cores()) as pool:
        results = list(pool.map(function, items))
    return iter(results)


def measure(step: Callable, carried: Any) -> tuple[tuple[float, float, float], Any]:
    """Median and quartiles of the seconds that `carried = step(carried)` takes, after two calls to warm up."""
    for _ in range(2):
        carried = jax.block_until_ready(step(carried))
    times = []
    while len(times) < REPEATS or sum(times) < AT_LEAST:
        begun = time.perf_counter()
        carried = jax.block_until_ready(step(carried))
        times.append(time.perf_counter() - begun)
    low, middle, high = spread.quantiles(times, n=4)
    return (middle, low, high), carried
