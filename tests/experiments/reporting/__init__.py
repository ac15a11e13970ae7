"""Trials of a small study, as its record would give them, and a chart of many lines."""

from typing import Any

import numpy as np

from experiments.ablation.study import Labels, Scale, Study, claim_above
from experiments.ablation.trials import TrialRecord
from experiments.reporting.charts import MODEL_STYLES, LineChart, Series

NAMES = [*MODEL_STYLES, "mamba"]

RESULT: dict[str, Any] = {
    "died_at": None, "metric": "accuracy", "chance": 0.1, "baseline": ("a rule", 0.2), "best_step": 5, "steps": 600,
    "parameters": 1000, "mixer_parameters": 100, "state_floats": 64, "step_flops": 5000, "seconds": 1.5,
    "training_seconds": 1.0, "how": "map on 1", "device": "cpu", "revision": "abc", "group": "none",
}  # fmt: skip
STUDY = Study(
    "Is it so?",
    {},
    {"mixer": ("a", "b"), "n": (1, 2, 4)},
    {"quick": Scale((0, 1, 2))},
    (claim_above("a is better", {"mixer": "a"}, {"mixer": "b"}),),
    measures=("bits",),
    paper="Someone 1999",
)


def make_trial(labels: Labels, seed: int, score: float, metrics: dict[str, float] | None = None, **result: Any):
    """A reported trial with this test score; more metrics and fields of its result on request."""
    fields: Any = {
        **RESULT,
        "metrics": {"test": score, "validation": score, **(metrics or {})},
        "key": f"{labels}{seed}",
    }
    return TrialRecord(labels, "report", seed, 3e-3, fields | result)


def study_trials(**metrics: float) -> list[TrialRecord]:
    """The trials of STUDY: mixer a at 0.91, b at 0.51, `bits` above n, state of 64 n floats."""
    return [
        make_trial({"mixer": mixer, "n": n}, seed, level + seed / 100, {"bits": n + level, **metrics},
                   state_floats=64 * n)
        for mixer, level in (("a", 0.9), ("b", 0.5))
        for n in (1, 2, 4)
        for seed in (0, 1, 2)
    ]  # fmt: skip


def task_trials(axis: str = "task") -> list[TrialRecord]:
    """Two mixers on a task scored by accuracy and on one scored by bits, three seeds each."""
    rows = [("recall", "lstm", 0.8, "accuracy"), ("recall", "attention", 0.9, "accuracy")]
    rows += [
        ("irish_tunes", "lstm", 2.0, "bits per character"),
        ("irish_tunes", "attention", 2.5, "bits per character"),
    ]
    return [
        make_trial({axis: task, "mixer": mixer}, seed, level + seed / 100, metric=metric)
        for task, mixer, level, metric in rows
        for seed in range(3)
    ]


def curves(name, *, points=31, **rest) -> LineChart:
    """A chart with a line for each of NAMES."""
    steps = np.arange(points) * 100
    y = [np.linspace(0.03, 0.2 * i, points) for i in range(len(NAMES))]
    series = [Series(model, steps, mean, mean - 0.02, mean + 0.02) for model, mean in zip(NAMES, y, strict=True)]
    return LineChart(name, f"Title of {name}", "step", "accuracy", series, references=[("chance", 0.03)], **rest)
