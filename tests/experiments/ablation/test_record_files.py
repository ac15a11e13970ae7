import csv
from pathlib import Path

import pytest

from experiments.ablation import record_files
from experiments.ablation.record_files import read_record, replace_rows
from training import files

HEADER = ["mixer", "seed", "test"]
ROWS = [["lstm", 0, 0.5], ["lstm", 1, None], ["s6, again", 2, "0.25"], ["s6", 3, "1"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    record_files.write_record(tmp_path / "record.csv", HEADER, ROWS)
    return tmp_path / "record.csv"


def test_a_record_reads_as_it_was_written(path: Path, tmp_path: Path):
    assert read_record(path) == [
        {"mixer": "lstm", "seed": "0", "test": "0.5"},
        {"mixer": "lstm", "seed": "1", "test": ""},
        {"mixer": "s6, again", "seed": "2", "test": "0.25"},
        {"mixer": "s6", "seed": "3", "test": "1"},
    ]
    assert path.read_text().splitlines()[0] == "mixer,seed,test,check"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # as git writes it where lines end in both
    assert len(read_record(path)) == 4
    assert read_record(tmp_path / "missing.csv") == []
    with pytest.raises(ValueError, match="a record has a line at least"):
        record_files.write_record(path, HEADER, [])


def test_no_damage_to_a_record_gives_another_table(path: Path):
    """Cut at every byte, every byte changed, every line gone, doubled or in another place."""
    whole, right = path.read_bytes(), read_record(path)
    lines = whole.splitlines(keepends=True)
    damaged = [whole[:at] for at in range(len(whole) - 1)]
    damaged += [whole[:at] + other + whole[at + 1 :] for at in range(len(whole)) for other in (b"7", b"x", b",", b"\n")]
    damaged = [data for data in damaged if data != whole]
    damaged += [b"".join(lines[:at] + lines[at + 1 :]) for at in range(len(lines))]
    damaged += [b"".join([*lines[: at + 1], *lines[at:]]) for at in range(len(lines))]
    damaged += [b"".join([*lines[:at], lines[1], *lines[at + 1 :]]) for at in range(2, len(lines))]
    damaged += [b"".join([lines[0], *reversed(lines[1:])]), b"", b"\xff\xfe" + whole, whole + b"\0\n"]
    for data in damaged:
        path.write_bytes(data)
        found, message = read(path)
        assert found in ([], right), data
        assert "\n" not in message
        assert bool(message) == (found == [])
        assert not message or str(path) in message


def read(path: Path) -> tuple[list[dict[str, str]], str]:
    try:
        return read_record(path), ""
    except ValueError as error:
        return [], str(error)


def test_the_line_that_is_wrong_is_named(path: Path):
    whole = path.read_text()
    path.write_text(whole.replace("lstm,1,", "lstm,9,"))
    assert f"{path}: line 3 is damaged, by its checksum" in read(path)[1]
    path.write_text("".join(whole.splitlines(keepends=True)[:3]))
    assert f"{path} is cut behind line 3" in read(path)[1]
    files.write_csv(path, HEADER, ROWS)
    assert "has no column of checksums" in read(path)[1]
    record_files.sign_record(path)
    assert path.read_text() == whole
    record_files.sign_record(path)
    assert path.read_text() == whole


def test_renewed_rows_leave_the_others_as_they_were(path: Path):
    before = path.read_text().splitlines()
    fresh = [{"mixer": "lstm", "seed": seed, "test": "0.75", "more": "1"} for seed in "01"]
    replace_rows(path, fresh, ("mixer",), lambda row: row["mixer"])
    rows = read_record(path)
    assert [tuple(row.values()) for row in rows] == [
        ("lstm", "0", "0.75", "1"), ("lstm", "1", "0.75", "1"), ("s6", "3", "1", ""), ("s6, again", "2", "0.25", "")
    ]  # fmt: skip
    replace_rows(path.with_name("new.csv"), fresh, ("mixer",))
    assert read_record(path.with_name("new.csv")) == fresh
    assert [line.split(",")[0] for line in before[1:3]] == ["lstm", "lstm"]


def test_a_table_by_hand_is_refused_where_a_line_is_cut(path: Path):
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match="line 3 has 1 fields and not 2"):
        record_files.read_unsigned_table(path)
    path.write_text("a,b\n1,2\n")
    assert record_files.read_unsigned_table(path) == [{"a": "1", "b": "2"}]


def test_every_record_in_the_repository_has_its_checksums():
    folder = Path(record_files.__file__).parents[1] / "records"
    paths = sorted(folder.rglob("*.csv"))
    assert len(paths) > 60
    for path in paths:
        rows = read_record(path)
        with path.open(newline="") as file:
            assert len(rows) == sum(1 for _ in csv.reader(file)) - 1


def test_some_lines_of_a_table_are_renewed_and_the_others_stay(tmp_path: Path):
    """By their values in the columns that are named, whatever type these have; behind the rest, or sorted."""
    path = tmp_path / "table.csv"
    replace_rows(path, [{"name": "b", "n": 1, "score": 0.5}, {"name": "a", "n": 1, "score": 0.4}], ("name", "n"))
    replace_rows(path, [{"name": "b", "n": 1, "score": 0.9}, {"name": "b", "n": 2, "score": 0.8}], ("name", "n"))
    rows = [tuple(row.values()) for row in read_record(path)]
    assert rows == [("a", "1", "0.4"), ("b", "1", "0.9"), ("b", "2", "0.8")]
    replace_rows(path, [{"name": "a", "n": 3, "score": 0.1}], ("name",), lambda row: str(row["score"]))
    assert [row["score"] for row in read_record(path)] == ["0.1", "0.8", "0.9"]


def test_fewer_lines_do_not_take_the_place_of_more(tmp_path: Path):
    path = tmp_path / "table.csv"
    replace_rows(path, [{"name": name, "seed": seed, "score": 0.5} for name in "ab" for seed in (0, 1)], ("name",))
    before = path.read_bytes()
    for fresh, said in (
        ([{"name": "a", "seed": 0, "score": 0.9}], "table.csv holds more than what would take its place: name=a; run"),
        ([], "table.csv: there is no row to write"),
        ([{"seed": 0, "name": "c"}], "table.csv has a column score, which the new rows lack"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            replace_rows(path, fresh, ("name",))
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == before
