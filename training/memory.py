"""The memory that a run needs at the least."""

import jax
import jax.numpy as jnp

import models
from training import runtime
from training.builder import Run
from training.ensemble import count_members
from training.estimates import plan_for_estimate
from training.sharding import sequences_at_once
from training.trainer import init_params, sample_longest

_COPIES = 3  # of the parameters: themselves, the best ones and a gradient


def count_run_params(run: Run) -> int:
    """The number of parameters of one member. Raises ValueError for an array too large for 32-bit indices."""
    inputs = jax.eval_shape(lambda task: sample_longest(task, 1), run.task).inputs
    return models.count_model_params(run.model, inputs)


def estimate_memory(run: Run) -> int:
    """A lower bound of the memory that training needs, in bytes: of one device, or of a CPU, whose devices share it.

    It counts three float32 copies of every member's parameters, the optimizer's state (with Adam, two more), their
    average if one is kept, and the features of one layer for one batch. Raises ValueError, in one line, if the config's
    mesh does not fit.
    """
    mesh = plan_for_estimate(run.config).mesh_shape
    if jax.default_backend() == "cpu":
        mesh = mesh._replace(ensemble=1, batch=1, params=1)
    copies = _COPIES * count_run_params(run) + _count_kept_numbers(run)
    params = count_members(run.config) * copies // (mesh.ensemble * mesh.params)
    sequences = sequences_at_once(run.config) // (mesh.batch * mesh.params)
    return 4 * (params + sequences * run.task.max_length * run.config["model"]["width"])


def _count_kept_numbers(run: Run) -> int:
    """The numbers in the optimizer's state of one member, and in the average of its parameters."""
    params = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
    average = params if run.config["optimizer"]["ema_decay"] else None
    kept = jax.tree.leaves((jax.eval_shape(run.optimizer.init, params), average))
    return sum(leaf.size for leaf in kept if leaf.ndim)


def check_memory(run: Run) -> None:
    """Raise ValueError if training certainly needs more memory than the device has."""
    needed, available = estimate_memory(run), runtime.device_memory_bytes()
    if available is not None and needed > available:
        spread = "" if jax.default_backend() == "cpu" else ", or spread the parameters over more devices: mesh.params"
        raise ValueError(
            f"{count_members(run.config)} × {count_run_params(run):,} parameters and batches of "
            f"{run.config['training']['batch_size']} × {run.task.max_length:,} steps need at least "
            f"{needed / 2**30:,.0f} GiB, and this machine has {available / 2**30:,.0f}; give fewer members, or a "
            f"smaller model.width, model.depth or training.batch_size{spread}"
        )
