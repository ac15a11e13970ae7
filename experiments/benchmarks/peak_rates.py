"""What this machine does at best, against which times are held (the roofline), and what the machine is."""

import contextlib
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from training import provenance

CALLS = 8


def measure_peak_rates(dtype: str) -> dict[str, Any]:
    """FLOP/s of a product of two large matrices, bytes/s of copying (reads and writes), and the machine in words."""
    accelerator = jax.default_backend() != "cpu"
    n, size = (8192, 2**28) if accelerator else (2048, 2**25)
    square = jax.random.normal(jax.random.key(0, impl="threefry2x32"), (n, n), jnp.dtype(dtype))
    copied = jnp.zeros(size)
    return {
        "flops": 2 * n**3 / _fastest_call(lambda a: (a @ a).astype(a.dtype), square),
        "bytes": 2 * copied.nbytes / _fastest_call(lambda a: a + 1, copied),
        "machine": describe_machine(),
    }


def _fastest_call(function: Callable, x: Any) -> float:
    """Seconds of the fastest of CALLS calls."""
    call, times = jax.jit(function), []
    for _ in range(CALLS):
        begun = time.perf_counter()
        jax.block_until_ready(call(x))
        times.append(time.perf_counter() - begun)
    return min(times)


def describe_machine() -> str:
    """The device, the packages' versions and the git revision, in one line."""
    environment = provenance.describe_environment()
    device = jax.devices()[0]
    name = device.device_kind
    cpuinfo = Path("/proc/cpuinfo")
    if device.platform == "cpu" and cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = f"{lines[0].partition(': ')[2] if lines else name}, {environment['cores']} cores"
    versions = environment["packages"] | {"python": environment["python"]}
    with contextlib.suppress(metadata.PackageNotFoundError):
        versions["torch"] = metadata.version("torch")
    revision = f"revision {environment['revision'][:12]}" + (" with changes" if environment["source_changed"] else "")
    return "; ".join([name, *(f"{package} {version}" for package, version in versions.items()), revision])
