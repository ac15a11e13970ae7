"""The memory that a run needs at the least."""

import jax

import models
from training import runtime
from training.builder import Run
from training.ensemble import count_members
from training.estimates import plan_for_estimate
from training.sharding import sequences_at_once
from training.trainer import sample_longest

_COPIES = 5  # of the parameters: themselves, the best ones, Adam's two moments and a gradient


def count_run_params(run: Run) -> int:
    """The number of parameters of one member. Raises ValueError for an array too large for 32-bit indices."""
    inputs = jax.eval_shape(lambda task: sample_longest(task, 1), run.task).inputs
    return models.count_model_params(run.model, inputs)


def estimate_memory(run: Run) -> int:
    """A lower bound of the memory that training needs, in bytes: of one device, or of a CPU, whose devices share it.

    It counts five float32 copies of every member's parameters, and the features of one layer for one batch. Raises
    ValueError, in one line, if the config's mesh does not fit.
    """
    mesh = plan_for_estimate(run.config).mesh_shape
    if jax.default_backend() == "cpu":
        mesh = mesh._replace(ensemble=1, batch=1, params=1)
    params = count_members(run.config) * count_run_params(run) // (mesh.ensemble * mesh.params)
    sequences = sequences_at_once(run.config) // (mesh.batch * mesh.params)
    return 4 * (_COPIES * params + sequences * run.task.max_length * run.config["model"]["width"])


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
