from pathlib import Path

import pytest

import data


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which data sets are prepared once they are asked for; the first two are there. Not to be written
    to otherwise."""
    root = tmp_path_factory.mktemp("data")
    for name in ("digits", "shakespeare"):
        data.load_dataset(name, root)
    return root
