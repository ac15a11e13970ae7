import csv
import datetime
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.files import find_sources, load_files, series
from data.files.series import Options
from data.files.series_rows import read_series
from data.files.series_steps import LONGEST_GAP, ArrangedSeries, arrange_series
from data.files.time_axis import find_step, number_steps, parse_frequency, parse_time
from tasks import Series

HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2024, 2, 26)


def write(path: Path, rows: Sequence[Sequence[Any]], header: Sequence[str] = ("date", "load", "price")) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerows([header, *rows])
    return path


def hourly(steps: int = 100, first: int = 0, seed: int = 0) -> list[list[Any]]:
    """Rows of an hourly series: its time, and two columns of numbers, each of which says its step."""
    noise = np.random.default_rng(seed).integers(0, 10, steps)
    return [
        [(START + (first + i) * HOUR).isoformat(), 100 + i + first + int(noise[i]) / 16, 1000 - 2.5 * (i + first)]
        for i in range(steps)
    ]


def arrange(path: Path, **fields: Any) -> ArrangedSeries:
    options = Options(**{"path": str(path), "time_column": "date", **fields})
    return arrange_series(options, read_series(options, find_sources(options)))


def original(arranged: ArrangedSeries) -> np.ndarray:
    return arranged.values * arranged.deviations + arranged.means


def arrays(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if not isinstance(value, tuple)}


def message(path: Path, **fields: Any) -> str:
    with pytest.raises(ValueError, match=r"task|row") as error:
        arrange(path, **fields)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".arrow"])
def test_every_kind_of_table_gives_the_same_task(suffix: str, tmp_path: Path):
    rows, names = hourly(), ("date", "load", "price")
    rows[7][1] = None
    path = tmp_path / f"power{suffix}"
    if suffix in (".csv", ".tsv"):
        write(path, rows)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    else:
        table = pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))
        table = table.set_column(0, "date", pa.array([datetime.datetime.fromisoformat(row[0]) for row in rows]))
        if suffix == ".parquet":
            pq.write_table(table, path)
        else:
            with pa.ipc.new_file(path, table.schema) as file:
                file.write_table(table)
    loaded = load_files("series", {"path": str(path), "time_column": "date", "horizon": 3}, tmp_path / "data")
    assert loaded.rows is None
    task = Series(**loaded.arguments, horizon=3, max_length=8)
    assert task.columns == task.target_columns == ("load", "price")
    expected = np.array([row[1:] for row in rows], float)
    mean, deviation = np.nanmean(expected[:70], axis=0), np.nanstd(expected[:70], axis=0)
    np.testing.assert_allclose(task.values, (expected - mean) / deviation, atol=1e-5)
    assert np.bincount(task.subsets).tolist() == [70, 10, 20]
    assert (np.diff(task.subsets) >= 0).all(), "training comes first, and test last"
    batch = jax.jit(lambda task: task.sample(jax.random.key(0), 4, 8, 8))(task)
    assert batch.targets.shape == (4, 8, 6)


def test_what_comes_after_training_changes_nothing_of_it(tmp_path: Path):
    rows = hourly()
    before = arrange(write(tmp_path / "a.csv", rows))
    for row in rows[70:]:
        row[1] *= 100
    after = arrange(write(tmp_path / "a.csv", rows))
    np.testing.assert_array_equal(after.values[:70], before.values[:70])
    assert after.values[70:, 0].min() > before.values[70:, 0].max()


def test_columns_that_are_no_numbers_are_left_out_and_said(tmp_path: Path):
    rows = [[i, *row, "A", "", 5] for i, row in enumerate(hourly())]
    path = write(tmp_path / "a.csv", rows, ("", "date", "load", "price", "station", "remark", "flat"))
    arranged = arrange(path)
    assert arranged.columns == arranged.targets == ("load", "price")
    assert arranged.notes == [
        "Left out: station ('A' in a.csv, row 1), remark (empty), a column without a name; task.columns names those "
        "that are wanted.",
        "Left out, since nothing can be learned from them in training: flat is 5 throughout.",
    ]
    assert "task.columns=station" not in message(path, columns="load,station")
    assert message(path, columns="load,station") == "a.csv, row 1: the column station is 'A', which is no number"
    assert message(path, columns=("load", "flat")) == (
        "task.columns=flat: it is 5 throughout in training, and can't be scaled: leave it out"
    )
    assert arrange(path, columns="load , price", target_columns="price").targets == ("price",)


def test_a_table_without_rows_a_header_or_numbers_is_refused(tmp_path: Path):
    path = tmp_path / "a.csv"
    assert message(write(path, [])) == f"task.path={path}: it has no rows, only a header at most"
    told = f"task.path={path}: the first row holds numbers, 3, 4, and no names of columns: write a header above it"
    assert message(write(path, [(1, 2)] * 20, ("3", "4")), time_column="") == told
    assert message(write(path, [("x", "y")] * 20, ("a", "b")), time_column="") == (
        f"task.path={path}: no column holds numbers: a.csv, row 1: the column a is 'x', which is no number; it has a, b"
    )
    assert message(write(path, [("", "")] * 20, ("a", "b")), time_column="") == (
        f"task.path={path}: no column holds numbers: all cells are empty; it has a, b"
    )
    assert message(write(path, [(1, 5)] * 20, ("a", "b")), time_column="") == (
        f"task.path={path}: nothing to forecast in training: a is 1 throughout, b is 5 throughout"
    )
    huge = [(f"{i}e305",) for i in range(9)]
    assert message(write(path, huge, ("a",)), time_column="").endswith("of the column a are too large to be scaled")


def test_the_cell_that_keeps_a_column_from_being_numbers_is_named(tmp_path: Path):
    path, dates = tmp_path / "a.csv", [row[0] for row in hourly()]
    commas = [(date, f"{i},5") for i, date in enumerate(dates)]
    assert message(write(path, commas, ("t", "x")), time_column="") == (
        f"task.path={path}: no column holds numbers: a.csv, row 1: the column x is '0,5', which has a decimal comma: "
        f"write 0.5 with a point; it has t, x"
    )
    numbers = [(date, "abc" if i == 6 else i) for i, date in enumerate(dates)]
    assert message(write(path, numbers, ("t", "x")), time_column="t") == (
        f"task.path={path}: no column holds numbers: a.csv, row 7: the column x is 'abc', which is no number; other "
        f"rows hold numbers: mend it, or leave it empty if the value is missing; it has t, x"
    )
    both = [(*commas[i], i * i) for i in range(100)]
    assert arrange(write(path, both, ("date", "x", "y"))).notes[0] == (
        "Left out: x ('0,5' in a.csv, row 1, a decimal comma: write 0.5 with a point); task.columns names those "
        "that are wanted."
    )


def test_a_column_that_may_be_the_time_is_named(tmp_path: Path):
    path = write(tmp_path / "a.csv", hourly())
    (left, hint) = arrange(path, time_column="").notes
    assert left.startswith("Left out: date ('2024-02-26T00:00:00' in a.csv, row 1)")
    assert hint.startswith("date rises from row to row: if it is the time, name it by task.time_column=date")
    path = write(tmp_path / "b.csv", [[i, *row[1:]] for i, row in enumerate(hourly())])
    assert arrange(path, time_column="").notes[0].startswith("date rises from row to row")
    assert arrange(path).notes == []


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("inf", "is 'inf': leave it empty if the value is missing"),
        ("3,5", "is '3,5', which has a decimal comma: write 3.5 with a point"),
        ("1,000", "is '1,000', which has a decimal comma: write 1.000 with a point, or 1000 if it parts thousands"),
        ("-1.234,5", "is '-1.234,5', which has a decimal comma: write -1234.5 with a point"),
        ("1_000", "is '1_000', which is no number"),
        ("twelve", "is 'twelve', which is no number"),
    ],
)
def test_a_cell_that_is_no_number_is_refused_with_row_and_column(cell: str, said: str, tmp_path: Path):
    rows = hourly(300)
    rows[211][2] = cell
    assert message(write(tmp_path / "a.csv", rows)) == f"a.csv, row 212: the column price {said}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"columns": "lod"}, "task.columns=lod: a.csv has no such column; it has date, load, price"),
        ({"time_column": "day"}, "task.time_column=day: a.csv has no such column; it has date, load, price"),
        ({"columns": "date,load"}, "task.columns=date: it is task.time_column already"),
        (
            {"columns": "load", "target_columns": "price"},
            "task.target_columns=price: must be one of the columns that are read, load: name it in task.columns too",
        ),
        ({"frequency": "7"}, "task.frequency=7: the times are dates, so give a unit, such as 1h"),
        (
            {"frequency": "2h"},
            "task.frequency=2h: the time 2024-02-26T01:00:00 is no whole number of steps after the first: give the "
            "step that the times have, or none",
        ),
        (
            {"frequency": "1s"},
            "task.frequency=1s: after 100% of the rows a step would be missing: give a longer step",
        ),
    ],
)
def test_options_that_do_not_fit_the_file_are_refused(fields: dict[str, str], said: str, tmp_path: Path):
    assert message(write(tmp_path / "a.csv", hourly()), **fields) == said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scale_by": "row"}, "task.scale_by=row: must be column or series"),
        ({"stream": "yes"}, "task.stream=yes: series are kept in memory; must be auto or no"),
        ({"columns": "a,b,a"}, "task.columns=a,b,a: name each column once"),
        ({"test_share": 1}, "task.test_share=1: must be a number above 0 and below 1"),
        ({"test_share": 0.95}, "task.test_share=0.95: leaves nothing to train on beside task.validation_share=0.1"),
        ({"frequency": "1h"}, "task.frequency=1h: a step of time needs task.time_column as well"),
        ({"frequency": "often"}, "task.frequency=often: must be auto, none, a number, or one with a unit"),
        ({"time_column": "a", "series_column": "a"}, "task.split_column=: time, series and split need a column each"),
    ],
)
def test_options_that_make_no_sense_are_refused(fields: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=f"^{said}"):
        Options(path="a.csv", **fields)


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


# ---- what is prepared ------------------------------------------------------------------------------------------------


def test_a_series_that_is_too_short_or_has_too_many_gaps_is_refused(tmp_path: Path):
    path = write(tmp_path / "a.csv", hourly(4))
    with pytest.raises(
        ValueError, match=r"of 4 steps none can be forecast in validation: give more rows, other shares"
    ):
        load_files("series", {"path": str(path), "time_column": "date"}, tmp_path / "data")
    rows = hourly(50)
    for row in rows[3:]:
        row[2] = ""
    rows[1][2] = 7
    path = write(tmp_path / "b.csv", rows)
    with pytest.raises(ValueError, match=r"94% of the steps lack a value, price 94%: name the columns without it"):
        load_files("series", {"path": str(path), "time_column": "date"}, tmp_path / "data")


def test_what_was_prepared_is_what_was_read_and_its_notes_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(series, "BLOCK", 16)
    rows = [[*row, place] for place in "ab" for row in hourly(60, seed=ord(place))]
    del rows[33]
    path = write(tmp_path / "a.csv", rows, ("date", "load", "price", "place"))
    fields = {"path": str(path), "time_column": "date", "series_column": "place", "target_columns": "load"}
    loaded = load_files("series", fields, tmp_path / "data").arguments
    assert "1 of 120 steps of 1h have no row." in capsys.readouterr().err
    arranged = arrange(path, series_column="place", target_columns="load")
    np.testing.assert_array_equal(loaded["values"], arranged.values)
    np.testing.assert_array_equal(loaded["subsets"], arranged.subsets)
    np.testing.assert_array_equal(loaded["borders"], arranged.borders)
    assert loaded["target_columns"] == ("load",)
    again = load_files("series", fields, tmp_path / "data").arguments
    assert capsys.readouterr().err == ""
    assert jax.tree.all(jax.tree.map(partial(np.array_equal, equal_nan=True), arrays(loaded), arrays(again)))


@pytest.mark.parametrize(
    ("level", "spread", "is_said"), [(200, 30, True), (10, 30, True), (200, 3, True), (12, 4, False)]
)
def test_series_that_differ_much_are_said_where_they_are_scaled_together(
    level: float, spread: float, is_said: bool, tmp_path: Path
):
    noise = np.random.default_rng(0).standard_normal((2, 300))
    rows = [[site, (START + i * HOUR).isoformat(), mean + by * noise[site, i]]
            for i in range(300) for site, (mean, by) in enumerate([(10, 3), (level, spread)])]  # fmt: skip
    path = write(tmp_path / "sites.csv", rows, ("site", "date", "load"))
    notes = arrange(path, series_column="site").notes
    assert len(notes) == is_said
    if is_said:
        assert notes[0].startswith("Series differ much in load: in training their means go from ")
        assert "% of the variance is between them" in notes[0]
        assert "task.scale_by=series" in notes[0]
    assert arrange(path, series_column="site", scale_by="series").notes == []


def test_what_a_file_would_become_is_described(tmp_path: Path):
    rows = hourly(200)
    rows[5][1] = ""
    options = Options(path=str(write(tmp_path / "a.csv", rows)), time_column="date", target_columns=("load",))
    lines = series.describe(options, find_sources(options))
    assert (
        lines[0] == "1 series of 200 steps in all, by date, a step is 1h: 140 train, 20 validation, 40 test (by time)"
    )
    assert lines[1].startswith("column load: in training mean 1")
    assert lines[1].endswith("; missing at 1 steps")
    assert lines[2].endswith("; not forecast")
    assert "steps that a forecast can be made from: 137 train, 20 validation, 40 test" in lines
    assert any(line.endswith(" the last value") for line in lines)
    assert lines[-2:] == [f"note: {note}" for note in arrange(Path(options.path)).notes]
    lines = series.describe(options, find_sources(options), limit=3)
    assert lines[0].startswith("1 series of 3 steps in all (of the first rows)")
    assert any(line.startswith("to be mended: task.path=") for line in lines)
