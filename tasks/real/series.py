"""Forecasting of time series: what are the next values?"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, PRNGKeyArray

from tasks.base import Batch, Split, Task, positions_and_segments, static, weighted_mean
from tasks.real import forecasts

SUBSETS = ("train", "validation", "test")  # by their numbers in `Series.subsets`
MAX_WINDOWS = 512  # in an evaluation
MAX_COMPARED = 4096  # series, up to which each of a batch is found by comparing with all


class Series(Task):
    """Forecast the next values of a time series.

    Series stand one behind the other. `values` `[N, C]` holds their steps, in standard deviations of the training part
    from its mean, nan where a value is missing; `columns` names the `C`. `borders` `[R + 1]` are the first steps of the
    `R` series, and `N`. `subsets` `[N]` says for each step whether it is forecast in training (0), validation (1) or
    test (2). `ends` and `first_ends` say at which steps windows may end; `index_windows` makes them.

    A row is up to `max_length` steps of one series. Its targets, at every step, are the next `horizon` values of the
    `target_columns`, one step after the other; nan where a value is missing, belongs to another subset or lies past the
    series' end: such a target counts for nothing. If they are `relative`, the step's own value is taken off, so that a
    model that says 0 says the last value again; errors are the same either way. A step that lacks a value is a gap:
    padding within the row, at which nothing is forecast. Training windows end anywhere, and are as long as their series
    allows. The windows of validation and test are spread evenly over their subset, so that no key changes them, and may
    begin before it.

    The loss is over all steps. The score is that of the last one alone, which has the whole window before it: then
    simple rules can be held against it that see the same window (`baselines`). `season` is the number of steps after
    which the seasonal one repeats; 0 is the best by autocorrelation.

    Example:

        input   1.52 1.15 0.33  -0.53 -1.09 -1.25 -1.09 -0.72
        target  1.15 0.33 -0.53 -1.09 -1.25 -1.09 -0.72 -0.23
    """

    values: Any
    subsets: Any
    borders: Any
    ends: Any
    first_ends: Any
    columns: tuple[str, ...] = static()
    target_columns: tuple[str, ...] = static()
    horizon: int = static(1)
    season: int = static(0)
    relative: bool = static(False)
    max_length: int = static(96)

    def validate(self) -> None:
        unknown = [name for name in self.target_columns if name not in self.columns]
        self.require(
            "target_columns",
            not unknown and bool(self.target_columns),
            f"must be one or more of {', '.join(self.columns)}",
        )
        self.require("horizon", self.horizon >= 1, "must be 1 or more")
        self.require("max_length", self.max_length >= 1, "must be 1 or more")
        seen = 0 <= self.season <= self.max_length
        self.require("season", seen, f"must be 0 to {self.max_length}, since forecasts see task.max_length steps")
        # Where JAX rebuilds a task, anything may stand in for its arrays.
        ends = self.ends if isinstance(self.ends, Mapping) else {}
        for subset, places in ends.items():
            if shape := getattr(places, "shape", ()):
                fits = self.horizon <= shape[0]
                self.require("horizon", fits, f"must be {shape[0]} or less, the steps of the {subset} split")

    vocabulary = 0
    rows_end_early = True
    next_tokens = True
    metric = "squared error"
    metric_mode = "min"

    @property
    def channels(self) -> int:
        return len(self.columns)

    @property
    def outputs(self) -> int:
        return self.horizon * len(self.target_columns)

    @property
    def chance(self) -> float:
        """The score of the mean of training, which is 0."""
        return forecasts.score_rules(self)[forecasts.MEAN]

    @property
    def baselines(self) -> dict[str, float]:
        """Scores on the test windows by rule: the last value, that of a season before, and a linear model."""
        return {rule: error for rule, error in forecasts.score_rules(self).items() if rule != forecasts.MEAN}

    @property
    def baseline(self) -> tuple[str, float]:
        """The best of the `baselines`."""
        return min(self.baselines.items(), key=lambda rule: rule[1])

    @property
    def splits(self) -> Mapping[str, Split]:
        return {
            subset: Split(self.max_length, min(MAX_WINDOWS, self.ends[subset].shape[0]), subset)
            for subset in SUBSETS[1:]
        }

    def sample(
        self, key: PRNGKeyArray, batch: int, max_length: int, length: Int[Array, ""] | int, subset: str = "train"
    ) -> Batch:
        """See `Task.sample`."""
        ends = self._draw_ends(key, batch, length) if subset == "train" else self.spread_ends(batch, subset)
        return self.cut_windows(ends, max_length, length, subset)

    def spread_ends(self, count: int, subset: str) -> Int[Array, "B"]:
        """The last steps of `count` windows that are spread evenly over a subset."""
        ends = jnp.asarray(self.ends[subset])
        return ends[(2 * np.arange(count, dtype=np.int64) + 1) * ends.shape[0] // (2 * count)]

    def _draw_ends(self, key: PRNGKeyArray, batch: int, length: Int[Array, ""] | int) -> Int[Array, "B"]:
        """The last steps of windows that are drawn uniformly from training; where too little of a series came before
        one, a later one is taken, so that windows are as long as their series allows."""
        ends, first_ends = jnp.asarray(self.ends["train"]), jnp.asarray(self.first_ends)
        drawn = jax.random.randint(key, (batch,), 0, ends.shape[0])
        series = count_not_above(first_ends[1:], drawn)
        missing = jnp.asarray(self.borders)[series] + length - 1 - ends[drawn]
        return ends[jnp.minimum(drawn + jnp.maximum(missing, 0), first_ends[series + 1] - 1)]

    def cut_windows(self, ends: Int[Array, "B"], max_length: int, length: Int[Array, ""] | int, subset: str) -> Batch:
        """The windows of up to `length` steps with these last ones, and their targets in a subset."""
        values, borders = jnp.asarray(self.values), jnp.asarray(self.borders)
        series = count_not_above(borders[1:], ends)
        first = jnp.maximum(borders[series], ends - length + 1)
        step = first[:, None] + jnp.arange(max_length + self.horizon)[None]
        rows = values.at[step].get(mode="fill", fill_value=jnp.nan)
        inputs = rows[:, :max_length]
        present = (step[:, :max_length] <= ends[:, None]) & ~jnp.isnan(inputs).any(axis=-1)

        of_step = jnp.asarray(self.subsets).at[step].get(mode="fill", fill_value=-1)
        counts = (of_step == SUBSETS.index(subset)) & (step < borders[series + 1][:, None])
        future = jnp.where(counts[..., None], rows[..., self.target_indices], jnp.nan)
        ahead = np.arange(max_length)[:, None] + 1 + np.arange(self.horizon)[None]
        targets = future[:, ahead]
        if self.relative:
            targets = targets - inputs[:, :, None, self.target_indices]
        targets = targets.reshape(*present.shape, self.outputs)

        positions, _ = positions_and_segments(ends.shape[0], max_length, length)
        return Batch(
            inputs=jnp.where(present[..., None], inputs, 0),
            targets=jnp.where(present[..., None], targets, 0),
            weights=jnp.where(present, (~jnp.isnan(targets)).mean(axis=-1), 0),
            positions=positions,
            segments=present.astype(jnp.int32),
        )

    @property
    def target_indices(self) -> np.ndarray:
        """The places of the target columns among the columns."""
        return np.array([self.columns.index(name) for name in self.target_columns])

    def loss(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        """Mean of (output − target)² over all targets that exist."""
        return weighted_mean(_mean_over_targets(jnp.square, outputs, batch.targets), batch.weights)

    def score_weights(self, batch: Batch) -> Float[Array, "B 1"]:
        return jnp.take_along_axis(batch.weights, _last_steps(batch), axis=1)

    def score(self, outputs: Float[Array, "B T O"], batch: Batch) -> Float[Array, ""]:
        """The same over the targets of each row's last step."""
        return _last_step_mean(jnp.square, outputs, batch)

    EXTRA_METRICS = ("absolute error",)

    def extra_scores(self, outputs: Float[Array, "B T O"], batch: Batch) -> dict[str, Array]:
        """Mean of |output − target| over the targets of each row's last step."""
        return {"absolute error": _last_step_mean(jnp.abs, outputs, batch)}

    @classmethod
    def example(cls) -> Task:
        time = np.arange(60)
        values = np.sin(2 * np.pi * time / 10) + 0.3 * np.cos(2 * np.pi * time / 7)
        subsets = np.repeat(np.arange(3, dtype=np.int8), (36, 12, 12))
        values = ((values - values[:36].mean()) / values[:36].std()).astype(np.float32)[:, None]
        arrays = index_windows(values, subsets, np.array([0, 60], np.int32))
        return cls(**arrays, columns=("height",), target_columns=("height",), max_length=8)


def index_windows(
    values: Float[np.ndarray, "N C"],
    subsets: Integer[np.ndarray, "N"],
    borders: Integer[np.ndarray, "R"],
    target_indices: Sequence[int] = (0,),
) -> dict[str, Any]:
    """All arrays of a `Series`: these, and where windows may end.

    `ends` are the steps at which a window of each subset may end: no value is missing there, and the next step is of
    the same series, in the subset, and has a target. `first_ends` `[R + 1]` are the places in those of training of the
    first one in each series, and their number.
    """
    has_target: Any = ~np.isnan(values[:, list(target_indices)]).all(axis=1)
    goes_on = np.append(has_target[1:], [False])
    goes_on[borders[1:] - 1] = False
    may_end = goes_on & ~np.isnan(values).any(axis=1)
    following = np.append(subsets[1:], -1)
    ends = {
        subset: np.flatnonzero(may_end & np.equal(following, number)).astype(np.int32)
        for number, subset in enumerate(SUBSETS)
    }
    first_ends = np.searchsorted(ends["train"], borders).astype(np.int32)
    return {"values": values, "subsets": subsets, "borders": borders, "ends": ends, "first_ends": first_ends}


def count_not_above(stops: Int[Array, "R"], places: Int[Array, "B"]) -> Int[Array, "B"]:
    """How many of the sorted `stops` each place is not below: the series that it is in."""
    method = "compare_all" if stops.shape[0] <= MAX_COMPARED else "scan"  # a loop, slow on accelerators
    return jnp.searchsorted(stops, places, side="right", method=method)


def _mean_over_targets(
    measure: Callable[[Array], Array], outputs: Float[Array, "B T O"], targets: Float[Array, "B T O"]
) -> Float[Array, "B T"]:
    """Mean of measure(output − target) over the targets of each step that are not nan; 0 where all are."""
    exists = ~jnp.isnan(targets)
    error = outputs.astype(jnp.float32) - jnp.where(exists, targets, 0)
    return jnp.where(exists, measure(error), 0).sum(axis=-1) / jnp.maximum(exists.sum(axis=-1), 1)


def _last_step_mean(
    measure: Callable[[Array], Array], outputs: Float[Array, "B T O"], batch: Batch
) -> Float[Array, ""]:
    """Mean of measure(output − target) over the targets of the last step of each row that is no padding."""
    last = _last_steps(batch)
    outputs, targets = (jnp.take_along_axis(of, last[..., None], axis=1) for of in (outputs, batch.targets))
    weights = jnp.take_along_axis(batch.weights, last, axis=1)
    return weighted_mean(_mean_over_targets(measure, outputs, targets), weights)


def _last_steps(batch: Batch) -> Int[Array, "B 1"]:
    """The last step of each row that is no padding."""
    steps = jnp.arange(batch.segments.shape[1])[None]
    return jnp.where(batch.segments > 0, steps, 0).max(axis=1, keepdims=True)
