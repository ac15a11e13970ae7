import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import Batch
from tasks.real import forecasts
from tasks.real.series import MAX_WINDOWS, SUBSETS, Series, index_windows

KEY = jax.random.key(0)


def series(*lengths: int, gaps: tuple[int, ...] = (), columns: int = 1, **settings: int) -> Series:
    """Series that count: step i of all has the value i in column "a" and 1000 + i in "b", nan in `gaps` (of "a"). Of
    each series, 60 % are for training and 20 % for validation."""
    steps = np.arange(sum(lengths))
    values = np.stack([steps + 1000.0 * column for column in range(columns)], axis=1).astype(np.float32)
    values[list(gaps), 0] = np.nan
    parts = [np.searchsorted([0.6 * length, 0.8 * length], np.arange(length), side="right") for length in lengths]
    subsets = np.concatenate(parts).astype(np.int8)
    borders = np.cumsum([0, *lengths]).astype(np.int32)
    names = tuple("ab"[:columns])
    arrays: dict[str, Any] = index_windows(values, subsets, borders, range(columns))
    return Series(**arrays, columns=names, target_columns=names, **dict[str, Any]({"max_length": 8, **settings}))


@partial(jax.jit, static_argnames=("subset", "batch"))
def sample(task: Series, key: jax.Array, length: jax.Array, subset: str, batch: int) -> Batch:
    return task.sample(key, batch, task.max_length, length, subset)


def draw(task: Series, subset: str, batch: int = 64, seed: int = 0, length: int | None = None) -> Batch:
    drawn = sample(task, jax.random.key(seed), jnp.int32(length or task.max_length), subset, batch)
    return Batch(*map(np.asarray, drawn))  # pyright: ignore


def existing_targets(batch: Batch) -> np.ndarray:
    return np.asarray(batch.targets)[(batch.segments > 0)[..., None] & ~np.isnan(batch.targets)]


# ---- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 5, 8])
@pytest.mark.parametrize("subset", SUBSETS)
def test_a_window_is_consecutive_steps_and_its_targets_are_the_next_values(subset: str, length: int):
    batch = draw(series(100, horizon=3), subset, length=length)
    assert (batch.segments.sum(axis=1) == length).all()
    steps = batch.inputs[:, :length, 0]
    np.testing.assert_array_equal(np.diff(steps, axis=1), 1)
    ahead = batch.targets[:, :length] - steps[..., None]
    np.testing.assert_array_equal(ahead[~np.isnan(ahead)], np.broadcast_to([1, 2, 3], ahead.shape)[~np.isnan(ahead)])
    exists = ~np.isnan(batch.targets[:, :length])
    np.testing.assert_allclose(batch.weights[:, :length], exists.mean(axis=-1))
    assert (exists[:, -1, 0]).all(), "the step after the last one is there, and in the subset"


@pytest.mark.parametrize("subset", SUBSETS)
def test_every_target_lies_in_its_own_split_and_windows_of_later_splits_look_back(subset: str):
    task = series(100, horizon=4)
    batch = draw(task, subset, batch=200)
    low, high = {"train": (0, 60), "validation": (60, 80), "test": (80, 100)}[subset]
    targets = existing_targets(batch)
    first = low + 1 if subset == "train" else low  # the first step of all has none before it
    assert set(targets.astype(int)) == set(range(first, high)), "each step of the split is forecast, and no other"
    assert (batch.inputs[..., 0] < high).all()
    looks_back = (batch.inputs[:, 0, 0] < low).any()
    assert looks_back == (subset != "train")


def test_no_window_and_no_target_crosses_the_border_of_a_series():
    task = series(30, 40, 50, horizon=3)
    for subset in SUBSETS:
        batch = draw(task, subset, batch=300)
        owner = np.searchsorted([30, 70], batch.inputs[..., 0], side="right")
        of_target = np.searchsorted([30, 70], batch.targets, side="right")
        counts = ~np.isnan(batch.targets) & (batch.segments > 0)[..., None]
        assert (of_target == owner[..., None])[counts].all()
        assert all(len(set(row[kept > 0])) == 1 for row, kept in zip(owner, batch.segments, strict=True))
        assert set(owner[:, 0]) == {0, 1, 2}, "all series are drawn from"


def test_training_windows_are_as_long_as_their_series_allows():
    lengths = draw(series(200, 10), "train", batch=500).segments.sum(axis=1)
    assert set(lengths) == {8, 5}, "8 of the long series; 5 of 6 steps of the short one, of which the last is a target"


def test_training_windows_are_drawn_uniformly():
    task = series(30)
    last = np.concatenate([draw(task, "train", 500, seed).inputs[:, -1, 0] for seed in range(4)]).astype(int)
    counts = np.bincount(last, minlength=17)
    assert set(last) == set(range(7, 17))
    assert counts[8:17].min() > 0.6 * 2000 / 17


def test_windows_of_an_evaluation_are_spread_evenly_whatever_the_key():
    task = series(10_000)
    split = task.splits["test"]
    assert split.examples == MAX_WINDOWS
    some, other = (draw(task, "test", split.examples, seed) for seed in (0, 1))
    np.testing.assert_array_equal(some.inputs, other.inputs)
    distance = np.diff(some.inputs[:, -1, 0])
    assert 3 <= distance.min() <= distance.max() <= 4
    task = series(100)
    batch = draw(task, "test", task.splits["test"].examples)
    np.testing.assert_array_equal(batch.inputs[:, -1, 0], range(79, 99))


# ---- gaps -----------------------------------------------------------------------------------------------------------


def test_a_gap_is_padding_and_the_rest_of_the_window_stays_as_it_is():
    whole = draw(series(100, horizon=2), "test", batch=20)
    gappy = draw(series(100, gaps=(82, 83, 90), horizon=2), "test", batch=17)
    is_gap = np.isin(np.arange(100), (82, 83, 90))
    by_end = {int(row[-1, 0]): i for i, row in enumerate(whole.inputs)}
    for i, row in enumerate(gappy.inputs):
        end = int(row[-1, 0])
        steps = np.arange(end - 7, end + 1)
        np.testing.assert_array_equal(gappy.segments[i], ~is_gap[steps])
        np.testing.assert_array_equal(row[:, 0], np.where(is_gap[steps], 0, steps))
        before = whole.targets[by_end[end]]
        expected = np.where(np.isin(before, (82, 83, 90)), np.nan, before)
        expected[is_gap[steps]] = 0
        np.testing.assert_array_equal(gappy.targets[i], expected)
    assert not gappy.weights[gappy.segments == 0].any()


def test_a_step_that_lacks_one_of_its_values_is_a_gap_whose_other_values_are_still_forecast():
    task = series(50, gaps=(45,), columns=2)
    assert 45 not in task.ends["test"]
    batch = draw(task, "test", batch=len(task.ends["test"]))
    (row,) = np.flatnonzero(batch.inputs[:, -1, 0] == 44)
    np.testing.assert_array_equal(batch.targets[row, -1], [np.nan, 1045])
    assert batch.weights[row, -1] == 0.5


def test_what_is_missing_changes_neither_loss_nor_gradient():
    task = series(50, gaps=(45, 46), columns=2, horizon=2)
    batch = sample(task, KEY, jnp.int32(8), "test", 8)
    outputs = jax.random.normal(KEY, (8, 8, 4))
    exists = (np.asarray(batch.segments) > 0)[..., None] & ~np.isnan(batch.targets)
    assert 0 < exists.mean() < 1
    expected = np.square(np.asarray(outputs) - batch.targets)[exists].mean()
    np.testing.assert_allclose(task.loss(outputs, batch), expected, rtol=1e-5)
    gradient = np.asarray(jax.grad(task.loss)(outputs, batch))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient != 0, exists)


def test_relative_targets_are_changes_from_the_value_of_their_step():
    """A model that says 0 then scores as the last value does, and the simple rules score what they did."""
    task = series(60, gaps=(50,), columns=2, horizon=3)
    relative = dataclasses.replace(task, relative=True)
    batch = sample(relative, KEY, jnp.int32(8), "test", task.splits["test"].examples)
    ahead = np.asarray(batch.targets).reshape(-1, 8, 3, 2)
    expected = np.broadcast_to(np.array([1, 2, 3])[:, None], ahead.shape)
    present = (np.asarray(batch.segments) > 0)[..., None, None] & ~np.isnan(ahead)
    np.testing.assert_array_equal(ahead[present], expected[present])
    assert not ahead[np.asarray(batch.segments) == 0].any()
    assert relative.baselines == task.baselines
    assert relative.chance == task.chance
    np.testing.assert_allclose(
        relative.score(jnp.zeros_like(batch.targets), batch), task.baselines["the last value"], rtol=1e-6
    )


# ---- loss, score and simple rules ------------------------------------------------------------------------------------


def wave(*periods: float, steps: int = 600, noise: float = 0.0, trend: float = 0.0, **settings: int) -> Series:
    """A sum of sines of these periods."""
    time = np.arange(steps)
    values = sum((np.sin(2 * np.pi * time / period + period) for period in periods), trend * time)
    values = values + noise * np.random.default_rng(0).standard_normal(steps)
    subsets = np.searchsorted([0.7 * steps, 0.8 * steps], time, side="right").astype(np.int8)
    values = ((values - values[subsets == 0].mean()) / values[subsets == 0].std()).astype(np.float32)[:, None]
    arrays = index_windows(values, subsets, np.array([0, steps], np.int32))
    return Series(**arrays, columns=("a",), target_columns=("a",), **dict[str, Any]({"max_length": 32, **settings}))


def test_the_score_is_that_of_the_last_step_and_the_loss_of_all():
    task = series(50, gaps=(12,), horizon=2)
    batch = sample(task, KEY, jnp.int32(6), "train", 16)
    outputs = jax.random.normal(KEY, (16, 8, 2))
    last = np.array([np.flatnonzero(row)[-1] for row in np.asarray(batch.segments)])
    error = np.square(np.asarray(outputs) - batch.targets)[np.arange(16), last]
    np.testing.assert_allclose(task.score(outputs, batch), np.nanmean(error), rtol=1e-5)
    elsewhere = outputs.at[:, 0].add(1.0)
    assert task.score(elsewhere, batch) == task.score(outputs, batch)
    assert task.loss(elsewhere, batch) != task.loss(outputs, batch)
    assert np.isnan(task.score(outputs * jnp.nan, batch)), "no answer is no right answer"
    absolute = np.abs(np.asarray(outputs) - batch.targets)[np.arange(16), last]
    np.testing.assert_allclose(task.extra_scores(outputs, batch)["absolute error"], np.nanmean(absolute), rtol=1e-5)


@pytest.mark.parametrize("gaps", [(), (83, 84, 91)])
def test_simple_rules_are_scored_on_the_windows_that_a_model_is_scored_on(gaps: tuple[int, ...]):
    """A model that says the last value, or 0, scores what the task says of these rules."""
    task = series(100, gaps=gaps, columns=2, horizon=3)
    split = task.splits["test"]
    batch = sample(task, KEY, jnp.int32(8), "test", split.examples)
    last_value = jnp.tile(batch.inputs, (1, 1, 3))
    np.testing.assert_allclose(task.score(last_value, batch), task.baselines["the last value"], rtol=1e-6)
    np.testing.assert_allclose(task.score(jnp.zeros_like(last_value), batch), task.chance, rtol=1e-6)
    assert task.baseline == min(task.baselines.items(), key=lambda rule: rule[1])


def test_each_rule_is_right_where_its_series_is_made_for_it():
    periodic = wave(16, horizon=20).baselines
    assert periodic["the value 16 steps before"] < 1e-9
    assert periodic["the last value"] > 0.5
    two = wave(9.3, 15.7, horizon=4).baselines  # two sines obey a linear recurrence of four steps
    assert two["a linear model of the last 32 values"] < 1e-3
    walk = np.random.default_rng(0).standard_normal(3000).cumsum()
    subsets = np.repeat(np.arange(3, dtype=np.int8), 1000)
    values = (walk / walk.std()).astype(np.float32)[:, None]
    arrays = index_windows(values, subsets, np.array([0, 3000]))
    rules = Series(**arrays, columns=("a",), target_columns=("a",), max_length=16).baselines
    assert rules["a linear model of the last 16 values"] < 1.1 * rules["the last value"]


def test_a_linear_model_without_a_whole_window_is_the_last_value():
    task = series(100, horizon=8)
    arrays = index_windows(task.values, np.where(np.arange(100) % 3 == 1, 0, 2).astype(np.int8), task.borders)
    arrays["ends"]["validation"] = arrays["ends"]["test"]
    rules = dataclasses.replace(task, **arrays).baselines
    assert rules["a linear model of the last 8 values"] == pytest.approx(rules["the last value"], rel=1e-6)


@pytest.mark.parametrize("period", [7, 24])
def test_the_season_is_found_below_noise_and_a_trend(period: int):
    tasks = [wave(period, noise=0.5, trend=trend, max_length=96) for trend in (0.0, 0.002)]
    assert [forecasts.choose_season(task) for task in tasks] == [period] * 2
    assert f"the value {period} steps before" in tasks[0].baselines


def test_the_season_of_one_column_is_found_beside_others_that_hide_it():
    time = np.arange(1000)
    daily, slower = (np.sin(2 * np.pi * time / period) for period in (24, 48))  # of opposite sign after 24 steps
    noise = np.random.default_rng(0).standard_normal((12, 1000))
    subsets = np.repeat(np.arange(3, dtype=np.int8), (700, 100, 200))
    for others in ([slower], noise):
        values = np.stack([*others, daily], axis=1)
        names = tuple(f"column {i}" for i in range(values.shape[1]))
        arrays = index_windows((values / values.std(axis=0)).astype(np.float32), subsets, np.array([0, 1000], np.int32))
        task = Series(**arrays, columns=names, target_columns=names, max_length=36)
        assert forecasts.choose_season(task) == 24
        alone = dataclasses.replace(task, target_columns=names[:1])
        assert forecasts.choose_season(alone) == 1, "a column that is not forecast has no say"


def test_of_two_seasons_the_one_that_explains_more_is_taken():
    time = np.arange(1000)
    values = np.sin(2 * np.pi * time / 24) + 0.3 * np.sin(2 * np.pi * time / 5)
    assert forecasts.peak_lag(forecasts.autocorrelation(values[:, None], 0 * time, 96), 0.1) in (24, 25)


def test_where_no_season_stands_out_the_value_before_is_taken():
    noise = wave(50, noise=100.0, max_length=30)
    assert forecasts.choose_season(noise) == 1
    rules = noise.baselines
    assert rules["the value before, as no season was found"] == rules["the last value"]
    assert "the value 12 steps before" in dataclasses.replace(noise, season=12).baselines


def test_the_season_is_found_in_short_series_and_behind_gaps():
    time = np.arange(2000)
    values = np.sin(2 * np.pi * (time % 40) / 8)[:, None] + 10 * (time // 40)[:, None]  # 50 series of 40 steps
    values[np.random.default_rng(0).random(2000) < 0.2] = np.nan
    correlation = forecasts.autocorrelation(values, time // 40, 31)
    assert forecasts.peak_lag(correlation, 0.1) == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, r"^task.horizon=0: must be 1 or more$"),
        ({"horizon": 21}, r"^task.horizon=21: must be 20 or less, the steps of the validation split$"),
        ({"max_length": 0}, r"^task.max_length=0: must be 1 or more$"),
        ({"season": 9}, r"^task.season=9: must be 0 to 8, since forecasts see task.max_length steps$"),
        ({"target_columns": ("c",)}, r"^task.target_columns=\('c',\): must be one or more of a$"),
    ],
)
def test_settings_that_make_no_task_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(series(100), **settings)
