"""RNNs against attention: same skeleton, same parameters, same budget, several seeds; a table and a page of curves.

  make compare                                              ten minutes on two cores
  python -m experiments.compare --workdir=runs/mine         the same, elsewhere
  python -m experiments.compare --scale=full                hours: more tasks, more seeds, rates chosen anew
  python -m experiments.compare --only=recall,digits        some of its rows
  python -m experiments.compare --table                     from the record, nothing run

Five mixers (attention, lstm, gru, rnn, dense) differ in nothing but how they mix a sequence. Each row of the table is
one mixer on one task, printed as it finishes: test score at the best validation step, mean and 95 % interval over
seeds. Learning rates were chosen among 1e-3, 3e-3, 1e-2 and 3e-2 for every mixer alike, on seeds that are not reported;
experiments/records/rates.csv is the record. Then: time of a training step against length, time of a streamed token.

Stop it any way you like: the same command goes on where it was. It ends by naming the files that it wrote.
"""

import time
from pathlib import Path
from typing import Any

from absl import flags

from data import DEFAULT_DATA_DIR
from experiments import page
from experiments.ablation.intervals import Interval, difference_interval, fit_exponent, format_interval, mean_interval
from experiments.ablation.learning_rates import LEARNING_RATES, RECORDS_DIR
from experiments.ablation.record_files import read_record, replace_rows
from experiments.ablation.verdicts import Verdict
from experiments.comparison import (
    COMPARED_MIXERS,
    OUTDATED_MARK,
    RECURRENT_MIXERS,
    Results,
    Row,
    Scale,
    Study,
    estimate,
    older,
    outdated_note,
    scores,
    settings_key,
    told,
    told_rate,
)
from experiments.measures import registry, timing
from experiments.reporting.html_report import markdown_table
from training import builder, cli, export, files, metrics, runtime

# The claims, written before the runs that decide them.
RECALLS, FORGETS = 0.99, 0.60  # at equal parameters, attention's accuracy at least, every recurrent mixer's at most
NEAR = 0.10  # bits per character by which the best recurrent mixer may trail attention and still count as near


def recall_row(pairs: int, name: str, steps: int, symbols: int = 32, seconds: int = 0) -> Row:
    changes = {"task.pairs": pairs, "task.symbols": symbols, "task.max_length": 4 * pairs, "training.steps": steps}
    return Row(name, "recall", changes, seconds)


ONE_VECTOR = {
    "model.encoder_decoder": "vector", "model.width": 32, "task.max_items": 8, "training.min_length": 3,
    "training.steps": 500, "training.eval_every": 100,
}  # fmt: skip

SCALES = {
    "smoke": Scale(
        rows=(
            recall_row(2, "recall", 100),
            Row("digits", "digits", {"training.steps": 100}),
        ),
        seeds=(0, 1),
        choosing=(100,),
        lengths=(16, 32, 64),
        context=32,
    ),
    "quick": Scale(
        rows=(
            recall_row(8, "recall", 3000, seconds=240),
            Row("digits", "digits", {"training.steps": 500}, seconds=90),
            Row("shakespeare", "shakespeare", {"training.steps": 600}, seconds=120),
            Row("one vector", "translation", ONE_VECTOR, seconds=120),
        ),
        seeds=(0, 1, 2, 3),
        choosing=(100, 101),
        lengths=(64, 128, 256, 512),
        context=512,
        seconds=60,
    ),
    "full": Scale(
        rows=(
            *(recall_row(pairs, f"recall {pairs}", 3000, symbols=40) for pairs in (2, 4, 8, 16)),
            Row("digits", "digits", {"training.steps": 3000}),
            Row("shakespeare", "shakespeare", {"training.steps": 6000}),
            Row("copy memory", "copy_memory", {"training.steps": 4000}),
            Row("adding", "adding", {"training.steps": 4000}),
        ),
        seeds=tuple(range(6)),
        choosing=(100, 101),
        lengths=(64, 128, 256, 512, 1024),
        context=2048,
    ),
}


RECORD_FILES = {"quick": "compare-quick.csv", "full": "compare-full-recall.csv"}  # in experiments/records/


# ---- what was claimed, and what came out ----------------------------------------------------------------------------


def verdict_on_recall(results: Results, row: str, scale: str) -> Verdict:
    """Whether attention recalls where every recurrent mixer forgets."""
    claim = (
        f"At equal parameters attention recalls ≥ {RECALLS} of 8 pairs where every recurrent mixer stays ≤ {FORGETS}"
    )
    there = {mixer: results[row, mixer] for mixer in ("attention", *RECURRENT_MIXERS) if (row, mixer) in results}
    if (why := unfit(there)) is not None:
        return Verdict(claim, "not run", why, scale)
    found = {mixer: estimate(result) for mixer, result in there.items()}
    attention, others = found["attention"], [found[mixer] for mixer in RECURRENT_MIXERS]
    if attention.mean >= RECALLS and all(other.mean <= FORGETS for other in others):
        verdict = "reproduced"
    elif all(attention.low > other.high for other in others):
        verdict = "trend only"
    else:
        verdict = "not reproduced"
    evidence = ", ".join(f"{mixer} {told(result)}" for mixer, result in there.items())
    return Verdict(claim, verdict, evidence, scale)


def verdict_on_shakespeare(results: Results, row: str, scale: str) -> Verdict:
    """Whether the best recurrent mixer is near attention where the text is short and the budget small."""
    claim = (
        f"On Shakespeare the best recurrent mixer comes within {NEAR:.2f} bits per character of attention, or beats it"
    )
    there = {mixer: results[row, mixer] for mixer in ("attention", *RECURRENT_MIXERS) if (row, mixer) in results}
    if (why := unfit(there)) is not None:
        return Verdict(claim, "not run", why, scale)

    def validation(mixer: str) -> float:  # the test split has no say in which of them is compared
        found = scores(there[mixer], "validation").values()
        return sum(found) / len(found)

    best = min(RECURRENT_MIXERS, key=validation)
    ours, theirs = scores(there[best]), scores(there["attention"])
    seeds = sorted(ours.keys() & theirs.keys())  # a seed draws the same batches for every mixer
    gap = difference_interval([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], paired=True)
    verdict = "not reproduced" if gap.mean > NEAR else "trend only" if gap.high > NEAR else "reproduced"
    evidence = f"{best} − attention: {format_interval(gap)} bits per character over {len(seeds)} seeds"
    return Verdict(claim, verdict, evidence, scale)


def unfit(there: dict[str, Any]) -> str | None:
    """Why no verdict can rest on these results, or None: a seed lost to divergence is no sample left out at random."""
    if missing := [mixer for mixer in ("attention", *RECURRENT_MIXERS) if mixer not in there]:
        return f"{', '.join(missing)} not trained"
    lost = {mixer: len(result["members"]) - len(scores(result)) for mixer, result in there.items()}
    told = [f"{mixer} diverged in {n} of {len(there[mixer]['members'])} seeds" for mixer, n in lost.items() if n]
    return ", ".join(told) or None


def verdict_on_time(exponents: dict[str, Interval], scale: str) -> Verdict:
    """Whether a training step of attention grows faster with length than that of any recurrent mixer."""
    claim = "The time of attention's training step grows with a higher power of length than any recurrent mixer's"
    others = [exponents[mixer] for mixer in RECURRENT_MIXERS]
    attention = exponents["attention"]
    if all(attention.low > other.high for other in others):
        verdict = "reproduced"
    else:
        verdict = "trend only" if all(attention.mean > other.mean for other in others) else "not reproduced"
    evidence = ", ".join(f"{m} {format_interval(exponents[m], 2)}" for m in ("attention", *RECURRENT_MIXERS))
    return Verdict(claim, verdict, f"exponents: {evidence}", scale)


# ---- the records that the quick scale rests on ----------------------------------------------------------------------


def record_rates(study: Study) -> None:
    """Run the whole grid for every cell and write experiments/records/rates.csv."""
    lines = []
    for row in study.rows:
        for mixer in COMPARED_MIXERS:
            for m in study.grid(row, mixer)["members"]:
                died = "" if m["died_at"] is None else m["died_at"]
                validation = "" if m["died_at"] is not None else f"{m['validation']:.6g}"
                where = [study.name, row.name, mixer, settings_key(row, mixer, study.data_dir)]
                lines.append([*where, m["learning_rate"], m["seed"], validation, m["best_step"], died])
            study.done += 1
    header = ["scale", "row", "mixer", "settings", "learning_rate", "seed", "validation", "best_step", "died_at"]
    path = RECORDS_DIR / "rates.csv"
    replace_rows(path, [dict(zip(header, line, strict=True)) for line in lines], header[:3])
    print(f"wrote {path}")


def record_plateau(study: Study) -> None:
    """Train attention on the first row with twenty seeds, and write when each left its plateau."""
    row = study.rows[0]
    rate = study.rate(row, "attention")
    result = study.train(row, "attention", tuple(range(200, 220)), (rate,), " plateau")
    path = study.directory(row, "attention", " plateau") / "metrics.jsonl"
    tests = [line for line in metrics.read_metrics(path) if line["split"] == "test"]
    lines = []
    for index, member in enumerate(result["members"]):
        curve = [(line["step"], line[result["metric"]][index]) for line in tests]
        first = next((step for step, value in curve if value is not None and value >= RECALLS), "")
        test = "" if member["test"] is None else f"{member['test']:.6g}"
        lines.append(
            [settings_key(row, "attention", study.data_dir), member["seed"], f"{rate:g}", first, result["steps"], test]
        )
    header = ["settings", "seed", "learning_rate", f"first_step_at_{RECALLS}", "steps", "test"]
    path = RECORDS_DIR / "plateau.csv"
    replace_rows(path, [dict(zip(header, line, strict=True)) for line in lines], ("settings", "learning_rate"))
    inside = sum(line[3] != "" for line in lines)
    print(f"{inside} of {len(lines)} seeds reach {RECALLS}; wrote {path}")


def scorecard(study: Study, results: Results) -> dict[str, dict[str, str]]:
    """What else was wanted of a model of sequences, a column each, for every mixer: how long a chain of operations a
    training step is, and how far the output moves, by its own length, when what was read is shuffled."""
    longest = max(study.scale.lengths)
    row = next((row for row in study.rows if row.config == "digits"), study.rows[0])
    card = {}
    for mixer in COMPARED_MIXERS:
        directory = study.directory(row, mixer)
        run = builder.build_run(files.read_json(directory / "config.json"), study.data_dir)
        trained = zip(export.load_members(directory), results[row.name, mixer]["members"], strict=True)
        lived = [(params, one["seed"]) for params, one in trained if one["died_at"] is None]
        moved = [found["permuted"] for found in registry.evaluate_measures(run, ["permuted"], lived)]
        card[mixer] = {
            f"chain of operations at {longest}": f"{registry._training_depth(mixer, longest, 64):,.0f}",
            f"{row.name}, shuffled: output moves": format_interval(mean_interval(moved), 2) if moved else "diverged",
        }
    return card


def format_recorded_table(scale: str, data_dir: str) -> str:
    """The record of a scale as a table in Markdown: mean and 95 % interval over the seeds that lived, with a mark where
    a cell is of older code. Raises ValueError where there is no record."""
    if scale not in RECORD_FILES:
        raise ValueError(f"--table: there is a record of scale {' and '.join(RECORD_FILES)}, and none of {scale}")
    lines = read_record(RECORDS_DIR / RECORD_FILES[scale])
    old = older(lines, SCALES[scale].rows, data_dir)
    marked = {(line["row"], line["mixer"]) for line in old}
    rows = list(dict.fromkeys(line["row"] for line in lines))
    cells = []
    for mixer in COMPARED_MIXERS:
        cells.append([mixer])
        for row in rows:
            mine = [line for line in lines if (line["row"], line["mixer"]) == (row, mixer)]
            members = [
                {"seed": int(line["seed"]), "test": float(line["test"] or "nan"), "died_at": line["died_at"] or None}
                for line in mine
            ]
            found = told({"metric": mine[0]["metric"], "replicas": members}) if mine else "–"
            cells[-1].append(found + f" {OUTDATED_MARK}" * ((row, mixer) in marked))
    table = markdown_table(["mixer", *rows], cells)
    return f"{table}\n\n{outdated_note(len(old), len(lines))}" if old else table


# ---- the command ----------------------------------------------------------------------------------------------------


def run(study: Study) -> list[Path]:
    """Everything: cells, timing, page. Returns the files written."""
    results, chosen, seconds = {}, {}, {}
    print(
        f"{'task':<12} {'mixer':<10} {'score':<26} {'metric':<20} {'rate':>6} {'params':>8} {'state':>7} {'seconds':>8}"
    )
    for row, mixer, rate, result in study.cells():
        results[row.name, mixer], chosen[row.name, mixer] = result, rate
        seconds[row.name] = seconds.get(row.name, 0) + result["seconds"]
        cost = result["cost"]
        print(
            f"{row.name:<12} {mixer:<10} {told(result):<26} {result['metric']:<20} {told_rate(rate):>6} "
            f"{cost['parameters']:>8,} {cost['state_floats']:>7,} {result['seconds']:>8.0f}",
            flush=True,
        )
    print(
        f"(* a rate at the end of the grid {', '.join(f'{rate:g}' for rate in LEARNING_RATES)}; a better one may lie beyond)"
    )
    begun, timings, streams = time.monotonic(), [], []
    print(f"\n{'mixer':<10} {'length':>7} {'ms a training step':>20}")
    for one in timing.time_training_steps(COMPARED_MIXERS, study.scale.lengths, width=64, batch=8):
        timings.append(one)
        print(f"{one.mixer:<10} {one.length:>7} {1e3 * one.seconds:>20.1f}", flush=True)
    print(f"\n{'mixer':<10} {'context':>7} {'µs a streamed token':>20}")
    for one in timing.time_streamed_tokens(COMPARED_MIXERS, study.scale.context, width=64):
        streams.append(one)
        print(f"{one.mixer:<10} {one.length:>7} {1e6 * one.seconds:>20.0f}", flush=True)
    card = scorecard(study, results)
    print()
    for name in card["attention"]:
        print(f"{name}: " + ", ".join(f"{mixer} {card[mixer][name]}" for mixer in COMPARED_MIXERS))
    seconds["timing"] = time.monotonic() - begun
    exponents = {}
    for mixer in COMPARED_MIXERS:
        mine = [t for t in timings if t.mixer == mixer]
        exponents[mixer] = fit_exponent([t.length for t in mine], [t.seconds for t in mine])

    scale = f"{study.name} scale, {len(study.scale.seeds)} seeds"
    verdicts = [verdict_on_time(exponents, f"{study.name} scale, lengths {study.scale.lengths}, this machine")]
    for row in reversed(study.rows):
        if row.config == "recall" and row.changes["task.pairs"] == 8:
            verdicts.insert(0, verdict_on_recall(results, row.name, scale))
        elif row.config == "shakespeare":
            verdicts.insert(0, verdict_on_shakespeare(results, row.name, scale))
    print()
    for one in verdicts:
        print(one)
    budget = {row.name: row.seconds for row in study.rows} | {"timing": study.scale.seconds}
    used = [f"{name} {n:.0f}" + (f" of {budget[name]}" if budget[name] else "") for name, n in seconds.items()]
    print(f"seconds used: {', '.join(used)}")
    return page.write(study, results, chosen, timings, streams, exponents, card, verdicts, used)


def main() -> None:
    args: Any = flags.FLAGS
    scale = SCALES[args.scale]
    if args.table:
        return print(format_recorded_table(args.scale, args.data_dir))
    grid = len(scale.choosing) * len(LEARNING_RATES)
    runtime.configure_runtime({None: len(scale.seeds), "plateau": 20, "rates": grid}[args.record])
    workdir = Path(args.workdir or f"runs/compare-{args.scale}")
    study = Study(args.scale, SCALES[args.scale], workdir, args.data_dir, args.only, args.regroup)
    if args.record == "rates":
        return record_rates(study)
    if args.record == "plateau":
        return record_plateau(study)
    print("wrote " + ", ".join(str(path) for path in run(study)))
    return None


if __name__ == "__main__":
    flags.DEFINE_enum("scale", "quick", list(SCALES), "How much: a minute, ten minutes, or hours.")
    cli.define_directory("workdir", None, "Where runs and report go; runs/compare-SCALE unless given.")
    cli.define_directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")
    flags.DEFINE_bool("regroup", False, "Go on with runs that were begun on another number of cores.")
    flags.DEFINE_list("only", [], "Rows to run, by name; all unless given.")
    flags.DEFINE_bool("table", False, "Print the table from the record in the repository, and run nothing.")
    flags.DEFINE_enum("record", None, ["rates", "plateau"], "Write a record that the quick scale rests on, instead.")
    cli.run_command(main)
