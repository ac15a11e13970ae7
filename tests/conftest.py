"""Compiled programs are kept between tests and between runs of the suite, in .pytest_cache."""

import os
from collections.abc import Iterator

import jax
import pytest

import machine
from tests import Program


def pytest_configure(config: pytest.Config) -> None:
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # a worker finds what the first process has set
        cache = getattr(config, "cache", None)  # there is none under -p no:cacheprovider
        kept = cache.mkdir(f"compiled-{machine.processor()}") if cache else None
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(kept or "")
    if kept := os.environ["JAX_COMPILATION_CACHE_DIR"]:
        jax.config.update("jax_compilation_cache_dir", kept)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    made = Program(tmp_path_factory.mktemp("program"))
    yield made
    made.server.kill()
