"""What it spares to run a study's cells together: the study `rates` against each of its cells as train.py of its own.

  python -m experiments.benchmarks.batched_study                            6 models × 3 rates × 5 seeds at smoke scale
  python -m experiments.benchmarks.batched_study --scale=quick --sample=2  two cells of each model, counted as 15

Both sides are processes that a user would start, each side with an empty cache of compiled programs to begin with,
which a model's later cells find filled. Told are seconds of the clock, and apart from them the seconds of training
steps alone, without starting, compiling and evaluating. With --sample, a model's first cell counts as itself and the
others stand for the rest. The record is experiments/records/together.csv.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from configs.recall import get_config
from experiments.ablation import study
from experiments.ablation.record_files import RECORDS_DIR, replace_rows
from experiments.ablation.study import Setting
from experiments.ablation.trials import candidate_rates
from training import builder, cli, files
from training.progress import format_duration

RECORD = RECORDS_DIR / "together.csv"
ROOT = Path(__file__).parents[2]


def time_process(words: list[str], cache: Path) -> float:
    """Seconds that a program of this repository takes. Raises ValueError with its last line where it fails."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    begun = time.monotonic()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(words[:3])} failed: {done.stderr.strip().splitlines()[-1]}")
    return time.monotonic() - begun


def time_study(scale: str, folder: Path) -> tuple[float, float]:
    """Seconds of the whole study in one process, and of its training steps."""
    words = ["-m", "experiments.run", "--study=rates", f"--scale={scale}", f"--workdir={folder / 'study'}"]
    seconds = time_process(words, folder / "cache together")
    cells = [json.loads(line) for line in (folder / "study" / "cells.jsonl").read_text().splitlines()]
    return seconds, sum(cell["training_seconds"] for cell in cells)


def time_separate_runs(cells: list[tuple[Setting, int, float]], sample: int, folder: Path) -> tuple[float, float]:
    """The same of one model's cells as processes of their own."""
    found = []
    for setting, seed, rate in cells[: sample or None]:
        workdir = folder / "apart" / f"{study.format_labels(setting.labels)} {seed}".replace(" ", "-")
        words = [
            "train.py",
            f"--config=configs/recall.py:{setting.labels['mixer']}",
            f"--workdir={workdir}",
            *_config_flags(setting),
        ]
        words += [f"--config.ensemble.seeds={seed},", f"--config.optimizer.learning_rate={rate}", "--notensorboard"]
        seconds = time_process(words, folder / "cache apart")
        found.append((seconds, files.read_json(workdir / "result.json")["training_seconds"]))
    rest = (len(cells) - 1) / max(1, len(found) - 1)  # cells that each cell but the first stands for
    first, others = found[0], found[1:]
    total = [a + rest * sum(other[i] for other in others) for i, a in enumerate(first)]
    return total[0], total[1]


def _config_flags(setting: Setting) -> list[str]:
    """The fields that the study sets beside rate and seed, as flags."""
    usual = builder.flatten_config(get_config(setting.labels["mixer"]).to_dict())
    apart = ("ensemble.", "optimizer.learning_rate")
    own = {
        k: v for k, v in builder.flatten_config(setting.config).items() if usual.get(k) != v and not k.startswith(apart)
    }
    return [f"--config.{name}={value}" for name, value in own.items()]


def _sample_size(line: Mapping[str, Any]) -> float:
    """How many cells of each model a line of the record rests on."""
    return math.inf if line["sample"] == "all" else float(line["sample"])


def main() -> None:
    args: Any = flags.FLAGS
    if args.sample == 1:
        raise ValueError("--sample=1: one cell a model says nothing of those whose program is compiled; give 2 or more")
    one = study.load_study("rates")
    study.validate_study(one, args.scale)
    others = [row for row in files.read_csv(RECORD) if row["scale"] != args.scale]
    this = {"scale": args.scale, "sample": args.sample or "all"}
    files.check_no_rows_lost(RECORD, [*others, this], ("scale",), _sample_size)
    scale = one.scales[args.scale]
    models: dict[str, list[tuple[Setting, int, float]]] = {}
    for setting in study.resolve_settings(one, scale):
        cells = [(setting, seed, candidate_rates(setting, scale)[0]) for seed in scale.seeds]
        models.setdefault(setting.labels["mixer"], []).extend(cells)
    with tempfile.TemporaryDirectory() as name:
        whole = time_study(args.scale, Path(name))
        print(f"together: {format_duration(whole[0])} of which {format_duration(whole[1])} training steps", flush=True)
        alone = [0.0, 0.0]
        for mixer, some in models.items():
            seconds, training = time_separate_runs(some, args.sample, Path(name))
            alone = [alone[0] + seconds, alone[1] + training]
            told = f"{args.sample} of {len(some)} run" if args.sample else f"{len(some)} run"
            print(
                f"apart: {mixer} {format_duration(seconds)} of which {format_duration(training)} training steps ({told})",
                flush=True,
            )
    rest = (whole[0] - whole[1], alone[0] - alone[1])
    cells = sum(map(len, models.values()))
    print(f"apart, all {cells} cells: {format_duration(alone[0])}, of which {format_duration(alone[1])} training steps")
    print(
        f"together takes {whole[0] / alone[0]:.2f} of the time apart: {whole[1] / alone[1]:.2f} in training "
        f"steps, {rest[0] / rest[1]:.2f} in starting, compiling and evaluating"
    )
    line = {
        "scale": args.scale, "cells": cells, "sample": args.sample or "all",
        "together_seconds": f"{whole[0]:.0f}", "together_training": f"{whole[1]:.0f}",
        "apart_seconds": f"{alone[0]:.0f}", "apart_training": f"{alone[1]:.0f}", "ratio": f"{whole[0] / alone[0]:.3f}",
        "training_ratio": f"{whole[1] / alone[1]:.3f}",
    }  # fmt: skip
    replace_rows(RECORD, [line], ("scale",))
    print(f"wrote {RECORD}")


if __name__ == "__main__":
    flags.DEFINE_string("scale", "smoke", "smoke, quick or full.")
    flags.DEFINE_integer("sample", 0, "Of each model only so many cells on their own; 0: all.", lower_bound=0)
    cli.run_command(main)
