"""What a run would train, from shapes alone: nothing is computed, compiled or written."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from training.builder import Run
from training.ensemble import count_members
from training.estimates import describe_estimate, estimate_run, format_bytes, plan_for_estimate
from training.memory import estimate_memory
from training.trainer import apply_model, init_params, run_costs, sample_longest
from training.warm_start import Parent, describe_parent


def describe_run(run: Run, parent: Parent | None = None, peak_flops: float = 0.0) -> str:
    """Describe the parameters, the shapes of a batch and of its outputs, and the memory of a run, in a few lines.

    With a parent, also what the run begins with; with the `peak_flops` of a device, also its tokens per second.
    """
    training, costs, members = run.config["training"], run_costs(run), count_members(run.config)
    batch = jax.eval_shape(lambda task: sample_longest(task, training["batch_size"]), run.task)
    params = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
    outputs = jax.eval_shape(lambda p, b: apply_model(run, p, b), params, batch)
    hidden_sizes = np.atleast_1d(run.config["model"]["hidden_size"])  # one for all mixers, or one for each
    lines = {
        "task": run.config["task"]["name"],
        "mixer": f"{run.config['model']['mixer']}, hidden size {', '.join(map(str, hidden_sizes))}",
        "members": f"{members}, for {training['steps']:,} steps",
        "parameters": f"{costs['parameters']:,} per member, {costs['mixer_parameters']:,} of them in mixers",
        **({"begins with": describe_parent(parent)} if parent else {}),
        **{name: _format_shape(leaf) for name, leaf in batch._asdict().items()},
        "outputs": _format_shape(outputs),
        "state": f"{costs['state_floats']:,} floats per sequence",
        "work": f"{costs['step_flops']:,} FLOPs per step and member",
        "memory": f"at least {format_bytes(estimate_memory(run))}",
        **describe_estimate(estimate_run(run, plan_for_estimate(run.config)), peak_flops),
    }
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())


def _format_shape(leaf: Any) -> str:
    """Dtype and shape, as float32[4, 8, 16]."""
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"
