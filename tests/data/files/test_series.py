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
from data.files.series_steps import ArrangedSeries, arrange_series
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
