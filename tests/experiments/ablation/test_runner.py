import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jsonschema
import numpy as np
import pytest

from experiments.ablation import groups, record_files, record_table, result_store, runner, trials
from experiments.ablation.study import Scale, Study
from experiments.measures import registry
from tests.experiments.ablation import STUDY
from training import files

SCALE = STUDY.scales["smoke"]


def run(folder: Path, study: Study = STUDY, scale: Scale = SCALE) -> tuple[list[trials.TrialRecord], list[str]]:
    """The lines, and what was said of each group that was run."""
    said: list[str] = []
    return runner.run_study(study, scale, folder, log=said.append), said


def timeless(lines: list[trials.TrialRecord]) -> list[Any]:
    """All that does not depend on when and how often a study was stopped."""
    header, rows = record_table.tabulate_records(lines)
    kept = [i for i, name in enumerate(header) if name not in ("seconds", "training_seconds")]
    return [[row[i] for i in kept] for row in rows]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[trials.TrialRecord]]:
    folder = tmp_path_factory.mktemp("studies")
    lines, said = run(folder)
    assert len(said) == 4  # of each setting the rates, then the seeds
    return folder, lines


def lines_in(folder: Path) -> list[bytes]:
    return (folder / "cells.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture
def copied(done: tuple[Path, list[trials.TrialRecord]], tmp_path: Path) -> Path:
    """The folder once more as it was when the study was done, to be damaged."""
    shutil.copytree(done[0], tmp_path / "copy")
    (tmp_path / "copy" / "cells.jsonl").write_bytes(b"".join(lines_in(done[0])[: len(done[1])]))
    return tmp_path / "copy"


def test_every_cell_is_there_once_with_its_part(done: tuple[Path, list[trials.TrialRecord]]):
    _, lines = done
    cells = [(*line.labels.values(), line.phase, line.seed) for line in lines]
    assert len(cells) == 8
    assert {cell[1:] for cell in cells} == {("choose", 100), ("report", 0), ("report", 1)}
    for line in lines:
        assert {"test", "validation"} <= set(line.result["metrics"])
        assert ("affine" in line.result["metrics"]) == (line.phase == "report")


def test_the_rate_is_the_one_that_did_best_on_seeds_that_are_not_reported(done: tuple[Path, list[trials.TrialRecord]]):
    _, lines = done
    for labels in ({"model.activation": "relu"}, {"model.activation": "identity"}):
        tried = {
            x.learning_rate: x.get_metric("validation") for x in lines if x.labels == labels and x.phase == "choose"
        }
        assert set(tried) == {1e-3, 1e-2}
        best = min(tried.values())
        (rate,) = {x.learning_rate for x in lines if x.labels == labels and x.phase == "report"}
        assert tried[rate] <= best * (1 + 1e-3)


def test_what_was_run_is_found_again_and_what_is_new_is_run(
    done: tuple[Path, list[trials.TrialRecord]], tmp_path: Path
):
    folder, lines = done
    again, said = run(folder)
    assert not said
    assert timeless(again) == timeless(lines)
    grown, said = run(folder, scale=SCALE._replace(seeds=(0, 1, 2)))
    assert len(said) == 2  # seed 2 of each setting, and nothing else
    assert timeless(grown)[:4] == timeless(lines)[:4]
    other = STUDY._replace(grid={"model.activation": ("relu", "tanh")}, question="another study, the same cells")
    _, said = run(folder, other)
    assert len(said) == 2
    more, said = run(folder, STUDY._replace(measures=("affine", "permuted")))
    assert len(said) == 2  # measured in the models that are there
    assert all({"affine", "permuted"} <= set(x.result["metrics"]) for x in more if x.phase == "report")
    assert len(list((folder / "groups").iterdir())) == 8


def test_a_line_that_a_kill_cut_off_is_run_again(done: tuple[Path, list[trials.TrialRecord]], copied: Path):
    path = copied / "cells.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    again, said = run(copied)
    assert timeless(again) == timeless(done[1])
    assert len(said) == 1
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(ValueError, match=r"cells\.jsonl: line 1 is damaged \(.*\); delete that line") as caught:
        run(copied)
    assert "\n" not in str(caught.value)


def test_a_kill_between_two_cells_of_a_group_leaves_the_group_whole(
    done: tuple[Path, list[trials.TrialRecord]], copied: Path
):
    """Cut anywhere in the write of the last group: the same cells, of the same group, to the last bit."""
    path, whole = copied / "cells.jsonl", lines_in(copied)
    first, last = b"".join(whole[:-2]), b"".join(whole[-2:])
    names = sorted(one.name for one in (copied / "groups").iterdir())
    for kept in (0, len(whole[-2]) // 2, len(whole[-2]), len(last) - 1):
        path.write_bytes(first + last[:kept])
        again, said = run(copied)
        assert timeless(again) == timeless(done[1]), kept
        assert [line.result["group"] for line in again] == [line.result["group"] for line in done[1]], kept
        assert len(said) == 1
        assert sorted(one.name for one in (copied / "groups").iterdir()) == names
        assert not run(copied)[1]


def test_no_cell_is_taken_of_a_group_that_is_cut_at_any_byte(copied: Path):
    path, whole = copied / "cells.jsonl", lines_in(copied)
    first, last = b"".join(whole[:-2]), b"".join(whole[-2:])
    with result_store.open_store(copied) as store:
        every = set(store.results)
    mine = {json.loads(line)["key"] for line in whole[-2:]}
    edges = {len(whole[-2]) + by for by in (-1, 0, 1)} | {len(last) - 1}
    for kept in sorted(edges | set(range(0, len(last), 13))):
        path.write_bytes(first + last[:kept])
        with result_store.open_store(copied) as store:
            assert set(store.results) == every - mine, kept
    path.write_bytes(b"".join(whole[:1] + whole[2:]))  # a line that was lost in the middle
    with result_store.open_store(copied) as store:
        assert set(store.results) == every - {json.loads(line)["key"] for line in whole[:2]}


def test_any_byte_that_changes_in_a_cell_is_an_error_of_one_line(copied: Path):
    path, whole = copied / "cells.jsonl", lines_in(copied)
    for at in range(0, len(whole[1]) - 1, 7):
        byte = b"7" if whole[1][at : at + 1] != b"7" else b"8"
        path.write_bytes(whole[0] + whole[1][:at] + byte + whole[1][at + 1 :] + b"".join(whole[2:]))
        with (
            pytest.raises(ValueError, match=r"cells\.jsonl: line 2 is damaged .*its group gives it again") as caught,
            result_store.open_store(copied),
        ):
            pass
        assert "\n" not in str(caught.value)


def damages(value: Any) -> Iterator[Any]:
    """Valid JSON that is not what was written: other values, each field gone or of other types, nested too deep."""
    yield from ({}, [], None, 3, "text", [value], True)
    for name in value:
        yield {field: v for field, v in value.items() if field != name}
        for other in (None, {}, [], "x", -1.5, True, [[]], {"x": {}}):
            if type(other) is not type(value[name]) or other != value[name]:
                yield value | {name: other}


def taken(folder: Path) -> tuple[dict[str, Any], str]:
    """The cells in a folder, or none and what is wrong with it."""
    try:
        with result_store.open_store(folder) as store:
            return store.results, ""
    except ValueError as error:
        return {}, str(error)


@pytest.mark.parametrize("sealed", [True, False])
def test_valid_json_that_is_no_cell_is_an_error_of_one_line_or_the_same_results(copied: Path, sealed: bool):
    """With a checksum of its own or, in a folder of the first format, without any."""
    path, whole = copied / "cells.jsonl", lines_in(copied)
    cell = {name: value for name, value in json.loads(whole[0]).items() if name != "checksum"}
    with result_store.open_store(copied) as store:
        before = {key: json.dumps(one, sort_keys=True) for key, one in store.results.items()}
    texts = ["[" * 100_000 + "]" * 100_000]
    for value in damages(cell):
        plain = not sealed or not isinstance(value, dict) or not value
        texts.append(json.dumps(value) if plain else files.to_json_line(value))
    refused = 0
    for text in texts:
        path.write_bytes(text.encode() + b"\n" + b"".join(whole[1:]))
        files.write_json(copied / "format.json", {"format": result_store.STORE_FORMAT if sealed else 1})
        cells, message = taken(copied)
        refused += bool(message)
        assert "\n" not in message
        assert not message or "line 1 is damaged" in message
        for key, one in cells.items():  # what was taken is a cell, and of its own key
            jsonschema.validate(one, trials.TRIAL_SCHEMA)
            assert files.fingerprint(one["config"]) == key
            assert key in before
    assert refused > len(texts) / 2


def test_valid_json_that_is_no_format_is_an_error_of_one_line(copied: Path):
    texts = [json.dumps(value) for value in damages({"format": result_store.STORE_FORMAT})]
    for text in [*texts, "[" * 100_000 + "]" * 100_000, '{"format": 1e999}', '{"format": ' + "9" * 5000 + "}"]:
        (copied / "format.json").write_text(text)
        with pytest.raises(ValueError, match=r"format\.json is damaged") as caught, result_store.open_store(copied):
            pass
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "schema"), [("environment.json", files.ENVIRONMENTS_SCHEMA), ("group.json", files.GROUP_SCHEMA)]
)
def test_a_damaged_file_of_a_group_is_an_error_of_one_line(copied: Path, name: str, schema: Any):
    lines = lines_in(copied)
    path = copied / "groups" / json.loads(lines[-1])["group"] / name
    value = files.read_json(path)
    one = value[0] if isinstance(value, list) else value
    assert groups.read_group_file(path.parent, name, schema) == value
    texts = ["[" * 100_000 + "]" * 100_000, "", "{", "{}", "null", "3", '"text"']
    for field in {"revision", "source_changed", "device", "packages", "how", "devices", "seeds"} & set(one):
        for other in (None, 1.5, {"x": {}}, [[]]):
            changed = one | {field: other}
            texts.append(json.dumps([changed] if isinstance(value, list) else changed))
    for text in texts:
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"{path} is damaged \(.*delete {path.parent}, and its group") as caught:
            groups.read_group_file(path.parent, name, schema)
        assert "\n" not in str(caught.value)
    (copied / "cells.jsonl").write_bytes(b"".join(lines[:-2]))  # they are taken from their directory once more
    with pytest.raises(ValueError, match="is damaged"):
        run(copied)


def test_a_folder_without_checksums_is_read_and_given_them(done: tuple[Path, list[trials.TrialRecord]], copied: Path):
    path = copied / "cells.jsonl"
    old = [json.loads(line) for line in lines_in(copied)]
    for cell in old:
        for name in ("checksum", "place", "of", "measured"):
            del cell[name]
    path.write_text("".join(json.dumps(cell) + "\n" for cell in old))
    files.write_json(copied / "format.json", {"format": 1})
    again, said = run(copied)
    assert not said
    assert timeless(again) == timeless(done[1])
    assert files.read_json(copied / "format.json") == {"format": result_store.STORE_FORMAT}
    assert all(json.loads(line)["checksum"] for line in lines_in(copied))
    path.write_text("".join(json.dumps(cell | {"seed": cell["seed"] + 1}) + "\n" for cell in old))
    files.write_json(copied / "format.json", {"format": 1})
    with pytest.raises(ValueError, match=r"line 1 is damaged .its seed is not that of its config"):
        run(copied)


def test_a_folder_of_before_the_renamed_fields_is_refused_in_one_line(copied: Path):
    path = copied / "cells.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"model.hidden_size"', b'"model.inner"'))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"was written by an older revision .*; check out f72bc2c to go on") as caught:
        run(copied)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_measure_that_has_changed_is_taken_anew(
    done: tuple[Path, list[trials.TrialRecord]], copied: Path, monkeypatch: pytest.MonkeyPatch
):
    assert set(registry.MEASURE_VERSIONS) == set(registry.MEASURES)
    _, lines = done
    header, rows = record_table.tabulate_records(lines)
    assert {row[header.index("measures")] for row in rows if "report" in row} == {"affine:1"}
    assert not record_table.outdated_records(lines, STUDY, SCALE)
    monkeypatch.setitem(registry.MEASURE_VERSIONS, "affine", 2)
    monkeypatch.setitem(registry.MEASURES, "affine", lambda run: lambda params, seed: {1: 7.0})
    assert record_table.outdated_records(lines, STUDY, SCALE) == [line for line in lines if line.phase == "report"]
    again, said = run(copied)
    assert len(said) == 2
    reported = [line for line in again if line.phase == "report"]
    assert all(line.get_curve("affine") == {1: 7.0} for line in reported)
    assert all("affine" not in line.result["metrics"] for line in reported)  # the number that it was
    assert not record_table.outdated_records(again, STUDY, SCALE)
    assert not run(copied)[1]


def test_where_data_can_not_be_had_a_cell_counts_as_older(
    done: tuple[Path, list[trials.TrialRecord]], monkeypatch: pytest.MonkeyPatch
):
    def missing(*_: Any) -> None:
        raise FileNotFoundError("not installed")

    monkeypatch.setattr(record_table, "trial_key", missing)
    assert len(record_table.outdated_records(done[1], STUDY, SCALE)) == len(done[1])


def test_two_runners_on_one_folder_and_a_folder_from_the_future(
    done: tuple[Path, list[trials.TrialRecord]], tmp_path: Path
):
    folder, _ = done
    with result_store.open_store(folder), pytest.raises(ValueError, match="is in use by another process"):
        run(folder)
    files.write_json(tmp_path / "format.json", {"format": result_store.STORE_FORMAT + 1})
    with pytest.raises(ValueError, match=r"written by a newer version .*update, or give another --workdir"):
        run(tmp_path)


def test_a_record_reads_as_the_lines_that_it_was_written_from(
    done: tuple[Path, list[trials.TrialRecord]], tmp_path: Path
):
    _, lines = done
    record_files.write_record(tmp_path / "record.csv", *record_table.tabulate_records(lines))
    read = record_table.parse_records(record_files.read_record(tmp_path / "record.csv"), STUDY, SCALE)
    assert [x[:4] for x in read] == [x[:4] for x in lines]
    for ours, theirs in zip(read, lines, strict=True):
        assert ours.result["metrics"] == pytest.approx(theirs.result["metrics"], rel=1e-5)
        assert ours.result["parameters"] == theirs.result["parameters"]
    text = (tmp_path / "record.csv").read_text()
    (tmp_path / "cut.csv").write_text(text[: text.rstrip().rfind(",") - 20])
    with pytest.raises(ValueError, match=r"cut\.csv: line 9 has \d+ fields and not"):
        record_files.read_record(tmp_path / "cut.csv")
    rows = record_files.read_record(tmp_path / "record.csv")
    with pytest.raises(ValueError, match="the record is of another study"):
        record_table.parse_records(rows, STUDY._replace(grid={"mixer": ("lstm",)}), SCALE)
    relu = {"model.activation": "relu"}
    for left, message in (
        (rows[1:], r"the record lacks activation relu, seed 100 at rate 0\.001 \(choose\)"),
        (rows[:-1], r"the record lacks activation identity, seed 1 \(report\)"),
        ([*rows, rows[-1]], r"the record has too many of activation identity, seed 1 \(report\)"),
        ([row for row in rows if row["model.activation"] != "relu"], "the record lacks activation relu, seed 0 "),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            record_table.parse_records(left, STUDY, SCALE)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="the record has too many of activation relu"):
        record_table.parse_records(rows, STUDY._replace(exclude=[relu]), SCALE)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.experiments.ablation.test_runner import SCALE, STUDY
from experiments.ablation import runner
runner.run_study(STUDY, SCALE, Path({folder!r}), log=lambda line: None)
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kills_at_random_moments_change_nothing(done: tuple[Path, list[trials.TrialRecord]], tmp_path: Path):
    """`KILLS=50 pytest -k kills -n 0 -s` for more of them; two otherwise."""
    kills, limit = int(os.environ.get("KILLS", "2")), 12.0
    code = KILLED.format(root=str(Path(__file__).parents[3]), folder=str(tmp_path))
    drawn, count = random.Random(0), 0
    devices = f"--xla_force_host_platform_device_count={len(jax.devices())}"  # as here, where the last of it is run
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}"}
    while count < kills:
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
        begun = time.monotonic()
        wait = drawn.uniform(1.0, limit)
        while process.poll() is None and time.monotonic() - begun < wait:
            time.sleep(0.05)
        if process.poll() is not None:  # it was through: begin a new one, with the same kills to come
            assert process.returncode == 0
            compare(done, tmp_path)
            for path in sorted(tmp_path.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            limit = max(4.0, 0.9 * (time.monotonic() - begun))
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        count += 1
    compare(done, tmp_path)


def compare(done: tuple[Path, list[trials.TrialRecord]], folder: Path) -> None:
    lines, _ = run(folder)
    ours, theirs = timeless(lines), timeless(done[1])
    assert len(ours) == len(theirs)
    header = [name for name in record_table.tabulate_records(lines)[0] if name not in ("seconds", "training_seconds")]
    for mine, other in zip(ours, theirs, strict=True):
        for name, a, b in zip(header, mine, other, strict=True):
            assert a == b or name in ("revision", "how"), name
    assert np.isfinite([line.get_metric("test") for line in lines]).all()
