"""How cells are timed: all libraries get the same weights, must give the same outcomes, and are timed in turn."""

import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.cell import OTHER_MODELS, Cell, supports
from experiments.benchmarks.processes import Worker
from training import progress

SAMPLE_SECONDS = 0.15  # of one sample, which is as many calls as fit
WARM_BELOW = 0.3  # seconds of a call, below which a call to warm the caches comes before each sample
# Relative tolerances: of the first loss, and of the fall over COMPARED_STEPS steps (flax.nnx's GRU has a bias less).
_TOLERANCES = {"float32": (1e-3, 0.05), "bfloat16": (2e-2, 0.3)}


class PlannedCell(NamedTuple):
    """A cell of a section, and the libraries that it is timed in."""

    section: str
    cell: Cell
    libraries: tuple[str, ...]


def has_peer(cell: Cell, libraries: Sequence[str]) -> bool:
    """Whether this project is timed beside another library that has the mixer."""
    peers = [library for library in libraries if not library.startswith("ours")]
    return "ours" in libraries and any(supports(library, cell.mixer) for library in peers)


def cell_key(section: str, cell: Cell) -> str:
    """What tells the cell from every other in the work directory."""
    return f"{section} {cell}"


def format_options(cell: Cell) -> str:
    return " ".join(f"{name}={value}" for name, value in cell.options)


# ---- one cell -------------------------------------------------------------------------------------------------------


class Samples(NamedTuple):
    """What is known of a cell so far: a row per library, and the times of those whose row has no note."""

    rows: dict[str, dict[str, Any]]
    times: dict[str, list[float]]


def time_cell(
    cell: Cell, libraries: Sequence[str], worker_sets: Iterable[dict[str, Worker]], rounds: int
) -> list[dict[str, Any]]:
    """One row per library: its time, and its ratio to the faster of this project's variants.

    Each set of processes builds the cell and times its libraries in turn for `rounds` rounds; medians and quartiles
    are over all sets. A library that fails, or gives another outcome than the first, has a note and no time.
    """
    samples = Samples({}, {})
    for workers in worker_sets:
        with tempfile.TemporaryDirectory() as folder:
            sample_cell(samples, cell, libraries, workers, rounds, Path(folder) / "weights.npy")
    return summarize_samples(samples)


def sample_cell(
    samples: Samples,
    cell: Cell,
    libraries: Sequence[str],
    workers: Mapping[str, Worker],
    rounds: int,
    weights: Path,
) -> None:
    """Build the cell in these processes and add `rounds` samples of each library to `samples`.

    Where the file of weights is there from an earlier set of processes, all build at the same time. Without rounds
    the cell is built and not timed.
    """
    for library, row in _build_everywhere(cell, libraries, workers, weights).items():
        if library not in samples.rows or row["note"]:  # the first set's counts stand, since it compiles
            samples.rows[library] = row
    if not rounds:
        return
    timed = _libraries_without_note(samples.rows)
    for library, times in _sample_in_turn(timed, samples.rows, workers, rounds).items():
        samples.times.setdefault(library, []).extend(times)


def summarize_samples(samples: Samples) -> list[dict[str, Any]]:
    """The rows with medians and quartiles of times, and of ratios to the faster of this project's variants."""
    rows, times = samples
    timed = [library for library in _libraries_without_note(rows) if times.get(library)]
    for library in timed:
        rows[library] |= dict(zip(("low", "seconds", "high"), _quartiles(times[library]), strict=True))
    own = [library for library in timed if library.startswith("ours")]
    if own:
        fastest = min(own, key=lambda library: rows[library]["seconds"])
        for library in timed:
            ratios = [theirs / ours for theirs, ours in zip(times[library], times[fastest], strict=True)]
            if library in OTHER_MODELS:
                rows[library]["note"] = OTHER_MODELS[library]
            else:
                rows[library] |= dict(zip(("ratio_low", "ratio", "ratio_high"), _quartiles(ratios), strict=True))
    return list(rows.values())


def _libraries_without_note(rows: dict[str, dict[str, Any]]) -> list[str]:
    return [library for library, row in rows.items() if not row["note"]]


def _quartiles(values: Sequence[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive")


def _build_everywhere(
    cell: Cell, libraries: Sequence[str], workers: Mapping[str, Worker], weights: Path
) -> dict[str, dict[str, Any]]:
    """Each library's row: the cell built with the first one's weights, and a note where outcomes differ from its."""
    rows: dict[str, dict[str, Any]] = {}
    question = {"cell": {**cell._asdict(), "options": list(cell.options)}, "weights": str(weights)}
    at_once = weights.exists()
    for library in libraries if at_once else ():
        workers[library].send(**question)
    for library in libraries:
        answer = workers[library].receive() if at_once else workers[library].ask(**question)
        rows[library] = {**answer, "library": library, "note": answer.get("error", "")}
    first = rows[libraries[0]]
    for row in rows.values():
        if row["library"] in OTHER_MODELS or "outcome" not in row or "outcome" not in first:
            continue
        if not _outcomes_agree(first["outcome"], row["outcome"], cell):
            row["note"] = f"gives {row['outcome'][-1]:.6g} where {libraries[0]} gives {first['outcome'][-1]:.6g}"
    return rows


def _outcomes_agree(ours: Sequence[float], theirs: Sequence[float], cell: Cell) -> bool:
    """Whether two outcomes agree: of a training step the first loss and its fall, else every output."""
    near, fall = _TOLERANCES[cell.dtype]
    if cell.what == "step":
        our_fall, their_fall = ours[0] - ours[-1], theirs[0] - theirs[-1]
        return abs(ours[0] - theirs[0]) <= near * ours[0] and abs(our_fall - their_fall) <= fall * abs(our_fall)
    return all(abs(x - y) <= near * max(abs(x), 1e-3) for x, y in zip(ours, theirs, strict=True))


def _sample_in_turn(
    libraries: Sequence[str], rows: dict[str, dict[str, Any]], workers: Mapping[str, Worker], rounds: int
) -> dict[str, list[float]]:
    """Seconds of a step or token: `rounds` samples of each library, A B A B, each of about SAMPLE_SECONDS."""
    calls, warm = {}, {}
    for library in libraries:
        call_seconds = _seconds_of_a_call(workers[library], rows[library])
        if call_seconds < WARM_BELOW:  # the first call says little of a short one
            call_seconds = _seconds_of_a_call(workers[library], rows[library])
        calls[library] = max(1, round(SAMPLE_SECONDS / call_seconds))
        warm[library] = call_seconds < WARM_BELOW
    times: dict[str, list[float]] = {library: [] for library in libraries}
    for _ in range(rounds):
        for library in libraries:
            answer = workers[library].ask(calls=calls[library], warm=warm[library])
            times[library].append(answer["seconds"])
    return times


def _seconds_of_a_call(worker: Worker, row: dict[str, Any]) -> float:
    return worker.ask(calls=1, warm=False)["seconds"] * row["per_call"]


# ---- all cells ------------------------------------------------------------------------------------------------------


def measure_cells(
    cells: Sequence[PlannedCell],
    known_rows: Sequence[dict[str, Any]],
    quick: bool,
    available: tuple[str, ...],
    processes: int = 1,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of every cell that is not among `known_rows`, one cell at a time, and first the machine's peak rates.

    With `quick` one process per library serves all cells. Otherwise each cell has processes of its own, whose peak
    memory is the cell's, and `processes` of them where it is compared with another library.
    """
    done = {row["key"] for row in known_rows}
    rates = {row["dtype"]: row for row in known_rows if row["section"] == "rates"}
    for dtype in sorted({cell.dtype for _, cell, _ in cells} - set(rates)):
        rates[dtype] = measure_rates(dtype)
        yield [rates[dtype]]
    shared: dict[str, Worker] = {}  # the processes that serve all cells
    try:
        with progress.ProgressBar("benchmark", len(cells)) as bar:
            for index, (section, cell, planned) in enumerate(cells):
                bar.update(index)
                libraries = [name for name in planned if name in available and supports(name, cell.mixer)]
                if cell_key(section, cell) in done or not libraries:
                    continue
                if quick:
                    shared |= {library: Worker(library) for library in libraries if library not in shared}
                    rows = time_cell(cell, libraries, [shared], 2 if section == "memory" else 3)
                else:
                    count = processes if has_peer(cell, libraries) else 1
                    rows = time_cell(cell, libraries, _start_workers(libraries, count), 2 if section == "memory" else 5)
                for row in rows:
                    add_columns(row, rows[0], section, cell, rates[cell.dtype])
                    if "process ended" in row.get("error", "") and row["library"] in shared:
                        shared.pop(row["library"]).close()
                yield rows
    finally:
        close_workers(shared)


def measure_rates(dtype: str) -> dict[str, Any]:
    """The row that says what the machine does at best, measured in a process of its own."""
    worker = Worker("ours")
    answer = worker.ask(rates=dtype)
    worker.close()
    row = {"section": "rates", "key": "", "dtype": dtype, "note": answer["machine"]}
    return {**row, "products": answer["flops"], "bytes": answer["bytes"]}


def add_columns(row: dict[str, Any], first: dict[str, Any], section: str, cell: Cell, rates: dict[str, Any]) -> None:
    """Add the cell's columns to a row, and to a row of this project its share of the roofline."""
    if "seconds" in row and "products" in row and row["library"].startswith("ours"):
        # Counts are those of the first row, on one device: a program for several counts one device's part.
        least = max(first["products"] / rates["products"], first["bytes"] / rates["bytes"])
        row["share"] = least / row["seconds"]
    row |= {**cell._asdict(), "options": format_options(cell), "section": section, "key": cell_key(section, cell)}


def _start_workers(libraries: Sequence[str], count: int) -> Iterator[dict[str, Worker]]:
    """`count` sets of fresh processes for these libraries, one set after the other, closed after use."""
    for _ in range(count):
        workers = {library: Worker(library) for library in libraries}
        try:
            yield workers
        finally:
            close_workers(workers)


def close_workers(workers: dict[str, Worker]) -> None:
    for worker in workers.values():
        worker.close()
    workers.clear()
