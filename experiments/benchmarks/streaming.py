"""Training on a gigabyte of text that stays on disk: preparing, speed, memory, and twenty kills.

  python -m experiments.benchmarks.streaming                        in an hour on two cores; writes the record
  python -m experiments.benchmarks.streaming --mebibytes=64         the same with less text, for a look; no record

The text is the source of Python's standard library, over and over, with one character in a hundred replaced, so that no
two copies are alike. It is prepared twice, at a sixteenth of the size and at the whole, each in a process of its own
whose peak memory is read at its end. Then the same model is trained on it from memory and from disk in turn, each in a
new process, and last, a run from disk is killed with SIGKILL again and again, and its numbers are held against those of
one that was not. The record is experiments/records/streaming.csv. A command that was stopped goes on with what is left.
"""

import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments.ablation.record_files import RECORDS_DIR, write_record
from experiments.benchmarks.processes import ROOT, run_module
from training import cli, files, loop, metrics
from training.console import print_status

MIXERS = ("gru", "attention")
REPETITIONS = 3  # processes of each kind
STEPS = 2000  # of a timed run
NOISE = 0.01  # share of the characters that a copy replaces
KILLS = 20
_MIB = 2**20
_COLUMNS = ("what", "of", "value", "unit")


def write_corpus(path: Path, size: int) -> None:
    """Write `size` bytes of text: copies of Python's standard library, each with noise of its own."""
    from data.sources import python

    text = "\n\n".join(python.read_source().values())
    copy = np.frombuffer(text.encode("ascii", "ignore"), np.uint8)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        while (left := size - file.tell()) > 0:
            noisy = copy.copy()
            places = rng.integers(0, len(copy), int(NOISE * len(copy)))
            is_letter = (noisy[places] >= ord("a")) & (noisy[places] <= ord("z"))
            places = places[is_letter]
            noisy[places] = rng.choice(letters, len(places))
            file.write(noisy.tobytes()[:left])


def make_config(path: Path, mixer: str, stream: str, steps: int) -> dict[str, Any]:
    """The config of configs/text.py, without evaluation before the last step."""
    from configs import text

    config: Any = text.get_config(mixer)
    config.task.path, config.task.stream = str(path), stream
    config.training.update(steps=steps, eval_every=steps)
    return config.to_dict()


# ---- what runs in a process of its own ------------------------------------------------------------------------------


def prepare_alone(path: str, tokenizer: str, data_dir: str) -> dict[str, float]:
    """Prepare a text; seconds, and MiB of memory at the peak and before."""
    from data.files import load_files

    before, begun = _peak_memory(), time.monotonic()
    load_files("text", {"path": path, "tokenizer": tokenizer, "stream": "yes"}, data_dir)
    return {"seconds": time.monotonic() - begun, "peak": _peak_memory(), "before": before}


def train_alone(path: str, mixer: str, stream: str, steps: str, data_dir: str, workdir: str) -> dict[str, float]:
    """Train; steps per second without the first call, which compiles, and MiB of memory at the peak."""
    config = make_config(Path(path), mixer, stream, int(steps))
    loop.train(config, workdir, data_dir=data_dir, tensorboard=False, save_seconds=1e9)
    calls = [row for row in metrics.read_metrics(Path(workdir) / "metrics.jsonl") if row["split"] == "train"]
    seconds = sum(row["seconds"] for row in calls[1:])
    return {"steps_per_second": (calls[-1]["step"] - calls[0]["step"]) / seconds, "peak": _peak_memory()}


def _peak_memory() -> float:
    """MiB that this process had resident at the most."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would begin with what the parent process had when it started this one
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


_TASKS = {"prepare": prepare_alone, "train": train_alone}


def _run_alone(task: str, *words: Any) -> dict[str, float]:
    given = ",".join(map(str, words))
    answer = run_module("experiments.benchmarks.streaming", f"--alone={task}", f"--words={given}")
    if "error" in answer:
        raise ValueError(f"{task}: {answer['error']}")
    return answer


# ---- the measurements -----------------------------------------------------------------------------------------------


def measure_preparation(folder: Path, size: int) -> Iterator[tuple[Any, ...]]:
    """Speed and peak memory of preparing the whole text and a sixteenth of it."""
    for label, part in (("a sixteenth", size // 16), ("all", size)):
        path = folder / f"text-{part}.txt"
        if not path.exists():
            write_corpus(path, part)
        for tokenizer in ("characters", "bytes"):
            data_dir = folder / f"data-{part}"
            shutil.rmtree(data_dir / "files", ignore_errors=True)
            result = _run_alone("prepare", path, tokenizer, data_dir)
            yield "preparing", f"{label}, {tokenizer}", part / _MIB / result["seconds"], "MiB/s"
            yield "peak memory of preparing", f"{label}, {tokenizer}", result["peak"] - result["before"], "MiB"
    shutil.rmtree(folder / f"data-{size}" / "files", ignore_errors=True)


def measure_training(folder: Path, size: int) -> Iterator[tuple[Any, ...]]:
    """Steps per second from memory and from disk in turn, their ratio, and memory above that of a small text."""
    path, data_dir = folder / f"text-{size}.txt", folder / f"data-{size}"
    small = folder / "small.txt"
    if not small.exists():
        write_corpus(small, 2**20)
    for mixer in MIXERS:
        speeds: dict[str, list[float]] = {"no": [], "yes": []}
        peaks: dict[str, list[float]] = {"no": [], "yes": [], "small": []}
        _run_alone("train", path, mixer, "yes", 100, data_dir, _new_workdir(folder))  # prepares, and fills caches
        for _ in range(REPETITIONS):
            for stream, source in (("no", path), ("yes", path), ("small", small)):
                option = "no" if stream == "small" else stream
                result = _run_alone("train", source, mixer, option, STEPS, data_dir, _new_workdir(folder))
                peaks[stream].append(result["peak"])
                if stream != "small":
                    speeds[stream].append(result["steps_per_second"])
        for stream, label in (("no", "from memory"), ("yes", "from disk")):
            yield "training", f"{mixer}, {label}", statistics.median(speeds[stream]), "steps/s"
            above = statistics.median(peaks[stream]) - statistics.median(peaks["small"])
            yield "memory above that of 1 MiB of text", f"{mixer}, {label}", above, "MiB"
        ratios = [disk / memory for disk, memory in zip(speeds["yes"], speeds["no"], strict=True)]
        yield "from disk over from memory", f"{mixer}, median", statistics.median(ratios), "ratio"
        yield "from disk over from memory", f"{mixer}, lowest", min(ratios), "ratio"


def _new_workdir(folder: Path) -> Path:
    workdir = folder / "run"
    shutil.rmtree(workdir, ignore_errors=True)
    return workdir


def measure_kills(folder: Path, size: int, steps: int = 2000) -> Iterator[tuple[Any, ...]]:
    """Kill a run from disk `KILLS` times, and compare what it ends with to a run that was left alone."""
    path, data_dir = folder / f"text-{size}.txt", folder / f"data-{size}"
    words = [
        *("train.py", "--config=configs/text.py:gru", f"--config.task.path={path}", "--config.task.stream=yes"),
        *(f"--config.training.steps={steps}", f"--config.training.eval_every={steps // 4}"),
        *("--save_seconds=0", f"--data_dir={data_dir}", "--notensorboard"),
    ]
    whole, killed = folder / "whole", folder / "killed"
    for workdir in (whole, killed):
        shutil.rmtree(workdir, ignore_errors=True)
    subprocess.run([sys.executable, *words, f"--workdir={whole}"], cwd=ROOT, check=True, capture_output=True)
    rng, kills, places = random.Random(0), 0, []
    while kills < KILLS:
        process = subprocess.Popen(
            [sys.executable, *words, f"--workdir={killed}"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        log = killed / "metrics.jsonl"
        size_before = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_size <= size_before):
            time.sleep(0.01)  # until it has trained: a kill before that would stop nothing
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is not None:
            raise ValueError(f"the run ended after {kills} kills, before the last one: give it more steps")
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        places.append(sum(1 for _ in log.open()))
        print_status(f"kill {kills} of {KILLS}: {places[-1]} rows of the log")
    subprocess.run([sys.executable, *words, f"--workdir={killed}"], cwd=ROOT, check=True, capture_output=True)
    results = [files.read_json(workdir / "result.json")["members"] for workdir in (whole, killed)]
    logs = [_read_log(workdir / "metrics.jsonl") for workdir in (whole, killed)]
    yield "kills", "SIGKILL while training from disk", kills, "times"
    yield "kills", "different scores at the end", int(results[0] != results[1]), "of 1"
    different = sum(logs[0].get(row) != logs[1].get(row) for row in logs[0].keys() | logs[1].keys())
    yield "kills", "different rows of the log", different, f"of {len(logs[0])}"


def _read_log(path: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """The rows of a log by step and split, without their times and what follows from these."""
    return {
        (row["step"], row["split"]): {
            name: value for name, value in row.items() if "seconds" not in name and name != "checksum"
        }
        for row in metrics.read_metrics(path)
    }


_MEASUREMENTS = {"preparing": measure_preparation, "training": measure_training, "kills": measure_kills}


def main() -> None:
    args: Any = flags.FLAGS
    if args.alone:
        return print(json.dumps(_TASKS[args.alone](*args.words)))
    folder, size = Path(args.workdir), args.mebibytes * _MIB
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[Any]] = []
    for name, measure in _MEASUREMENTS.items():
        path = folder / f"{name}-{args.mebibytes}.json"  # what was measured before a stop is not measured again
        if not path.exists():
            measured = []
            for what, of, value, unit in measure(folder, size):
                measured.append([what, of, f"{value:.4g}", unit])
                print(f"{what}: {of}: {value:.4g} {unit}", flush=True)
            files.write_json(path, measured)
        rows += files.read_json(path)
    rows.append(["text", "size", args.mebibytes, "MiB"])
    rows.append(["machine", "cores", os.cpu_count(), ""])
    record = RECORDS_DIR / "streaming.csv" if args.mebibytes >= 1024 else folder / "streaming.csv"
    write_record(record, _COLUMNS, rows)
    print(f"wrote {record}")
    return None


if __name__ == "__main__":
    flags.DEFINE_integer("mebibytes", 1024, "How much text; the record is written from a gibibyte on.", lower_bound=1)
    flags.DEFINE_enum("alone", None, list(_TASKS), "What this process measures, with further words as arguments.")
    flags.DEFINE_list("words", [], "Those words.")
    cli.define_directory("workdir", "runs/streaming", "Where the text and what is prepared of it go.")
    cli.run_command(main)
