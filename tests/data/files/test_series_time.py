"""Series of a user's files: how steps are placed in time, and how series are split and scaled."""

import datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from data.files import load_files
from data.files.series_steps import LONGEST_GAP
from data.files.time_axis import find_step, number_steps, parse_frequency, parse_time
from tasks import Series
from tests.data.files.test_series import HOUR, START, arrange, hourly, message, original, write

# ---- time ------------------------------------------------------------------------------------------------------------


def test_missing_rows_and_empty_cells_are_gaps_and_said(tmp_path: Path):
    rows = hourly()
    rows[20][1], rows[21][1], rows[30][2] = "", "NaN", "NA"
    del rows[50:53]
    arranged = arrange(write(tmp_path / "a.csv", rows))
    assert arranged.step == "1h"
    missing = np.zeros((100, 2), bool)
    missing[[20, 21], 0] = missing[30, 1] = missing[50:53] = True
    np.testing.assert_array_equal(np.isnan(arranged.values), missing)
    np.testing.assert_allclose(original(arranged)[53:, 1], 1000 - 2.5 * np.arange(53, 100), atol=1e-3)
    assert arranged.notes == [
        "3 of 100 steps of 1h have no row.",
        "3 cells are empty or nan: load 2, price 1.",
        "6 of 100 steps lack a value and are gaps: they are passed over, and nothing is forecast from them; what they "
        "lack is not forecast either.",
    ]


def test_a_model_passes_over_gaps(tmp_path: Path):
    rows = hourly(100)
    del rows[89:91]
    path = write(tmp_path / "a.csv", rows)
    loaded = load_files("series", {"path": str(path), "time_column": "date"}, tmp_path / "data")
    task = Series(**loaded.arguments, max_length=8)
    batch = task.sample(jax.random.key(0), 17, 8, 8, "test")
    assert sorted(set(np.asarray(batch.segments).sum(axis=1))) == [6, 7, 8]
    assert (np.asarray(batch.segments)[:, -1] == 1).all(), "every window ends at a step that is there"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((10, 9), "a.csv, row 11: task.time_column=date: the time {0} is that of a.csv, row 10"),
        ((10, 4), "a.csv, row 11: task.time_column=date: the time {0} comes before {1} in a.csv, row 10"),
    ],
)
def test_time_must_go_forward(change: tuple[int, int], said: str, tmp_path: Path):
    rows = hourly()
    to, of = change
    rows[to][0] = rows[of][0]
    told = message(write(tmp_path / "a.csv", rows))
    assert told.startswith(said.format(rows[of][0], rows[9][0]) + ": sort the rows by time, each time once")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", "is empty"),
        ("26.02.2024", "is '26.02.2024', which is neither a number nor an ISO 8601 date"),
        ("3", "is '3', a number after a date in the rows before: write all in one way"),
    ],
)
def test_a_time_that_is_none_is_refused_with_its_row(cell: str, said: str, tmp_path: Path):
    rows = hourly()
    rows[3][0] = cell
    assert message(write(tmp_path / "a.csv", rows)).startswith(f"a.csv, row 4: task.time_column=date: the time {said}")


@pytest.mark.parametrize(
    ("cells", "step", "numbers"),
    [
        (["2024-01-01", "2024-01-02", "2024-01-04"], "1d", [0, 1, 3]),
        (["2024-01-01T00:00", "2024-01-01 00:15", "2024-01-01T00:45:00"], "15min", [0, 1, 3]),
        (["2024-01", "2024-02", "2024-03", "2024-05"], "1mo", [0, 1, 2, 4]),
        (["2024-01-31", "2024-02-29", "2024-03-31"], "1mo", [0, 1, 2]),
        (["2024-03-31", "2024-06-30", "2024-12-31"], "1q", [0, 1, 3]),
        (["2023-06-01", "2024-06-01", "2025-06-01"], "1y", [0, 1, 2]),
        (["1990", "1991", "1993"], "1", [0, 1, 3]),
        (["0.1", "0.2", "0.3", "0.5"], "0.1", [0, 1, 2, 4]),
        (["2024-03-30T22:00-01:00", "2024-03-31T00:00+00:00", "2024-03-31T03:00+02:00"], "1h", [0, 1, 2]),
    ],
)
def test_the_step_of_time_is_found(cells: list[str], step: str, numbers: list[int]):
    times = np.array([parse_time(cell) for cell in cells])
    found = find_step([times])
    assert str(found) == step
    assert found is not None
    assert number_steps(times, found).tolist() == numbers
    assert str(parse_frequency(step, is_date=times.dtype == np.int64)) == step


def test_times_without_a_regular_step_are_taken_in_order_and_said(tmp_path: Path):
    rows = hourly()
    rows[50][0] = (START + 50 * HOUR + HOUR / 3).isoformat()
    arranged = arrange(write(tmp_path / "a.csv", rows))
    assert arranged.step == ""
    assert arranged.notes == [
        "The times in date are at no regular distance: rows are taken one after the other, whatever lies between."
    ]
    days = [START.date() + datetime.timedelta(days=i) for i in range(140)]
    weekdays = [[day.isoformat(), *row[1:]] for day, row in zip(days, hourly(140), strict=True) if day.weekday() < 5]
    path = write(tmp_path / "b.csv", weekdays)
    arranged = arrange(path)
    assert len(arranged.values) == 100
    assert arranged.notes == [
        "The times in date are multiples of 1d, and after 19% of the rows some are missing: rows are taken one "
        "after the other; task.frequency=1d would make gaps of what is missing."
    ]
    arranged = arrange(path, frequency="1d")
    assert len(arranged.values) == 138
    assert np.isnan(arranged.values[:, 0]).sum() == 38
    assert len(arrange(path, frequency="none").values) == 100


def test_a_series_is_cut_where_very_much_is_missing(tmp_path: Path):
    rows = [*hourly(50), *hourly(50, first=50 + LONGEST_GAP), *hourly(20, first=101 + 2 * LONGEST_GAP)]
    arranged = arrange(write(tmp_path / "a.csv", rows))
    assert arranged.borders.tolist() == [0, 100 + LONGEST_GAP, 120 + LONGEST_GAP]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(arranged.values[:, 0])), 50 + np.arange(LONGEST_GAP))
    assert f"At 1 places more than {LONGEST_GAP:,} steps have no row: no window goes across them." in arranged.notes


# ---- series and splits -----------------------------------------------------------------------------------------------


def test_each_series_is_split_by_its_own_time_however_rows_are_mixed(tmp_path: Path):
    rows = [[*row, "north"] for row in hourly(100)] + [[*row, "south"] for row in hourly(50, seed=1)]
    rows.sort(key=lambda row: row[0])
    path = write(tmp_path / "a.csv", rows, ("date", "load", "price", "place"))
    arranged = arrange(path, series_column="place")
    assert arranged.borders.tolist() == [0, 100, 150]
    np.testing.assert_array_equal(arranged.subsets, np.repeat([0, 1, 2, 0, 1, 2], [70, 10, 20, 35, 5, 10]))
    later = max(i for i, row in enumerate(rows) if row[3] == "south")
    rows[later - 2], rows[later] = rows[later], rows[later - 2]
    told = message(write(path, rows, ("date", "load", "price", "place")), series_column="place")
    assert f"the time {rows[later][0]} of the series south comes before {rows[later - 2][0]} in a.csv, row" in told


def test_series_may_be_scaled_each_by_its_own_training_part(tmp_path: Path):
    rows = [["", row[1] * scale, name] for name, scale in (("a", 1), ("b", 1000)) for row in hourly(100)]
    rows += [["", 7, "c"] for _ in range(20)]
    path = write(tmp_path / "a.csv", rows, ("remark", "load", "place"))
    fields = {"time_column": "", "series_column": "place", "columns": "load"}
    common, own = (arrange(path, **fields, scale_by=by).values[:, 0] for by in ("column", "series"))
    assert np.std(common[:70]) < 0.01 * np.std(common[100:170])
    for start in (0, 100):
        np.testing.assert_allclose([own[start : start + 70].mean(), own[start : start + 70].std()], [0, 1], atol=1e-5)
    np.testing.assert_allclose(own[200:], common[200:], rtol=1e-5)
    assert arrange(path, **fields, scale_by="series").notes == [
        "1 series have a column that doesn't vary in training: it is scaled as in all series."
    ]


def test_splits_may_be_given_by_files_that_go_on_or_stand_alone(tmp_path: Path):
    train = write(tmp_path / "train.csv", hourly(60))
    later = write(tmp_path / "later.csv", hourly(30, first=62))
    again = write(tmp_path / "again.csv", hourly(30, first=50))
    arranged = arrange(train, validation_path=str(later))
    assert arranged.borders.tolist() == [0, 92], "windows of validation look back into the file before"
    np.testing.assert_array_equal(arranged.subsets, np.repeat([0, 2, 1], [50, 12, 30]))
    arranged = arrange(train, validation_path=str(later), test_path=str(again))
    assert arranged.borders.tolist() == [0, 92, 122], "what overlaps is a series of its own"
    np.testing.assert_array_equal(arranged.subsets, np.repeat([0, 1, 2], [62, 30, 30]))
    assert arrange(train, test_path=str(again), columns="load").borders.tolist() == [0, 60, 90]
    alone = arrange(train, test_path=str(later), time_column="", columns="load")
    assert alone.borders.tolist() == [0, 60, 90]


@pytest.mark.parametrize("named", [True, False])
def test_rows_that_are_tested_as_well_are_dropped_from_training(named: bool, tmp_path: Path):
    """Of the same time and series, or of the same time and values where no column names the series."""
    columns = ("date", "load", "price", "place")
    rows, later = hourly(60), hourly(30, first=40, seed=1)
    if not named:
        later[:20] = [list(row) for row in rows[40:]]
        later[3][1] += 1
    train = write(tmp_path / "train.csv", [[*row, "a"] for row in rows], columns)
    test = write(tmp_path / "test.csv", [[*row, "a"] for row in later], columns)
    arranged = arrange(train, test_path=str(test), series_column="place" if named else "", columns="load,price")
    count = 20 if named else 19
    said = f"{count} rows of the train split were dropped, since they are in a split after it as well."
    assert arranged.notes[0] == said
    dropped: Any = np.isnan(arranged.values).any(axis=1)
    assert dropped[40:60].sum() == dropped.sum() == count
    if named:
        middle = write(tmp_path / "middle.csv", [[*row, "a"] for row in hourly(30, first=55)], columns)
        again = arrange(train, test_path=str(test), validation_path=str(middle), series_column="place")
        assert again.notes[:2] == [
            said,
            "15 rows of the validation split were dropped, since they are in a split after it as well.",
        ]


def test_splits_may_be_given_by_a_column(tmp_path: Path):
    rows = [
        [*row, split] for row, split in zip(hourly(100), ["train"] * 50 + ["dev"] * 20 + ["test"] * 30, strict=True)
    ]
    path = write(tmp_path / "a.csv", rows, ("date", "load", "price", "part"))
    np.testing.assert_array_equal(arrange(path, split_column="part").subsets, np.repeat([0, 1, 2], [50, 20, 30]))
    rows[10][3] = "later"
    assert "a.csv, row 11: the split is 'later'" in message(
        write(path, rows, ("date", "load", "price", "part")), split_column="part"
    )


def test_files_of_a_folder_are_series_unless_they_go_on_in_time(tmp_path: Path):
    years = tmp_path / "years"
    years.mkdir()
    for i in range(3):
        write(years / f"{2020 + i}.csv", hourly(40, first=40 * i))
    assert arrange(years).borders.tolist() == [0, 120]
    assert arrange(years, time_column="", columns="load").borders.tolist() == [0, 40, 80, 120]
    stations = tmp_path / "stations"
    stations.mkdir()
    for i in range(3):
        write(stations / f"{i}.csv", hourly(40, seed=i))
    arranged = arrange(stations)
    assert arranged.borders.tolist() == [0, 40, 80, 120]
    np.testing.assert_array_equal(arranged.subsets, np.tile(np.repeat([0, 1, 2], [28, 4, 8]), 3))


def test_files_named_after_splits_are_of_these_splits(tmp_path: Path):
    """Training is read first, since its series goes on in the others."""
    for name, first, steps in (("dev", 60, 20), ("test", 80, 20), ("train", 0, 60)):
        write(tmp_path / f"{name}.csv", hourly(steps, first=first))
    arranged = arrange(tmp_path)
    assert arranged.borders.tolist() == [0, 100]
    np.testing.assert_array_equal(arranged.subsets, np.repeat([0, 1, 2], [60, 20, 20]))
    np.testing.assert_allclose(original(arranged)[:, 1], 1000 - 2.5 * np.arange(100), atol=1e-3)
    assert arranged.notes == [
        f"Files that are {split} by their name or folder: 1." for split in ("validation", "test", "train")
    ]


def test_parts_of_one_table_follow_on_one_another(tmp_path: Path):
    for i in range(3):
        write(tmp_path / f"power-{i:05d}-of-00003.csv", hourly(40))
    assert arrange(tmp_path, time_column="", columns="load").borders.tolist() == [0, 120]
    assert message(tmp_path).startswith(
        "power-00001-of-00003.csv, row 1: task.time_column=date: the time 2024-02-26T00"
    )
