"""An A/A check: one model under two names. How often would our statistics call it two?

  python -m experiments.benchmarks.aa_test          simulated and real, ten minutes on two cores; writes the record
  python -m experiments.benchmarks.aa_test --real=0        simulated scores only
  python -m experiments.benchmarks.aa_test --table         from the record, nothing run

A trial draws the same number of scores twice from one distribution: normal; skewed, as losses are (exponential);
saturated, as accuracies are at the top (three quarters of them exactly 1); right or wrong, as where seeds solve a task
or don't; or shares of 178 or 512 answers, each seed with a chance of its own (0.90 ± 0.01) to be right. A difference is
called if its p is at most 5 %; beside that stands how often the interval that is printed leaves 0 out. Five of a
hundred should be; Student's t promises it for normal scores.

A study asks ten such questions and is judged as any other is (ablation/verdicts.py): ten times whether one of two
settings alike is higher than the other, or than the chance that it has. "Called" is how often any of the ten is found
"reproduced" or "contradicted", and at most 5 of a hundred are meant. Some studies have so many seeds, those "until
decided", of ten claims or of one, are looked at with 3, 5, 8 and 12, and run on while a claim is undecided
(ablation/looks.py).

The real pairs are a small network fitted to a curve (configs/curve.py), one seed apart from the next; from one group of
seeds each pair takes as many fresh ones as a sample needs. The record is experiments/records/aa.csv.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

import configs.curve
from experiments.ablation.comparisons import compare_settings
from experiments.ablation.intervals import difference_interval, mean_interval, p_value
from experiments.ablation.looks import LOOK_LEVEL, LOOKS
from experiments.ablation.record_files import RECORDS_DIR, read_record, write_record
from experiments.ablation.study import claim_above, load_study, study_names
from experiments.ablation.trial_scores import values_by_seed
from experiments.ablation.trials import TrialRecord
from experiments.ablation.verdicts import SIGNIFICANCE_LEVEL, correct_p_values, decide_verdict
from experiments.reporting.study_report import read_study_record, record_path
from training import cli, files, loop, runtime

RECORD_PATH = RECORDS_DIR / "aa.csv"
SEED_COUNTS = (3, 5, 10)
GRID_SEED_COUNTS = (2, *SEED_COUNTS)  # of scores on a grid, where two seeds often tie
TRIALS, PAIRS = 2000, 20
CLAIM_KINDS = ("ten pairs", "ten numbers")
STOPPING_KINDS = ("ten pairs", "one pair", "one number")
ANSWER_RATES = (0.9, 0.99, 0.998)
ALLOWED_RATE = (0.03, 0.07)  # of normal scores: the claim, written before the run
MAX_STUDY_RATE = 0.05  # of studies, up to three standard errors of so many draws


Draw = Callable[[np.random.Generator, int], np.ndarray]


def saturated_scores(random: np.random.Generator, size: int) -> np.ndarray:
    return np.minimum(1, 1 + random.normal(0.067, 0.1, size))


def share_scores(answers: int) -> Draw:
    return lambda random, size: random.binomial(answers, random.normal(0.9, 0.01, size)) / answers


ANSWERS = {"178 answers": 178, "512 answers": 512}
STEPS = {"right or wrong": 1.0, **{name: 1 / answers for name, answers in ANSWERS.items()}}
DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda random, size: random.normal(0.8, 0.1, size),
    "skewed": lambda random, size: random.exponential(0.1, size),
    "saturated": saturated_scores,
    "right or wrong": lambda random, size: random.binomial(1, 0.5, size).astype(float),
    **{name: share_scores(answers) for name, answers in ANSWERS.items()},
}


def is_called(a: np.ndarray, b: np.ndarray, paired: bool, step: float = 0.0) -> tuple[bool, bool]:
    """Whether a verdict would call the samples different, and whether the interval of their difference does."""
    found = difference_interval(a, b, paired=paired, step=step)
    return p_value(a, b, paired=paired, step=step) <= SIGNIFICANCE_LEVEL, not found.low <= 0 <= found.high


def simulate_samples(trials: int) -> Iterator[dict[str, Any]]:
    """A line a distribution, number of seeds and pairing."""
    for name, draw in DISTRIBUTIONS.items():
        step = STEPS.get(name, 0.0)
        for seeds in GRID_SEED_COUNTS if step else SEED_COUNTS:
            for paired in (True, False):
                random = np.random.default_rng([seeds, paired])
                found = [is_called(draw(random, seeds), draw(random, seeds), paired, step) for _ in range(trials)]
                by_p, by_interval = map(sum, zip(*found, strict=True))
                yield result_row(name, seeds, "paired" if paired else "independent", by_p, by_interval, trials)


def simulate_studies(trials: int) -> Iterator[dict[str, Any]]:
    """A line a grid, chance of being right, number of seeds and kind of claim: how many studies had a false alarm."""
    for (name, answers), chance, seeds, kind in itertools.product(
        ANSWERS.items(), ANSWER_RATES, GRID_SEED_COUNTS, CLAIM_KINDS
    ):
        random = np.random.default_rng([answers, round(1000 * chance), seeds, CLAIM_KINDS.index(kind)])

        def draw(random: np.random.Generator, size: int, n: int = answers, p: float = chance) -> np.ndarray:
            return random.binomial(n, p, size) / n

        found = sum(has_false_alarm(random, draw, (seeds,), chance, kind) for _ in range(trials))
        yield result_row(f"{name}, {chance:g} right", seeds, kind, found, None, trials)


def simulate_stopping(trials: int) -> Iterator[dict[str, Any]]:
    """A line a distribution and kind of claim: the same of studies that run until they are decided.

    A study of one claim stops as soon as that is decided, one of ten claims hardly ever before the last look.
    """
    for (name, draw), kind in itertools.product(DISTRIBUTIONS.items(), STOPPING_KINDS):
        random = np.random.default_rng([len(name), STOPPING_KINDS.index(kind)])
        mean = float(draw(random, 1_000_000).mean())
        found = sum(has_false_alarm(random, draw, LOOKS, mean, kind) for _ in range(trials))
        yield result_row(f"{name}, until decided", LOOKS[-1], kind, found, None, trials)


def has_false_alarm(random: np.random.Generator, draw: Draw, looks: Sequence[int], chance: float, kind: str) -> bool:
    """Whether a study of settings alike decides one of its claims, at the last look that it takes."""
    count = 1 if kind.startswith("one") else 10
    names = [f"{side}{i}" for i in range(count) for side in "ab"]
    right = [{"model": f"b{i}"} if "pair" in kind else chance for i in range(count)]
    claims = [claim_above("", {"model": f"a{i}"}, right[i]) for i in range(count)]
    scores = {name: draw(random, looks[-1]) for name in names}
    shares = all(((some >= 0) & (some <= 1)).all() for some in scores.values())
    cell: Any = {"died_at": None, "metric": "accuracy" if shares else "loss", "chance": 0.5, "baseline": ("none", 0.5)}
    level = LOOK_LEVEL if len(looks) > 1 else SIGNIFICANCE_LEVEL
    verdicts: set[str] = set()
    for seeds in looks:
        lines = [
            TrialRecord({"model": name}, "report", seed, 1e-3, cell | {"metrics": {"test": score}})
            for name in names
            for seed, score in enumerate(scores[name][:seeds])
        ]
        judged = correct_p_values([compare_settings(claim, lines) for claim in claims])
        verdicts = {decide_verdict(one, level) for one in judged}
        if "undecided" not in verdicts:
            break
    return bool(verdicts & {"reproduced", "contradicted"})


def train_real_pairs(pairs: int, workdir: Path) -> Iterator[dict[str, Any]]:
    """The same of scores that were trained for: disjoint groups of seeds of one config."""
    config: Any = configs.curve.get_config()
    config.training.update(steps=200, eval_every=200, steps_per_call=100)
    config.ensemble.seeds = tuple(range(2 * pairs * 5))
    runtime.configure_runtime(len(config.ensemble.seeds))
    members = loop.train(config, workdir, name="real pairs", tensorboard=False)["members"]
    scores = np.array([member["test"] for member in members])
    for seeds in (3, 5):
        groups = scores[: 2 * pairs * seeds].reshape(pairs, 2, seeds)
        found = [is_called(a, b, False) for a, b in groups]
        by_p, by_interval = map(sum, zip(*found, strict=True))
        yield result_row("real, a curve's error", seeds, "independent", by_p, by_interval, pairs)


def recorded_correlations() -> list[float]:
    """How much the scores of one seed go together, in every two settings that a claim compares and a record has."""
    found = {}
    for name in study_names():
        loaded = load_study(name)
        if not record_path(name, "quick").exists():
            continue
        trials = read_study_record(name, loaded, "quick")
        for compared in itertools.chain.from_iterable(compare_settings(claim, trials) for claim in loaded.claims):
            left, right, metric = compared.left, compared.right, compared.claim.metric
            if not isinstance(right, dict) or compared.lost_seeds or compared.difference.n < min(SEED_COUNTS):
                continue
            pair = [list(values_by_seed(trials, labels, metric).values()) for labels in (left, right)]
            if min(map(np.ptp, pair)) > 0:
                found[repr((name, left, right, metric))] = statistics.correlation(*pair)
    return list(found.values())


def format_correlations(correlations: Sequence[float]) -> str:
    low, high = mean_interval(correlations)[1:3]
    return (
        f"the scores of one seed in two settings that are compared have a correlation of {np.mean(correlations):.2f} "
        f"[{low:.2f}, {high:.2f}] on average, in {len(correlations)} pairs of settings on record"
    )


def result_row(
    scores: str, seeds: int, samples: str, by_p: int, by_interval: int | None, trials: int
) -> dict[str, Any]:
    counts = {"trials": trials, "called": by_p, "interval": "" if by_interval is None else by_interval}
    return {"scores": scores, "seeds": seeds, "samples": samples, **counts}


def format_row(one: dict[str, Any]) -> str:
    name, seeds, samples, trials, *counts = one.values()
    shares = [f"{int(count) / int(trials):>9.1%}" if count != "" else f"{'–':>9}" for count in counts]
    return f"{name:<24} {seeds:>5}  {samples:<12} {trials:>6} {' '.join(shares)}"


def format_verdict(lines: list[dict[str, Any]]) -> str:
    normal = [called_share(one) for one in lines if one["scores"] == "normal"]
    studies = [one for one in lines if one["samples"] in {*CLAIM_KINDS, "one pair"}]
    held = all(ALLOWED_RATE[0] <= share <= ALLOWED_RATE[1] for share in normal)
    for one in studies:
        error = math.sqrt(MAX_STUDY_RATE * (1 - MAX_STUDY_RATE) / int(one["trials"]))
        held &= called_share(one) <= MAX_STUDY_RATE + 3 * error
    text = (
        f"{'' if held else 'not '}reproduced: of normal scores {ALLOWED_RATE[0]:.0%} to {ALLOWED_RATE[1]:.0%} are "
        f"called different ({min(normal):.1%} to {max(normal):.1%}), and at most {MAX_STUDY_RATE:.0%} of studies have "
        f"a false alarm, as far as the draws can tell ({min(map(called_share, studies)):.1%} to "
        f"{max(map(called_share, studies)):.1%})"
    )
    if numbers := [one for one in lines if one["samples"] == "one number"]:
        worst = max(numbers, key=called_share)
        text += f"\nbeside a number, and until decided, at most {called_share(worst):.1%} ({worst['scores']})"
    return text


def called_share(one: dict[str, Any]) -> float:
    return int(one["called"]) / int(one["trials"])


def main() -> None:
    args: Any = flags.FLAGS
    print(f"{'scores':<24} {'seeds':>5}  {'samples':<12} {'trials':>6} {'called':>9} {'interval':>9}")
    if args.table:
        lines = list(read_record(RECORD_PATH))
        print("\n".join(map(format_row, lines)))
        print(format_verdict(lines))
        return print(format_correlations(recorded_correlations()))
    lines = []
    some_real = train_real_pairs(args.real, Path(args.workdir)) if args.real else ()
    simulated = (simulate_samples, simulate_studies, simulate_stopping)
    for some in (*(simulate(args.trials) for simulate in simulated), some_real):
        for one in some:
            lines.append(one)
            print(format_row(one), flush=True)
    print(format_verdict(lines))
    print(format_correlations(recorded_correlations()))
    if args.real >= PAIRS and args.trials >= TRIALS:
        files.check_no_rows_lost(RECORD_PATH, lines, ("scores", "seeds", "samples"), lambda one: int(one["trials"]))
        write_record(RECORD_PATH, list(lines[0]), [list(one.values()) for one in lines])
        print(f"wrote {RECORD_PATH}")
    return None


if __name__ == "__main__":
    flags.DEFINE_integer("trials", TRIALS, "Simulated trials of each kind.", lower_bound=1)
    flags.DEFINE_integer("real", PAIRS, "Real pairs; 0 trains nothing.", lower_bound=0)
    cli.define_directory("workdir", "runs/aa", "Where the real pairs are trained.")
    flags.DEFINE_bool("table", False, "Print the table from the record, and run nothing.")
    cli.run_command(main)
