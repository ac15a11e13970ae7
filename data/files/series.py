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
from tasks.real.series import SUBSETS, Series, index_windows

VERSION = 2
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
        object.__setattr__(self, "frequency", str(self.frequency))
        for name in ("columns", "target_columns"):
            object.__setattr__(self, name, _parse_names(name, getattr(self, name)))
        self._require("stream", self.stream in ("auto", "no"), "series are kept in memory; must be auto or no")
        self._require("scale_by", self.scale_by in ("column", "series"), "must be column or series")
        is_named = self.frequency in ("auto", "none")
        self._require("frequency", is_named or bool(FREQUENCY.fullmatch(self.frequency)), FREQUENCY_RULE)
        self._require("frequency", is_named or bool(self.time_column), "a step of time needs task.time_column as well")
        for name in ("validation_share", "test_share"):
            share = getattr(self, name)
            is_share = isinstance(share, (int, float)) and not isinstance(share, bool) and 0 < share < 1
            self._require(name, is_share, "must be a number above 0 and below 1")
        leaves_some = self.validation_share + self.test_share < 1
        rule = f"leaves nothing to train on beside task.validation_share={self.validation_share}"
        self._require("test_share", leaves_some, rule)
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
        "series": arranged.series_count,
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
    arrays = index_windows(values, subsets, borders, [columns.index(name) for name in targets])
    return {**arrays, "columns": columns, "target_columns": targets}


def check_windows(options: Options, arranged: ArrangedSeries) -> None:
    """Raise ValueError unless something is forecast in every split."""
    indices = [arranged.columns.index(name) for name in arranged.targets]
    ends = index_windows(arranged.values, arranged.subsets, arranged.borders, indices)["ends"]
    if all(len(ends[subset]) for subset in SUBSETS):
        return
    gaps = np.isnan(arranged.values)
    hint = "give more rows, other shares (task.validation_share, task.test_share), or validation_path and test_path"
    if gaps.any(axis=1).mean() > 0.5:
        worst = int(gaps.mean(axis=0).argmax())
        hint = (
            f"{gaps.any(axis=1).mean():.0%} of the steps lack a value, {arranged.columns[worst]} "
            f"{gaps[:, worst].mean():.0%}: name the columns without it in task.columns"
        )
    empty = " and ".join(subset for subset in SUBSETS if not len(ends[subset]))
    steps = len(arranged.values)
    raise ValueError(f"task.path={options.path}: of {steps:,} steps none can be forecast in {empty}: {hint}")


# ---- for people -----------------------------------------------------------------------------------------------------


def describe(options: Options, sources: Mapping[str, Sequence[Path]], limit: int | None = None) -> list[str]:
    """What `prepare` would make of the first `limit` rows, or of all: series, columns, splits, simple rules, notes."""
    table = read_series(options, sources, limit=limit)
    arranged = arrange_series(options, table)
    steps, series = len(arranged.values), len(table.series)
    order = "in the order of the file"
    if options.time_column:
        step = f"a step is {arranged.step}" if arranged.step else "row by row"
        order = f"by {options.time_column}, {step}"
    counts = np.bincount(arranged.subsets, minlength=3)
    given = any(one.given.any() for one in table.series)
    return [
        f"{series:,} series of {steps:,} steps in all{'' if table.is_whole else ' (of the first rows)'}, {order}: "
        f"{', '.join(f'{count:,} {name}' for name, count in zip(SUBSETS, counts, strict=True))} "
        f"({'as given' if given else 'by time'})",
        *_describe_columns(arranged),
        *_describe_rules(options, arranged),
        *(f"note: {note}" for note in arranged.notes),
    ]


def _describe_columns(arranged: ArrangedSeries) -> Iterator[str]:
    missing = np.isnan(arranged.values).sum(axis=0).tolist()
    for i, column in enumerate(arranged.columns):
        yield (
            f"column {column}: in training mean {arranged.means[i]:.4g}, "
            f"standard deviation {arranged.deviations[i]:.4g}"
            f"{f'; missing at {missing[i]:,} steps' if missing[i] else ''}"
            f"{'' if column in arranged.targets else '; not forecast'}"
        )


def _describe_rules(options: Options, arranged: ArrangedSeries) -> Iterator[str]:
    """What simple rules score, or why nothing can be scored."""
    try:
        check_windows(options, arranged)
    except ValueError as error:
        yield f"to be mended: {error}"
        return
    task = Series(
        **task_arguments(arranged.values, arranged.subsets, arranged.borders, arranged.columns, arranged.targets)
    )
    forecasts = ", ".join(f"{len(task.ends[subset]):,} {subset}" for subset in SUBSETS)
    yield f"steps that a forecast can be made from: {forecasts}"
    yield f"squared error of the next step, in deviations squared, from windows of {task.max_length} in test:"
    for rule, error in {"the mean of training": task.chance, **task.baselines}.items():
        yield f"  {error:.4g} {rule}"
