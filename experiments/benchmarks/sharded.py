"""Parameters spread over eight devices that are made of one CPU: numbers, bytes and going on. Nothing is timed.

  python -m experiments.benchmarks.sharded        in some minutes on two cores; writes the record

Small models are trained on meshes of up to eight devices (ensemble × batch × params), and their losses held against
those on one device; bytes are those of XLA's memory analysis of the compiled steps. Runs are stopped half-way, saved,
and continued on more or fewer devices. The record is experiments/records/sharding.csv.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.ablation.record_files import RECORDS_DIR, write_record
from experiments.benchmarks.processes import ROOT
from training import cli, ensemble, runtime, sharding
from training.builder import Run, build_run
from training.checkpoint import Checkpoints
from training.estimates import estimate_run

RECORD = RECORDS_DIR / "sharding.csv"
DEVICES = 8
ONE = (1, 1, 1)
MESHES = ((1, 1, 8), (1, 2, 4), (2, 2, 2))
MOVES = ((ONE, (1, 1, 8)), ((1, 1, 8), ONE), ((1, 1, 8), (1, 1, 4)), ((1, 1, 4), (1, 2, 4)))
CALLS = 4  # of `training.steps_per_call` steps
# XLA's compiler for CPUs drops the barriers of jax.checkpoint and then merges what should be computed twice.
KEEP_BARRIERS = "--xla_disable_hlo_passes=cse_barrier_expander"
_COLUMNS = ("what", "of", "value", "unit")
Row = tuple[str, str, Any, str]


def make_run(mixer: str, mesh: tuple[int, ...], **model: Any) -> Run:
    """A small model of recall, with two seeds, on this mesh."""
    from configs import recall

    config: Any = recall.get_config(mixer)
    config.task.update(pairs=4, symbols=16, max_length=32)
    config.model.update(width=64, depth=2, **model)
    config.training.update(batch_size=16, steps=10 * CALLS, steps_per_call=10, eval_every=10 * CALLS)
    config.optimizer.update(learning_rate=1e-3, warmup_steps=5)
    config.ensemble.seeds = (0, 1)
    config.mesh.update(dict(zip(("ensemble", "batch", "params"), mesh, strict=True)))
    return build_run(config)


class Training:
    """A run on its mesh: its states, and its compiled steps."""

    def __init__(self, run: Run):
        self.run, self.plan = run, ensemble.plan_ensemble(run.config)
        self.mesh = ensemble.make_mesh(self.plan)
        self.restart()
        self.task = jax.device_put(run.task, sharding.replicated_sharding(self.mesh))
        self.step = ensemble.jit_train_steps(run, self.plan, self.mesh).lower(self.states, self.task).compile()

    def restart(self) -> None:
        """Initialize the states anew."""
        self.states = ensemble.init_ensemble(self.run, self.plan, self.mesh)

    def train(self, calls: int) -> np.ndarray:
        """Take some calls; their losses, [calls, members]."""
        losses = []
        for _ in range(calls):
            self.states, metrics = self.step(self.states, self.task)
            losses.append(np.asarray(metrics["loss"]))
        return np.array(losses)

    def share_of_state(self) -> float:
        """The bytes of the states of all members that one device holds, by XLA's count, over those of all."""
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(self.states))
        data = sum(leaf.nbytes for leaf in jax.tree.leaves(self.task))
        return (self.step.memory_analysis().argument_size_in_bytes - data) / whole


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of two losses at the same step, relative to the loss."""
    return float(np.max(np.abs(ours - theirs) / np.abs(theirs)))


def format_mesh(mesh: tuple[int, ...]) -> str:
    return "×".join(map(str, mesh))


# ---- what runs in a process of its own ------------------------------------------------------------------------------


def measure_meshes(mixer: str) -> Iterator[Row]:
    """Losses on meshes of eight devices against those on one, bytes of a device, and going on on other devices."""
    trainings = {mesh: Training(make_run(mixer, mesh)) for mesh in {ONE, *MESHES, *itertools.chain(*MOVES)}}
    alone = trainings[ONE].train(CALLS)
    for mesh in MESHES:
        spread = trainings[mesh]
        parts = mesh[0] * mesh[2]
        of = f"{mixer}, mesh {format_mesh(mesh)}"
        yield (
            "largest relative difference of losses to one device",
            of,
            largest_difference(spread.train(CALLS), alone),
            "",
        )
        label = f"parameters, optimizer state and best parameters on a device, of 1/{parts} of all"
        yield label, of, spread.share_of_state() * parts, "times"
    for before, after in MOVES:
        continued = continue_elsewhere(trainings[before], trainings[after])
        of = f"{mixer}, mesh {format_mesh(before)}, then {format_mesh(after)}"
        yield "largest relative difference of losses after going on", of, largest_difference(continued, alone), ""


def continue_elsewhere(begun: Training, continued: Training) -> np.ndarray:
    """The losses of a run that is begun anew, saved half-way, and continued on another mesh."""
    begun.restart()
    losses = begun.train(CALLS // 2)
    with tempfile.TemporaryDirectory() as folder:
        saved = Checkpoints(Path(folder))
        saved.save(CALLS // 2, begun.states)
        saved.wait_until_written()
        continued.states = saved.restore(CALLS // 2, continued.states)
        saved.close()
    return np.concatenate([losses, continued.train(CALLS - CALLS // 2)])


def measure_remat(mixer: str) -> Iterator[Row]:
    """Temporary bytes of the training steps with and without `model.remat`, and the difference of their losses."""
    from configs import recall

    losses, sizes = [], []
    for remat in (False, True):
        config: Any = recall.get_config(mixer)
        config.task.max_length = 64
        config.model.update(width=64, depth=8, remat=remat)
        config.training.update(batch_size=32, steps=2, steps_per_call=2, eval_every=2)
        config.mesh.update(ensemble=1, batch=1)
        training = Training(build_run(config))
        sizes.append(training.step.memory_analysis().temp_size_in_bytes)
        losses.append(training.train(1))
        label = "with" if remat else "without"
        yield "temporary bytes of a step", f"{mixer}, {label} remat", sizes[-1] / 2**20, "MiB"
        estimate = estimate_run(training.run, training.plan)
        kept = (estimate.activation_bytes + estimate.gradient_bytes) / 2**20
        yield "its estimate, activations and gradient", f"{mixer}, {label} remat", kept, "MiB"
    yield "temporary bytes with remat over without", mixer, sizes[1] / sizes[0], ""
    yield "relative difference of losses with and without remat", mixer, largest_difference(*losses), ""


# ---- all of it ------------------------------------------------------------------------------------------------------

# Nothing is timed, so LLVM need not optimize.
_FLAGS = f"--xla_backend_optimization_level=0 --{runtime.HOST_DEVICES_FLAG}"
_MEASUREMENTS = {
    "meshes": (measure_meshes, f"{_FLAGS}={DEVICES}"),
    "remat": (measure_remat, f"{_FLAGS}=1 {KEEP_BARRIERS}"),
}


def run_alone(name: str, mixer: str) -> list[Row]:
    """Run one measurement in a process with devices of its own."""
    words = ["-m", "experiments.benchmarks.sharded", f"--alone={name}", f"--mixers={mixer}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": _MEASUREMENTS[name][1]}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{name} of {mixer}: {done.stderr.strip().splitlines()[-1]}")
    return [tuple(row) for row in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    args: Any = flags.FLAGS
    if args.alone:
        measure = _MEASUREMENTS[args.alone][0]
        return print(json.dumps([row for mixer in args.mixers for row in measure(mixer)]))
    rows: list[Row] = []
    for name in _MEASUREMENTS:
        for mixer in args.mixers:
            for what, of, value, unit in run_alone(name, mixer):
                rows.append((what, of, f"{value:.3g}", unit))
                print(f"{what}: {of}: {value:.3g} {unit}", flush=True)
    rows.append(("jax", "", jax.__version__, ""))
    record = Path(args.record)
    write_record(record, _COLUMNS, rows)
    print(f"wrote {record}")
    return None


if __name__ == "__main__":
    flags.DEFINE_list("mixers", ["attention", "lstm"], "The mixers that are measured.")
    flags.DEFINE_enum("alone", None, list(_MEASUREMENTS), "What this process measures.")
    flags.DEFINE_string("record", str(RECORD), "The table to write.")
    cli.run_command(main)
