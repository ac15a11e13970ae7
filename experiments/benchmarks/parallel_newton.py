"""Recurrences solved for all steps at once against the sequential scan: the same outputs? and how long do both take?

  python -m experiments.benchmarks.parallel_newton  all of it: three minutes on two cores; writes the record
  python -m experiments.benchmarks.parallel_newton --cells=gru  one of the cells; the record keeps the other's lines
  python -m experiments.benchmarks.parallel_newton --table                  the table from the record, nothing run

An LSTM and a GRU, over 4 sequences of 4096 steps: Newton's method with whole Jacobians (DEER) at width 16, quasi-Newton
with each unit's own part of them at width 64. The weights are those of the model of configs/adding.py with one block,
before and after 500 steps of train.py's on sequences of 100; what they read are 4096 steps of the same task. Each is
solved in chunks of 256 and as a whole, with the linear recurrences step by step and, in chunks, by an associative scan.
The latter is for machines with thousands of cores; two cores only have more work by it.

A line of the table, and of experiments/records/newton.csv:
  iterations   of the slowest of the 4 sequences, over all its chunks
  converged    sequences whose every chunk did; the rest of them was run step by step, which the answer does not show
  residual     the largest |f(h, x) − h'| / max(1, |h'|) where iterations ended
  difference   the largest between outputs of this and of the sequential scan, which may be 1e-5 where all converged
  rounding     the same between the sequential scan in 32 and in 64 bits: what no method can be told to beat
  times        medians of calls that take turns, in milliseconds; the ratio is of the solver's to the scan's
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
TOLERANCE = 1e-5  # how far outputs may be apart where a solver converged: the claim, written before the runs
SOLVER_WIDTHS = {"newton": 16, "quasi": 64}
SCHEDULES = (
    (256, "sequential"),
    (0, "sequential"),
    (256, "associative"),
)  # chunk (0: the whole) and linear recurrences
LENGTH, BATCH, STEPS = 4096, 4, 500
REPEATS = 5
SEED = 7  # of the sequences that are solved


class Recurrence(NamedTuple):
    """A cell's weights, the drives [B, T, gates × N] of its steps, and where these start a segment or are padding."""

    cell: str
    weights: dict[str, jax.Array]
    inputs: jax.Array
    start: jax.Array
    valid: jax.Array


def _adding_config(cell: str, width: int, steps: int = STEPS) -> Any:
    """The adding model with one block, its mixer as wide as the model."""
    config: Any = configs.adding.get_config(cell)
    config.model.update(width=width, hidden_size=width, depth=1)
    config.training.update(steps=steps, eval_every=steps, steps_per_call=min(50, steps))
    return config


def _train_model(config: Any, workdir: Path) -> tuple[builder.Run, Any, Any, float]:
    """The run, its parameters at the first and after the last step, and the last training loss."""
    loop.train(config, workdir, name=f"training {config.model.mixer} {config.model.width}", tensorboard=False)
    run = builder.build_run(config)
    first = trainer.init_train_state(run, 0, config.optimizer.learning_rate).params
    (last,) = export.load_members(workdir, "params")
    loss = [row["loss"][0] for row in metrics.read_metrics(workdir / "metrics.jsonl") if row["split"] == "train"][-1]
    return run, first, last, loss


def _build_recurrence(run: builder.Run, params: Any, length: int, batch: int) -> Recurrence:
    """The recurrence that the model's first mixer is, over fresh sequences of its task."""
    drawn = run.task.sample(tasks.random_key(SEED), batch, length, length)

    @jax.jit
    def read(params: Any) -> jax.Array:
        kept: Any = run.model.apply(
            {"params": params},
            drawn.inputs,
            positions=drawn.positions,
            segments=drawn.segments,
            capture_intermediates=lambda module, _: module.name == "mixer_norm_0",
        )[1]
        return kept["intermediates"]["mixer_norm_0"]["__call__"][0]

    x, own = read(params), params["mixer_0"]
    start, valid, _ = jax.vmap(segment_boundaries)(drawn.segments, jnp.zeros(batch, jnp.int32))
    weights = {name: jnp.asarray(own[name]) for name in ("recurrent", "candidate_bias") if name in own}
    drive = x @ own["input"]["kernel"] + own["input"]["bias"]
    return Recurrence(run.config["model"]["mixer"], weights, drive, start, valid)


def _solve_sequentially(recurrence: Recurrence) -> jax.Array:
    """The outputs [B, T, N], by the sequential scan."""
    return _run_solver(recurrence, masked_scan)[1]


def _solve_in_parallel(recurrence: Recurrence, solver: str, chunk: int, linear: str) -> tuple[jax.Array, Any]:
    """The outputs, and one report a sequence."""
    chunk = chunk or recurrence.inputs.shape[1]
    near = (
        partial(RECURRENT_CELLS[recurrence.cell].step, recurrence.weights, times=diagonal_matvec)
        if solver == "quasi"
        else None
    )
    run = partial(
        newton_scan, method="quasi" if near else "full", diagonal_step=near, chunk_size=chunk, linear_solver=linear
    )
    return _run_solver(recurrence, run)[1:]


def _run_solver(recurrence: Recurrence, run: Callable) -> Any:
    step, width = (
        partial(RECURRENT_CELLS[recurrence.cell].step, recurrence.weights),
        len(recurrence.weights["recurrent"]),
    )
    carry = {
        name: jnp.zeros((len(recurrence.inputs), width), recurrence.inputs.dtype)
        for name in RECURRENT_CELLS[recurrence.cell].carry_names
    }
    return jax.vmap(partial(run, step))(carry, recurrence.inputs, recurrence.start, recurrence.valid)


def _rounding_error(recurrence: Recurrence) -> float:
    """How far the sequential outputs in 32 bits are from those in 64."""
    with jax.enable_x64(True):
        exact = recurrence._replace(
            weights={name: jnp.asarray(np.asarray(leaf), jnp.float64) for name, leaf in recurrence.weights.items()},
            inputs=jnp.asarray(np.asarray(recurrence.inputs), jnp.float64),
        )
        expected = np.asarray(_compile_for(_solve_sequentially, exact)(exact))
    return float(np.abs(np.asarray(_compile_for(_solve_sequentially, recurrence)(recurrence)) - expected).max())


def _compile_for(function: Callable, recurrence: Recurrence) -> Callable:
    """`function` of a problem, its cell being no array."""
    cell = recurrence.cell
    program = jax.jit(lambda arrays: function(Recurrence(cell, *arrays)))
    return lambda of: program(of[1:])


def _measure_solver(
    recurrence: Recurrence, solver: str, chunk: int, linear: str, repeats: int = REPEATS
) -> dict[str, Any]:
    """The cells of a line that a solver's run on a problem has."""
    scan, solve = (
        _compile_for(_solve_sequentially, recurrence),
        _compile_for(partial(_solve_in_parallel, solver=solver, chunk=chunk, linear=linear), recurrence),
    )
    expected, (found, report) = scan(recurrence), solve(recurrence)
    scans, solves = [], []
    for _ in range(repeats):
        for function, times in ((scan, scans), (solve, solves)):
            begun = time.perf_counter()
            jax.block_until_ready(function(recurrence))
            times.append(1e3 * (time.perf_counter() - begun))
    scanned, took = statistics.median(scans), statistics.median(solves)
    return {
        "iterations": int(report.iterations.max()),
        "converged": int(report.converged.sum()),
        "of": len(report.converged),
        "steps_one_by_one": int(report.sequential.sum()),
        "residual": f"{float(report.residual.max()):.1e}",
        "difference": f"{float(jnp.abs(found - expected).max()):.1e}",
        "sequential_ms": f"{scanned:.3g}",
        "solver_ms": f"{took:.3g}",
        "ratio": f"{took / scanned:.3g}",
    }


def measure_rows(
    cells: Sequence[str], workdir: Path, length: int = LENGTH, steps: int = STEPS
) -> Iterator[dict[str, Any]]:
    """Every line of these cells' table, as it is measured."""
    for cell in cells:
        for solver, width in SOLVER_WIDTHS.items():
            run, first, last, loss = _train_model(_adding_config(cell, width, steps), workdir / f"{cell}-{width}")
            for weights, params in (("initial", first), (f"after {steps} steps", last)):
                of = _build_recurrence(run, params, length, BATCH)
                exact = f"{_rounding_error(of):.1e}"
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
                        **_measure_solver(of, solver, chunk, linear),
                        "rounding": exact,
                        "device": jax.devices()[0].device_kind,
                    }


COLUMNS = {
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
    """A line of the table, or its header."""
    if row is None:
        return "  ".join(f"{name.replace('_', ' '):>{width}}" for name, width in COLUMNS.items())
    row = {**row, "converged": f"{row['converged']} of {row['of']}"}
    return "  ".join(f"{row[name]:>{width}}" for name, width in COLUMNS.items())


def format_verdict(table: Sequence[dict[str, Any]]) -> str:
    """Whether all that converged is as near to the sequential outputs as was claimed, and what did not converge."""
    whole = [line for line in table if int(line["converged"]) == int(line["of"])]
    far = [line for line in whole if float(line["difference"]) > TOLERANCE]
    largest = max((float(line["difference"]) for line in whole), default=np.nan)
    claim = f"where it converged, outputs are within {TOLERANCE:g} of the sequential scan's"
    rest = f"{len(whole)} of {len(table)} lines converged, largest difference {largest:.1e}"
    return f"{'not ' if far else ''}reproduced: {claim} ({rest})"


def main() -> None:
    args: Any = flags.FLAGS
    for cell in args.cells:
        models.validate_choice("--cells", cell, ("lstm", "gru"))
    if not args.table:
        runtime.configure_runtime()
        print(format_row(None), flush=True)
        fresh = []
        for line in measure_rows(args.cells, Path(args.workdir)):
            fresh.append(line)
            print(format_row(line), flush=True)
        replace_rows(RECORD, fresh, ("cell",))
    table = read_record(RECORD)
    if args.table:
        print("\n".join(format_row(line) for line in (None, *table)))
    print(format_verdict(table))
    if not args.table:
        print(f"wrote {Path(RECORD)}")


if __name__ == "__main__":
    cli.define_directory("workdir", "runs/newton", "Where the models are trained.")
    flags.DEFINE_list("cells", ["lstm", "gru"], "Which cells to run.")
    flags.DEFINE_bool("table", False, "Print the table from the record, and run nothing.")
    cli.run_command(main)
