"""Labelled sequences of a user as they are kept: on disk and in memory, after a stop, and described beforehand."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from data.files import find_sources, labelled
from data.files import sources as files_sources
from data.files.labelled import Options
from data.files.labelled_scan import RowReader
from data.files.store import open_or_prepare
from data.files.store_writer import StoreWriter
from tasks import Classification
from tests.data.files.test_labelled import (
    RANDOM,
    load,
    load_task,
    random_rows,
    read_back,
    write_csv,
)


def test_rows_on_disk_are_those_in_memory(tmp_path: Path):
    path = write_csv(tmp_path / "a.csv", random_rows())
    task, data = load_task(path, tmp_path), load(path, tmp_path, stream="yes")
    assert data.rows is not None
    ids = RANDOM.integers(0, len(task.labels["train"]), 30)
    for length in (8, 5):
        expected = task.gather(jax.numpy.asarray(ids), length)
        for ours, theirs in zip(data.rows.gather(ids, length), expected, strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
    assert data.arguments["train_size"] == len(task.labels["train"])
    assert load(path, tmp_path, stream="no").rows is load(path, tmp_path).rows is None


def test_of_what_does_not_fit_a_part_is_in_memory_that_is_drawn_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_csv(tmp_path / "a.csv", random_rows())
    whole = load_task(path, tmp_path)
    monkeypatch.setattr(labelled, "MAX_BYTES", 8 * 7)
    monkeypatch.setattr(labelled, "_FIRST_TOKENS", 8 * 20)
    data = load(path, tmp_path)
    assert data.rows is not None
    sizes = {split: len(labels) for split, labels in data.arguments["labels"].items()}
    assert sizes == {"train": 20, "validation": 7, "test": 7}
    part = Classification(**data.arguments)
    for split in sizes:
        assert set(read_back(part, split)) < set(read_back(whole, split))
    assert set(part.labels["train"]) == {0, 1}


@pytest.mark.parametrize("stop_at", [0, 1, 50, 119, 120, 121, 170, 239])
def test_a_stopped_preparation_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int):
    """Stopped at any row while they are counted, or while they are written."""
    rows = random_rows(100)
    rows[7]["label"], rows[70]["sequence"] = " True", ""
    rows[30] = {**rows[31], "label": "other"}
    options = Options(
        str(write_csv(tmp_path / "a.csv", [*rows, {"sequence": "GGGGGGGGGG", "label": "other"}])),
        test_path=str(write_csv(tmp_path / "t.csv", [*rows[::5], {"sequence": "ANC", "label": "other"}])),
        max_length=8, cut=True,
    )  # fmt: skip
    sources = find_sources(options)
    monkeypatch.setattr(files_sources, "_CHUNK", 16)  # so that every few rows more bytes are read
    monkeypatch.setattr(StoreWriter, "is_checkpoint_due", lambda writer, done: done % 11 == 0)

    def prepare(folder: Path) -> dict[str, bytes]:
        store = open_or_prepare(folder, lambda writer: labelled.prepare(options, sources, writer))
        assert len(store.content["notes"]) == 9
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    whole, cut_text, done = prepare(tmp_path / "whole"), RowReader.cut_text, 0

    def stop(reader: RowReader, text: str) -> Any:
        nonlocal done
        if done == stop_at:
            raise KeyboardInterrupt
        done += 1
        return cut_text(reader, text)

    monkeypatch.setattr(RowReader, "cut_text", stop)
    with contextlib.suppress(KeyboardInterrupt):
        prepare(tmp_path / "stopped")
    stopped_after, done = done, -1000
    assert stopped_after == min(stop_at, stopped_after)
    assert prepare(tmp_path / "stopped") == whole


def test_a_description_prepares_nothing(tmp_path: Path):
    rows = [{**row, "label": "many" if i % 4 else "few"} for i, row in enumerate(random_rows())]
    options = Options(str(write_csv(tmp_path / "a.csv", rows)))
    lines = labelled.describe(options, find_sources(options), None)
    assert lines[0].startswith("120 labelled sequences: ")
    assert lines[0].endswith(" test (by a hash of the sequence)")
    assert lines[1].startswith("length in training: 3 to 8 characters, mean ")
    assert lines[2] == "tokens: 4 characters: 'A' 'C' 'G' 'T'"
    assert lines[3] == "classes: 2"
    assert lines[4].startswith("  few: ")
    assert "of training)" in lines[5]
    assert lines[6].startswith("baseline: many, the most frequent class, is right for ")
    assert not (tmp_path / "data").exists()
    some = labelled.describe(options, find_sources(options), 50)
    assert some[0].startswith("50 labelled sequences (of the first rows): ")
    one = Options(str(write_csv(tmp_path / "b.csv", [{**row, "label": 1} for row in rows])))
    assert labelled.describe(one, find_sources(one), None)[-1].startswith(
        "to be mended: task.label_column=label: all 120"
    )
    single = Options(str(write_csv(tmp_path / "c.csv", rows[:1])))
    lines = labelled.describe(single, find_sources(single), None)
    assert lines[0].startswith("1 labelled sequence: ")
    assert next(line for line in lines if line.startswith("  few: ")).partition(" (")[0].endswith(" row")
