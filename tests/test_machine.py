import os
import subprocess
import sys
from pathlib import Path

import pytest

import machine


@pytest.mark.parametrize(
    ("replicas", "cores", "devices"),
    [(1, 2, 1), (2, 2, 2), (3, 2, 3), (4, 2, 2), (5, 2, 5), (15, 2, 3), (11, 2, 1), (4, 1, 1), (8, 8, 8), (3, 8, 3)],
)
def test_replicas_are_spread_evenly_and_keep_every_core_busy_that_they_can(replicas, cores, devices):
    found = machine.cpu_devices(replicas, cores)
    assert found == devices
    assert replicas % found == 0


def test_the_compilation_cache_is_where_the_user_says(tmp_path):
    code = (
        "import jax, machine; machine.prepare(2); print(jax.device_count(), jax.config.jax_compilation_cache_dir);"
        "jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8))).block_until_ready()"
    )
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path), "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(machine.__file__).parent, env=env, capture_output=True, text=True,
        timeout=100, check=True,
    )  # fmt: skip
    count, where = out.stdout.split()
    assert int(count) == machine.cpu_devices(2, machine.cores())
    assert where == str(tmp_path)


def test_the_default_cache_is_apart_for_each_kind_of_processor():
    assert machine.processor() == machine.processor()
    assert len(machine.processor()) == 12
