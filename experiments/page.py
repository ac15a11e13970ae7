"""The page, the picture and the table of a comparison, from its finished runs."""

import importlib
import time
from pathlib import Path

from experiments.ablation.intervals import Interval, format_interval, mean_interval
from experiments.ablation.record_files import write_record
from experiments.ablation.verdicts import Verdict
from experiments.comparison import (
    COMPARED_MIXERS,
    Results,
    Row,
    Study,
    bounds,
    estimate,
    scores,
    told,
    told_rate,
    unmatched,
    write_results,
)
from experiments.measures.timing import Timing
from experiments.reporting import charts, html_report
from experiments.reporting.charts import DotChart, LineChart, Series, interval_series
from experiments.reporting.html_report import Report, Section, Table
from training import files, metrics


def learning_curves(study: Study, results: Results, row: Row) -> LineChart:
    """Test score against step, mean and interval over the seeds that live."""
    series, some = [], next(results[row.name, mixer] for mixer in COMPARED_MIXERS if (row.name, mixer) in results)
    for mixer in COMPARED_MIXERS:
        if (row.name, mixer) not in results:
            continue
        rows = metrics.read_metrics(study.directory(row, mixer) / "metrics.jsonl")
        died = [member["died_at"] for member in results[row.name, mixer]["members"]]
        points = []
        for line in (line for line in rows if line["split"] == "test"):
            values = [value for value, at in zip(line[some["metric"]], died, strict=True) if at is None]
            if values:
                points.append((line["step"], mean_interval(values, bounds=bounds(some))))
        series.append(interval_series(mixer, [step for step, _ in points], [value for _, value in points]))
    # Where less is better, chance lies so far above the curves that it would flatten them.
    lines = [("chance", some["chance"])] * (some["best"] == "max") + [tuple(some["baseline"])]
    return LineChart(row.name, row.name.capitalize(), "training step", some["metric"], series, references=lines)


def pairs_curve(results: Results, rows: list[Row]) -> LineChart:
    """Recall against the number of pairs to be remembered; length is four times that."""
    pairs = [row.changes["task.pairs"] for row in rows]
    series = []
    for mixer in COMPARED_MIXERS:
        series.append(interval_series(mixer, pairs, [estimate(results[row.name, mixer]) for row in rows]))
    chance = [("chance", results[rows[0].name, COMPARED_MIXERS[0]]["chance"])]
    return LineChart("pairs", "Recall against pairs", "pairs", "accuracy", series, references=chance, log_x=True)


def seed_dots(results: Results, row: Row) -> DotChart:
    some = next(results[row.name, mixer] for mixer in COMPARED_MIXERS if (row.name, mixer) in results)
    groups = [
        (mixer, list(scores(results[row.name, mixer]).values()))
        for mixer in COMPARED_MIXERS
        if (row.name, mixer) in results
    ]
    return DotChart(
        f"{row.name} seeds", f"{row.name.capitalize()}, seed by seed", some["metric"], groups, bounds=bounds(some)
    )


def time_chart(timings: list[Timing]) -> LineChart:
    series = []
    for mixer in COMPARED_MIXERS:
        mine = [t for t in timings if t.mixer == mixer]
        middle, low, high = ([1e3 * getattr(t, part) for t in mine] for part in ("seconds", "low", "high"))
        series.append(Series(mixer, [t.length for t in mine], middle, low, high))
    return LineChart(
        "time", "Time of a training step", "length", "milliseconds", series, log_x=True, log_y=True,
        note="Median and quartiles; batch 8, width 64, one block, on this machine.",
    )  # fmt: skip


def size_chart(lengths: tuple[int, ...]) -> LineChart:
    """Idea I as it is, a block of width × width for every pair of places, beside what attention needs."""
    width = 64
    dense = [width**2 * length * (length + 1) / 2 + width * length for length in lengths]
    attention = [4 * width**2 + 4 * width for _ in lengths]
    return LineChart(
        "size", "Parameters of one mixer", "length", "parameters",
        [Series("dense", lengths, dense), Series("attention", lengths, attention)], log_x=True, log_y=True,
        note="Idea I without a bottleneck, width 64. The recurrent mixers are matched to attention at every length.",
    )  # fmt: skip


def write(
    study: Study,
    results: Results,
    chosen: dict[tuple[str, str], float],
    timings: list[Timing],
    streams: list[Timing],
    exponents: dict[str, Interval],
    card: dict[str, dict[str, str]],
    verdicts: list[Verdict],
    used: list[str],
) -> list[Path]:
    """report.html, picture.svg, results.csv and timing.csv in the study's directory."""
    header = ["mixer", *(f"{row.name} ({results[row.name, COMPARED_MIXERS[0]]['metric']})" for row in study.rows)]
    header += [
        "parameters",
        "of them in mixers",
        "state, floats",
        "step time ∝ length^",
        f"µs a token at {study.scale.context}",
        *card[COMPARED_MIXERS[0]],
    ]
    body = []
    for mixer in COMPARED_MIXERS:
        cost = results[study.rows[0].name, mixer]["cost"]
        stream = next(t for t in streams if t.mixer == mixer)
        body.append(
            [
                mixer,
                *(told(results[row.name, mixer]) for row in study.rows),
                f"{cost['parameters']:,}",
                f"{cost['mixer_parameters']:,}",
                f"{cost['state_floats']:,}",
                format_interval(exponents[mixer], 2),
                f"{1e6 * stream.seconds:.0f}",
                *card[mixer].values(),
            ]
        )
    seeds = len(study.scale.seeds)
    summary = Table(
        "Five mixers, one skeleton", header, body,
        note=f"Mean and 95 % interval over {seeds} seeds. Parameters and state are those of the {study.rows[0].name} "
        f"network; attention's state is its cache of keys and values.",
    )  # fmt: skip
    sections = [
        Section(
            row.name.capitalize(),
            explain(results, row),
            [learning_curves(study, results, row), seed_dots(results, row)],
        )
        for row in study.rows
    ]
    sections.append(
        Section(
            "What it costs",
            "A training step holds data, forward, backward and update. Streaming feeds one token at a time, given the "
            "state of those before it.",
            [time_chart(timings), size_chart(study.scale.lengths)],
            [time_table(timings, streams)],
        )
    )
    of_recall = [row for row in study.rows if row.config == "recall"]
    if len(of_recall) > 1:
        text = (
            "How many key–value pairs each mixer can hold: sequences of four tokens a pair, the same model throughout."
        )
        sections.insert(0, Section("Recall against pairs", text, [pairs_curve(results, of_recall)]))
    environment = files.read_json(study.directory(study.rows[0], COMPARED_MIXERS[0]) / "environment.json")[-1]
    page = Report(
        title="Recur or attend?",
        question="At equal parameters and equal budget, what does attention do that a recurrent network can't, "
        "and what does it cost?",
        summary=summary,
        verdicts=verdicts,
        sections=sections,
        settings={
            "Learning rates chosen (* at the end of the grid)": {
                f"{row} {mixer}": told_rate(rate) for (row, mixer), rate in chosen.items()
            },
            **{
                f"Config: {row.name}": files.flatten_dict(
                    files.read_json(study.directory(row, COMPARED_MIXERS[0]) / "config.json")
                )
                for row in study.rows
            },
            "Machine and versions": files.flatten_dict(environment),
        },
        command=f"python -m experiments.compare --scale={study.name}",
        provenance=f"{time.strftime('%Y-%m-%d')}, at revision {environment['revision'][:12]}"
        f"{' with changes' * environment['source_changed']}; seconds used: {', '.join(used)}",
    )
    shown = [learning_curves(study, results, row) for row in study.rows[:3]] + [time_chart(timings)]
    if len(of_recall) > 1:
        shown[0] = pairs_curve(results, of_recall)
    return [
        html_report.write_html(page, study.workdir / "report.html"),
        charts.save_charts(shown, study.workdir / "picture.svg", columns=2),
        write_results(study, results, chosen),
        write_timing(study, timings, streams),
    ]


def explain(results: Results, row: Row) -> str:
    """What the row's task is and what is no achievement in it."""
    some = results[row.name, COMPARED_MIXERS[0]]
    document = (importlib.import_module(f"configs.{row.config}").__doc__ or "").strip()
    rule, score = some["baseline"]
    text = f"{document} Chance gives {some['chance']:.3g}; {rule}: {score:.3g}. {some['steps']:,} steps."
    off = unmatched(results, row)
    return f"{text} Parameters not matched: {', '.join(off)} of attention's." if off else text


def time_table(timings: list[Timing], streams: list[Timing]) -> Table:
    lengths = sorted({t.length for t in timings})
    rows = []
    for mixer in COMPARED_MIXERS:
        mine = {t.length: t for t in timings if t.mixer == mixer}
        stream = next(t for t in streams if t.mixer == mixer)
        steps = [f"{1e3 * mine[n].seconds:.1f}" for n in lengths]
        rows.append([mixer, *steps, f"{1e6 * stream.seconds:.0f}", f"{mine[lengths[-1]].parameters:,}"])
    header = ["mixer", *(f"ms a step at {n}" for n in lengths), f"µs a token at {streams[0].length}"]
    return Table("Time", [*header, f"parameters at {lengths[-1]}"], rows)


def write_timing(study: Study, timings: list[Timing], streams: list[Timing]) -> Path:
    """One line a program that was timed, in seconds."""
    path = study.workdir / "timing.csv"
    lines = [[kind, *one] for kind, some in (("step", timings), ("token", streams)) for one in some]
    write_record(path, ["what", *Timing._fields], lines)
    return path
