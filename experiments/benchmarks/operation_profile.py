"""Where the time of a training step goes: into products of weights, products of tokens, or moving arrays about?

  python -m experiments.benchmarks.operation_profile            ten mixers at length 256, in a minute on two cores
  python -m experiments.benchmarks.operation_profile --mixers=delta --length=1024
  python -m experiments.benchmarks.operation_profile --table    the table from the record, nothing run

Steps of the benchmark's two layers under JAX's profiler, which says when each operation of the compiled program began
and ended. The record is experiments/records/operations.csv, for each mixer and kind of operation: how many a step has,
their milliseconds and their share. Operations run beside one another on several cores, so that their sum may be above
the time of a step. On a CPU alone: on others XLA names what it runs in another way.
"""

import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import flags

import models
from experiments.ablation.record_files import RECORDS_DIR, read_record, replace_rows
from experiments.benchmarks import jax_layers
from experiments.benchmarks.cell import Cell, TimedCall
from experiments.benchmarks.revisions import MIXERS
from experiments.benchmarks.tables import format_table
from experiments.reporting.html_report import Table
from models.field_errors import validate_choice
from training import cli, runtime

RECORD = RECORDS_DIR / "operations.csv"
KEY = ("mixer", "length", "kind")
STEPS = 5  # under the profiler
KINDS = {
    "weights": "products of weights",
    "tokens": "products of tokens",
    "sums": "sums and maxima",
    "moves": "copies and transposes",
    "elementwise": "elementwise",
}
_CONTAINERS = ("while", "conditional", "call")  # whose parts are operations themselves
_MOVES = {"copy", "transpose", "slice", "dynamic-slice", "dynamic-update-slice", "concatenate", "pad", "bitcast"}
_MOVES |= {"broadcast", "gather", "reshape", "wrapped", "fusion"}  # the words of names such as transpose_copy_fusion.3


def measure_mixer(mixer: str, length: int, width: int = 128, batch: int = 32) -> list[dict[str, Any]]:
    """The rows of a mixer, one for each of KINDS; `step_ms` is the median time of a step without the profiler."""
    cell = Cell("step", mixer, length, width=width, batch=batch)
    timed = jax_layers.build_own_call(cell, jax_layers.initial_weights(cell))
    carry, times = timed.carry, []
    for _ in range(2 * STEPS):
        begun = time.perf_counter()
        carry = timed.call(carry)
        timed.wait(carry)
        times.append(1e3 * (time.perf_counter() - begun))
    seconds, counts = _time_operations(timed, carry)
    kinds = _operation_kinds(timed.call.as_text())  # pyright: ignore[reportFunctionMemberAccess]
    by_kind: dict[str, list[float]] = {kind: [0.0, 0.0] for kind in KINDS}
    for name, kind in kinds.items():
        by_kind[kind][0] += counts[name] / STEPS
        by_kind[kind][1] += 1e3 * seconds[name] / STEPS
    total = sum(milliseconds for _, milliseconds in by_kind.values())
    return [
        {
            "mixer": mixer,
            "length": length,
            "kind": kind,
            "operations": f"{count:.0f}",
            "milliseconds": f"{milliseconds:.3g}",
            "share": f"{milliseconds / total:.3f}",
            "step_ms": f"{statistics.median(times):.3g}",
            "device": jax.devices()[0].device_kind,
        }
        for kind, (count, milliseconds) in by_kind.items()
    ]


def _time_operations(timed: TimedCall, carry: Any) -> tuple[Counter[str], Counter[str]]:
    """Seconds of STEPS steps, and how many times it ran, by the name of an operation."""
    seconds, counts = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(STEPS):
                carry = timed.call(carry)
                timed.wait(carry)
        (path,) = Path(folder).rglob("*.xplane.pb")
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for event in (event for line in plane.lines for event in line.events):
                seconds[event.name] += 1e-9 * event.duration_ns
                counts[event.name] += 1
    return seconds, counts


def _operation_kinds(program: str) -> dict[str, str]:
    """The kind of each operation of a compiled program's text."""
    kinds = {}
    for line in program.splitlines():
        if named := re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = (\S+)", line):
            name, shape = named.groups()
            source = re.search(r'op_name="([^"]*)"', line)
            kind = operation_kind(name, shape, source[1] if source else "")
            if kind:
                kinds[name] = kind
    return kinds


def operation_kind(name: str, shape: str, source: str) -> str:
    """The kind of an operation, by its name, the shape of its result and the JAX operation that it comes from; "" for
    what holds others, whose parts count by themselves."""
    last = source.rsplit("/", 1)[-1]
    if name.startswith(_CONTAINERS):
        return ""
    if "dot" in name or last.startswith("dot_general") or (last == "transpose" and name.startswith("ynn")):
        return "tokens" if shape.partition("]")[0].count(",") > 1 else "weights"
    if last.startswith(("reduce", "argmax", "cumsum")):
        return "sums"
    return "moves" if set(name.partition(".")[0].split("_")) <= _MOVES else "elementwise"


def operation_table(rows: Iterable[Mapping[str, str]]) -> Table:
    """A row for each mixer: a step's time, and the share of each kind with the number of its operations."""
    rows, body = list(rows), []
    for mixer, length in dict.fromkeys((row["mixer"], row["length"]) for row in rows):
        by_kind = {row["kind"]: row for row in rows if (row["mixer"], row["length"]) == (mixer, length)}
        cells = [f"{100 * float(row['share']):.0f} % ({row['operations']})" for row in map(by_kind.__getitem__, KINDS)]
        body.append([mixer, length, f"{by_kind['weights']['step_ms']} ms", *cells])
    note = "Share of the summed time of a step's operations, and how many there are in a step. Width 128, batch 32, "
    note += "two layers, float32. Products of weights are of two matrices, products of tokens of many pairs at once."
    return Table("Where the time of a step goes", ["mixer", "length", "a step", *KINDS.values()], body, note)


def main() -> None:
    args: Any = flags.FLAGS
    if not args.table:
        runtime.configure_runtime()
        if jax.default_backend() != "cpu":
            raise ValueError("operations are told apart by XLA's names for them on a CPU; set JAX_PLATFORMS=cpu")
        for mixer in args.mixers:
            validate_choice("--mixers", mixer, models.MIXERS)
        for mixer in args.mixers:
            replace_rows(RECORD, measure_mixer(mixer, args.length), KEY)
            print(f"{mixer} at {args.length}: done", flush=True)
    print(format_table(operation_table(read_record(RECORD))))


if __name__ == "__main__":
    flags.DEFINE_list("mixers", list(MIXERS), "Which mixers.")
    flags.DEFINE_integer("length", 256, "Steps of a sequence.", lower_bound=1)
    flags.DEFINE_bool("table", False, "Print the table from the record, and run nothing.")
    cli.run_command(main)
