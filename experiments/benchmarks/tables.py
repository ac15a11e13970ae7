"""The benchmark's record as tables and a page: curves against length with theory's slope drawn in."""

import itertools
import math
import statistics as spread
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.ablation.intervals import fit_exponent, format_interval
from experiments.benchmarks.worker import TOKENS_PER_CALL
from experiments.reporting.charts import LineChart, Series
from experiments.reporting.html_report import Report, Section, Table, markdown_table
from experiments.reporting.html_report import write_html as write_report

RecordRow = dict[str, str]
_THEORETICAL_EXPONENTS = {
    "attention": 2
}  # exponents of time in length (Vaswani et al. 2017, Table 1); 1 for everything else but dense
MIXER_FAMILIES = {  # one chart each, with attention in all of them
    "step by step": ("attention", "rnn", "irnn", "lstm", "gru", "slstm"),
    "linear in the state": ("attention", "mingru", "minlstm", "lru", "rglru", "s4d", "s6"),
    "a matrix for a state": ("attention", "linear", "gla", "delta", "gated_delta", "mlstm"),
    "no state": ("attention", "tcn", "dense"),
}
_RERUN_SUFFIX = "-again"  # how the name of a second run's record ends
_AGREEMENT_FACTOR = 1.1  # the factor within which ratios of two runs should be
_PEER_LIBRARIES = ("torch", "torch-compile", "linen", "nnx")


def write_benchmark_report(rows: list[RecordRow], path: Path, command: str) -> Path:
    found = list(all_tables(rows))
    page = Report(
        title="How slow, and against what?",
        question="How slow is a recurrence, what does attention cost, where do they cross, and how does this code "
        "stand beside the libraries that one would use instead?",
        summary=found[0],
        sections=[
            Section("Against length and width", "", list(scaling_charts(rows)), found[1:4]),
            Section("The rest", "", (), found[4:]),
        ],
        command=command,
        provenance=time.strftime("%Y-%m-%d"),
    )
    return write_report(page, path)


def format_tables(rows: list[RecordRow]) -> str:
    """All tables as Markdown."""
    return "\n\n".join(_format_table(table) for table in all_tables(rows) if table.rows)


def _format_table(table: Table) -> str:
    return "\n\n".join(filter(None, (table.title, markdown_table(table.header, table.rows), table.note)))


def format_document(tables_by_record: dict[str, list[RecordRow]]) -> str:
    """The tables of every record, for docs/."""
    parts = ["# Speed, beside what one would use instead"]
    parts += ["What is timed, and how, is in `experiments/benchmark.py`, which made this and its picture from records."]
    parts += ["![A training step against length and against width, for every mixer](benchmark.svg)"]
    for name, rows in tables_by_record.items():
        if name.endswith(_RERUN_SUFFIX):
            continue
        parts += [f"## From `experiments/records/{name}.csv`"]
        parts += [f"### {_format_table(table)}" for table in all_tables(rows) if table.rows]
        if again := tables_by_record.get(name + _RERUN_SUFFIX):
            parts += [f"### {_format_table(agreement_table(rows, again))}"]
    return "\n\n".join(parts) + "\n"


def agreement_table(rows: list[RecordRow], rerun: list[RecordRow]) -> Table:
    """The ratios of two runs that are more than NEAR apart, and how many there are in all."""
    names = ("section", "mixer", "library", "length", "width", "batch", "dtype", "options")
    first, second = ({tuple(r[n] for n in names): r for r in run if _has_ratio(r)} for run in (rows, rerun))
    pairs = {key: (float(first[key]["ratio"]), float(second[key]["ratio"])) for key in first if key in second}
    apart = {key: (a, b) for key, (a, b) in pairs.items() if max(a / b, b / a) > _AGREEMENT_FACTOR}
    body = [
        [section, mixer, library, length, batch, f"{a:.2f} ×", f"{b:.2f} ×", f"{100 * (b / a - 1):+.0f} %"]
        for (section, mixer, library, length, _, batch, *_), (a, b) in apart.items()
    ]
    near = len(pairs) - len(apart)
    note = f"Of {len(pairs)} ratios to other libraries, {near} ({100 * near / max(1, len(pairs)):.0f} %) agree within "
    note += f"{100 * (_AGREEMENT_FACTOR - 1):.0f} %; here are the others."
    header = ["section", "mixer", "library", "length", "batch", "first run", "second run", "change"]
    return Table("The same again later", header, body, note)


def _has_ratio(row: RecordRow) -> bool:
    """Whether it holds a ratio to another library."""
    return bool(row["ratio"]) and row["library"] in _PEER_LIBRARIES


def summary_table(rows: list[RecordRow]) -> Table:
    """How many times faster ours is than PyTorch, the faster of both sides; where PyTorch has no such mixer, than the
    fastest of its recurrences. Tokens one a call, and LOOPED of ours a call against one of PyTorch's."""
    body = []
    columns = [("step", n, ("ours", "ours-shared")) for n in (64, 256, 1024)]
    columns += [("token", 1024, (own,)) for own in ("ours", "ours-loop")]
    for mixer in ("rnn", "lstm", "gru", "attention", "mingru", "linear"):
        line = [mixer]
        for section, length, own in columns:
            some = _select_rows(rows, section, length=length, width=128, batch=32 if section == "step" else 1)
            some = [r for r in some if r["seconds"] and r["options"] in ("", "form=cudnn")]
            every = {r["library"]: float(r["seconds"]) for r in some if r["mixer"] == mixer}
            mine = [seconds for library, seconds in every.items() if library in own]
            theirs = [r for r in some if r["library"].startswith("torch")]
            if mine and (paired := [float(r["ratio"]) for r in theirs if r["mixer"] == mixer]):
                best = min(seconds for library, seconds in every.items() if library.startswith("ours"))
                line.append(f"{min(paired) * best / min(mine):.2f} ×")  # pairs are with the best of ours
            elif mine and (theirs := [r for r in theirs if r["mixer"] != "attention"]):
                fastest = min(theirs, key=lambda r: float(r["seconds"]))
                line.append(f"{float(fastest['seconds']) / min(mine):.2f} × (their {fastest['mixer']})")
            else:
                line.append("–")
        body.append(line)
    header = ["mixer", "step at 64", "step at 256", "step at 1024", "token behind 1024", f"{TOKENS_PER_CALL} a call"]
    return Table("Times faster than PyTorch", header, body)


def all_tables(rows: list[RecordRow]) -> Iterable[Table]:
    yield comparison_table(rows, "step", 32)
    yield scaling_table(rows)
    yield crossover_table(rows)
    yield _roofline_table(rows)
    yield comparison_table(rows, "token", 1)
    yield _time_table(rows, "forward", "A whole sequence again", ("mixer", "length"))
    yield _time_table(rows, "batch", "Sequences at once, length 256", ("mixer", "batch"), per="batch")
    yield _memory_table(rows)
    yield _time_table(rows, "solver", "All steps at once (DEER) against the scan", ("mixer", "width", "options"))
    yield _startup_table(rows)
    yield _ensemble_table(rows)
    yield _gpu_utilization_table(rows)
    yield _notes_table(rows)


def _notes_table(rows: list[RecordRow]) -> Table:
    """What is said of rows that were timed all the same."""
    names = ("section", "mixer", "options", "note")
    body = dict.fromkeys(tuple(r[name] for name in names) for r in rows if r["seconds"] and r["note"])
    return Table("Of other runs", names, list(body))


def _select_rows(rows: list[RecordRow], section: str, **values: object) -> list[RecordRow]:
    """A section's rows with these values."""
    return [r for r in rows if r["section"] == section and all(r[k] == str(v) for k, v in values.items())]


def _format_time(row: RecordRow) -> str:
    if not row.get("seconds"):
        return row["note"] or "–"
    seconds = float(row["seconds"])
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} µs"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def comparison_table(rows: list[RecordRow], section: str, batch: int) -> Table:
    """Ours, and what the others take of it: their time over that of the faster of ours, of pairs timed in turn."""
    some = [r for r in _select_rows(rows, section, width=128, batch=batch) if r["mixer"]]
    cells = dict.fromkeys((r["mixer"], r["length"]) for r in some if not r["library"].startswith("ours"))
    cells |= dict.fromkeys((r["mixer"], r["length"]) for r in some) if section == "token" else {}
    body, shares = [], []
    for mixer, length in cells:
        mine = {r["library"]: r for r in reversed(some) if (r["mixer"], r["length"]) == (mixer, length)}
        own = [mine[name] for name in ("ours", "ours-shared", "ours-loop") if name in mine and mine[name]["seconds"]]
        best = min(own, key=lambda r: float(r["seconds"]))
        line = [mixer, length, *(_format_time(mine[name]) if name in mine else "–" for name in _own_variants(section))]
        for name in _PEER_LIBRARIES if section == "step" else _PEER_LIBRARIES[:2]:
            row = mine.get(name)
            line.append(
                "–"
                if row is None
                else f"{_format_time(row)}, {_format_ratio(row)}"
                if row["ratio"]
                else _format_time(row)
            )
        torch = [float(mine[n]["ratio"]) for n in _PEER_LIBRARIES[:2] if n in mine and mine[n]["ratio"]]
        line += [f"{min(torch):.2f} ×" if torch else "–"]
        shares.append(best["share"])
        line += [f"{100 * float(best['share']):.0f} %" if best["share"] else "–"]
        body.append(line)
    header = ["mixer", "length" if section == "step" else "context", *_own_variants(section)]
    header += [*(_PEER_LIBRARIES if section == "step" else _PEER_LIBRARIES[:2]), "PyTorch's faster / our faster"]
    header += ["our faster, of the roofline"]
    title = "A training step beside other libraries" if section == "step" else "One more token, batch 1"
    note = f"Width 128, batch {batch}, two layers. Ratios are to ours, medians of pairs timed in turn, with quartiles."
    if any(float(share) > 1 for share in shares if share):
        note += " Above 100 % of the roofline is what stays in the processor's cache; its rate of bytes is memory's."
    return Table(title, header, body, note)


def _own_variants(section: str) -> tuple[str, ...]:
    return ("ours", "ours-shared") if section == "step" else ("ours", "ours-loop")


def _format_ratio(row: RecordRow) -> str:
    return f"{float(row['ratio']):.2f} × ({float(row['ratio_low']):.2f}–{float(row['ratio_high']):.2f})"


def _single_device_steps(rows: list[RecordRow], **values: object) -> list[RecordRow]:
    """Ours on one device, of training steps with this width and length."""
    found = [r for r in _select_rows(rows, "step", library="ours", options="", **values) if r["seconds"]]
    return list({(r["mixer"], r["length"], r["width"]): r for r in reversed(found)}.values())[::-1]


def _seconds_per_sequence(row: RecordRow) -> float:
    """Seconds a sequence."""
    return float(row["seconds"]) / float(row["batch"])


def scaling_table(rows: list[RecordRow]) -> Table:
    body = []
    for mixer in dict.fromkeys(r["mixer"] for r in _single_device_steps(rows)):
        line = [mixer]
        for along, fixed in (("length", {"width": 128}), ("width", {"length": 256})):
            some = [r for r in _single_device_steps(rows, **fixed) if r["mixer"] == mixer]
            for value in (_seconds_per_sequence, lambda r: float(r["temporary_bytes"]) / float(r["batch"])):
                line.append(_format_exponent(some, along, value))
        theory = _THEORETICAL_EXPONENTS.get(mixer, 2 if mixer == "dense" else 1)
        body.append([*line, str(theory)])
    header = ["mixer", "time, length", "memory, length", "time, width", "memory, width", "theory: time, length"]
    note = (
        "Exponents with 95 % intervals, of a sequence, width 128 and length 256 held. Theory is for lengths far above "
    )
    return Table("Scaling laws", header, body, note + "the width; with it time in width goes from 1 to 2.")


def _format_exponent(rows: list[RecordRow], column: str, value: Callable[[RecordRow], float]) -> str:
    x = [float(r[column]) for r in rows]
    return format_interval(fit_exponent(x, list(map(value, rows))), 2) if len(set(x)) > 1 else "–"


def crossover_table(rows: list[RecordRow]) -> Table:
    """The length from which on attention takes longer, on straight lines between what was timed."""
    by = {(r["mixer"], int(r["length"])): _seconds_per_sequence(r) for r in _single_device_steps(rows, width=128)}
    lengths = sorted({length for _, length in by})
    body = []
    for mixer in dict.fromkeys(name for name, _ in by if name != "attention"):
        gaps = [
            (n, math.log(by["attention", n] / by[mixer, n]))
            for n in lengths
            if ("attention", n) in by and (mixer, n) in by
        ]
        if not gaps:
            continue
        told = "faster at all" if gaps[0][1] > 0 else "slower at all"
        for (a, x), (b, y) in itertools.pairwise(gaps):
            if x <= 0 < y:
                at = math.exp(math.log(a) + (math.log(b) - math.log(a)) * -x / (y - x))
                told = f"{at:.0f}"
        body.append([mixer, told, *(f"{math.exp(gap):.2f} ×" for _, gap in gaps)])
    header = ["mixer", "crosses at length", *(f"at {n}" for n in lengths)]
    return Table(
        "Where attention becomes slower", header, body, "Attention's time over the mixer's, width 128, one device."
    )


def _roofline_table(rows: list[RecordRow]) -> Table:
    peaks = {r["dtype"]: (float(r["products"]), float(r["bytes"])) for r in _select_rows(rows, "rates")}
    body = []
    for row in sorted(_single_device_steps(rows, width=128), key=lambda r: (r["mixer"], int(r["length"]))):
        flops = (float(row["products"]) + float(row["others"])) / float(row["seconds"])
        body.append(
            [
                row["mixer"],
                row["length"],
                row["parameters"],
                _format_time(row),
                f"{flops / 1e9:.0f}",
                f"{100 * float(row['share']):.0f} %",
            ]
        )
    note = "; ".join(
        f"{dtype}: products of large matrices {f / 1e9:.0f} GFLOP/s, copying {b / 1e9:.0f} GB/s"
        for dtype, (f, b) in peaks.items()
    )
    machines = dict.fromkeys(r["note"] for r in _select_rows(rows, "rates") if r["note"])
    note = f"{note}. {' '.join(machines)}" if machines else note
    header = ["mixer", "length", "parameters", "a step", "GFLOP/s", "of the roofline"]
    return Table(
        "Every mixer against what the machine can do", header, body, f"This machine, measured in the run: {note}."
    )


def _time_table(rows: list[RecordRow], section: str, title: str, columns: tuple[str, ...], per: str = "") -> Table:
    body = []
    for row in _select_rows(rows, section):
        line = [row[name] for name in columns] + [_format_time(row)]
        line += [f"{float(row[per]) / float(row['seconds']):.0f}"] if per and row["seconds"] else []
        body.append(line)
    return Table(title, [*columns, "time", *(["sequences a second"] if per else [])], body)


def _memory_table(rows: list[RecordRow]) -> Table:
    body = [
        [
            r["mixer"],
            r["length"],
            r["library"],
            r["options"] or "–",
            _format_gib(r["temporary_bytes"]),
            _format_gib(r["peak_bytes"]),
            _format_time(r),
        ]
        for r in _select_rows(rows, "memory")
    ]
    header = ["mixer", "length", "library", "options", "XLA's own count", "peak of the process", "a step"]
    return Table("Memory of a training step, batch 1", header, body)


def _format_gib(number: str) -> str:
    return f"{float(number) / 2**30:.2f} GiB" if number else "–"


def _startup_table(rows: list[RecordRow]) -> Table:
    body = []
    for mixer in dict.fromkeys(r["mixer"] for r in _select_rows(rows, "start")):
        times = {
            what: [float(r["seconds"]) for r in _select_rows(rows, "start", mixer=mixer, what=what)]
            for what in ("cold", "warm")
        }
        body.append([mixer, *(f"{spread.median(times[what]):.1f} s" for what in ("cold", "warm"))])
    note = "train.py from its start to its end after one step, evaluated and saved. Warm: what was compiled is found."
    return Table("Start of the process", ["mixer", "cold", "warm"], body, note)


def _ensemble_table(rows: list[RecordRow]) -> Table:
    body = []
    for mixer in dict.fromkeys(r["mixer"] for r in _select_rows(rows, "replicas")):
        found = {r["what"]: r for r in _select_rows(rows, "replicas", mixer=mixer) if r["seconds"]}
        base = found.get("apart")
        for way, row in found.items():
            warm, made = float(row["seconds"]), float(row["compile_seconds"])
            line = [mixer, way, f"{warm:.1f} s", f"{warm + made:.1f} s"]
            if base:
                apart = float(base["seconds"]), float(base["seconds"]) + float(base["compile_seconds"])
                line += [f"{apart[0] / warm:.2f} ×", f"{apart[1] / (warm + made):.2f} ×"]
            body.append(line)
    header = ["mixer", "how", "warm", "with compiling", "faster, warm", "faster, with compiling"]
    return Table("15 replicas, 500 steps", header, body, "apart: one by one in one process, compiled once.")


def _gpu_utilization_table(rows: list[RecordRow]) -> Table:
    body = []
    for row in _select_rows(rows, "utilisation"):
        if not row["seconds"]:
            body.append([row["note"], *["–"] * 4])
            continue
        rate = float(row["batch"]) * float(row["length"]) / float(row["seconds"])
        flops = float(row["products"]) / float(row["seconds"])
        share = f"{100 * float(row['share']):.0f} %"
        body.append([f"{int(row['parameters']):,}", _format_time(row), f"{rate:,.0f}", f"{flops / 1e12:.0f}", share])
    header = ["parameters", "a step", "tokens a second", "TFLOP/s", "of the product of large matrices"]
    return Table("A Transformer of 124 million parameters on a GPU", header, body)


def scaling_charts(rows: list[RecordRow]) -> Iterable[LineChart]:
    for along, fixed in (("length", {"width": 128}), ("width", {"length": 256})):
        some = _single_device_steps(rows, **fixed)
        for family, mixers in MIXER_FAMILIES.items():
            series = []
            for mixer in mixers:
                mine = sorted((r for r in some if r["mixer"] == mixer), key=lambda r: int(r[along]))
                if len(mine) > 1:
                    series.append(
                        Series(mixer, [int(r[along]) for r in mine], [1e3 * _seconds_per_sequence(r) for r in mine])
                    )
            if not series:
                continue
            if along == "length":
                x = [min(s.x[0] for s in series), max(s.x[-1] for s in series)]
                start = 1e3 * min(_seconds_per_sequence(r) for r in some if r["mixer"] in mixers) / 2
                for power in (1, 2):
                    line = [start * (n / x[0]) ** power for n in x]
                    series.append(Series(f"∝ length^{power}", x, line, dashed=True))
            title, y = f"{family.capitalize()}: a step against {along}", "milliseconds a sequence"
            yield LineChart(f"{along} {family}", title, along, y, series, log_x=True, log_y=True)
