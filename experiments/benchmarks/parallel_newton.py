"""Do recurrences that are solved for all steps at once give the sequential scan's outputs, and how long do both take?

  python -m experiments.benchmarks.parallel_newton              all of it: three minutes on two cores; writes the record
  python -m experiments.benchmarks.parallel_newton --cells=gru  one of the cells; the record keeps the other's rows
  python -m experiments.benchmarks.parallel_newton --table      the table from the record, nothing run

An LSTM and a GRU, over 4 sequences of 4096 steps: Newton's method with full Jacobians (DEER) at width 16, quasi-Newton
with each unit's diagonal entry at width 64. The weights are those of the model of configs/adding.py with one block,
before and after 500 steps of training on sequences of 100; the inputs are 4096 steps of the same task. Each recurrence
is solved in chunks of 256 and as a whole, its linear recurrences step by step or, in chunks, by an associative scan.
The latter is for machines with thousands of cores; on two cores it only means more work.

The columns of the table, and of experiments/records/newton.csv:
  iterations   of the slowest of the 4 sequences, over all its chunks
  converged    sequences whose every chunk converged; the other chunks are run step by step, so outputs are right anyway
  residual     the largest |f(h, x) − h'| / max(1, |h'|) where iterations ended
  difference   the largest between the solver's and the sequential scan's outputs; at most 1e-5 where all converged
  rounding     the same between the sequential scan in 32 and in 64 bits, which no method can beat
  times        medians of calls that take turns, in milliseconds; the ratio is the solver's time over the scan's
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import configs.adding
import models
import tasks
from experiments.ablation.record_files import RECORDS_DIR, read_record, replace_rows
from models.mixers.recurrent import RECURRENT_CELLS, diagonal_matvec
from models.ops.parallel_newton import newton_scan
from models.ops.scan import masked_scan, segment_boundaries
from training import builder, cli, export, loop, metrics, runtime, trainer

RECORD = RECORDS_DIR / "newton.csv"
TOLERANCE = 1e-5  # of outputs where a solver converged: the claim, written before the runs
SOLVER_WIDTHS = {"newton": 16, "quasi": 64}
SCHEDULES = ((256, "sequential"), (0, "sequential"), (256, "associative"))  # chunk size (0: all), linear recurrences
LENGTH, BATCH, STEPS = 4096, 4, 500
REPEATS = 5
SEED = 7  # of the sequences that are solved


class Recurrence(NamedTuple):
    """A recurrent cell's weights, its steps' pre-activations [B, T, gates × N], and where segments start [B, T]."""

    cell: str
    weights: dict[str, jax.Array]
    inputs: jax.Array
    start: jax.Array
    valid: jax.Array


# ---- the recurrence of a trained model ------------------------------------------------------------------------------


def _adding_config(cell: str, width: int, steps: int = STEPS) -> Any:
    """The adding model with one block, its mixer as wide as the model."""
    config: Any = configs.adding.get_config(cell)
    config.model.update(width=width, hidden_size=width, depth=1)
    config.training.update(steps=steps, eval_every=steps, steps_per_call=min(50, steps))
    return config


def _train_model(config: Any, workdir: Path) -> tuple[builder.Run, Any, Any, float]:
    """The run, its parameters before the first and after the last step, and the last training loss."""
    loop.train(config, workdir, name=f"training {config.model.mixer} {config.model.width}", tensorboard=False)
    run = builder.build_run(config)
    first = trainer.init_train_state(run, 0, config.optimizer.learning_rate).params
    (last,) = export.load_members(workdir, "params")
    losses = [row["loss"][0] for row in metrics.read_metrics(workdir / "metrics.jsonl") if row["split"] == "train"]
    return run, first, last, losses[-1]


def _build_recurrence(run: builder.Run, params: Any, length: int, batch: int) -> Recurrence:
    """The recurrence in the model's first mixer, over fresh sequences of its task."""
    sequences = run.task.sample(tasks.random_key(SEED), batch, length, length)

    @jax.jit
    def mixer_inputs(params: Any) -> jax.Array:
        variables: Any = run.model.apply(
            {"params": params},
            sequences.inputs,
            positions=sequences.positions,
            segments=sequences.segments,
            capture_intermediates=lambda module, _: module.name == "mixer_norm_0",
        )[1]
        return variables["intermediates"]["mixer_norm_0"]["__call__"][0]

    mixer = params["mixer_0"]
    start, valid, _ = jax.vmap(segment_boundaries)(sequences.segments, jnp.zeros(batch, jnp.int32))
    weights = {name: jnp.asarray(mixer[name]) for name in ("recurrent", "candidate_bias") if name in mixer}
    inputs = mixer_inputs(params) @ mixer["input"]["kernel"] + mixer["input"]["bias"]
    return Recurrence(run.config["model"]["mixer"], weights, inputs, start, valid)


# ---- solving it -----------------------------------------------------------------------------------------------------


def _solve_sequentially(recurrence: Recurrence) -> jax.Array:
    """The outputs [B, T, N], by the sequential scan."""
    return _run_solver(recurrence, masked_scan)[1]


def _solve_in_parallel(recurrence: Recurrence, solver: str, chunk: int, linear: str) -> tuple[jax.Array, Any]:
    """The outputs [B, T, N], and a report per sequence."""
    solve = partial(newton_scan, chunk_size=chunk or recurrence.inputs.shape[1], linear_solver=linear)
    if solver == "quasi":
        diagonal_step = partial(RECURRENT_CELLS[recurrence.cell].step, recurrence.weights, times=diagonal_matvec)
        return _run_solver(recurrence, partial(solve, method="quasi", diagonal_step=diagonal_step))[1:]
    return _run_solver(recurrence, partial(solve, method="full", diagonal_step=None))[1:]


def _run_solver(recurrence: Recurrence, solve: Callable) -> Any:
    """What `solve(step, carry, inputs, start, valid)` returns, for all sequences at once and from zero states."""
    cell, width = RECURRENT_CELLS[recurrence.cell], len(recurrence.weights["recurrent"])
    step = partial(cell.step, recurrence.weights)
    shape = (len(recurrence.inputs), width)
    carry = {name: jnp.zeros(shape, recurrence.inputs.dtype) for name in cell.carry_names}
    return jax.vmap(partial(solve, step))(carry, recurrence.inputs, recurrence.start, recurrence.valid)


def _compile_solver(solve: Callable, cell: str) -> Callable[[Recurrence], Any]:
    """Jit a function of a recurrence, whose cell is no array."""
    program = jax.jit(lambda *arrays: solve(Recurrence(cell, *arrays)))
    return lambda recurrence: program(*recurrence[1:])


@cache
def _compile_scan(cell: str) -> Callable[[Recurrence], Any]:
    return _compile_solver(_solve_sequentially, cell)


# ---- what is measured -----------------------------------------------------------------------------------------------


def _rounding_error(recurrence: Recurrence) -> float:
    """The largest difference between the sequential outputs in 32 and in 64 bits."""
    scan = _compile_scan(recurrence.cell)
    with jax.enable_x64(True):
        exact = recurrence._replace(
            weights={name: jnp.asarray(np.asarray(leaf), jnp.float64) for name, leaf in recurrence.weights.items()},
            inputs=jnp.asarray(np.asarray(recurrence.inputs), jnp.float64),
        )
        expected = np.asarray(scan(exact))
    return float(np.abs(np.asarray(scan(recurrence)) - expected).max())


def _measure_solver(
    recurrence: Recurrence, solver: str, chunk: int, linear: str, repeats: int = REPEATS
) -> dict[str, Any]:
    """The fields of a row that depend on how the recurrence is solved."""
    scan = _compile_scan(recurrence.cell)
    solve = partial(_solve_in_parallel, solver=solver, chunk=chunk, linear=linear)
    solve = _compile_solver(solve, recurrence.cell)
    expected, (outputs, report) = scan(recurrence), solve(recurrence)
    scan_times, solve_times = [], []
    for _ in range(repeats):
        for function, times in ((scan, scan_times), (solve, solve_times)):
            begun = time.perf_counter()
            jax.block_until_ready(function(recurrence))
            times.append(1e3 * (time.perf_counter() - begun))
    scan_ms, solve_ms = statistics.median(scan_times), statistics.median(solve_times)
    return {
        "iterations": int(report.iterations.max()),
        "converged": int(report.converged.sum()),
        "of": len(report.converged),
        "steps_one_by_one": int(report.sequential_steps.sum()),
        "residual": f"{float(report.residual.max()):.1e}",
        "difference": f"{float(jnp.abs(outputs - expected).max()):.1e}",
        "sequential_ms": f"{scan_ms:.3g}",
        "solver_ms": f"{solve_ms:.3g}",
        "ratio": f"{solve_ms / scan_ms:.3g}",
    }


def measure_rows(
    cells: Sequence[str], workdir: Path, length: int = LENGTH, steps: int = STEPS
) -> Iterator[dict[str, Any]]:
    """Every row of these cells' table, as it is measured."""
    for cell in cells:
        for solver, width in SOLVER_WIDTHS.items():
            run, first, last, loss = _train_model(_adding_config(cell, width, steps), workdir / f"{cell}-{width}")
            for weights, params in (("initial", first), (f"after {steps} steps", last)):
                recurrence = _build_recurrence(run, params, length, BATCH)
                rounding = f"{_rounding_error(recurrence):.1e}"
                for chunk, linear in SCHEDULES:
                    yield {
                        "cell": cell,
                        "width": width,
                        "solver": solver,
                        "weights": weights,
                        "loss": "" if params is first else f"{loss:.2g}",
                        "length": length,
                        "batch": BATCH,
                        "chunk": chunk or length,
                        "linear": linear,
                        **_measure_solver(recurrence, solver, chunk, linear),
                        "rounding": rounding,
                        "device": jax.devices()[0].device_kind,
                    }


# ---- the command ----------------------------------------------------------------------------------------------------

COLUMNS = {  # of the printed table, and their widths
    "cell": 5,
    "width": 5,
    "solver": 7,
    "weights": 16,
    "chunk": 5,
    "linear": 11,
    "iterations": 10,
    "converged": 9,
    "residual": 8,
    "difference": 10,
    "rounding": 8,
    "sequential_ms": 13,
    "solver_ms": 9,
    "ratio": 6,
}


def format_row(row: dict[str, Any] | None) -> str:
    """A row of the printed table; for None its header."""
    if row is None:
        return "  ".join(f"{name.replace('_', ' '):>{width}}" for name, width in COLUMNS.items())
    row = {**row, "converged": f"{row['converged']} of {row['of']}"}
    return "  ".join(f"{row[name]:>{width}}" for name, width in COLUMNS.items())


def format_verdict(table: Sequence[dict[str, Any]]) -> str:
    """Whether outputs are within the tolerance wherever a solver converged, and how often it did."""
    converged = [row for row in table if int(row["converged"]) == int(row["of"])]
    differences = [float(row["difference"]) for row in converged]
    claim = f"where it converged, outputs are within {TOLERANCE:g} of the sequential scan's"
    evidence = f"{len(converged)} of {len(table)} lines converged, "
    evidence += f"largest difference {max(differences, default=np.nan):.1e}"
    verdict = "contradicted" if any(difference > TOLERANCE for difference in differences) else "reproduced"
    return f"{verdict}: {claim} ({evidence})"


def main() -> None:
    args: Any = flags.FLAGS
    for cell in args.cells:
        models.validate_choice("--cells", cell, ("lstm", "gru"))
    if not args.table:
        runtime.configure_runtime()
        print(format_row(None), flush=True)
        rows = []
        for row in measure_rows(args.cells, Path(args.workdir)):
            rows.append(row)
            print(format_row(row), flush=True)
        replace_rows(RECORD, rows, ("cell",))
    table = read_record(RECORD)
    if args.table:
        print("\n".join(format_row(row) for row in (None, *table)))
    print(format_verdict(table))
    if not args.table:
        print(f"wrote {Path(RECORD)}")


if __name__ == "__main__":
    cli.define_directory("workdir", "runs/newton", "Where the models are trained.")
    flags.DEFINE_list("cells", ["lstm", "gru"], "Which cells to run.")
    flags.DEFINE_bool("table", False, "Print the table from the record, and run nothing.")
    cli.run_command(main)
