"""Series as steps of equal distance: gaps where a row is missing, splits by time, and scaling by the training part."""

import dataclasses
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int8, Int32, Int64

from data.files.series_rows import SeriesRows, SeriesTable
from data.files.series_scaling import drop_constant_columns, level_notes, measure_scale, scale_each_series
from data.files.time_axis import (
    Step,
    Times,
    find_step,
    format_time,
    lies_on_grid,
    number_steps,
    parse_frequency,
)

LONGEST_GAP = 100  # missing steps; where more are missing, the series is cut
MAX_GAPS = 0.15  # share of rows before a gap up to which times count as regular; of weekdays it is 0.2
MAX_GIVEN_GAPS = 0.9  # up to which a frequency that is given makes sense
MAX_STEPS = 2**31 - 2**20  # of all series: they are counted in 32 bits


class ArrangedSeries(NamedTuple):
    """All series, one behind the other, as `tasks.real.series.Series` has them, and how they came to be."""

    columns: tuple[str, ...]
    targets: tuple[str, ...]
    values: Float32[np.ndarray, "N C"]
    subsets: Int8[np.ndarray, "N"]
    borders: Int32[np.ndarray, "R"]
    means: Float64[np.ndarray, "C"]
    deviations: Float64[np.ndarray, "C"]
    step: str
    notes: list[str]
    series_count: int = 1  # where one is cut at a gap, its pieces are between borders of their own


def arrange_series(options: Any, table: SeriesTable) -> ArrangedSeries:
    """Arrange series by steps of time, split and scale them.

    Raises ValueError, in one line, for times that aren't regular where `task.frequency` says so, and for columns that
    are named and can't be scaled.
    """
    notes = list(table.notes)
    table = dataclasses.replace(table, series=_drop_copies(options, table.series, notes))
    step = choose_step(options, table, notes)
    placed = [_place_rows(series, step, options) for series in table.series]
    lengths = [length for _, _, length in placed]
    if sum(lengths) > MAX_STEPS:
        raise ValueError(f"task.path={options.path}: {sum(lengths):,} steps are more than {MAX_STEPS:,}: give fewer")
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.full((offsets[-1], len(table.columns)), np.nan)
    given = np.full(offsets[-1], -1, np.int8)
    for series, (places, _, _), offset in zip(table.series, placed, offsets, strict=False):
        values[offset + places], given[offset + places] = series.values, series.given
    filled = np.maximum.accumulate(np.where(given >= 0, np.arange(len(given)), 0))
    subsets = _split_by_time(options, given[filled], offsets)
    borders = np.concatenate([offset + starts for (_, starts, _), offset in zip(placed, offsets, strict=False)])
    notes += _gap_notes(table, values, lengths, borders, step)

    columns, values = drop_constant_columns(options, table.columns, values, subsets == 0, notes)
    means, deviations = measure_scale(values, subsets == 0)
    for column, deviation in zip(columns, deviations, strict=True):
        if not np.isfinite(deviation):
            raise ValueError(f"task.path={options.path}: the values of the column {column} are too large to be scaled")
    if options.scale_by == "series":
        scale_each_series(values, subsets == 0, offsets, means, deviations, notes)
    else:
        notes += level_notes(values, subsets == 0, offsets, columns)
        values = (values - means) / deviations
    targets = options.target_columns or columns
    return ArrangedSeries(
        columns,
        tuple(targets),
        values.astype(np.float32),
        subsets,
        np.append(borders, offsets[-1]).astype(np.int32),
        means,
        deviations,
        str(step or ""),
        [*notes, *_split_notes(subsets, offsets)],
        len(table.series),
    )


# ---- steps ----------------------------------------------------------------------------------------------------------


def _runs(series: SeriesRows) -> list[slice]:
    return [slice(start, stop) for start, stop in zip(series.runs, [*series.runs[1:], len(series.given)], strict=True)]


def choose_step(options: Any, table: SeriesTable, notes: list[str]) -> Step | None:
    """The step of time by which rows are placed: as given, or found if the times are regular; None for row by row."""
    if not options.time_column or options.frequency == "none":
        return None
    runs: list[Times] = [s.times[run] for s in table.series for run in _runs(s) if s.times is not None]
    is_date = runs[0].dtype == np.int64
    if options.frequency != "auto":
        step = parse_frequency(options.frequency, is_date)
        if (share := _share_before_gaps(runs, step)) > MAX_GIVEN_GAPS:
            raise ValueError(
                f"task.frequency={options.frequency}: after {share:.0%} of the rows a step would be missing: give a "
                f"longer step"
            )
        return step
    step = find_step(runs)
    if step is None and max(map(len, runs)) > 1:
        notes.append(
            f"The times in {options.time_column} are at no regular distance: rows are taken one after the other, "
            f"whatever lies between."
        )
    if step is not None and (share := _share_before_gaps(runs, step)) > MAX_GAPS:
        notes.append(
            f"The times in {options.time_column} are multiples of {step}, and after {share:.0%} of the rows some are "
            f"missing: rows are taken one after the other; task.frequency={step} would make gaps of what is missing."
        )
        return None
    return step


def _share_before_gaps(runs: list[Times], step: Step) -> float:
    """The share of rows after which a step is missing."""
    jumps = np.concatenate([np.diff(number_steps(times, step)) for times in runs])
    return float((jumps > 1).mean()) if len(jumps) else 0.0


def _place_rows(
    series: SeriesRows, step: Step | None, options: Any
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "R"], int]:
    """The step of each row of a series, the steps at which windows must begin anew, and the number of steps."""
    places, starts, base = [], [], 0
    for run in _runs(series):
        numbers = np.arange(run.stop - run.start)
        if step is not None and series.times is not None:
            times = series.times[run]
            numbers = number_steps(times, step)
            if not (fits := lies_on_grid(times, step)).all() or (np.diff(numbers) < 1).any():
                off = times[~fits][0] if not fits.all() else times[1:][np.diff(numbers) < 1][0]
                text = format_time(off, times.dtype == np.int64)
                of = f" of the series {series.name}" if options.series_column else ""
                raise ValueError(
                    f"task.frequency={options.frequency}: the time {text}{of} is no whole number of steps after the "
                    f"first: give the step that the times have, or none"
                )
        jumps = np.diff(numbers)
        cuts = np.flatnonzero(jumps > LONGEST_GAP + 1)
        jumps[cuts] = 1
        where = base + np.concatenate([[0], np.cumsum(jumps)]).astype(np.int64)
        places.append(where)
        starts += [base, *where[cuts + 1]]
        base = int(where[-1]) + 1
    return np.concatenate(places), np.array(starts, np.int64), base


def _gap_notes(
    table: SeriesTable, values: np.ndarray, lengths: list[int], borders: np.ndarray, step: Step | None
) -> list[str]:
    rows = sum(len(series.given) for series in table.series)
    runs = sum(len(series.runs) for series in table.series)
    absent, steps = sum(lengths) - rows, sum(lengths)
    cells = {
        name: count for name, count in zip(table.columns, np.isnan(values).sum(axis=0) - absent, strict=True) if count
    }
    notes = []
    if absent:
        notes.append(f"{absent:,} of {steps:,} steps of {step} have no row.")
    if cells:
        listed = ", ".join(f"{name} {count:,}" for name, count in cells.items())
        notes.append(f"{sum(cells.values()):,} cells are empty or nan: {listed}.")
    if gaps := int(np.isnan(values).any(axis=1).sum()):
        notes.append(
            f"{gaps:,} of {steps:,} steps lack a value and are gaps: they are passed over, and nothing is forecast "
            f"from them; what they lack is not forecast either."
        )
    if cuts := len(borders) - runs:
        notes.append(f"At {cuts:,} places more than {LONGEST_GAP:,} steps have no row: no window goes across them.")
    return notes


# ---- splits ---------------------------------------------------------------------------------------------------------


def _split_by_time(options: Any, given: Int8[np.ndarray, "N"], offsets: Int64[np.ndarray, "S"]) -> np.ndarray:
    """The split of each step: as given; else the last part of its series is for test, and the one before that for
    validation, unless these are given for other steps."""
    subsets = given.copy()
    test = 0 if (given == 2).any() else options.test_share
    validation = 0 if (given == 1).any() else options.validation_share
    for start, stop in pairwise(offsets):
        free = start + np.flatnonzero(given[start:stop] == 0)
        tested, held_out = round(len(free) * test), round(len(free) * validation)
        subsets[free[len(free) - tested :]] = 2
        subsets[free[len(free) - tested - held_out : len(free) - tested]] = 1
    return subsets


def _split_notes(subsets: np.ndarray, offsets: np.ndarray) -> list[str]:
    """Of which splits some series have no step, where others have."""
    has = np.array([np.bincount(subsets[a:b], minlength=3) > 0 for a, b in pairwise(offsets)])
    return [
        f"{int(without.sum()):,} of {len(has):,} series have no step in {name}."
        for name, without in zip(("train", "validation", "test"), ~has.T, strict=True)
        if without.any() and len(has) > 1
    ]


def _drop_copies(options: Any, series: list[SeriesRows], notes: list[str]) -> list[SeriesRows]:
    """Make gaps of rows that are given for a later split as well: of the same series and time, or, where no column
    names the series, of the same time and values."""
    if not any(one.given.any() and one.times is not None for one in series):
        return series
    rows = [_row_identities(options, one) for one in series]
    later: set[Any] = set()
    kept, dropped = [one.values.copy() for one in series], [0, 0]
    for split in (2, 1, 0):
        places = [np.flatnonzero(one.given == split) for one in series]
        for values, identities, chosen in zip(kept, rows, places, strict=True):
            copies = [place for place in chosen if identities and identities[place] in later]
            values[copies] = np.nan
            if split < 2:
                dropped[split] += len(copies)
        later |= {identities[i] for identities, chosen in zip(rows, places, strict=True) if identities for i in chosen}
    notes += [
        f"{count:,} rows of the {name} split were dropped, since they are in a split after it as well."
        for name, count in zip(("train", "validation"), dropped, strict=True)
        if count
    ]
    return [dataclasses.replace(one, values=values) for one, values in zip(series, kept, strict=True)]


def _row_identities(options: Any, series: SeriesRows) -> list[Any]:
    if series.times is None:
        return []
    if options.series_column:
        return [(series.name, time) for time in series.times.tolist()]
    return [row.tobytes() for row in np.column_stack([series.times.view(np.int64), series.values.view(np.int64)])]
