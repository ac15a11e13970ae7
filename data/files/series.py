"""A user's time series, for `tasks.real.series.Series`: numeric columns of tables, by time.

A record is a block of steps of one series and one split: the number of the first step over all series (int64), and the
scaled values (float32, steps × columns), nan where one is missing.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data.files import FileData
from data.files.series_rows import FIELDS, read_series
from data.files.series_steps import ArrangedSeries, arrange_series
from data.files.time_axis import FREQUENCY, FREQUENCY_RULE
from tasks.real.series import SUBSETS, Series, window_ends

VERSION = 1
BLOCK = 8192  # steps of a record, at most


@dataclasses.dataclass(frozen=True)
class Options:
    """The fields of `config.task` that say what the series in some files are.

    `columns` are the columns of values, "" for all that hold numbers, and `target_columns` those that are forecast, ""
    for all of them; several names stand between commas. `time_column` holds numbers or ISO 8601 dates; without it, rows
    are steps in the order of the file. `series_column` names the series that a row is of. `frequency` is the step of
    time by which a missing row is noticed: "auto", "none", or such as "15min".

    The last `test_share` of each series is the test split, and `validation_share` before it the validation split,
    unless these are given by files, or by `split_column`. `scale_by` "series" gives each series a mean and a standard
    deviation of its own.
    """

    path: str
    validation_path: str = ""
    test_path: str = ""
    split_column: str = ""
    stream: str = "auto"
    columns: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()
    time_column: str = ""
    series_column: str = ""
    frequency: str = "auto"
    scale_by: str = "column"
    validation_share: float = 0.1
    test_share: float = 0.2

    path_fields: ClassVar[tuple[str, ...]] = FIELDS

    def __post_init__(self) -> None:
        for name in ("columns", "target_columns"):
            object.__setattr__(self, name, _parse_names(name, getattr(self, name)))
        self._require("stream", self.stream in ("auto", "no"), "series are kept in memory; must be auto or no")
        self._require("scale_by", self.scale_by in ("column", "series"), "must be column or series")
        is_named = self.frequency in ("auto", "none")
        self._require("frequency", is_named or bool(FREQUENCY.fullmatch(str(self.frequency))), FREQUENCY_RULE)
        self._require("frequency", is_named or bool(self.time_column), "a step of time needs task.time_column as well")
        for name in ("validation_share", "test_share"):
            share = getattr(self, name)
            is_share = isinstance(share, (int, float)) and not isinstance(share, bool) and 0 < share < 1
            self._require(name, is_share, "must be a number above 0 and below 1")
        both = self.validation_share + self.test_share
        self._require("test_share", both < 1, f"leaves nothing to train on beside task.validation_share={both:g}")
        other = [name for name in (self.time_column, self.series_column, self.split_column) if name]
        self._require("split_column", len(set(other)) == len(other), "time, series and split need a column each")

    def _require(self, name: str, is_valid: bool, rule: str) -> None:
        if not is_valid:
            raise ValueError(f"task.{name}={getattr(self, name)}: {rule}")


def _parse_names(option: str, names: Any) -> tuple[str, ...]:
    """Names of columns, given one by one or in one text with commas between."""
    parts = names.split(",") if isinstance(names, str) else list(names)
    found = tuple(name.strip() for name in parts if str(name).strip())
    if len(set(found)) < len(found):
        raise ValueError(f"task.{option}={','.join(found)}: name each column once")
    return found


def prepare(options: Options, sources: Mapping[str, Sequence[Path]], writer: Any) -> dict[str, Any]:
    """Write all series; what the manifest keeps: columns, borders, and how they were scaled and split.

    Series are gathered in memory, which training needs them in as well. A preparation that is stopped begins anew.
    Raises ValueError, in one line, for what is no series.
    """
    writer.total_bytes = sum(path.stat().st_size for field in FIELDS for path in sources.get(field, ()))
    table = read_series(options, sources, writer.is_checkpoint_due)  # which shows the progress
    arranged = arrange_series(options, table)
    check_windows(options, arranged)
    for subset, first, stop in _blocks(arranged.subsets, arranged.borders):
        header = np.int64(first).tobytes()
        writer.append(SUBSETS[subset], header + arranged.values[first:stop].tobytes())
    return {
        "columns": list(arranged.columns),
        "targets": list(arranged.targets),
        "borders": arranged.borders.tolist(),
        "means": arranged.means.tolist(),
        "deviations": arranged.deviations.tolist(),
        "step": arranged.step,
        "notes": arranged.notes,
    }


def _blocks(subsets: np.ndarray, borders: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Split, first step and end of each block: steps of one split and series."""
    changes = np.flatnonzero(np.diff(subsets)) + 1
    starts = np.unique(np.concatenate([changes, borders]))
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        for first in range(start, stop, BLOCK):
            yield int(subsets[first]), first, min(first + BLOCK, stop)


def load(options: Options, store: Any) -> FileData:
    """The arrays of a `tasks.real.series.Series`."""
    del options
    columns = tuple(store.content["columns"])
    borders = np.array(store.content["borders"], np.int32)
    values = np.full((borders[-1], len(columns)), np.nan, np.float32)
    subsets = np.zeros(borders[-1], np.int8)
    for number, subset in enumerate(SUBSETS):
        for record in store.read_all(subset):
            first = int(np.frombuffer(record, np.int64, 1)[0])
            block = np.frombuffer(record, np.float32, offset=8).reshape(-1, len(columns))
            values[first : first + len(block)] = block
            subsets[first : first + len(block)] = number
    targets = tuple(store.content["targets"])
    return FileData(task_arguments(values, subsets, borders, columns, targets))


def task_arguments(
    values: np.ndarray, subsets: np.ndarray, borders: np.ndarray, columns: tuple[str, ...], targets: tuple[str, ...]
) -> dict[str, Any]:
    """Keyword arguments of a `tasks.real.series.Series`."""
    indices = np.array([columns.index(name) for name in targets])
    return {
        "values": values,
        "subsets": subsets,
        "borders": borders,
        "ends": window_ends(values, subsets, borders, indices),
        "columns": columns,
        "target_columns": targets,
    }


def check_windows(options: Options, arranged: ArrangedSeries) -> None:
    """Raise ValueError unless something is forecast in every split."""
    indices = np.array([arranged.columns.index(name) for name in arranged.targets])
    ends = window_ends(arranged.values, arranged.subsets, arranged.borders, indices)
    empty = [subset for subset in SUBSETS if not len(ends[subset])]
    if not empty:
        return
    whole = int((~np.isnan(arranged.values).any(axis=1)).sum())
    steps = len(arranged.values)
    gaps = np.isnan(arranged.values).mean(axis=0)
    worst = arranged.columns[int(gaps.argmax())]
    hint = (
        f"most lack a value, {worst} {gaps.max():.0%} of them: leave it out by task.columns"
        if whole < steps / 2
        else "give more rows, other shares (task.validation_share, task.test_share), or task.validation_path and "
        "task.test_path"
    )
    raise ValueError(
        f"task.path={options.path}: of {steps:,} steps none can be forecast in {' and '.join(empty)}: {hint}"
    )


# ---- for people -----------------------------------------------------------------------------------------------------


def describe(options: Options, sources: Mapping[str, Sequence[Path]], limit: int | None = None) -> list[str]:
    """What the files would become, from their first `limit` bytes: series, columns, splits, simple rules, notes."""
    table = read_series(options, sources, limit=limit)
    arranged = arrange_series(options, table)
    check_windows(options, arranged)
    steps, series = len(arranged.values), len(table.series)
    part = "" if table.is_whole else f"in the first {table.bytes_read:,} bytes: "
    order = (
        f"by {options.time_column}"
        + (f", a step is {arranged.step}" if arranged.step else ", in order, whatever lies between")
        if options.time_column
        else "in the order of the file"
    )
    lines = [f"{part}{series:,} series of {steps:,} steps in all, {order}"]
    for i, column in enumerate(arranged.columns):
        role = "" if column in arranged.targets else ", not forecast"
        missing = int(np.isnan(arranged.values[:, i]).sum())
        lines.append(
            f"column {column}: mean {arranged.means[i]:.4g}, standard deviation {arranged.deviations[i]:.4g} in "
            f"training; missing at {missing:,} steps{role}"
        )
    task = Series(
        **task_arguments(arranged.values, arranged.subsets, arranged.borders, arranged.columns, arranged.targets)
    )
    counts = [f"{subset} {int((arranged.subsets == i).sum()):,}" for i, subset in enumerate(SUBSETS)]
    lines.append(f"steps: {', '.join(counts)}")
    lines.append(f"squared error, {task.horizon} step ahead from windows of {task.max_length}, in deviations squared:")
    rules = {"the training mean": task.chance, **task.baselines}
    lines += [f"  {error:.4g}  {rule}" for rule, error in rules.items()]
    return [*lines, *arranged.notes]
