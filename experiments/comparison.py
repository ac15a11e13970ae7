"""The cells of a comparison: which mixer on which task, with which learning rate, trained once and found again."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tasks
from data import DEFAULT_DATA_DIR
from experiments.ablation.intervals import Interval, format_interval, mean_interval
from experiments.ablation.learning_rates import LEARNING_RATES, choose_learning_rate, read_recorded_rates
from experiments.ablation.record_files import write_record
from training import builder, files, loop

COMPARED_MIXERS = ("attention", "lstm", "gru", "rnn", "dense")
RECURRENT_MIXERS = ("lstm", "gru", "rnn")
OUTDATED_MARK = "†"  # behind what a record holds of older code

Results = dict[tuple[str, str], dict[str, Any]]  # (row, mixer): what train.train returned


class Row(NamedTuple):
    """One column of the comparison: a task under the name it is shown by, and what it changes in that task's config.

    `seconds` is how long all of its cells together may train on two cores; 0 where nobody waits for it.
    """

    name: str
    config: str
    changes: dict[str, Any]
    seconds: int = 0


class Scale(NamedTuple):
    """How much of everything. Learning rates are chosen with the seeds `choosing`; timing may take `seconds`."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    choosing: tuple[int, ...]
    lengths: tuple[int, ...]
    context: int
    seconds: int = 0
    mixers: tuple[str, ...] = COMPARED_MIXERS


def configure(row: Row, mixer: str, seeds: tuple[int, ...], rates: tuple[float, ...]) -> Any:
    """The config of one cell, its replicas being every seed with every rate."""
    config: Any = importlib.import_module(f"configs.{row.config}").get_config(mixer)
    config.update_from_flattened_dict(row.changes)
    config.ensemble.seeds, config.ensemble.learning_rates = seeds, rates
    return config


def config_identity(config: Mapping[str, Any], data_dir: str = DEFAULT_DATA_DIR) -> dict[str, Any]:
    """What makes a run this one and no other: its config and the VERSIONs behind it."""
    return builder.fingerprint_fields({**config, "versions": builder.collect_versions(config, data_dir)})


def settings_key(row: Row, mixer: str, data_dir: str = DEFAULT_DATA_DIR) -> str:
    """What a choice of learning rate holds for: everything that makes a run itself but its rates and seeds."""
    whole = config_identity(configure(row, mixer, (), ()).to_dict(), data_dir)
    return files.fingerprint({k: v for k, v in whole.items() if not k.startswith("ensemble.")})


class Study:
    """The cells of one scale, in one directory; each is a run of train.py and resumes like one."""

    def __init__(self, name: str, scale: Scale, workdir: Path, data_dir: str, only: list[str], regroup: bool = False):
        self.regroup = regroup
        self.name, self.scale, self.workdir, self.data_dir = name, scale, workdir, data_dir
        known = [row.name for row in self.scale.rows]
        unknown = [name for name in only if name not in known]
        if unknown:
            raise ValueError(f"--only={','.join(only)}: {unknown[0]} is none of {', '.join(known)}")
        self.rows = [row for row in self.scale.rows if not only or row.name in only]
        self.rates = read_recorded_rates()
        self.total, self.done = len(self.rows) * len(scale.mixers), 0

    def directory(self, row: Row, mixer: str, part: str = "") -> Path:
        return self.workdir / f"{row.name} {mixer}{part}".replace(" ", "-")

    def train(
        self, row: Row, mixer: str, seeds: tuple[int, ...], rates: tuple[float, ...], part: str = ""
    ) -> dict[str, Any]:
        return loop.train(
            configure(row, mixer, seeds, rates),
            self.directory(row, mixer, part),
            data_dir=self.data_dir,
            name=f"{self.done + 1}/{self.total} {row.name} {mixer}{part}",
            save_seconds=10,
            tensorboard=False,
            allow_fewer_devices=self.regroup,
        )

    def grid(self, row: Row, mixer: str) -> dict[str, Any]:
        """Every rate with the seeds kept for choosing."""
        return self.train(row, mixer, self.scale.choosing, LEARNING_RATES, " rates")

    def rate(self, row: Row, mixer: str) -> float:
        """The recorded choice for these settings, or one made now."""
        scores = self.rates.get(settings_key(row, mixer, self.data_dir), {})
        if set(scores) != set(LEARNING_RATES):
            scores = {}
            for member in self.grid(row, mixer)["members"]:
                score = (
                    float("nan") if member["died_at"] is not None or not member["best_step"] else member["validation"]
                )
                scores.setdefault(member["learning_rate"], []).append(score)
        return choose_learning_rate(scores, tasks.TASKS[configure(row, mixer, (), ()).task.name].best)

    def cells(self) -> Iterator[tuple[Row, str, float, dict[str, Any]]]:
        for row in self.rows:
            for mixer in self.scale.mixers:
                rate = self.rate(row, mixer)
                yield row, mixer, rate, self.train(row, mixer, self.scale.seeds, (rate,))
                self.done += 1


def write_results(study: Study, results: Results, chosen: dict[tuple[str, str], float]) -> Path:
    """One line a seed: everything that the tables are made from."""
    path = study.workdir / "results.csv"
    header = ["row", "mixer", "key", "steps", "parameters", "seed", "learning_rate"]
    header += ["state_floats", "metric", "validation", "test", "best_step", "died_at", "revision"]
    lines = []
    for row in study.rows:
        for mixer in study.scale.mixers:
            result = results[row.name, mixer]
            revision = files.read_json(study.directory(row, mixer) / "environment.json")[-1]["revision"][:12]
            cell = [row.name, mixer, result["key"], result["steps"], result["cost"]["parameters"]]
            for m in result["members"]:
                values = [
                    result["cost"]["state_floats"],
                    result["metric"],
                    m["validation"],
                    m["test"],
                    m["best_step"],
                    m["died_at"],
                ]
                lines.append([*cell, m["seed"], chosen[row.name, mixer], *values, revision])
    write_record(path, header, lines)
    return path


def scores(result: dict[str, Any], split: str = "test") -> dict[int, float]:
    """The scores of the replicas that lived, by seed."""
    lived = [member for member in result["members"] if member["died_at"] is None and member[split] is not None]
    return {member["seed"]: member[split] for member in lived}


def unmatched(results: Results, row: Row) -> list[str]:
    """The mixers whose networks are not within 5 % of attention's, and how far they are off."""
    count = {
        mixer: results[row.name, mixer]["cost"]["parameters"]
        for mixer in COMPARED_MIXERS
        if (row.name, mixer) in results
    }
    off = {mixer: n / count["attention"] - 1 for mixer, n in count.items() if "attention" in count}
    return [f"{mixer} {share:+.0%}" for mixer, share in off.items() if abs(share) > 0.05]


def bounds(result: dict[str, Any]) -> tuple[float, float]:
    return (0.0, 1.0) if result["metric"] == "accuracy" else (0.0, float("inf"))


def estimate(result: dict[str, Any]) -> Interval:
    """Mean and interval over the seeds that lived; nan where none did."""
    nan = float("nan")
    found = list(scores(result).values())
    return mean_interval(found, bounds=bounds(result)) if found else Interval(nan, nan, nan, 0, "none")


def told_rate(rate: float) -> str:
    """With a star where it is the smallest or largest on offer."""
    return f"{rate:g}" + "*" * (rate in (min(LEARNING_RATES), max(LEARNING_RATES)))


def told(result: dict[str, Any]) -> str:
    """Mean and interval, and how many seeds diverged, if any."""
    dead = len(result["members"]) - len(scores(result))
    if not scores(result):
        return "all diverged"
    return format_interval(estimate(result)) + (f" ({dead} of {len(result['members'])} diverged)" if dead else "")


def older(
    lines: Sequence[Mapping[str, str]], rows: Sequence[Row], data_dir: str = DEFAULT_DATA_DIR
) -> list[Mapping[str, str]]:
    """Those lines of a record that the code as it is now would not give: VERSIONs, data or settings have changed. Where
    the data can't be had, nobody knows, and the line is one of them."""
    known = {row.name: row for row in rows}
    groups: dict[tuple[str, str, str, str], list[Mapping[str, str]]] = {}
    for line in lines:
        groups.setdefault((line["row"], line["mixer"], line["learning_rate"], line["key"]), []).append(line)

    def current(row: str, mixer: str, rate: str, key: str, seeds: tuple[int, ...]) -> bool:
        if row not in known:
            return False
        try:
            config = builder.build_run(configure(known[row], mixer, seeds, (float(rate),)), data_dir).config
            return files.fingerprint(config_identity(config, data_dir)) == key
        except (OSError, ValueError):
            return False

    found: list[Mapping[str, str]] = []
    for group, some in groups.items():
        if not current(*group, tuple(int(line["seed"]) for line in some)):
            found += some
    return found


def outdated_note(outdated: int, total: int) -> str:
    """The sentence that explains the mark; empty where nothing is older."""
    told_of = f"{OUTDATED_MARK}: {outdated} of {total} cells are of older code, whose VERSIONs, data or settings have changed."
    return told_of if outdated else ""
