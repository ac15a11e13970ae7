"""Every mixer's training step beside that of an earlier revision of this repository, checked out for it.

Both revisions get the same weights and must give the same losses; then they are timed in turn, A B A B, in three
processes of each, one after the other. A process serves one mixer, at rising lengths. At 4,096 steps and batch 8 the
step is not timed: what counts there is the memory that XLA plans for it (`temporary_bytes`).

A row's library is "ours" or "before"; a ratio is the time before over the time now.
"""

import contextlib
import io
import itertools
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.ablation.record_files import RECORDS_DIR, read_record
from experiments.benchmarks.cell import COMPARED_STEPS, Cell
from experiments.benchmarks.harness import (
    SAMPLE_SECONDS,
    WARM_BELOW,
    Samples,
    add_columns,
    close_workers,
    measure_rates,
    sample_cell,
    summarize_samples,
)
from experiments.benchmarks.jax_layers import save_initial_weights
from experiments.benchmarks.processes import ROOT, Worker
from experiments.benchmarks.rows import COLUMNS, KEY, read_rows
from experiments.benchmarks.suite import adapt_to_gpu
from training import metrics, progress
from training.provenance import has_changes, run_git

SECTION = "before"
LIBRARIES = ("ours", "before")
MIXERS = ("s4d", "s6", "gla", "delta", "gated_delta", "mlstm", "linear", "lstm", "gru", "attention")
LENGTHS = (64, 256, 1024)
MEMORY_LENGTH, MEMORY_BATCH = 4096, 8
ROUNDS = 2  # samples of each revision in each process
_START_SECONDS = 3.0  # of a process of each revision
_BUILD_SECONDS = 1.0  # of a cell besides compiling: drawing weights, tracing, counting operations
_WORKER = Path("experiments") / "benchmarks" / "worker.py"


class EarlierCode(NamedTuple):
    """A copy of this repository, and its revision in words."""

    root: Path
    revision: str


class Comparison(NamedTuple):
    """What the command's flags ask for."""

    against: str  # a revision, or a folder
    mixers: Sequence[str] = MIXERS
    processes: int = 3
    gpu: bool = False

    def describe_duration(self) -> str:
        """How long it takes, from benchmark.csv."""
        seconds = estimate_seconds(self.mixers, self.processes)
        about = f"up to {progress.format_duration(seconds)}, less if this code is faster than in" if seconds else "no"
        return (
            f"{len(self.mixers)} mixers at lengths {', '.join(map(str, LENGTHS))}, in {self.processes} processes of "
            f"each revision, and memory at {MEMORY_LENGTH:,}: {about} benchmark.csv"
        )


# ---- the earlier code -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def earlier_code(against: str) -> Iterator[EarlierCode]:
    """A folder as it is, or a revision in a temporary folder that is removed afterwards.

    Raises ValueError where `against` is neither, or has no benchmark to ask.
    """
    if Path(against).is_dir():
        yield EarlierCode(_check_has_worker(Path(against).resolve(), against), describe_revision(Path(against)))
        return
    revision = run_git(ROOT, "rev-parse", "--verify", "--quiet", f"{against}^{{commit}}")
    if not revision:
        raise ValueError(f"--against={against}: neither a revision of this repository nor a folder with its code")
    archive = subprocess.run(["git", "archive", "--format=tar", revision], cwd=ROOT, capture_output=True, check=True)
    with tempfile.TemporaryDirectory(prefix="earlier-code-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        yield EarlierCode(_check_has_worker(Path(folder), against), revision[:12])


def describe_revision(folder: Path) -> str:
    """The git revision that a folder is at, and whether files in it have been changed since."""
    revision = run_git(folder, "rev-parse", "HEAD")
    return (revision[:12] or "unknown") + (" with changes" if has_changes(folder) else "")


def _check_has_worker(root: Path, against: str) -> Path:
    if not (root / _WORKER).exists():
        raise ValueError(f"--against={against}: it has no {_WORKER}, which is what a revision is timed by")
    return root


# ---- the plan -------------------------------------------------------------------------------------------------------


def plan_cells(mixer: str, gpu: bool = False) -> list[Cell]:
    """The cells of a mixer: those that are timed, and last the one whose memory is counted."""
    cells = [Cell("step", mixer, length) for length in LENGTHS]
    cells.append(Cell("step", mixer, MEMORY_LENGTH, batch=MEMORY_BATCH))
    return list(map(adapt_to_gpu, cells)) if gpu else cells


def is_timed(cell: Cell) -> bool:
    return cell.length != MEMORY_LENGTH


def estimate_seconds(mixers: Sequence[str], processes: int) -> float | None:
    """How long a comparison takes if this code is no faster than benchmark.csv has it; None without that record."""
    known = {
        (row["mixer"], int(row["length"])): row
        for row in read_record(RECORDS_DIR / "benchmark.csv")
        if row["section"] == "step" and row["library"] == "ours" and row["width"] == "128" and row["seconds"]
    }
    total = 0.0
    for cell in itertools.chain.from_iterable(map(plan_cells, mixers)):
        row = known.get((cell.mixer, cell.length))
        if row is None:
            continue
        step = float(row["seconds"])
        seconds = _BUILD_SECONDS + float(row["compile_seconds"]) + 2 * COMPARED_STEPS * step  # both build at once
        if is_timed(cell):
            sample = max(step, SAMPLE_SECONDS) + (step if step < WARM_BELOW else 0)
            seconds += 2 * (step + ROUNDS * sample)
        total += seconds * (processes if is_timed(cell) else 1)
    return total + processes * len(mixers) * _START_SECONDS if known else None


# ---- the run --------------------------------------------------------------------------------------------------------


def compare_revisions(comparison: Comparison, path: Path) -> list[dict[str, Any]]:
    """All rows: those of these two revisions that `path` has from before, and those that are missing, a mixer's at a
    time, written there as they come."""
    with earlier_code(comparison.against) as code, contextlib.closing(metrics.MetricWriter(path)) as log:
        revisions = f"{describe_revision(ROOT)}, before: {code.revision}"
        rows = [row for row in read_rows(path) if row[KEY].endswith(revisions)]
        rows = [row for row in rows if row["section"] == "rates" or row["mixer"] in comparison.mixers]

        def keep(measured: Sequence[dict[str, Any]]) -> None:
            kept = [{name: row[name] for name in (*COLUMNS, KEY) if name in row} for row in measured]
            log.write_row(rows=[row | {KEY: f"{row[KEY]} {revisions}"} for row in kept])
            rows.extend(kept)

        if not rows:
            for dtype in ("float32", "bfloat16") if comparison.gpu else ("float32",):
                rates = measure_rates(dtype)
                keep([rates | {"note": f"{rates['note']}; before: revision {code.revision}"}])
        peak_rates = {row["dtype"]: row for row in rows if row["section"] == "rates"}
        done = {row["mixer"] for row in rows if row["section"] == SECTION}
        todo = [mixer for mixer in comparison.mixers if mixer not in done]
        builds = comparison.processes * len(LENGTHS) + 1  # of a mixer
        with progress.ProgressBar("before and now", len(todo) * builds) as bar:
            counter = itertools.count()
            for mixer in todo:
                keep(_measure_mixer(mixer, code, comparison, peak_rates, lambda: bar.update(next(counter))))
    return rows


def _measure_mixer(
    mixer: str,
    code: EarlierCode,
    comparison: Comparison,
    peak_rates: Mapping[str, dict[str, Any]],
    report: Callable[[], None],
) -> list[dict[str, Any]]:
    """The rows of a mixer, for each of its cells one of each revision; `report` is called before each cell."""
    samples = {cell: Samples({}, {}) for cell in plan_cells(mixer, comparison.gpu)}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(comparison.processes):
            workers = {"ours": Worker("ours"), "before": Worker("ours", code.root)}
            try:
                for cell, found in samples.items():
                    if is_timed(cell) or number == 0:
                        report()
                        rounds, weights = ROUNDS if is_timed(cell) else 0, Path(folder) / f"{cell.length}.npy"
                        if not weights.exists():
                            save_initial_weights(cell, weights)
                        sample_cell(found, cell, LIBRARIES, workers, rounds, weights)
            finally:
                close_workers(workers)
    rows = []
    for cell, found in samples.items():
        of_cell = summarize_samples(found)
        for row in of_cell:
            add_columns(row, of_cell[0], SECTION, cell, peak_rates[cell.dtype])
        rows += of_cell
    return rows
