from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import data


@pytest.fixture(scope="session")
def load(data_dir: Path) -> Callable[[str], dict[str, Any]]:
    """`load(name)` is `data.load_dataset(name, data_dir)`, once in a process; the test is skipped if the source isn't
    installed."""
    kept = cache(lambda name: data.load_dataset(name, data_dir))

    def load_or_skip(name: str) -> dict[str, Any]:
        try:
            return kept(name)
        except FileNotFoundError as error:
            pytest.skip(str(error))

    return load_or_skip


@pytest.fixture(scope="session")
def records(load: Callable, data_dir: Path) -> Callable[[str], dict[str, list[dict[str, Any]]]]:
    """`records(name)` are the records of each split as they were prepared."""

    def read(name: str) -> dict[str, list[dict[str, Any]]]:
        load(name)
        return data._read_records(data._source_module(name).BUILDER, data_dir)

    return read
