"""An A/A check: one model under two names. How often would our statistics call it two?

  python -m experiments.aa                 simulated and real, five minutes on two cores; writes the record
  python -m experiments.aa --real=0        simulated scores only, a minute
  python -m experiments.aa --table         from the record, nothing run

A trial draws the same number of scores twice from one distribution: normal; skewed, as losses are (exponential); or
saturated, as accuracies are at the top (three quarters of them exactly 1). A difference is called if its p is at most
5 %, which is what verdicts go by; beside that stands how often the interval that is printed leaves 0 out, which is the
same below ten seeds and from there on that of a bootstrap. Five of a hundred should be; Student's t promises it for
normal scores.
The real pairs are a small network fitted to a curve (configs/curve.py), one seed apart from the next; from one group of
seeds each pair takes as many fresh ones as a sample needs. The record is experiments/records/aa.csv.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

import command
import configs.curve
import machine
import train
from experiments.comparison import RECORDS
from experiments.judge import SURE
from experiments.record_files import read_record, write_record
from experiments.statistics import difference, p_value

RECORD = RECORDS / "aa.csv"
SEEDS = (3, 5, 10)
TRIALS, PAIRS = 2000, 20
ALLOWED = (0.03, 0.07)  # of normal scores: the claim, written before the run


def saturated(random: np.random.Generator, size: int) -> np.ndarray:
    return np.minimum(1, 1 + random.normal(0.067, 0.1, size))


SCORES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda random, size: random.normal(0.8, 0.1, size),
    "skewed": lambda random, size: random.exponential(0.1, size),
    "saturated": saturated,
}


def called(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[bool, bool]:
    """Whether a verdict would call the samples different, and whether the interval of their difference does."""
    found = difference(a, b, paired=paired)
    return p_value(a, b, paired=paired) <= SURE, not found.low <= 0 <= found.high


def simulated(trials: int) -> Iterator[dict[str, Any]]:
    """A line a distribution, number of seeds and pairing."""
    for name, draw in SCORES.items():
        for seeds in SEEDS:
            for paired in (True, False):
                random = np.random.default_rng([seeds, paired])
                found = [called(draw(random, seeds), draw(random, seeds), paired) for _ in range(trials)]
                yield line(name, seeds, paired, found)


def real(pairs: int, workdir: Path) -> Iterator[dict[str, Any]]:
    """The same of scores that were trained for: disjoint groups of seeds of one config."""
    config: Any = configs.curve.get_config()
    config.training.update(steps=200, eval_every=200, steps_per_call=100)
    config.replicas.seeds = tuple(range(2 * pairs * 5))
    machine.prepare(len(config.replicas.seeds))
    members = train.train(config, workdir, name="real pairs", tensorboard=False)["replicas"]
    scores = np.array([member["test"] for member in members])
    for seeds in (3, 5):
        groups = scores[: 2 * pairs * seeds].reshape(pairs, 2, seeds)
        yield line("real, a curve's error", seeds, False, [called(a, b, False) for a, b in groups])


def line(scores: str, seeds: int, paired: bool, found: list[tuple[bool, bool]]) -> dict[str, Any]:
    told = "paired" if paired else "independent"
    by_p, by_interval = map(sum, zip(*found, strict=True))
    counts = {"trials": len(found), "called": by_p, "interval": by_interval}
    return {"scores": scores, "seeds": seeds, "samples": told, **counts}


def told(one: dict[str, Any]) -> str:
    name, seeds, samples, trials, *counts = one.values()
    shares = [f"{int(count) / int(trials):>9.1%}" for count in counts]
    return f"{name:<22} {seeds:>5}  {samples:<12} {trials:>6} {' '.join(shares)}"


def verdict(lines: list[dict[str, Any]]) -> str:
    shares = [int(one["called"]) / int(one["trials"]) for one in lines if one["scores"] == "normal"]
    held = all(ALLOWED[0] <= share <= ALLOWED[1] for share in shares)
    return (
        f"{'' if held else 'not '}reproduced: of normal scores {ALLOWED[0]:.0%} to {ALLOWED[1]:.0%} are called "
        f"different ({min(shares):.1%} to {max(shares):.1%})"
    )


def main() -> None:
    args: Any = flags.FLAGS
    print(f"{'scores':<22} {'seeds':>5}  {'samples':<12} {'trials':>6} {'called':>9} {'interval':>9}")
    if args.table:
        lines = list(read_record(RECORD))
        print("\n".join(map(told, lines)))
        return print(verdict(lines))
    lines = []
    for some in (simulated(args.trials), real(args.real, Path(args.workdir)) if args.real else ()):
        for one in some:
            lines.append(one)
            print(told(one), flush=True)
    print(verdict(lines))
    if args.real >= PAIRS and args.trials >= TRIALS:
        records.none_lost(RECORD, lines, ("scores", "seeds", "samples"), lambda one: int(one["trials"]))
        write_record(RECORD, list(lines[0]), [list(one.values()) for one in lines])
        print(f"wrote {RECORD}")
    return None


if __name__ == "__main__":
    flags.DEFINE_integer("trials", TRIALS, "Simulated trials of each kind.", lower_bound=1)
    flags.DEFINE_integer("real", PAIRS, "Real pairs; 0 trains nothing.", lower_bound=0)
    flags.DEFINE_string("workdir", "runs/aa", "Where the real pairs are trained.")
    flags.DEFINE_bool("table", False, "Print the table from the record, and run nothing.")
    command.run(main)
