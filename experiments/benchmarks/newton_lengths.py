"""From which length on is Newton's method ahead of the scan, where no unit of the recurrence affects another?

  python -m experiments.benchmarks.newton_lengths            what the record lacks; two minutes on two quiet cores
  python -m experiments.benchmarks.newton_lengths --seconds=45   the next rows, for so long; the record keeps the others
  python -m experiments.benchmarks.newton_lengths --table    the table from the record, nothing run

Training steps of one ParaGRU or ParaLSTM of width 128 at its initial parameters: the mixer's outputs and the gradient
of their squares to parameters and inputs, by its two solvers in turn. The record is
experiments/records/newton-lengths.csv:
  iterations    of the slowest sequence, over all its chunks; each evaluates the gates of all its steps
  chunks        that a sequence is solved in, one after another
  difference    the largest between the solvers' outputs
  times         medians of steps that take turns, in milliseconds; the ratio is the solver's time over the scan's
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

import models
from experiments.ablation.record_files import RECORDS_DIR, read_record, replace_rows
from models.ops.parallel_newton import CHUNK_SIZE
from tasks import random_key
from training import cli, runtime

RECORD = RECORDS_DIR / "newton-lengths.csv"
KEY = ("mixer", "width", "batch", "length", "device")
WIDTH = 128
CASES = tuple(  # mixer, batch, length; a batch of 32 is what the benchmark of all mixers has
    (mixer, batch, length)
    for batch, lengths in ((1, (64, 256, 1024, 4096)), (32, (64, 256, 1024)))
    for mixer in ("paragru", "paralstm")
    for length in lengths
)
SECONDS_PER_ROW, REPEATS = 2.0, (5, 100)  # at least and at most so many steps of each solver


def measure_row(mixer: str, batch: int, length: int, width: int = WIDTH) -> dict[str, Any]:
    """A row of the record. Raises RuntimeError where the solver did not converge: its time is then the scan's too."""
    modules: dict[str, Any] = {
        solver: models.MIXERS[mixer](width=width, hidden_size=width, max_length=length, solver=solver)
        for solver in ("sequential", "newton")
    }
    x = jax.random.normal(random_key(1), (batch, length, width))
    positions = jnp.broadcast_to(jnp.arange(length), (batch, length))
    steps = {"positions": positions, "segments": jnp.ones_like(positions)}
    params = jax.jit(partial(modules["sequential"].init, **steps))(random_key(0), x)

    def loss(module: Any, params: Any, x: Any) -> Any:
        (y, _), kept = module.apply(params, x, **steps, mutable=["intermediates"])
        return (y**2).mean(), (y, kept.get("intermediates", {}).get("newton"))

    programs = {
        solver: jax.jit(jax.value_and_grad(partial(loss, module), (0, 1), has_aux=True)).lower(params, x).compile()
        for solver, module in modules.items()
    }
    outputs = {solver: program(params, x)[0][1] for solver, program in programs.items()}
    (report,) = outputs["newton"][1]
    if not report.converged.all():
        raise RuntimeError(f"{mixer}: Newton's method did not converge at length {length}; it should from here")
    times: dict[str, list[float]] = {solver: [] for solver in programs}
    finish = time.perf_counter() + SECONDS_PER_ROW
    for count in range(REPEATS[1]):
        if count >= REPEATS[0] and time.perf_counter() > finish:
            break
        for solver, program in programs.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(params, x))
            times[solver].append(1e3 * (time.perf_counter() - begun))
    scan_ms, newton_ms = (statistics.median(times[solver]) for solver in ("sequential", "newton"))
    return {
        "mixer": mixer,
        "width": width,
        "batch": batch,
        "length": length,
        "iterations": int(report.iterations.max()),
        "chunks": -(-length // CHUNK_SIZE),
        "difference": f"{float(jnp.abs(outputs['newton'][0] - outputs['sequential'][0]).max()):.1e}",
        "sequential_ms": f"{scan_ms:.3g}",
        "newton_ms": f"{newton_ms:.3g}",
        "ratio": f"{newton_ms / scan_ms:.3g}",
        "steps": len(times["newton"]),
        "device": jax.devices()[0].device_kind,
    }


def missing_cases(rows: Sequence[dict[str, str]], device: str) -> Iterator[tuple[str, int, int]]:
    """The cases that have no row yet on such a device."""
    present = {(row["mixer"], int(row["batch"]), int(row["length"])) for row in rows if row["device"] == device}
    return (case for case in CASES if case not in present)


def format_crossings(rows: Sequence[dict[str, str]]) -> list[str]:
    """For each mixer and batch, from which length on the solver is ahead."""
    lines = []
    for name in dict.fromkeys((row["mixer"], row["batch"], row["device"]) for row in rows):
        own = sorted(
            (row for row in rows if (row["mixer"], row["batch"], row["device"]) == name),
            key=lambda row: int(row["length"]),
        )
        ratios = {int(row["length"]): float(row["ratio"]) for row in own}
        behind = [length for length, ratio in ratios.items() if ratio >= 1]
        ahead = [length for length in ratios if length > max(behind, default=0)]
        verdict = f"ahead from {ahead[0]} steps on" if ahead else "not ahead"
        listed = ", ".join(f"{ratio:g} at {length}" for length, ratio in ratios.items())
        lines.append(f"{name[0]}, batch {name[1]}, {name[2]}: {verdict} (time over the scan's: {listed})")
    return lines


def main() -> None:
    args: Any = flags.FLAGS
    begun = time.perf_counter()
    if not args.table:
        runtime.configure_runtime()
        for case in missing_cases(read_record(RECORD), jax.devices()[0].device_kind):
            if time.perf_counter() - begun > args.seconds:
                break
            row = measure_row(*case)
            replace_rows(RECORD, [row], KEY)
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    print("\n".join(format_crossings(read_record(RECORD))))
    if not args.table:
        print(f"wrote {Path(RECORD)}")


if __name__ == "__main__":
    flags.DEFINE_float("seconds", float("inf"), "Begin no row after so many seconds.")
    flags.DEFINE_bool("table", False, "Print the table from the record, and run nothing.")
    cli.run_command(main)
