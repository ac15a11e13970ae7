from pathlib import Path

import pytest

import datasets


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds every data set, prepared; not to be written to."""
    root = tmp_path_factory.mktemp("data")
    for name in datasets.DATASETS:
        datasets.load(name, root)
    return root
