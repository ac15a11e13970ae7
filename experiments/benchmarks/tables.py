"""The benchmark's record as tables, as curves with theory's slope drawn in, and as a page."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.ablation.intervals import fit_exponent, format_interval
from experiments.benchmarks.cell import TOKENS_PER_CALL
from experiments.reporting import html_report
from experiments.reporting.charts import LineChart, Series
from experiments.reporting.html_report import Report, Section, Table, markdown_table

RecordRow = dict[str, str]  # a row of the record: the columns of rows.BenchmarkRow as text
# Exponents of time in length (Vaswani et al. 2017, Table 1); every other mixer has 1.
_THEORETICAL_EXPONENTS = {"attention": 2, "dense": 2}
MIXER_FAMILIES = {  # one chart each, with attention in all of them
    "step by step": ("attention", "rnn", "irnn", "lstm", "gru", "slstm", "paragru", "paralstm"),
    "linear in the state": ("attention", "mingru", "minlstm", "lru", "rglru", "s4d", "s6"),
    "a matrix for a state": ("attention", "linear", "gla", "delta", "gated_delta", "mlstm"),
    "no state": ("attention", "tcn", "dense"),
}
_RERUN_SUFFIX = "-again"  # of the name of a second run's record
_AGREEMENT_FACTOR = 1.1  # ratios of two runs that are closer agree
_PEER_LIBRARIES = ("torch", "torch-compile", "linen", "nnx")


def write_benchmark_report(rows: list[RecordRow], path: Path, command: str) -> Path:
    """Write all tables and curves as one HTML page."""
    shown = list(all_tables(rows))
    page = Report(
        title="How slow, and against what?",
        question="How slow is a recurrence, what does attention cost, where do they cross, and how does this code "
        "stand beside the libraries that one would use instead?",
        summary=shown[0],
        sections=[
            Section("Against length and width", "", list(scaling_charts(rows)), shown[1:4]),
            Section("The rest", "", (), shown[4:]),
        ],
        command=command,
        provenance=time.strftime("%Y-%m-%d"),
    )
    return html_report.write_html(page, path)


def format_tables(rows: list[RecordRow]) -> str:
    """All tables as Markdown."""
    return "\n\n".join(format_table(table) for table in all_tables(rows) if table.rows)


def format_table(table: Table) -> str:
    return "\n\n".join(filter(None, (table.title, markdown_table(table.header, table.rows), table.note)))


def format_document(tables_by_record: dict[str, list[RecordRow]]) -> str:
    """The Markdown of every record's tables, and of its second run's agreement with it."""
    parts = []
    for name, rows in tables_by_record.items():
        if name.endswith(_RERUN_SUFFIX):
            continue
        parts += [f"## From `experiments/records/{name}.csv`"]
        parts += [f"### {format_table(table)}" for table in all_tables(rows) if table.rows]
        if again := tables_by_record.get(name + _RERUN_SUFFIX):
            parts += [f"### {format_table(agreement_table(rows, again))}"]
    return "\n\n".join(parts) + "\n"


def agreement_table(rows: list[RecordRow], rerun: list[RecordRow]) -> Table:
    """The ratios that differ between two runs by more than the agreement factor; the note counts the others."""
    names = ("section", "mixer", "library", "length", "width", "batch", "dtype", "options")
    first, second = ({tuple(r[n] for n in names): r for r in run if _has_ratio(r)} for run in (rows, rerun))
    pairs = {key: (float(first[key]["ratio"]), float(second[key]["ratio"])) for key in first if key in second}
    apart = {key: (a, b) for key, (a, b) in pairs.items() if max(a / b, b / a) > _AGREEMENT_FACTOR}
    body = [
        [section, mixer, library, length, batch, f"{a:.2f} ×", f"{b:.2f} ×", f"{100 * (b / a - 1):+.0f} %"]
        for (section, mixer, library, length, _, batch, *_), (a, b) in apart.items()
    ]
    near = len(pairs) - len(apart)
    note = f"Of {len(pairs)} ratios, {near} ({100 * near / max(1, len(pairs)):.0f} %) agree within "
    note += f"{100 * (_AGREEMENT_FACTOR - 1):.0f} %; here are the others."
    header = ["section", "mixer", "library", "length", "batch", "first run", "second run", "change"]
    return Table("The same again later", header, body, note)


def _has_ratio(row: RecordRow) -> bool:
    """Whether the row has a ratio to something else than this code."""
    return bool(row["ratio"]) and not row["library"].startswith("ours")


def summary_table(rows: list[RecordRow]) -> Table:
    """How many times faster this project is than PyTorch, the faster variant of each; where PyTorch lacks the mixer,
    than PyTorch's fastest recurrence. The last column has TOKENS_PER_CALL tokens a call against PyTorch's one."""
    columns = [("step", n, ("ours", "ours-shared")) for n in (64, 256, 1024)]
    columns += [("token", 1024, (variant,)) for variant in ("ours", "ours-loop")]
    body = []
    for mixer in ("rnn", "lstm", "gru", "attention", "mingru", "linear"):
        speedups = []
        for section, length, variants in columns:
            batch = 32 if section == "step" else 1
            timed = select_rows(rows, section, length=length, width=128, batch=batch)
            timed = [r for r in timed if r["seconds"] and r["options"] in ("", "implementation=cudnn")]
            speedups.append(_format_speedup(timed, mixer, variants))
        body.append([mixer, *speedups])
    header = ["mixer", "step at 64", "step at 256", "step at 1024", "token behind 1024", f"{TOKENS_PER_CALL} a call"]
    return Table("Times faster than PyTorch", header, body)


def _format_speedup(timed: list[RecordRow], mixer: str, variants: tuple[str, ...]) -> str:
    """One cell of the summary: PyTorch's time over that of the fastest of these variants of this project."""
    seconds = {r["library"]: float(r["seconds"]) for r in timed if r["mixer"] == mixer}
    ours = [seconds[variant] for variant in variants if variant in seconds]
    torch = [r for r in timed if r["library"].startswith("torch")]
    ratios = [float(r["ratio"]) for r in torch if r["mixer"] == mixer]
    recurrences = [r for r in torch if r["mixer"] != "attention"]
    if ours and ratios:  # which are to the fastest of all variants
        fastest = min(time for library, time in seconds.items() if library.startswith("ours"))
        return f"{min(ratios) * fastest / min(ours):.2f} ×"
    if ours and recurrences:
        best = min(recurrences, key=lambda r: float(r["seconds"]))
        return f"{float(best['seconds']) / min(ours):.2f} × (their {best['mixer']})"
    return "–"


def all_tables(rows: list[RecordRow]) -> Iterable[Table]:
    """Every table of a record, in the document's order."""
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
    """The notes of rows that have a time nevertheless."""
    names = ("section", "mixer", "options", "note")
    body = dict.fromkeys(tuple(r[name] for name in names) for r in rows if r["seconds"] and r["note"])
    return Table("Of other runs", names, list(body))


def select_rows(rows: list[RecordRow], section: str, **values: object) -> list[RecordRow]:
    """A section's rows with these values."""
    return [r for r in rows if r["section"] == section and all(r[k] == str(v) for k, v in values.items())]


def format_time(row: RecordRow) -> str:
    if not row.get("seconds"):
        return row["note"] or "–"
    seconds = float(row["seconds"])
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} µs"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def comparison_table(rows: list[RecordRow], section: str, batch: int) -> Table:
    """This project's time, and each library's median ratio of interleaved timings (library / our faster variant)."""
    of_section = [r for r in select_rows(rows, section, width=128, batch=batch) if r["mixer"]]
    compared = [r for r in of_section if not r["library"].startswith("ours")]
    shown = compared + of_section if section == "token" else compared  # those with peers come first
    peers = _PEER_LIBRARIES if section == "step" else _PEER_LIBRARIES[:2]
    variants = _own_variants(section)
    body, shares = [], []
    for mixer, length in dict.fromkeys((r["mixer"], r["length"]) for r in shown):
        by_library = {r["library"]: r for r in reversed(of_section) if (r["mixer"], r["length"]) == (mixer, length)}
        own = [by_library[name] for name in ("ours", "ours-shared", "ours-loop") if _has_time(by_library, name)]
        share = min(own, key=lambda r: float(r["seconds"]))["share"]
        line = [mixer, length, *(format_time(by_library[name]) if name in by_library else "–" for name in variants)]
        line += [_format_peer(by_library.get(name)) for name in peers]
        torch = [
            float(by_library[n]["ratio"]) for n in _PEER_LIBRARIES[:2] if n in by_library and by_library[n]["ratio"]
        ]
        line.append(f"{min(torch):.2f} ×" if torch else "–")
        line.append(f"{100 * float(share):.0f} %" if share else "–")
        shares.append(share)
        body.append(line)
    header = ["mixer", "length" if section == "step" else "context", *variants, *peers]
    header += ["PyTorch's faster / our faster", "our faster, of the roofline"]
    title = "A training step beside other libraries" if section == "step" else "One more token, batch 1"
    note = f"Width 128, batch {batch}, two layers. Ratios are to ours, medians of pairs timed in turn, with quartiles."
    if any(float(share) > 1 for share in shares if share):
        note += " Above 100 % of the roofline is what stays in the processor's cache; its rate of bytes is memory's."
    return Table(title, header, body, note)


def _has_time(by_library: dict[str, RecordRow], library: str) -> bool:
    return library in by_library and bool(by_library[library]["seconds"])


def _format_peer(row: RecordRow | None) -> str:
    """Another library's time and ratio, or why it has none."""
    if row is None:
        return "–"
    return f"{format_time(row)}, {format_ratio(row)}" if row["ratio"] else format_time(row)


def _own_variants(section: str) -> tuple[str, ...]:
    return ("ours", "ours-shared") if section == "step" else ("ours", "ours-loop")


def format_ratio(row: RecordRow) -> str:
    return f"{float(row['ratio']):.2f} × ({float(row['ratio_low']):.2f}–{float(row['ratio_high']):.2f})"


def _single_device_steps(rows: list[RecordRow], **values: object) -> list[RecordRow]:
    """This project's training steps on one device with these values, the first of each mixer, length and width."""
    timed = [r for r in select_rows(rows, "step", library="ours", options="", **values) if r["seconds"]]
    return list({(r["mixer"], r["length"], r["width"]): r for r in reversed(timed)}.values())[::-1]


def _seconds_per_sequence(row: RecordRow) -> float:
    return float(row["seconds"]) / float(row["batch"])


def _bytes_per_sequence(row: RecordRow) -> float:
    return float(row["temporary_bytes"]) / float(row["batch"])


def scaling_table(rows: list[RecordRow]) -> Table:
    """Fitted exponents of time and memory of a training step in length and in width."""
    body = []
    for mixer in dict.fromkeys(r["mixer"] for r in _single_device_steps(rows)):
        line = [mixer]
        for along, fixed in (("length", {"width": 128}), ("width", {"length": 256})):
            steps = [r for r in _single_device_steps(rows, **fixed) if r["mixer"] == mixer]
            line += [_format_exponent(steps, along, value) for value in (_seconds_per_sequence, _bytes_per_sequence)]
        body.append([*line, str(_THEORETICAL_EXPONENTS.get(mixer, 1))])
    header = ["mixer", "time, length", "memory, length", "time, width", "memory, width", "theory: time, length"]
    note = (
        "Exponents with 95 % intervals, of a sequence, width 128 and length 256 held. Theory is for lengths far above "
    )
    note += "the width; with it time in width goes from 1 to 2."
    return Table("Scaling laws", header, body, note)


def _format_exponent(rows: list[RecordRow], column: str, value: Callable[[RecordRow], float]) -> str:
    x = [float(r[column]) for r in rows]
    return format_interval(fit_exponent(x, list(map(value, rows))), 2) if len(set(x)) > 1 else "–"


def crossover_table(rows: list[RecordRow]) -> Table:
    """The length from which on attention takes longer, interpolated on log–log axes between the timed lengths."""
    times = {(r["mixer"], int(r["length"])): _seconds_per_sequence(r) for r in _single_device_steps(rows, width=128)}
    lengths = sorted({length for _, length in times})
    body = []
    for mixer in dict.fromkeys(name for name, _ in times if name != "attention"):
        gaps = [
            (n, math.log(times["attention", n] / times[mixer, n]))
            for n in lengths
            if ("attention", n) in times and (mixer, n) in times
        ]
        if not gaps:
            continue
        crossing = "faster at all" if gaps[0][1] > 0 else "slower at all"
        for (a, x), (b, y) in itertools.pairwise(gaps):
            if x <= 0 < y:
                at = math.exp(math.log(a) + (math.log(b) - math.log(a)) * -x / (y - x))
                crossing = f"{at:.0f}"
        body.append([mixer, crossing, *(f"{math.exp(gap):.2f} ×" for _, gap in gaps)])
    header = ["mixer", "crosses at length", *(f"at {n}" for n in lengths)]
    note = "Attention's time over the mixer's, width 128, one device."
    return Table("Where attention becomes slower", header, body, note)


def _roofline_table(rows: list[RecordRow]) -> Table:
    peaks = {r["dtype"]: (float(r["products"]), float(r["bytes"])) for r in select_rows(rows, "rates")}
    body = []
    for row in sorted(_single_device_steps(rows, width=128), key=lambda r: (r["mixer"], int(r["length"]))):
        flops = (float(row["products"]) + float(row["others"])) / float(row["seconds"])
        line = [row["mixer"], row["length"], row["parameters"], format_time(row)]
        body.append([*line, f"{flops / 1e9:.0f}", f"{100 * float(row['share']):.0f} %"])
    note = "; ".join(
        f"{dtype}: products of large matrices {f / 1e9:.0f} GFLOP/s, copying {b / 1e9:.0f} GB/s"
        for dtype, (f, b) in peaks.items()
    )
    machines = dict.fromkeys(r["note"] for r in select_rows(rows, "rates") if r["note"])
    note = f"{note}. {' '.join(machines)}" if machines else note
    header = ["mixer", "length", "parameters", "a step", "GFLOP/s", "of the roofline"]
    note = f"This machine, measured in the run: {note}."
    return Table("Every mixer against what the machine can do", header, body, note)


def _time_table(rows: list[RecordRow], section: str, title: str, columns: tuple[str, ...], per: str = "") -> Table:
    body = []
    for row in select_rows(rows, section):
        line = [row[name] for name in columns] + [format_time(row)]
        line += [f"{float(row[per]) / float(row['seconds']):.0f}"] if per and row["seconds"] else []
        body.append(line)
    return Table(title, [*columns, "time", *(["sequences a second"] if per else [])], body)


def _memory_table(rows: list[RecordRow]) -> Table:
    body = [
        [
            *(r["mixer"], r["length"], r["library"], r["options"] or "–"),
            *(_format_gib(r["temporary_bytes"]), _format_gib(r["peak_bytes"]), format_time(r)),
        ]
        for r in select_rows(rows, "memory")
    ]
    header = ["mixer", "length", "library", "options", "XLA's own count", "peak of the process", "a step"]
    return Table("Memory of a training step, batch 1", header, body)


def _format_gib(number: str) -> str:
    return f"{float(number) / 2**30:.2f} GiB" if number else "–"


def _startup_table(rows: list[RecordRow]) -> Table:
    body = []
    for mixer in dict.fromkeys(r["mixer"] for r in select_rows(rows, "start")):
        times = {
            what: [float(r["seconds"]) for r in select_rows(rows, "start", mixer=mixer, what=what)]
            for what in ("cold", "warm")
        }
        body.append([mixer, *(f"{statistics.median(times[what]):.1f} s" for what in ("cold", "warm"))])
    note = "train.py from its start to its end after one step, evaluated and saved. Warm: what was compiled is found."
    return Table("Start of the process", ["mixer", "cold", "warm"], body, note)


def _ensemble_table(rows: list[RecordRow]) -> Table:
    body = []
    for mixer in dict.fromkeys(r["mixer"] for r in select_rows(rows, "ensemble")):
        times = {
            r["what"]: (float(r["seconds"]), float(r["seconds"]) + float(r["compile_seconds"]))
            for r in select_rows(rows, "ensemble", mixer=mixer)
            if r["seconds"]
        }
        for mode, (warm, whole) in times.items():
            line = [mixer, mode, f"{warm:.1f} s", f"{whole:.1f} s"]
            if "apart" in times:
                line += [f"{times['apart'][0] / warm:.2f} ×", f"{times['apart'][1] / whole:.2f} ×"]
            body.append(line)
    header = ["mixer", "how", "warm", "with compiling", "faster, warm", "faster, with compiling"]
    return Table("15 replicas, 500 steps", header, body, "apart: one by one in one process, compiled once.")


def _gpu_utilization_table(rows: list[RecordRow]) -> Table:
    body = []
    for row in select_rows(rows, "utilization"):
        if not row["seconds"]:
            body.append([row["note"], *["–"] * 4])
            continue
        rate = float(row["batch"]) * float(row["length"]) / float(row["seconds"])
        flops = float(row["products"]) / float(row["seconds"])
        share = f"{100 * float(row['share']):.0f} %"
        body.append([f"{int(row['parameters']):,}", format_time(row), f"{rate:,.0f}", f"{flops / 1e12:.0f}", share])
    header = ["parameters", "a step", "tokens a second", "TFLOP/s", "of the product of large matrices"]
    return Table("A Transformer of 124 million parameters on a GPU", header, body)


def scaling_charts(rows: list[RecordRow]) -> Iterable[LineChart]:
    """Time of a training step against length and against width, one chart per family of mixers."""
    known = {mixer for mixers in MIXER_FAMILIES.values() for mixer in mixers}
    for along, fixed in (("length", {"width": 128}), ("width", {"length": 256})):
        steps = _single_device_steps(rows, **fixed)
        others = tuple(dict.fromkeys(row["mixer"] for row in steps if row["mixer"] not in known))
        for family, mixers in (*MIXER_FAMILIES.items(), ("others", others)):
            series = []
            for mixer in mixers:
                points = sorted((int(r[along]), 1e3 * _seconds_per_sequence(r)) for r in steps if r["mixer"] == mixer)
                if len(points) > 1:
                    series.append(Series(mixer, [x for x, _ in points], [y for _, y in points]))
            if not series:
                continue
            if along == "length":
                x = [min(s.x[0] for s in series), max(s.x[-1] for s in series)]
                start = 1e3 * min(_seconds_per_sequence(r) for r in steps if r["mixer"] in mixers) / 2
                for power in (1, 2):
                    line = [start * (n / x[0]) ** power for n in x]
                    series.append(Series(f"∝ length^{power}", x, line, dashed=True))
            title, y = f"{family.capitalize()}: a step against {along}", "milliseconds a sequence"
            yield LineChart(f"{along} {family}", title, along, y, series, log_x=True, log_y=True)
