"""How this process uses its machine: devices and compiled programs. `prepare` comes before the first array is made."""

import contextlib
import ctypes
import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax

SETTINGS = {
    "jax_enable_x64": (False, "models would compute in float64"),
    "jax_threefry_partitionable": (True, "other random numbers are drawn"),
    "jax_random_seed_offset": (0, "other random numbers are drawn"),
    "jax_high_dynamic_range_gumbel": (False, "other random numbers are drawn"),
    **dict.fromkeys(("jax_disable_jit", "jax_no_execution"), (False, "nothing can be compiled or run")),
    **dict.fromkeys(("jax_debug_nans", "jax_debug_infs"), (False, "a replica that diverges would stop all others")),
}
FORCED = "xla_force_host_platform_device_count"


def prepare(replicas: int = 1) -> None:
    """Split a CPU into devices for its replicas to be spread over, and keep memory, and compiled programs on disk."""
    cache_compiled()
    if FORCED not in os.environ.get("XLA_FLAGS", ""):
        devices = cpu_devices(replicas, cores())
        with contextlib.suppress(RuntimeError):  # the devices were made already, by whoever imported this
            jax.config.update("jax_num_cpu_devices", devices)
        if devices == 1:
            keep_memory()


def check_settings() -> None:
    """Refuse, with ValueError in one line, settings of JAX under which every number here would be another.

    Which generator keys are of does not matter: `tasks.random_key` says it.
    """
    for name, (wanted, reason) in SETTINGS.items():
        if (value := getattr(jax.config, name, wanted)) != wanted:
            raise ValueError(f"{name} is {value}, with which {reason}; unset {name.upper()}, or set it to {wanted}")


def memory_bytes() -> int | None:
    """The memory of the device that JAX computes on, or of the machine; None where neither says."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def keep_memory(*, one_arena: bool = False) -> None:
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


def cpu_devices(replicas: int, cores: int) -> int:
    """A device a replica where there are cores for all; else the fewest that divide them evenly and keep every core
    busy; 1 where none does sensibly.

    On two cores, four small replicas on two devices take 0.56 to 0.63 of the time they take on one.
    """
    if replicas <= cores:
        return replicas
    return next((n for n in range(cores, min(replicas, 4 * cores) + 1) if replicas % n == 0), 1)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_compiled() -> None:
    """Keep compiled programs between runs, in $JAX_COMPILATION_CACHE_DIR or the user's cache directory.

    One directory a kind of processor: a program compiled for another one may use instructions that this one lacks.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        jax.config.update("jax_compilation_cache_dir", str(home / "recur-or-attend" / processor()))
    # A kill or a full disk can leave half an entry: what it held is compiled again, and no one need hear of it.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def processor() -> str:
    """A short name for this kind of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        told = [platform.machine(), platform.processor()]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def spare() -> bool:
    """Whether devices that replicas leave over are there to share a batch: not those that `prepare` makes of one CPU,
    whose cores are busy all the same.
    """
    return jax.default_backend() != "cpu" or jax.process_count() > 1 or FORCED in os.environ.get("XLA_FLAGS", "")
