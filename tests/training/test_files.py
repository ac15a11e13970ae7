import json
from pathlib import Path

import numpy as np
import pytest

from training import files, metrics, provenance


def test_rows_are_read_back_in_order_of_step_and_the_last_of_a_kind_counts(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = metrics.MetricWriter(path)
    log.write_row(step=10, split="train", loss=np.array([1.0, 2.0], np.float32))
    log.write_row(step=5, split="train", loss=[3.0, 4.0])
    log.write_row(step=10, split="train", loss=[0.5, 0.25])
    log.write_row(step=10, split="test", loss=[7.0, 8.0])
    log.close()
    assert [(row["step"], row["split"], row["loss"]) for row in metrics.read_metrics(path)] == [
        (5, "train", [3.0, 4.0]),
        (10, "train", [0.5, 0.25]),
        (10, "test", [7.0, 8.0]),
    ]


def test_a_line_that_a_kill_cut_off_is_passed_over_and_then_removed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = metrics.MetricWriter(path)
    log.write_row(step=1, split="train")
    log.close()
    path.write_bytes(path.read_bytes() + b'{"step": 2, "spl')
    assert [row["step"] for row in metrics.read_metrics(path)] == [1]
    log = metrics.MetricWriter(path)
    log.write_row(step=2, split="train")
    log.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_what_json_can_not_hold_becomes_null_and_arrays_become_lists():
    value = {"a": np.array([1, np.nan], np.float32), "b": float("inf"), "c": (1, True), "d": np.int32(3)}
    assert files.to_jsonable(value) == {"a": [1.0, None], "b": None, "c": [1, True], "d": 3}


def test_nine_digits_give_a_float32_back_exactly():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert np.array_equal(np.float32(files.to_jsonable(values)), values)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"b": object()})
    assert files.read_json(path) == {"b": 1}


def test_damaged_json_is_named_in_one_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"b": ')
    with pytest.raises(ValueError, match=r"a\.json is damaged") as error:
        files.read_json(path)
    assert "\n" not in str(error.value)


def test_the_key_depends_on_every_value_and_on_no_order():
    config = {"model": {"depth": 2, "width": 64}, "seeds": (0, 1)}
    assert files.fingerprint(config) == files.fingerprint({"seeds": [0, 1], "model": {"width": 64, "depth": 2}})
    assert files.fingerprint(config) != files.fingerprint({**config, "seeds": (0, 2)})


def test_flat_names_every_leaf_by_its_path():
    assert files.flatten_dict({"a": {"b": {"c": 1}}, "d": []}) == {"a.b.c": 1, "d": []}


def test_the_environment_says_what_a_result_depends_on():
    found = provenance.describe_environment()
    assert {"revision", "packages", "device", "python", "xla_flags"} <= set(found)
    assert found["packages"]["jax"]
    assert found["device"]["count"] >= 1


def test_a_directory_is_held_by_one_at_a_time(tmp_path):
    with files.lock_directory(tmp_path):
        with pytest.raises(ValueError, match="is in use by another process") as error, files.lock_directory(tmp_path):
            pass
        assert "\n" not in str(error.value)
    with files.lock_directory(tmp_path):
        pass


def test_a_table_is_read_back_as_text(tmp_path):
    path = tmp_path / "a.csv"
    assert files.read_csv(path) == []
    files.write_csv(path, ["x", "y"], [[1, "a,b"], [2.5, None]])
    assert files.read_csv(path) == [{"x": "1", "y": "a,b"}, {"x": "2.5", "y": ""}]
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_an_environment_is_added_where_something_changed(tmp_path, monkeypatch):
    path = tmp_path / "environment.json"
    now = {"revision": "abc", "source_changed": False, "device": {"kind": "cpu"}, "packages": {}}
    for cores in (2, 2, 4):
        monkeypatch.setattr(provenance, "describe_environment", lambda cores=cores: {**now, "cores": cores})
        provenance.append_environment(path)
    assert files.read_json(path) == [{**now, "cores": 2}, {**now, "cores": 4}]


def test_a_row_that_weighs_less_is_one_lost(tmp_path: Path):
    path = tmp_path / "table.csv"
    files.write_csv(path, ["what", "n"], [["a", 20], ["b", 20], ["c", ""]])
    weight = lambda row: float(row["n"] or 0)  # noqa: E731
    more = [{"what": "a", "n": 20}, {"what": "b", "n": 30.0}]
    files.check_no_rows_lost(path, more, ("what",), weight)  # c had nothing
    files.check_no_rows_lost(tmp_path / "none.csv", [], ("what",))
    with pytest.raises(ValueError, match="what=a and 1 more; run that too, or delete the file first"):
        files.check_no_rows_lost(path, [{"what": "b", "n": 1}, {"what": "c", "n": 1}], ("what",), weight)


def test_a_line_of_json_with_any_other_character_is_damaged():
    value = {"a": 1.5, "b": {"c": [1, "x", None]}, "d": "check"}
    line = files.to_json_line(value)
    assert files.parse_json(line.encode(), {}) == value
    for at in range(len(line)):
        with pytest.raises(
            ValueError, match=r"checksum|Expecting|Extra data|Unterminated|Invalid|is no number of JSON"
        ):
            files.parse_json((line[:at] + "~" + line[at + 1 :]).encode(), {"required": ["checksum"]})
