"""What running a study's trials together saves: the study `rates` against each of its trials as a train.py of its own.

  python -m experiments.benchmarks.batched_study                            6 models × 3 rates × 5 seeds, smoke scale
  python -m experiments.benchmarks.batched_study --scale=quick --sample=2   two trials of each model stand for fifteen

Both sides are processes that a user would start. Each side begins with an empty cache of compiled programs, which a
model's later trials find filled. Reported are wall-clock seconds, and of these the seconds of training steps alone,
without starting, compiling and evaluating. With --sample, a model's first trial counts as itself and the others stand
for the rest. The record is experiments/records/together.csv.
"""

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from configs.recall import get_config
from experiments.ablation import study
from experiments.ablation.record_files import RECORDS_DIR, replace_rows
from experiments.ablation.runner import candidate_rates
from experiments.ablation.study import Setting
from experiments.benchmarks.processes import time_process
from training import builder, cli, files
from training.progress import format_duration

RECORD = RECORDS_DIR / "together.csv"
Trial = tuple[Setting, int, float]  # setting, seed, learning rate


class Seconds(NamedTuple):
    """Wall-clock seconds of processes, and of these the seconds of training steps."""

    total: float
    training: float

    @property
    def rest(self) -> float:
        """Seconds of starting, compiling and evaluating."""
        return self.total - self.training

    def __str__(self) -> str:
        return f"{format_duration(self.total)} of which {format_duration(self.training)} training steps"


def time_study(scale: str, folder: Path) -> Seconds:
    """The whole study in one process."""
    words = ["-m", "experiments.run", "--study=rates", f"--scale={scale}", f"--workdir={folder / 'study'}"]
    seconds = time_process(words, folder / "cache together")
    trials = [json.loads(line) for line in (folder / "study" / "cells.jsonl").read_text().splitlines()]
    return Seconds(seconds, sum(trial["training_seconds"] for trial in trials))


def time_separate_runs(trials: list[Trial], sample: int, folder: Path) -> Seconds:
    """One model's trials, each as a process of its own; of a `sample`, an estimate for all of them."""
    timed = [_time_trial(trial, folder) for trial in trials[: sample or None]]
    weight = (len(trials) - 1) / max(1, len(timed) - 1)  # trials that each trial but the first stands for
    first, others = timed[0], timed[1:]
    return Seconds(
        first.total + weight * sum(other.total for other in others),
        first.training + weight * sum(other.training for other in others),
    )


def _time_trial(trial: Trial, folder: Path) -> Seconds:
    setting, seed, rate = trial
    workdir = folder / "apart" / f"{study.format_labels(setting.labels)} {seed}".replace(" ", "-")
    words = ["train.py", f"--config=configs/recall.py:{setting.labels['mixer']}", f"--workdir={workdir}"]
    words += _config_flags(setting)
    words += [f"--config.ensemble.seeds={seed},", f"--config.optimizer.learning_rate={rate}", "--notensorboard"]
    seconds = time_process(words, folder / "cache apart")
    return Seconds(seconds, files.read_json(workdir / "result.json")["training_seconds"])


def _config_flags(setting: Setting) -> list[str]:
    """The fields that the study sets, except rate and seed, as flags."""
    usual = builder.flatten_config(get_config(setting.labels["mixer"]).to_dict())
    set_apart = ("ensemble.", "optimizer.learning_rate")
    return [
        f"--config.{name}={value}"
        for name, value in builder.flatten_config(setting.config).items()
        if usual.get(name) != value and not name.startswith(set_apart)
    ]


def _sample_size(row: Mapping[str, Any]) -> float:
    """How many trials of each model a row of the record rests on."""
    return math.inf if row["sample"] == "all" else float(row["sample"])


def main() -> None:
    args: Any = flags.FLAGS
    if args.sample == 1:
        raise ValueError("--sample=1: one trial says nothing of those whose program is compiled; give 2 or more")
    rates_study = study.load_study("rates")
    study.validate_study(rates_study, args.scale)
    others = [row for row in files.read_csv(RECORD) if row["scale"] != args.scale]
    new_row = {"scale": args.scale, "sample": args.sample or "all"}
    files.check_no_rows_lost(RECORD, [*others, new_row], ("scale",), _sample_size)
    scale = rates_study.scales[args.scale]
    trials_by_mixer: dict[str, list[Trial]] = {}
    for setting in study.resolve_settings(rates_study, scale):
        trials = [(setting, seed, candidate_rates(setting, scale)[0]) for seed in scale.seeds]
        trials_by_mixer.setdefault(setting.labels["mixer"], []).extend(trials)
    with tempfile.TemporaryDirectory() as name:
        together = Seconds(*time_study(args.scale, Path(name)))
        print(f"together: {together}", flush=True)
        apart = Seconds(0, 0)
        for mixer, trials in trials_by_mixer.items():
            own = Seconds(*time_separate_runs(trials, args.sample, Path(name)))
            apart = Seconds(apart.total + own.total, apart.training + own.training)
            run = f"{args.sample} of {len(trials)} run" if args.sample else f"{len(trials)} run"
            print(f"apart: {mixer} {own} ({run})", flush=True)
    count = sum(map(len, trials_by_mixer.values()))
    print(f"apart, all {count} trials: {apart}")
    print(
        f"together takes {together.total / apart.total:.2f} of the time apart: "
        f"{together.training / apart.training:.2f} in training steps, {together.rest / apart.rest:.2f} in starting, "
        "compiling and evaluating"
    )
    row = {"scale": args.scale, "cells": count, "sample": args.sample or "all", **_record_fields(together, apart)}
    replace_rows(RECORD, [row], ("scale",))
    print(f"wrote {RECORD}")


def _record_fields(together: Seconds, apart: Seconds) -> dict[str, str]:
    return {
        "together_seconds": f"{together.total:.0f}",
        "together_training": f"{together.training:.0f}",
        "apart_seconds": f"{apart.total:.0f}",
        "apart_training": f"{apart.training:.0f}",
        "ratio": f"{together.total / apart.total:.3f}",
        "training_ratio": f"{together.training / apart.training:.3f}",
    }


if __name__ == "__main__":
    flags.DEFINE_string("scale", "smoke", "smoke, quick or full.")
    flags.DEFINE_integer("sample", 0, "How many trials of each model run on their own; 0: all.", lower_bound=0)
    cli.run_command(main)
