"""How this process uses its machine: devices, memory and compiled programs.

Call `configure_runtime` before the first array is made.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax

# Settings of JAX with the value that this code needs, and what happens with another one.
_REQUIRED_SETTINGS = {
    "jax_enable_x64": (False, "models would compute in float64"),
    "jax_threefry_partitionable": (True, "other random numbers are drawn"),
    "jax_random_seed_offset": (0, "other random numbers are drawn"),
    "jax_high_dynamic_range_gumbel": (False, "other random numbers are drawn"),
    **dict.fromkeys(("jax_disable_jit", "jax_no_execution"), (False, "nothing can be compiled or run")),
    **dict.fromkeys(("jax_debug_nans", "jax_debug_infs"), (False, "a member that diverges would stop all others")),
}
# The user's cache, one for all checkouts: prepared data sets and compiled programs last.
CACHE_DIR = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "recur-or-attend"
DEFAULT_DATA_DIR = str(CACHE_DIR / "data")
HOST_DEVICES_FLAG = "xla_force_host_platform_device_count"


def configure_runtime(members: int = 1) -> None:
    """Split a CPU into devices for the members of an ensemble, reuse memory, and keep compiled programs on disk."""
    enable_compilation_cache()
    if HOST_DEVICES_FLAG not in os.environ.get("XLA_FLAGS", ""):
        devices = cpu_device_count(members, usable_cores())
        with contextlib.suppress(RuntimeError):  # the caller has made the devices already
            jax.config.update("jax_num_cpu_devices", devices)
        if devices == 1:
            tune_malloc()


def check_jax_settings() -> None:
    """Raise ValueError, in one line, for settings of JAX with which all numbers would be different.

    The default random generator does not matter: `tasks.random_key` names its own.
    """
    for name, (required, reason) in _REQUIRED_SETTINGS.items():
        if (value := getattr(jax.config, name, required)) != required:
            raise ValueError(f"{name} is {value}, with which {reason}; unset {name.upper()}, or set it to {required}")


def device_memory_bytes() -> int | None:
    """The memory of the accelerator, or on a CPU of the machine, in bytes; None if it is unknown."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def tune_malloc(*, one_arena: bool = False) -> None:
    """Let the arrays of a CPU reuse memory, which is otherwise fetched from the system, page by page, at every step.

    glibc's malloc is told never to map a single array, never to return memory, and to grow by 64 MiB. JAX is told to
    compute in the calling thread, because memory belongs to the thread that asked for it. On two cores, attention over
    256 tokens then takes 0.44 of the time, and small steps take 0.8 to 0.95. If several devices compute in threads of
    their own, memory is only reused with `one_arena` for all threads: 0.6 to 0.8 of the time for large arrays, but up
    to 2.9 times as long for small ones.

    The process keeps the most memory that it ever needed. RECUR_OR_ATTEND_MALLOC=plain turns this off. Without glibc
    nothing is done.
    """
    if os.environ.get("RECUR_OR_ATTEND_MALLOC") == "plain" or platform.libc_ver()[0] != "glibc":
        return
    mmap_max, trim_threshold, top_pad, arena_max = -4, -1, -2, -8  # malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in ((mmap_max, 0), (trim_threshold, -1), (top_pad, 64 * 2**20)):
        mallopt(option, value)
    if one_arena:
        mallopt(arena_max, 1)
    else:
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def cpu_device_count(members: int, cores: int) -> int:
    """The number of devices to split a CPU into.

    One per member if there are enough cores; else the smallest divisor of `members` that keeps all cores busy, or 1 if
    there is no sensible one. On two cores, four small members on two devices take 0.56 to 0.63 of the time on one.
    """
    if members <= cores:
        return members
    return next((n for n in range(cores, min(members, 4 * cores) + 1) if members % n == 0), 1)


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def enable_compilation_cache() -> None:
    """Keep compiled programs between runs, in $JAX_COMPILATION_CACHE_DIR or the user's cache directory.

    Each kind of processor has its own directory: programs may use instructions that other processors lack.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(CACHE_DIR / processor_id()))
    # A kill or a full disk may leave half an entry. The program is compiled again, so there is nothing to warn of.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def processor_id() -> str:
    """A hash that identifies this kind of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        description = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        description = [platform.machine(), platform.processor()]
    return hashlib.sha256("\n".join(description).encode()).hexdigest()[:12]


def has_spare_devices() -> bool:
    """Whether devices without members of their own can share a batch.

    Not those that `configure_runtime` makes of one CPU: its cores are busy anyway.
    """
    return (
        jax.default_backend() != "cpu"
        or jax.process_count() > 1
        or HOST_DEVICES_FLAG in os.environ.get("XLA_FLAGS", "")
    )
