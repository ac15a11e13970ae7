"""How this process uses its machine: devices and compiled programs. `configure_runtime` comes before the first array
is made."""

import contextlib
import ctypes
import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax

_REQUIRED_SETTINGS = {
    "jax_enable_x64": (False, "models would compute in float64"),
    "jax_threefry_partitionable": (True, "other random numbers are drawn"),
    "jax_random_seed_offset": (0, "other random numbers are drawn"),
    "jax_high_dynamic_range_gumbel": (False, "other random numbers are drawn"),
    **dict.fromkeys(("jax_disable_jit", "jax_no_execution"), (False, "nothing can be compiled or run")),
    **dict.fromkeys(("jax_debug_nans", "jax_debug_infs"), (False, "a replica that diverges would stop all others")),
}
HOST_DEVICES_FLAG = "xla_force_host_platform_device_count"


def configure_runtime(members: int = 1) -> None:
    """Split a CPU into devices for its replicas to be spread over, and keep memory, and compiled programs on disk."""
    enable_compilation_cache()
    if HOST_DEVICES_FLAG not in os.environ.get("XLA_FLAGS", ""):
        devices = cpu_device_count(members, usable_cores())
        with contextlib.suppress(RuntimeError):  # the devices were made already, by whoever imported this
            jax.config.update("jax_num_cpu_devices", devices)
        if devices == 1:
            tune_malloc()


def check_jax_settings() -> None:
    """Refuse, with ValueError in one line, settings of JAX under which every number here would be another.

    Which generator keys are of does not matter: `tasks.random_key` says it.
    """
    for name, (wanted, reason) in _REQUIRED_SETTINGS.items():
        if (value := getattr(jax.config, name, wanted)) != wanted:
            raise ValueError(f"{name} is {value}, with which {reason}; unset {name.upper()}, or set it to {wanted}")


def device_memory_bytes() -> int | None:
    """The memory of the device that JAX computes on, or of the machine; None where neither says."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def tune_malloc(*, one_arena: bool = False) -> None:
    """Have a CPU's arrays reuse memory instead of getting it fresh from the system, page by page, at every step.

    glibc is told never to map an array by itself, never to give memory back and to take 64 MiB at a time; and JAX to
    compute in the thread that asks, whose memory that then is. On two cores attention over 256 tokens takes 0.44 of
    the time with it, small steps 0.8 to 0.95. Where several devices compute in threads of their own, only `one_arena`
    for all of them reuses any: 0.6 to 0.8 of the time for large arrays, up to 2.9 times it for small ones.

    A process then holds the most that it ever needed. RECUR_OR_ATTEND_MALLOC=plain leaves all as it is, and nothing is
    done where there is no glibc.
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
    """A device a replica where there are cores for all; else the fewest that divide them evenly and keep every core
    busy; 1 where none does sensibly.

    On two cores, four small replicas on two devices take 0.56 to 0.63 of the time they take on one.
    """
    if members <= cores:
        return members
    return next((n for n in range(cores, min(members, 4 * cores) + 1) if members % n == 0), 1)


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def enable_compilation_cache() -> None:
    """Keep compiled programs between runs, in $JAX_COMPILATION_CACHE_DIR or the user's cache directory.

    One directory a kind of processor: a program compiled for another one may use instructions that this one lacks.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        jax.config.update("jax_compilation_cache_dir", str(home / "recur-or-attend" / processor_id()))
    # A kill or a full disk can leave half an entry: what it held is compiled again, and no one need hear of it.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def processor_id() -> str:
    """A short name for this kind of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        told = [platform.machine(), platform.processor()]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def has_spare_devices() -> bool:
    """Whether devices that replicas leave over are there to share a batch: not those that `configure_runtime` makes of
    one CPU, whose cores are busy all the same.
    """
    return (
        jax.default_backend() != "cpu"
        or jax.process_count() > 1
        or HOST_DEVICES_FLAG in os.environ.get("XLA_FLAGS", "")
    )
