"""How many iterations of Newton's method solve a trained recurrence for all steps at once."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import tasks
from experiments.measures.common import SAMPLE_KEY, Evaluate, MeasureValue, apply_to_batch
from models.mixers.parallel_cells import PARALLEL_CELLS
from models.ops.parallel_newton import newton_scan
from training import builder

LENGTHS = (64, 256, 1024)
TOLERANCE = 1e-5  # of a change, relative to elements above 1
_SEQUENCES = 8
_MAX_ITERATIONS = 100
CELL_NAMES = {f"para{name}": name for name in PARALLEL_CELLS}  # mixer → cell


def newton_iterations(run: builder.Run) -> Evaluate:
    """Iterations that solve whole test sequences of ParaGRU or ParaLSTM, against their length: the most that any row of
    any block takes until one more changes no state by more than `TOLERANCE`, from states of 0 (Danieli et al. 2025,
    arXiv 2510.21450, App. A, from what a state is that has none before it, which is one iteration further).

    Raises ValueError for any other mixer.
    """
    mixer = run.config["model"]["mixer"]
    if mixer not in CELL_NAMES:
        raise ValueError(f"newton iterations: {mixer} has none; they are of {' and '.join(CELL_NAMES)}")
    cell = PARALLEL_CELLS[CELL_NAMES[mixer]]

    def count_iterations(weights: dict[str, Array], inputs: Float[Array, "B T N"]) -> Array:
        """Of the recurrence of one block, whose gates have these inputs; the last iteration, which only confirms, is
        not counted."""
        rows, length = inputs.shape[:2]
        units = jnp.zeros((rows, weights["recurrent"].shape[-1]))
        carry = dict.fromkeys(cell.carry_names, units)
        start = jnp.zeros((rows, length), bool).at[:, 0].set(True)
        solve = partial(
            newton_scan,
            partial(cell.step, weights),
            method="diagonal",
            max_iterations=_MAX_ITERATIONS,
            tolerance=TOLERANCE,
            chunk_size=length,
        )
        *_, report = jax.vmap(solve)(carry, inputs, start, jnp.ones_like(start))
        return report.iterations.max() - 1

    @partial(jax.jit, static_argnums=1)
    def most_iterations(params: Any, length: int) -> Array:
        batch = run.task.sample(tasks.random_key(np.uint32(SAMPLE_KEY)), _SEQUENCES, length, length, "test")
        _, seen = apply_to_batch(
            run,
            params,
            batch,
            capture_intermediates=lambda module, _: module.name == "input",
            mutable=["intermediates"],
        )
        blocks = seen["intermediates"]
        counts = [
            count_iterations({name: params[block][name] for name in cell.weights}, found["input"]["__call__"][0])
            for block, found in blocks.items()
        ]
        return jnp.stack(counts).max()

    def evaluate(params: Any, seed: int) -> MeasureValue:
        return {length: float(most_iterations(params, length)) for length in LENGTHS}

    return evaluate
