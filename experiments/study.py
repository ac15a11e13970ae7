"""The cells of a comparison: which mixer on which task, with which learning rate, trained once and found again."""

import csv
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import records
import train
from experiments.statistics import Interval, format_interval, interval

MIXERS = ("attention", "lstm", "gru", "rnn", "dense")
RECURRENT = ("lstm", "gru", "rnn")
RATES = (1e-3, 3e-3, 1e-2)
RECORDS = Path(__file__).parent / "records"

Results = dict[tuple[str, str], dict[str, Any]]  # (row, mixer): what train.train returned


class Row(NamedTuple):
    """One column of the comparison: a task under the name it is shown by, and what it changes in that task's config."""

    name: str
    config: str
    changes: dict[str, Any]


class Scale(NamedTuple):
    """How much of everything. `choosing` are the seeds that learning rates are chosen with."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    choosing: tuple[int, ...]
    lengths: tuple[int, ...]
    context: int


def configure(row: Row, mixer: str, seeds: tuple[int, ...], rates: tuple[float, ...]) -> Any:
    """The config of one cell, its replicas being every seed with every rate."""
    config: Any = importlib.import_module(f"configs.{row.config}").get_config(mixer)
    config.update_from_flattened_dict(row.changes)
    config.replicas.seeds, config.replicas.learning_rates = seeds, rates
    return config


def settings_key(row: Row, mixer: str) -> str:
    """What a choice of learning rate holds for: everything in the config but the rate and the seeds."""
    config = configure(row, mixer, (), ()).to_dict()
    del config["replicas"], config["optimizer"]["learning_rate"]
    return records.key(config)


def recorded_rates() -> dict[str, dict[float, list[float]]]:
    """Settings → rate → validation scores, from the record in the repository."""
    found: dict[str, dict[float, list[float]]] = {}
    path = RECORDS / "rates.csv"
    if path.exists():
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                score = float(line["validation"] or "nan")
                found.setdefault(line["settings"], {}).setdefault(float(line["learning_rate"]), []).append(score)
    return found


def choose(scores: dict[float, list[float]], best: str) -> float:
    """The rate with the best mean score; one at which any seed diverged can't win against one at which none did."""
    sign = 1 if best == "max" else -1
    means = {rate: sign * sum(values) / len(values) for rate, values in scores.items()}
    alive = {rate: mean for rate, mean in means.items() if mean == mean}
    if not alive:
        raise ValueError(f"every learning rate of {sorted(scores)} diverged")
    return max(alive, key=alive.__getitem__)


class Study:
    """The cells of one scale, in one directory; each is a run of train.py and resumes like one."""

    def __init__(self, name: str, scale: Scale, workdir: Path, data_dir: str, only: list[str]):
        self.name, self.scale, self.workdir, self.data_dir = name, scale, workdir, data_dir
        known = [row.name for row in self.scale.rows]
        unknown = [name for name in only if name not in known]
        if unknown:
            raise ValueError(f"--only={','.join(only)}: {unknown[0]} is none of {', '.join(known)}")
        self.rows = [row for row in self.scale.rows if not only or row.name in only]
        self.rates = recorded_rates()
        self.total, self.done = len(self.rows) * len(MIXERS), 0

    def directory(self, row: Row, mixer: str, part: str = "") -> Path:
        return self.workdir / f"{row.name} {mixer}{part}".replace(" ", "-")

    def train(
        self, row: Row, mixer: str, seeds: tuple[int, ...], rates: tuple[float, ...], part: str = ""
    ) -> dict[str, Any]:
        return train.train(
            configure(row, mixer, seeds, rates),
            self.directory(row, mixer, part),
            data_dir=self.data_dir,
            name=f"{self.done + 1}/{self.total} {row.name} {mixer}{part}",
            save_seconds=10,
            tensorboard=False,
        )

    def grid(self, row: Row, mixer: str) -> dict[str, Any]:
        """Every rate with the seeds kept for choosing."""
        return self.train(row, mixer, self.scale.choosing, RATES, " rates")

    def rate(self, row: Row, mixer: str) -> float:
        """The recorded choice for these settings, or one made now."""
        scores = self.rates.get(settings_key(row, mixer), {})
        config = train.build(configure(row, mixer, (0,), ()), self.data_dir)
        if set(scores) != set(RATES):
            scores = {}
            for member in self.grid(row, mixer)["replicas"]:
                score = float("nan") if member["died_at"] is not None else member["validation"]
                scores.setdefault(member["learning_rate"], []).append(score)
        return choose(scores, config.task.best)

    def cells(self) -> Iterator[tuple[Row, str, float, dict[str, Any]]]:
        for row in self.rows:
            for mixer in MIXERS:
                rate = self.rate(row, mixer)
                yield row, mixer, rate, self.train(row, mixer, self.scale.seeds, (rate,))
                self.done += 1


def scores(result: dict[str, Any]) -> list[float]:
    """The test scores of the replicas that lived."""
    return [member["test"] for member in result["replicas"] if member["died_at"] is None and member["test"] is not None]


def bounds(result: dict[str, Any]) -> tuple[float, float]:
    return (0.0, 1.0) if result["metric"] == "accuracy" else (0.0, float("inf"))


def estimate(result: dict[str, Any]) -> Interval:
    """Mean and interval over the seeds that lived; nan where none did."""
    nan = float("nan")
    return interval(scores(result), bounds=bounds(result)) if scores(result) else Interval(nan, nan, nan, 0, "none")


def told(result: dict[str, Any]) -> str:
    """Mean and interval, and how many seeds diverged, if any."""
    dead = len(result["replicas"]) - len(scores(result))
    if not scores(result):
        return "all diverged"
    return format_interval(estimate(result)) + (f" ({dead} of {len(result['replicas'])} diverged)" if dead else "")
