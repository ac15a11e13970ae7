"""Scaling of time series by their training part, and what is to be said where that hides something."""

from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool

FEW_VALUES = 8  # in training: of fewer, a series' deviation says little
LEVEL_SHARE = 0.75  # of a column's variance between series, from which on they are said to differ
SPREAD_RATIO = 4.0  # between deviations of series, from which on they are said to differ


def drop_constant_columns(
    options: Any, columns: tuple[str, ...], values: np.ndarray, trained: Bool[np.ndarray, "N"], notes: list[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Columns with two values or more in training. Raises ValueError for another that is named, or if none is left."""
    kept, left = [], []
    for i, column in enumerate(columns):
        known = values[trained, i]
        known = known[~np.isnan(known)]
        if len(known) and known.min() < known.max():
            kept.append(i)
            continue
        what = f"is {known[0]:g} throughout" if len(known) else "has no value"
        option = "columns" if column in options.columns else "target_columns"
        if column in getattr(options, option):
            raise ValueError(f"task.{option}={column}: it {what} in training, and can't be scaled: leave it out")
        left.append(f"{column} {what}")
    if not kept:
        raise ValueError(f"task.path={options.path}: nothing to forecast in training: {', '.join(left)}")
    if left:
        notes.append(f"Left out, since nothing can be learned from them in training: {', '.join(left)}.")
    return tuple(columns[i] for i in kept), values[:, kept] if left else values


def measure_scale(values: np.ndarray, trained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column in training; nan where there is no value."""
    known = values[trained]
    counts = np.maximum((~np.isnan(known)).sum(axis=0), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.nansum(known, axis=0) / counts
        return mean, np.sqrt(np.nansum(np.square(known - mean), axis=0) / counts)


def scale_each_series(
    values: np.ndarray,
    trained: np.ndarray,
    offsets: np.ndarray,
    means: np.ndarray,
    deviations: np.ndarray,
    notes: list[str],
) -> None:
    """Scale each series by its own training part, in place; by that of all where a column doesn't vary in its own."""
    common = 0
    for start, stop in pairwise(offsets):
        own = values[start:stop]
        mean, deviation = measure_scale(own, trained[start:stop])
        varies = deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300)
        common += int(not varies.all())
        own -= np.where(varies, mean, means)
        own /= np.where(varies, deviation, deviations)
    if common:
        notes.append(f"{common:,} series have a column that doesn't vary in training: it is scaled as in all series.")


def level_notes(values: np.ndarray, trained: np.ndarray, offsets: np.ndarray, columns: tuple[str, ...]) -> list[str]:
    """Columns in which series differ much in level or spread: scaled together, a series of small values hardly counts,
    and what only knows the levels has most of the variance."""
    scales = np.array([measure_scale(values[a:b], trained[a:b]) for a, b in pairwise(offsets)])  # [S, 2, C]
    counts = np.array([(~np.isnan(values[a:b]) & trained[a:b, None]).sum(axis=0) for a, b in pairwise(offsets)])
    notes = []
    for i, column in enumerate(columns):
        enough = counts[:, i] >= FEW_VALUES
        (means, deviations), weights = scales[enough, :, i].T, counts[enough, i]
        if len(means) < 2:
            continue
        within = np.average(np.square(deviations), weights=weights)
        between = np.average(np.square(means - np.average(means, weights=weights)), weights=weights)
        varying = deviations[deviations > 1e-12 * np.maximum(np.abs(means), 1e-300)]
        low, high = np.quantile(varying if len(varying) else [0.0], (0.1, 0.9), method="nearest")
        share = between / max(within + between, np.finfo(float).tiny)
        if share > LEVEL_SHARE or high > SPREAD_RATIO * low:
            notes.append(
                f"Series differ much in {column}: in training their means go from {means.min():.4g} to "
                f"{means.max():.4g}, their deviations from {deviations.min():.4g} to {deviations.max():.4g}, and "
                f"{share:.0%} of the variance is between them. Scaled together, the largest count most, and whatever "
                f"knows the levels scores well: task.scale_by=series scales each by its own."
            )
    return notes
