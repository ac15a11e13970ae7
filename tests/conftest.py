"""How the suite compiles: quickly, and keeping what it compiled between tests and between runs in .pytest_cache."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tests import QUICK_XLA_FLAGS, ForkedProgram
from training import runtime


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("XLA_FLAGS", QUICK_XLA_FLAGS)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # a worker finds what the first process has set
        cache = getattr(config, "cache", None)  # there is none under -p no:cacheprovider
        kept = cache.mkdir(f"compiled-{runtime.processor_id()}") if cache else None
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(kept or "")
    if kept := os.environ["JAX_COMPILATION_CACHE_DIR"]:
        jax.config.update("jax_compilation_cache_dir", kept)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.devices()  # one CPU device for every test: a command that a test calls might ask for more before there is one


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="module", autouse=True)
def forgetting() -> Iterator[None]:
    """What was compiled is dropped before it is too much: a program takes some four of the 65,530 memory maps that
    Linux gives a process, and XLA crashes where it gets no more."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedProgram]:
    made = ForkedProgram(tmp_path_factory.mktemp("program"))
    yield made
    made.server.kill()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A directory in which data sets are prepared when they are asked for; digits and shakespeare are there. All
    workers of a session share it, and nobody else may write to it."""
    import data  # not above: pytest's import hook for models and tasks has to come first

    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "prepared"
    for name in ("digits", "shakespeare"):
        data.load_dataset(name, root)
    return root
