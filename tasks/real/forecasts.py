"""Simple rules that forecast a time series: what a model is to be held against.

All see the windows that a model is scored on, and nothing else of the test split: the last value; the value of a season
before; and a linear model of the window, fitted to windows of the training part.
"""

import dataclasses
import hashlib
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Integer

FITTED_WINDOWS = 8192  # of the training part, at most
FITTED_VALUES = 2**24  # that these hold, at most
LINEAR_INPUTS = 1024  # at most: of several columns, a linear model sees fewer steps
CUT_AT_ONCE = 512  # windows
RIDGES = 10.0 ** np.arange(-6, 2.5, 0.5)  # times the number of windows; validation decides
MIN_CORRELATION = 0.1  # of a season with the one before, and 4 standard errors of noise
TIED_CORRELATIONS = 0.05  # of two seasons, the shorter one is taken
CORRELATED_VALUES = 2**20  # at most, for the choice of the season


class Windows(NamedTuple):
    """Windows `[W, L, C]` with the last step at the end, nan where nothing is known, and the target columns' next
    values `[W, H, K]`, nan where they don't count."""

    past: Float[np.ndarray, "W L C"]
    future: Float[np.ndarray, "W H K"]


def draw_windows(task: Any, subset: str) -> Windows:
    """The windows of a `tasks.real.series.Series` that its evaluation on a subset scores; of training, as many as a
    linear model is fitted to."""
    task = dataclasses.replace(task, relative=False)
    length, parts = task.max_length, []
    count = min(FITTED_WINDOWS, len(task.ends["train"]), max(CUT_AT_ONCE, FITTED_VALUES // (length * task.channels)))
    if subset != "train":
        count = task.splits[subset].examples
    cut = jax.jit(lambda task, ends: task.cut_windows(ends, length, length, subset))
    ends = np.asarray(task.spread_ends(count, subset))
    ends = np.pad(ends, (0, -count % min(count, CUT_AT_ONCE)), mode="edge")
    for some in np.split(ends, len(ends) // min(count, CUT_AT_ONCE)):
        batch = jax.tree.map(np.asarray, cut(task, some))
        present = batch.segments > 0
        last = length - 1 - present[:, ::-1].argmax(axis=1)
        past = np.where(present[..., None], batch.inputs, np.nan)
        moved = (np.arange(length)[None] - (length - 1 - last)[:, None]) % length  # a short row stands in front
        past = np.take_along_axis(past, moved[..., None], axis=1)
        future = np.take_along_axis(batch.targets, last[:, None, None], axis=1)
        parts.append(Windows(past, future.reshape(len(some), task.horizon, len(task.target_columns))))
    return Windows(*(np.concatenate(part)[:count] for part in zip(*parts, strict=True)))


MEAN = "the mean of training"
_scores: dict[str, dict[str, float]] = {}  # by what they depend on: a study asks again for every trial


def score_rules(task: Any) -> dict[str, float]:
    """The mean squared error of each rule on the test windows of a `tasks.real.series.Series`, by its name in words;
    that of the mean of training, which is 0, stands first."""
    leaves = [np.ascontiguousarray(leaf) for leaf in jax.tree.leaves(task)]
    key = hashlib.sha256(str((task.target_indices, task.horizon, task.season, task.max_length)).encode())
    for leaf in leaves:
        key.update(f"{leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    if key.hexdigest() not in _scores:
        season, steps = task.season or choose_season(task), linear_steps(task)
        train, validation, test = (draw_windows(task, subset) for subset in ("train", "validation", "test"))
        targets, horizon = task.target_indices, task.horizon
        seasonal = f"the value {season} steps before" if season > 1 else "the value before, as no season was found"
        forecasts = {
            MEAN: np.zeros_like(test.future),
            "the last value": last_value(test, targets, horizon),
            seasonal: seasonal_value(test, targets, horizon, season),
            f"a linear model of the last {steps} values": linear_forecast(
                train, validation, test, targets, horizon, steps
            ),
        }
        _scores[key.hexdigest()] = {name: squared_error(said, test.future) for name, said in forecasts.items()}
    return dict(_scores[key.hexdigest()])


def squared_error(forecast: Float[np.ndarray, "W H K"], future: Float[np.ndarray, "W H K"]) -> float:
    """Mean of (forecast − future)² over what is not nan."""
    return float(np.nanmean(np.square(forecast - future)))


def fill_gaps(past: Float[np.ndarray, "W L C"]) -> Float[np.ndarray, "W L C"]:
    """Each nan replaced by the value before it, and before the first one by the first."""
    known = ~np.isnan(past)
    steps = np.arange(past.shape[1])[None, :, None]
    latest = np.maximum.accumulate(np.where(known, steps, -1), axis=1)
    first = known.argmax(axis=1)[:, None]
    return np.take_along_axis(past, np.where(latest < 0, first, latest), axis=1)


def last_value(windows: Windows, targets: Int[np.ndarray, "K"], horizon: int) -> Float[np.ndarray, "W H K"]:
    """The last value again."""
    return np.repeat(windows.past[:, -1:, targets], horizon, axis=1)


def seasonal_value(
    windows: Windows, targets: Int[np.ndarray, "K"], horizon: int, season: int
) -> Float[np.ndarray, "W H K"]:
    """The value of the latest season: a whole number of seasons before (Hyndman and Athanasopoulos 2021, Forecasting:
    principles and practice, §5.2). Where it is a gap, what `fill_gaps` has there."""
    ahead = np.arange(1, horizon + 1)
    place = windows.past.shape[1] - 1 + ahead - season * -(-ahead // season)
    return fill_gaps(windows.past[..., targets])[:, place]


def linear_steps(task: Any) -> int:
    """How many steps of a window a linear model sees: all, or as many as make `LINEAR_INPUTS` numbers."""
    return min(task.max_length, max(1, LINEAR_INPUTS // len(task.columns)))


def linear_forecast(
    train: Windows, validation: Windows, test: Windows, targets: Int[np.ndarray, "K"], horizon: int, steps: int
) -> Float[np.ndarray, "W H K"]:
    """Ridge regression from the last `steps` steps of a window, relative to its last step, and from that last step, to
    the target columns' next values relative to their last one.

    A ridge of infinity is the last value. That which is best on `validation` is taken. Where no window of training has
    all its targets, the forecast is the last value.
    """

    def features(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
        past = fill_gaps(windows.past[:, -steps:].astype(np.float64))
        relative = past[:, :-1] - past[:, -1:]
        last = np.repeat(past[:, -1:, targets], horizon, axis=1)
        return np.concatenate([relative.reshape(len(past), -1), past[:, -1]], axis=1), last.reshape(len(past), -1)

    (x, last), (x_validation, last_validation), (x_test, last_test) = map(features, (train, validation, test))
    y = train.future.reshape(len(x), -1).astype(np.float64) - last
    whole = ~np.isnan(y).any(axis=1)
    x, y = x[whole], y[whole]
    if len(x) < 2:
        return last_test.reshape(test.future.shape)
    mean, offset = x.mean(axis=0), y.mean(axis=0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean))
    projected = vectors.T @ ((x - mean).T @ (y - offset))

    def weights(ridge: float) -> np.ndarray:
        return vectors @ (projected / (np.maximum(values, 0) + ridge * len(x))[:, None])

    def error(ridge: float) -> float:
        forecast = last_validation + (x_validation - mean) @ weights(ridge) + offset
        return squared_error(forecast.reshape(validation.future.shape), validation.future)

    best = weights(min(RIDGES.tolist(), key=error))
    return (last_test + (x_test - mean) @ best + offset).reshape(test.future.shape)


def choose_season(task: Any) -> int:
    """The season of the training part of a `tasks.real.series.Series`, in steps of at most its `max_length`.

    It is the lag of the highest peak of autocorrelation, of the target columns together or of one of them, since what
    the others do may hide it; and 1 where none stands out.
    """
    values = np.where(
        np.asarray(task.subsets)[:, None] == 0, np.asarray(task.values)[:, task.target_indices], np.float32(np.nan)
    )
    steps = max(1, CORRELATED_VALUES // values.shape[1])
    trained = np.flatnonzero(np.asarray(task.subsets) == 0)[-steps:]
    kept = slice(int(trained[0]), int(trained[-1]) + 1) if len(trained) else slice(0)
    series = np.searchsorted(np.asarray(task.borders), np.arange(len(values))[kept], side="right")
    values, series = values[kept][:steps], series[:steps]
    columns, peaks = [values[:, i : i + 1] for i in range(values.shape[1])], []
    for some in columns if len(columns) == 1 else [values, *columns]:
        error = 1 / np.sqrt(max(1, (~np.isnan(some)).sum()))
        correlation = autocorrelation(some, series, task.max_length + 1)
        lag = peak_lag(correlation, max(MIN_CORRELATION, 4 * error))
        peaks.append((lag, correlation[lag] if lag > 1 else 0.0))
    highest = max(peak for _, peak in peaks)
    return next(lag for lag, peak in peaks if peak >= highest - TIED_CORRELATIONS)


def autocorrelation(
    values: Float[np.ndarray, "N K"], series: Integer[np.ndarray, "N"], longest: int
) -> Float[np.ndarray, "_"]:
    """Correlation of values with those 0, 1, 2, … `longest` steps later in the same series, over all pairs without nan.

    Each series counts from its own mean. Ends at the first lag that has fewer pairs than steps: what repeats must have
    been seen twice.
    """
    _, run = np.unique(series, return_inverse=True)
    known = ~np.isnan(values)
    totals, counts = (np.zeros((run.max(initial=-1) + 1, values.shape[1])) for _ in range(2))
    np.add.at(totals, run, np.where(known, values, 0))
    np.add.at(counts, run, known)
    centered = np.where(known, values - (totals / np.maximum(counts, 1))[run], 0)
    found = []
    for lag in range(min(longest + 1, len(values))):
        ahead, behind = slice(lag, None), slice(0, len(values) - lag)
        pairs = known[ahead] & known[behind] & (run[ahead] == run[behind])[:, None]
        if pairs.any(axis=1).sum() < max(lag, 2):
            break
        product = (centered[ahead] * centered[behind] * pairs).sum()
        power = (np.square(centered[ahead]) * pairs).sum() * (np.square(centered[behind]) * pairs).sum()
        found.append(product / max(np.sqrt(power), 1e-12))
    return np.array(found)


def peak_lag(correlation: Float[np.ndarray, "_"], least: float) -> int:
    """The lag of the highest peak after lag 1, the first of nearly equal ones; 1 where no peak is `least` or more."""
    inner = correlation[1:-1]
    is_peak = (inner > correlation[:-2]) & (inner >= correlation[2:]) & (inner >= least)
    peaks = 1 + np.flatnonzero(is_peak)
    if not len(peaks):
        return 1
    return int(peaks[correlation[peaks] >= correlation[peaks].max() - TIED_CORRELATIONS][0])
