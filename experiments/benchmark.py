"""How slow is a recurrence, what does attention cost, and where do they cross? Timed beside other libraries.

  python -m experiments.benchmark --quick            five mixers, three lengths, in about five minutes on two cores
  python -m experiments.benchmark                    all of it, in an hour; writes the record
  python -m experiments.benchmark --only=step,token  some of it
  python -m experiments.benchmark --table            the tables from the record, nothing run
  python -m experiments.benchmark --write            docs/benchmark.md, its picture, README's table: from the records

Two bare layers of a mixer, width 128 and batch 32 unless said otherwise, against flax.linen, flax.nnx and PyTorch
(pip install -e '.[peers]'; without it those lines are missing), each in a process of its own. First all of them are
given the same weights and must give the same losses; then they are timed in turn, A B A B, and a ratio is that of two
neighbours. Told are medians with quartiles, for what is timed beside others over three processes of each (--processes):
some run faster than others from their start to their end. Each row is of processes that ran nothing before it, but for
--quick. On a GPU, PyTorch's LSTM and attention are cuDNN's.

  step      forward, backward and update: every mixer against length and width, and against the other libraries
  token     one more token of one sequence, behind so many others; ours-loop gives 64 of them a call
  forward   a whole sequence again: what a token costs that remembers nothing
  batch     sequences a second against how many there are at once
  memory    the most that a process holds, attention at lengths up to 8192
  solver    LSTM and GRU solved for all steps at once against the scan
  start     from the start of train.py to its end after one step, with nothing compiled before and with all
  replicas  15 seeds and rates trained together against one by one
  utilisation  of a GPU alone: how much of it a Transformer of 124 million parameters uses

Stop it any way you like: the same command goes on where it was (--workdir). The record is
experiments/records/benchmark.csv, and benchmark-cuda.csv for a GPU. A second run is held against the first in
docs/benchmark.md:

  python -m experiments.benchmark --beside --workdir=runs/again --record=experiments/records/benchmark-again.csv
"""

import contextlib
import itertools
import json
import os
import statistics as spread
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

import models
from experiments.ablation.record_files import RECORDS_DIR, read_record, write_record
from experiments.benchmarks import tables
from experiments.benchmarks.batched_study import time_process as seconds_of
from experiments.benchmarks.worker import LIBRARY_MIXERS, Cell, supports
from experiments.reporting import html_report
from training import cli, files, metrics, progress

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmark.md"
QUICK_MIXERS = ("lstm", "attention", "gru", "mingru", "linear")
STEP_LENGTHS = (64, 256, 1024)
SECTIONS = ("step", "token", "forward", "batch", "memory", "solver", "start", "replicas", "utilisation")
# How far apart first losses may be, relative, and how far what five steps take off them: nnx's GRU has a bias less.
_TOLERANCES = {"float32": (1e-3, 0.05), "bfloat16": (2e-2, 0.3)}
TORCH_MISSING = "PyTorch is not installed (pip install -e '.[peers]')"
SAMPLE_SECONDS = 0.15  # seconds of one sample, in calls of a training step and the like
COLUMNS = [*("section", "what", "mixer", "library", "length", "width", "batch", "dtype", "options", "seconds", "low")]
COLUMNS += [*("high", "ratio", "ratio_low", "ratio_high", "compile_seconds", "products", "others", "bytes", "share")]
COLUMNS += [*("parameters", "temporary_bytes", "peak_bytes", "note")]
TEXT_COLUMNS = (
    "section",
    "what",
    "mixer",
    "library",
    "dtype",
    "options",
    "note",
    "key",
)  # columns of text; others are numbers
KEY_COLUMNS = COLUMNS[: COLUMNS.index("seconds")]  # what tells a row from every other


class Worker:
    """A library in a process of its own (see experiments.benchmarks.worker)."""

    def __init__(self, library: str):
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.worker", library], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            return {"error": f"its process ended with status {self.process.wait()}"}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def plan_cells(sections: Sequence[str], quick: bool, gpu: bool) -> list[tuple[str, Cell, tuple[str, ...]]]:
    """What is timed: (section, cell, libraries)."""
    every = QUICK_MIXERS if quick else tuple(models.MIXERS)
    peers_of = ("ours", "torch") if gpu else ("ours", "ours-shared", "torch", "torch-compile", "linen", "nnx")
    made: list[tuple[str, Cell, tuple[str, ...]]] = []
    for mixer in ("rnn", *QUICK_MIXERS) if not quick else QUICK_MIXERS:
        made += [("step", Cell("step", mixer, length), peers_of) for length in STEP_LENGTHS]
    if not quick:
        for mixer in every:
            # Beyond 1024 fewer sequences at once: a step then has as many tokens, and needs no more memory.
            alone = [Cell("step", mixer, n, batch=min(32, 2**15 // n)) for n in (*STEP_LENGTHS, 4096)]
            alone += [Cell("step", mixer, 256, width=width) for width in (64, 256, 512)]
            already = {cell for _, cell, _ in made}
            made += [("step", cell, ("ours",)) for cell in alone if cell not in already]
    for context in (16, 1024) if quick else (16, 256, 1024, 4096, 16384):
        for mixer in QUICK_MIXERS:
            libraries = ("ours", "ours-loop", "torch") if gpu else ("ours", "ours-loop", "torch", "torch-compile")
            made.append(("token", Cell("token", mixer, context, batch=1), libraries))
    for length in () if quick else (256, 1024, 4096):
        made += [("forward", Cell("forward", mixer, length, batch=1), ("ours",)) for mixer in ("attention", "linear")]
    for batch in (1, 8, 64) if quick else (1, 2, 4, 8, 16, 32, 64, 128):
        made += [("batch", Cell("step", mixer, 256, batch=batch), ("ours",)) for mixer in ("lstm", "attention")]
    for form, length in () if quick else (("plain", 2048), ("plain", 4096), *(("blocks", 2**n) for n in (11, 12, 13))):
        made.append(
            ("memory", Cell("step", "attention", length, batch=1, options=(("implementation", form),)), ("ours",))
        )
    if not quick:
        made.append(("memory", Cell("step", "attention", 8192, batch=1), ("torch",)))
        made.append(("memory", Cell("step", "lstm", 8192, batch=1), ("ours",)))
        for mixer in ("lstm", "gru"):
            for width in (16, 64):
                for solver in ("sequential", "newton", "quasi") if width == 16 else ("sequential", "quasi"):
                    options = (("solver", solver),)
                    made.append(("solver", Cell("step", mixer, 4096, width=width, batch=4, options=options), ("ours",)))
    if gpu:
        made = [(section, _adapt_to_gpu(cell), libraries) for section, cell, libraries in made]
    wanted = [one for one in made if one[0] in sections]
    return list(dict.fromkeys(wanted))


def has_peer(cell: Cell, libraries: Sequence[str]) -> bool:
    """Whether it is timed beside a library that is not ours."""
    return "ours" in libraries and any(supports(one, cell.mixer) and not one.startswith("ours") for one in libraries)


def _adapt_to_gpu(cell: Cell) -> Cell:
    """Attention's products in bfloat16, through cuDNN, as its kernels ask for."""
    if cell.mixer == "attention" and cell.what == "step" and not cell.options:
        return cell._replace(dtype="bfloat16", options=(("implementation", "cudnn"),))
    return cell


def _outcomes_agree(a: dict[str, Any], b: dict[str, Any], cell: Cell) -> bool:
    """Whether two outcomes agree: of steps, the first loss and its fall; of tokens, every one."""
    near, fall = _TOLERANCES[cell.dtype]
    ours, theirs = a["outcome"], b["outcome"]
    if cell.what == "step":
        fallen, theirs_fallen = ours[0] - ours[-1], theirs[0] - theirs[-1]
        return abs(ours[0] - theirs[0]) <= near * ours[0] and abs(fallen - theirs_fallen) <= fall * abs(fallen)
    return all(abs(x - y) <= near * max(abs(x), 1e-3) for x, y in zip(ours, theirs, strict=True))


def _build_everywhere(cell: Cell, libraries: Sequence[str], workers: dict[str, Worker]) -> dict[str, dict[str, Any]]:
    """A row a library: the cell with the first one's weights, and a note where the outcome is not the first one's."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for library in libraries:
            weights = str(Path(folder) / "weights.npy")
            found = workers[library].ask(cell={**cell._asdict(), "options": list(cell.options)}, weights=weights)
            rows[library] = {**found, "library": library, "note": found.get("error", "")}
    ours = rows[libraries[0]]
    for row in rows.values():
        if "outcome" in row and "outcome" in ours and not _outcomes_agree(ours, row, cell):
            row["note"] = f"gives {row['outcome'][-1]:.6g} where {libraries[0]} gives {ours['outcome'][-1]:.6g}"
    return rows


def time_cell(
    cell: Cell, libraries: Sequence[str], worker_sets: Iterable[dict[str, Worker]], rounds: int
) -> list[dict[str, Any]]:
    """One row a library: made, and timed in turn with the others, for so many rounds in each of these sets of
    processes.

    A ratio is to the fastest of ours.
    """
    rows: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}
    for workers in worker_sets:
        for library, row in _build_everywhere(cell, libraries, workers).items():
            if library not in rows or row["note"]:  # what stands in a row is of the first, which compiles
                rows[library] = row
        going = [library for library, row in rows.items() if not row["note"]]
        calls, warm = {}, {}
        for library in going:
            workers[library].ask(calls=1, warm=False)
            one = workers[library].ask(calls=1, warm=False)["seconds"] * rows[library]["per_call"]
            calls[library], warm[library] = max(1, round(SAMPLE_SECONDS / one)), one < 0.3
        for _ in range(rounds):
            for library in going:
                found = workers[library].ask(calls=calls[library], warm=warm[library])
                times.setdefault(library, []).append(found["seconds"])
    going = [library for library, row in rows.items() if not row["note"]]
    for library in going:
        low, middle, high = spread.quantiles(times[library], n=4, method="inclusive")
        rows[library] |= {"seconds": middle, "low": low, "high": high}
    mine = min((one for one in going if one.startswith("ours")), key=lambda one: rows[one]["seconds"], default=None)
    for library in going if mine else ():
        ratios = [theirs / our for theirs, our in zip(times[library], times[mine or ""], strict=True)]
        ratio = spread.quantiles(ratios, n=4, method="inclusive")
        rows[library] |= dict(zip(("ratio_low", "ratio", "ratio_high"), ratio, strict=True))
    return list(rows.values())


def _start_workers(libraries: Sequence[str], count: int) -> Iterator[dict[str, Worker]]:
    """So many times processes of their own for these libraries, closed after use."""
    for _ in range(count):
        workers = {library: Worker(library) for library in libraries}
        try:
            yield workers
        finally:
            _close_workers(workers)


def _close_workers(workers: dict[str, Worker]) -> None:
    for worker in workers.values():
        worker.close()
    workers.clear()


def measure_cells(
    cells: Sequence[tuple[str, Cell, tuple[str, ...]]],
    known_rows: Sequence[dict[str, Any]],
    quick: bool,
    available: tuple[str, ...],
    processes: int = 1,
) -> Iterator[list[dict[str, Any]]]:
    """The rows, one a library, of every cell that is not among those `known_rows`."""
    workers: dict[str, Worker] = {}
    done = {row["key"] for row in known_rows}
    rates = {row["dtype"]: row for row in known_rows if row["section"] == "rates"}
    for dtype in sorted({cell.dtype for _, cell, _ in cells} - set(rates)):
        first = Worker("ours")
        rate = first.ask(rates=dtype)
        first.close()
        row = {"section": "rates", "key": "", "dtype": dtype, "note": rate["machine"]}
        rates[dtype] = {**row, "products": rate["flops"], "bytes": rate["bytes"]}
        yield [rates[dtype]]
    try:
        with progress.ProgressBar("benchmark", len(cells)) as shown:
            for at, (section, cell, libraries) in enumerate(cells):
                shown.update(at)
                if cell_key(section, cell) in done:
                    continue
                wanted = [library for library in libraries if library in available and supports(library, cell.mixer)]
                if not wanted:  # PyTorch alone, which is not installed
                    continue
                rounds = (3 if quick else 5) if section != "memory" else 2
                if quick:
                    workers |= {library: Worker(library) for library in wanted if library not in workers}
                    found = time_cell(cell, wanted, [workers], rounds)
                else:  # processes whose peak is this cell's
                    found = time_cell(
                        cell, wanted, _start_workers(wanted, processes if has_peer(cell, wanted) else 1), rounds
                    )
                for row in found:
                    if "seconds" in row and "products" in row and row["library"].startswith("ours"):
                        whole, rate = found[0], rates[cell.dtype]  # what devices share is counted on one
                        least = max(whole["products"] / rate["products"], whole["bytes"] / rate["bytes"])
                        row["share"] = least / row["seconds"]
                    row |= {
                        **cell._asdict(),
                        "options": format_options(cell),
                        "section": section,
                        "key": cell_key(section, cell),
                    }
                    if "error" in row and "process ended" in row["error"] and row["library"] in workers:
                        workers.pop(row["library"]).close()
                yield found
    finally:
        _close_workers(workers)


def cell_key(section: str, cell: Cell) -> str:
    return f"{section} {cell}"


def time_startup() -> Iterator[dict[str, Any]]:
    """Seconds from the start of train.py to its end after one step, evaluated and saved: cold and warm."""
    for mixer in ("lstm", "attention"):
        with tempfile.TemporaryDirectory() as folder:
            for what in ("cold", "warm", "warm", "warm"):
                words = ["train.py", f"--config=configs/recall.py:{mixer}", "--notensorboard"]
                words += [f"--workdir={folder}/{time.monotonic_ns()}", "--config.training.steps=1"]
                words += ["--config.training.steps_per_call=1", "--config.training.eval_every=1"]
                row = {"section": "start", "key": "start", "what": what, "mixer": mixer, "library": "ours"}
                try:
                    yield {**row, "seconds": seconds_of(words, Path(folder) / "cache")}
                except ValueError as error:
                    yield {**row, "note": str(error)}


def _run_program(*words: str) -> dict[str, Any]:
    """What an experiment in a process of its own prints as its last line, or its "error"."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    return (
        {"error": done.stderr.strip().splitlines()[-1]} if done.returncode else json.loads(done.stdout.splitlines()[-1])
    )


def time_ensembles() -> Iterator[dict[str, Any]]:
    """15 replicas, 500 steps: experiments.benchmarks.replicas, each way in a process of its own."""
    row = {"section": "replicas", "key": "replicas", "library": "ours", "batch": 15}
    for mixer in ("lstm", "attention"):
        for way in ("apart", "map", "vmap"):
            found = _run_program("experiments.benchmarks.replicas", mixer, way)
            if "error" in found:
                times = {"note": found["error"]}
            else:
                times = {"seconds": found["warm"], "compile_seconds": found["whole"] - found["warm"]}
            yield {**row, "what": way, "mixer": mixer, **times}


def time_gpt2() -> Iterator[dict[str, Any]]:
    """A Transformer of 124 million parameters: experiments.benchmarks.gpu_utilization, in a process of its own."""
    row = {"section": "utilisation", "key": "utilisation", "mixer": "attention", "library": "ours", "dtype": "bfloat16"}
    found = _run_program("experiments.benchmarks.gpu_utilization")
    if "error" in found:
        yield {**row, "note": found["error"]}
    else:
        row |= {name: found[name] for name in ("batch", "seconds", "parameters", "share")}
        yield {**row, "length": 1024, "width": 768, "products": found["flops"] * found["seconds"]}


def run_suite(args: Any, path: Path) -> list[dict[str, Any]]:
    """All rows: those in `path` from before, and those that are missing, written there as they come."""
    cells, here = selected_cells(args), installed_libraries()
    if here != tuple(LIBRARY_MIXERS):
        print(f"{TORCH_MISSING}: its lines will be missing", file=sys.stderr)
    log = metrics.MetricWriter(path)
    kept = read_rows(path)
    done = {row["key"] for row in kept}
    whole = [("start", time_startup), ("replicas", time_ensembles), *([("utilisation", time_gpt2)] if args.gpu else [])]
    whole = [] if args.beside else whole
    whole = [one for one in whole if one[0] in (args.only or SECTIONS) and one[0] not in done and not args.quick]
    found = itertools.chain(
        measure_cells(cells, kept, args.quick, here, args.processes), (list(more()) for _, more in whole)
    )
    with contextlib.closing(log):
        for rows in found:  # of one cell, in one line: a kill loses all of them or none
            rows = [{name: row[name] for name in (*COLUMNS, "key") if name in row} for row in rows]
            kept += rows
            log.write_row(rows=rows)
    return kept


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that were kept, a cell's in a line, or, as older versions wrote them, each in its own. Raises
    ValueError in one line, which names the file and the line, for one that holds something else."""
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            value = json.loads(line)
            rows = value.get("rows", [value])
            whole = all({"section", "key"} <= set(row) <= {*COLUMNS, "key"} for row in rows) and all(
                isinstance(value, str if name in TEXT_COLUMNS else float | int | None)
                for row in rows
                for name, value in row.items()
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            whole, rows = False, []
        if not whole:
            raise ValueError(f"{path}: line {number} is damaged; delete that line, and what it held is run again")
        found += rows
    return found


def selected_cells(args: Any) -> list[tuple[str, Cell, tuple[str, ...]]]:
    """The cells of the plan that the flags ask for."""
    cells = plan_cells(args.only or SECTIONS, args.quick, bool(args.gpu))
    return [one for one in cells if has_peer(*one[1:])] if args.beside else cells


def installed_libraries() -> tuple[str, ...]:
    """The libraries that can be imported here."""
    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode:
        return tuple(library for library in LIBRARY_MIXERS if not library.startswith("torch"))
    return tuple(LIBRARY_MIXERS)


def has_time(row: Mapping[str, Any]) -> bool:
    return row.get("seconds", "") != ""


def format_options(cell: Cell) -> str:
    return " ".join(f"{name}={value}" for name, value in cell.options)


def main() -> None:
    args: Any = flags.FLAGS
    for name in args.only:
        models.validate_choice("--only", name, SECTIONS)
    record = Path(args.record or RECORDS_DIR / ("benchmark-cuda.csv" if args.gpu else "benchmark.csv"))
    if args.table:
        print(tables.format_tables(read_record(record)))
        return
    if args.write:
        written = tables.format_document(
            {p.stem: read_record(p) for p in sorted(RECORDS_DIR.glob("benchmark*.csv"), key=lambda p: p.stem)}
        )
        table = read_record(RECORDS_DIR / "benchmark.csv")
        shown, drawn = tables.summary_table(table), list(tables.scaling_charts(table))
        html_report.publish_page(DOCUMENT, written, drawn, 4, html_report.markdown_table(shown.header, shown.rows),
                       "python -m experiments.benchmark")  # fmt: skip
        print(f"wrote {DOCUMENT}, {DOCUMENT.with_suffix('.svg')}, and the table in {html_report.README}")
        return
    workdir = Path(args.workdir)
    into_record = args.record or not (args.quick or args.only or args.beside)
    of_torch = [row for row in files.read_csv(record) if row["library"].startswith("torch")]
    if into_record and of_torch and installed_libraries() != tuple(LIBRARY_MIXERS):
        raise ValueError(f"{TORCH_MISSING}, and {record} holds its lines; give another --record")
    workdir.mkdir(parents=True, exist_ok=True)
    with files.lock_directory(workdir):
        rows = run_suite(args, workdir / "rows.jsonl")
        lines = [[format_value(row.get(name, "")) for name in COLUMNS] for row in rows]
        target = workdir / "benchmark.csv"
        write_record(target, COLUMNS, lines)
        table = read_record(target)
        print(tables.format_tables(table))
        page = tables.write_benchmark_report(table, workdir / "benchmark.html", "python -m experiments.benchmark")
        print(f"wrote {target} and {page}")
        if into_record:
            files.check_no_rows_lost(
                record, (dict(zip(COLUMNS, line, strict=True)) for line in lines), KEY_COLUMNS, has_time
            )
            write_record(record, COLUMNS, lines)
            print(f"wrote {record}")


def format_value(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    flags.DEFINE_bool("quick", False, "Five mixers, in about five minutes.")
    flags.DEFINE_bool("gpu", False, "Cells for a GPU: attention in bfloat16, through cuDNN.")
    flags.DEFINE_bool("beside", False, "Only what is timed beside other libraries.")
    flags.DEFINE_integer(
        "processes", 3, "How many processes of each library what is timed beside others is timed in, one after the "
        "other: some run it faster than others, all through. A median is over all. With --quick it is one for all.",
        lower_bound=1,
    )  # fmt: skip
    flags.DEFINE_bool("table", False, "Print the tables from the record, and run nothing.")
    flags.DEFINE_bool("write", False, "Write docs/benchmark.md and its picture from the records, and run nothing.")
    flags.DEFINE_list("only", [], f"Some of {', '.join(SECTIONS)}.")
    cli.define_directory("workdir", "runs/benchmark", "Where rows are kept as they come.")
    flags.DEFINE_string("record", "", "Where the whole is written; in experiments/records unless told.")
    cli.run_command(main)
