"""What the benchmark times, section by section, and the run that goes on where it was stopped."""

import contextlib
import importlib.util
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import models
from experiments.benchmarks import processes
from experiments.benchmarks.cell import LIBRARY_MIXERS, PACKAGES, Cell, supports
from experiments.benchmarks.harness import PlannedCell, has_peer, measure_cells
from experiments.benchmarks.rows import COLUMNS, KEY, read_rows
from training import metrics

QUICK_MIXERS = ("lstm", "attention", "gru", "mingru", "linear")
STEP_LENGTHS = (64, 256, 1024)
SECTIONS = (  # "peers" runs if it is asked for, and has a record of its own
    "step",
    "token",
    "forward",
    "batch",
    "memory",
    "solver",
    "peers",
    "start",
    "ensemble",
    "utilization",
)
PEER_MIXERS = ("s6", "mamba2", "mlstm", "mingru", "minlstm")
TORCH_MIXERS = ("rnn", "lstm", "gru", "attention")  # PyTorch's own; linear attention is beside its fastest recurrence
# Time or memory of these grows with the square of the length: longer sequences would take hours, or find no room.
_SHORT_ONLY = (("transformers", "s6"), ("xlstm", "mlstm"))


class SuiteOptions(NamedTuple):
    """What the command's flags ask for."""

    only: Sequence[str] = ()  # sections; none: all
    quick: bool = False
    gpu: bool = False
    against_libraries_only: bool = False
    processes: int = 3


# ---- the plan -------------------------------------------------------------------------------------------------------


def plan_cells(sections: Sequence[str], quick: bool, gpu: bool) -> list[PlannedCell]:
    """The cells of these sections, each once."""
    planned = _step_cells(quick, gpu) + _token_cells(quick, gpu)
    if not quick:
        planned += _forward_cells()
    planned += _batch_cells(quick)
    if not quick:
        planned += _memory_cells() + _solver_cells() + _peer_cells()
    if gpu:
        planned = [one._replace(cell=adapt_to_gpu(one.cell)) for one in planned]
    return list(dict.fromkeys(one for one in planned if one.section in sections))


def selected_cells(options: SuiteOptions) -> list[PlannedCell]:
    """The cells of the plan that the flags ask for."""
    sections = options.only or [name for name in SECTIONS if name != "peers"]
    cells = plan_cells(sections, options.quick, options.gpu)
    return [one for one in cells if has_peer(one.cell, one.libraries)] if options.against_libraries_only else cells


def _step_cells(quick: bool, gpu: bool) -> list[PlannedCell]:
    """Training steps against length beside other libraries; and of every mixer alone, against length and width."""
    libraries = ("ours", "torch") if gpu else ("ours", "ours-shared", "torch", "torch-compile", "linen", "nnx")
    compared = QUICK_MIXERS if quick else ("rnn", *QUICK_MIXERS)
    planned = [PlannedCell("step", Cell("step", mixer, n), libraries) for mixer in compared for n in STEP_LENGTHS]
    if quick:
        return planned
    already = {one.cell for one in planned}
    for mixer in models.MIXERS:
        # Beyond 1024 fewer sequences at once: a step then has as many tokens, and needs no more memory.
        cells = [Cell("step", mixer, n, batch=min(32, 2**15 // n)) for n in (*STEP_LENGTHS, 4096)]
        cells += [Cell("step", mixer, 256, width=width) for width in (64, 256, 512)]
        planned += [PlannedCell("step", cell, ("ours",)) for cell in cells if cell not in already]
    return planned


def _token_cells(quick: bool, gpu: bool) -> list[PlannedCell]:
    """One more token of one sequence, against the tokens before it."""
    libraries = ("ours", "ours-loop", "torch") if gpu else ("ours", "ours-loop", "torch", "torch-compile")
    contexts = (16, 1024) if quick else (16, 256, 1024, 4096, 16384)
    cells = [Cell("token", mixer, context, batch=1) for context in contexts for mixer in QUICK_MIXERS]
    return [PlannedCell("token", cell, libraries) for cell in cells]


def _forward_cells() -> list[PlannedCell]:
    """A whole sequence again, which is what a token costs a model that remembers nothing."""
    cells = [Cell("forward", mixer, n, batch=1) for n in (256, 1024, 4096) for mixer in ("attention", "linear")]
    return [PlannedCell("forward", cell, ("ours",)) for cell in cells]


def _batch_cells(quick: bool) -> list[PlannedCell]:
    """Training steps against the number of sequences at once."""
    batches = (1, 8, 64) if quick else (1, 2, 4, 8, 16, 32, 64, 128)
    cells = [Cell("step", mixer, 256, batch=batch) for batch in batches for mixer in ("lstm", "attention")]
    return [PlannedCell("batch", cell, ("ours",)) for cell in cells]


def _memory_cells() -> list[PlannedCell]:
    """Training steps whose memory is the question: attention as plain products and in blocks, PyTorch, and an LSTM."""
    cells = []
    for implementation, lengths in (("plain", (2048, 4096)), ("blocks", (2048, 4096, 8192))):
        options = (("implementation", implementation),)
        cells += [Cell("step", "attention", length, batch=1, options=options) for length in lengths]
    planned = [PlannedCell("memory", cell, ("ours",)) for cell in cells]
    planned.append(PlannedCell("memory", Cell("step", "attention", 8192, batch=1), ("torch",)))
    planned.append(PlannedCell("memory", Cell("step", "lstm", 8192, batch=1), ("ours",)))
    return planned


def _solver_cells() -> list[PlannedCell]:
    """Recurrences solved for all steps at once against the scan; whole Jacobians only where they are small."""
    planned = []
    for mixer in ("lstm", "gru"):
        for width, solvers in ((16, ("sequential", "newton", "quasi")), (64, ("sequential", "quasi"))):
            for solver in solvers:
                cell = Cell("step", mixer, 4096, width=width, batch=4, options=(("solver", solver),))
                planned.append(PlannedCell("solver", cell, ("ours",)))
    return planned


def _peer_cells() -> list[PlannedCell]:
    """Training steps of the mixers that PyTorch and packages for it have, beside theirs; a token of attention; and
    linear attention, which is compared with PyTorch's fastest recurrence."""
    torch = tuple(library for library in PACKAGES if library.startswith("torch"))
    others = [library for library in PACKAGES if library not in torch]
    steps = [Cell("step", mixer, n) for mixer in TORCH_MIXERS for n in STEP_LENGTHS]
    planned = [PlannedCell("peers", cell, ("ours", "ours-shared", *torch)) for cell in steps]
    planned += [PlannedCell("peers", Cell("step", "linear", n), ("ours", "ours-shared")) for n in STEP_LENGTHS]
    planned.append(PlannedCell("peers", Cell("token", "attention", 1024, batch=1), ("ours", "ours-loop", *torch)))
    for mixer in (mixer for mixer in PEER_MIXERS if mixer in models.MIXERS):
        for n in STEP_LENGTHS:
            libraries = [library for library in others if n <= 256 or (library, mixer) not in _SHORT_ONLY]
            planned.append(PlannedCell("peers", Cell("step", mixer, n), ("ours", *libraries)))
    return planned


def adapt_to_gpu(cell: Cell) -> Cell:
    """Attention in bfloat16 and through cuDNN, whose kernels need it."""
    if cell.mixer == "attention" and cell.what == "step" and not cell.options:
        return cell._replace(dtype="bfloat16", options=(("implementation", "cudnn"),))
    return cell


def installed_libraries() -> tuple[str, ...]:
    """The libraries that are installed here. PyTorch is imported, in a process of its own; others stand on it."""
    has_torch = not subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode
    return tuple(
        library
        for library in LIBRARY_MIXERS
        if library not in PACKAGES or (has_torch and importlib.util.find_spec(PACKAGES[library]))
    )


def describe_missing(libraries: Iterable[str]) -> str:
    """One line that names libraries which are not installed."""
    return f"{', '.join(libraries)} can't be imported (pip install -e '.[peers]')"


# ---- the sections that are whole programs ---------------------------------------------------------------------------


def time_startup() -> Iterator[dict[str, Any]]:
    """Seconds from the start of train.py to its end after one step, evaluated and saved: cold, and three times warm."""
    for mixer in ("lstm", "attention"):
        with tempfile.TemporaryDirectory() as folder:
            for what in ("cold", "warm", "warm", "warm"):
                words = ["train.py", f"--config=configs/recall.py:{mixer}", "--notensorboard"]
                words += [f"--workdir={folder}/{time.monotonic_ns()}", "--config.training.steps=1"]
                words += ["--config.training.steps_per_call=1", "--config.training.eval_every=1"]
                row = {"section": "start", KEY: "start", "what": what, "mixer": mixer, "library": "ours"}
                try:
                    yield {**row, "seconds": processes.time_process(words, Path(folder) / "cache")}
                except ValueError as error:
                    yield {**row, "note": str(error)}


def time_ensembles() -> Iterator[dict[str, Any]]:
    """15 members, 500 steps (experiments.benchmarks.ensemble), each mode in a process of its own."""
    row = {"section": "ensemble", KEY: "ensemble", "library": "ours", "batch": 15}
    for mixer in ("lstm", "attention"):
        for mode in ("apart", "map", "vmap"):
            printed = processes.run_module("experiments.benchmarks.ensemble", mixer, mode)
            if "error" in printed:
                times = {"note": printed["error"]}
            else:
                times = {"seconds": printed["warm"], "compile_seconds": printed["whole"] - printed["warm"]}
            yield {**row, "what": mode, "mixer": mixer, **times}


def time_gpt2() -> Iterator[dict[str, Any]]:
    """A Transformer of 124 million parameters (experiments.benchmarks.gpu_utilization), in a process of its own."""
    row = {"section": "utilization", KEY: "utilization", "mixer": "attention", "library": "ours", "dtype": "bfloat16"}
    printed = processes.run_module("experiments.benchmarks.gpu_utilization")
    if "error" in printed:
        yield {**row, "note": printed["error"]}
    else:
        row |= {name: printed[name] for name in ("batch", "seconds", "parameters", "share")}
        yield {**row, "length": 1024, "width": 768, "products": printed["flops"] * printed["seconds"]}


# ---- the run --------------------------------------------------------------------------------------------------------


def run_suite(options: SuiteOptions, path: Path) -> list[dict[str, Any]]:
    """All rows: those that `path` has from before, and those that are missing, written there as they come."""
    available, planned = installed_libraries(), selected_cells(options)
    wanted = dict.fromkeys(name for one in planned for name in one.libraries if supports(name, one.cell.mixer))
    if missing := [library for library in wanted if library not in available]:
        print(f"{describe_missing(missing)}: left out", file=sys.stderr)
    log = metrics.MetricWriter(path)
    rows = read_rows(path)
    cells = measure_cells(planned, rows, options.quick, available, options.processes)
    programs = _missing_programs(options, {row[KEY] for row in rows})
    with contextlib.closing(log):
        for new_rows in itertools.chain(cells, programs):  # one cell's rows on one line: a kill loses all or none
            new_rows = [{name: row[name] for name in (*COLUMNS, KEY) if name in row} for row in new_rows]
            rows += new_rows
            log.write_row(rows=new_rows)
    return rows


def _missing_programs(options: SuiteOptions, done: set[str]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each whole section that is asked for and not done."""
    programs = {"start": time_startup, "ensemble": time_ensembles}
    if options.gpu:
        programs["utilization"] = time_gpt2
    if options.quick or options.against_libraries_only:
        return
    for section, measure in programs.items():
        if section in (options.only or SECTIONS) and section not in done:
            yield list(measure())
