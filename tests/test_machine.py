import os
import platform
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


FAULTS = """
import resource, jax, machine
machine.prepare()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
add, x = jax.jit(lambda x: x + 1), jax.numpy.ones(2**24)
for _ in range(20):  # until there is room for both the old and the new
    x = add(x).block_until_ready()
before = faults()
for _ in range(5):
    x = add(x).block_until_ready()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told anything")
def test_memory_is_kept_unless_told_otherwise():
    """64 MiB are 16,384 pages, which each new array faults for where none is kept."""
    found = {}
    for how in ("", "plain"):
        env = {**os.environ, "RECUR_OR_ATTEND_MALLOC": how, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", FAULTS]
        out = subprocess.run(
            command, cwd=Path(machine.__file__).parent, env=env, capture_output=True, text=True, check=True, timeout=100
        )
        found[how] = int(out.stdout)
    assert found[""] < 1000
    assert found["plain"] > 2000
