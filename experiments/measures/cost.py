"""What a mixer costs: seconds, sequential depth, state and parameters, each against length."""

from typing import Any

import jax
import jax.numpy as jnp

import tasks
from experiments.measures import timing
from experiments.measures.common import Evaluate, MeasureValue
from models import cost
from training import builder, trainer

LENGTHS = (64, 128, 256, 512)
CONTEXTS = (128, 512, 2048)


def step_time(run: builder.Run) -> Evaluate:
    """Seconds of a training step (data, forward, backward, update) of one block on recall, batch 8, against length."""
    model = run.config["model"]

    def evaluate(params: Any, seed: int) -> MeasureValue:
        timings = timing.time_training_steps([model["mixer"]], LENGTHS, width=model["width"], batch=8)
        return {one.length: one.seconds for one in timings}

    return evaluate


def step_depth(run: builder.Run) -> Evaluate:
    """The longest chain of dependent operations in forward and backward pass, against length."""
    model = run.config["model"]
    return lambda params, seed: {length: training_depth(model["mixer"], length, model["width"]) for length in LENGTHS}


def training_depth(mixer: str, length: int, width: int) -> float:
    """The longest chain of dependent operations in one training step on recall: forward, loss and backward."""
    run = timing.build_timed_run(mixer, length, width, batch=1)
    params = jax.eval_shape(lambda: trainer.init_params(run, jnp.uint32(0)))
    batch = jax.eval_shape(lambda: run.task.sample(tasks.random_key(0), 1, length, length))

    def loss(params: Any, batch: tasks.Batch) -> jax.Array:
        return run.task.loss(trainer.apply_model(run, params, batch), batch)

    return cost.critical_path(jax.grad(loss), params, batch)


def stream_time(run: builder.Run) -> Evaluate:
    """Seconds of one streamed token of one sequence, against the number of tokens before it."""
    model = run.config["model"]

    def token_seconds(context: int) -> float:
        (one,) = timing.time_streamed_tokens([model["mixer"]], context, width=model["width"])
        return one.seconds

    return lambda params, seed: {context: token_seconds(context) for context in CONTEXTS}


def state_size(run: builder.Run) -> Evaluate:
    """Floats that the model carries from one token to the next, against the tokens that it has room for."""
    model = run.config["model"]

    def count_floats(context: int) -> int:
        return trainer.run_costs(timing.build_timed_run(model["mixer"], context, model["width"], 1))["state_floats"]

    return lambda params, seed: {context: count_floats(context) for context in CONTEXTS}


def mixer_parameters(run: builder.Run) -> Evaluate:
    """Parameters of the mixers, as wide as the model, against the window that they are made for."""

    def count_params(length: int) -> int:
        model = {**run.config["model"], "hidden_size": run.model.width, "max_length": length}
        resized = builder.build_run({**run.config, "model": model})
        return cost.count_mixer_params(jax.eval_shape(lambda: trainer.init_params(resized, jnp.uint32(0))))

    return lambda params, seed: {length: count_params(length) for length in LENGTHS}
