import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

import tasks
import train
from tests import assert_same, read_checkpoint, tiny_config
from training import builder, files, loop, runtime


@pytest.mark.parametrize(
    ("members", "cores", "devices"),
    [(1, 2, 1), (2, 2, 2), (3, 2, 3), (4, 2, 2), (5, 2, 5), (15, 2, 3), (11, 2, 1), (4, 1, 1), (8, 8, 8), (3, 8, 3)],
)
def test_members_are_spread_evenly_and_keep_every_core_busy_that_they_can(members, cores, devices):
    found = runtime.cpu_device_count(members, cores)
    assert found == devices
    assert members % found == 0


def test_the_compilation_cache_is_where_the_user_says(tmp_path):
    code = (
        "import jax; from training import runtime; runtime.configure_runtime(2);"
        "print(jax.device_count(), jax.config.jax_compilation_cache_dir);"
        "jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8))).block_until_ready()"
    )
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path), "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(runtime.__file__).parents[1], env=env, capture_output=True, text=True,
        timeout=100, check=True,
    )  # fmt: skip
    count, where = out.stdout.split()
    assert int(count) == runtime.cpu_device_count(2, runtime.usable_cores())
    assert where == str(tmp_path)


def test_the_default_cache_is_apart_for_each_kind_of_processor():
    assert runtime.processor_id() == runtime.processor_id()
    assert len(runtime.processor_id()) == 12


FAULTS = """
import resource, jax
from training import runtime
runtime.configure_runtime()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
add, x = jax.jit(lambda x: x + 1), jax.numpy.ones(2**24)
for _ in range(20):  # until there is room for both the old and the new
    x = add(x).block_until_ready()
each = []
for _ in range(9):
    before = faults()
    x = add(x).block_until_ready()
    each.append(faults() - before)
print(sorted(each)[4])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told anything")
def test_memory_is_kept_unless_told_otherwise():
    """64 MiB are 16,384 pages, which each new array faults for where none is kept (fewer where the system has large
    pages). The median: a buffer that a busy machine frees late makes room for one more array, once."""
    found = {}
    for how in ("", "plain"):
        env = {**os.environ, "RECUR_OR_ATTEND_MALLOC": how, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", FAULTS]
        out = subprocess.run(
            command,
            cwd=Path(runtime.__file__).parents[1],
            env=env,
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        found[how] = int(out.stdout)
    assert found[""] < 200
    assert found["plain"] > 400


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "jax_enable_x64",
            True,
            "jax_enable_x64 is True, with which models would compute in float64; unset JAX_ENABLE",
        ),
        ("jax_threefry_partitionable", False, "jax_threefry_partitionable is False, with which other random numbers"),
        ("jax_random_seed_offset", 1, "jax_random_seed_offset is 1, with which other random numbers are drawn"),
        ("jax_high_dynamic_range_gumbel", True, "jax_high_dynamic_range_gumbel is True, with which other random"),
        ("jax_disable_jit", True, "jax_disable_jit is True, with which nothing can be compiled or run"),
        ("jax_debug_nans", True, "jax_debug_nans is True, with which a member that diverges would stop all others"),
    ],
)
def test_settings_of_jax_under_which_all_numbers_are_others_are_refused(name: str, value: Any, says: str):
    before = getattr(jax.config, name)
    try:
        jax.config.update(name, value)
        with pytest.raises(ValueError, match=says) as error:
            builder.build_run(tiny_config())
        assert "\n" not in str(error.value)
    finally:
        jax.config.update(name, before)
    builder.build_run(tiny_config())


def test_the_generator_that_jax_would_take_by_itself_changes_nothing(tmp_path: Path):
    """Data, initial parameters and dropout are drawn from keys that say of what generator they are."""
    config = tiny_config("attention", {"model.dropout": 0.1, "training.steps": 10})
    expected = loop.train(config, tmp_path / "threefry", tensorboard=False)
    with jax.default_prng_impl("rbg"):
        assert jax.random.key_impl(jax.random.key(0)) != jax.random.key_impl(tasks.random_key(0))
        found = loop.train(config, tmp_path / "rbg", tensorboard=False)
    assert found["members"] == expected["members"]
    assert_same(read_checkpoint(tmp_path / "rbg"), read_checkpoint(tmp_path / "threefry"))
    settings = [files.read_json(tmp_path / name / "environment.json")[0]["settings"] for name in ("threefry", "rbg")]
    assert [one["jax_default_prng_impl"] for one in settings] == ["threefry2x32", "rbg"]


def test_no_key_is_made_without_saying_of_what_generator():
    """Wherever numbers are drawn that are kept: not in tests, and not where a shape alone is asked for."""
    here = Path(train.__file__).parent
    made = [
        f"{path.relative_to(here)}:{number}"
        for path in here.rglob("*.py")
        if not {"tests", ".venv"} & set(path.relative_to(here).parts)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"random\.(key|PRNGKey)\(", line) and "impl=" not in line and "eval_shape" not in line
    ]
    assert made == []
