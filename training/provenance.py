"""Where a result comes from: the machine, the package versions, the revision of the source."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from training.files import ENVIRONMENTS_SCHEMA, read_json, to_jsonable, write_json

# Settings of JAX that change numbers and are allowed; runtime.check_jax_settings refuses others.
_RECORDED_SETTINGS = ("jax_default_matmul_precision", "jax_default_prng_impl", "jax_numpy_dtype_promotion")
_RECORDS = "experiments/records"  # of results, in a copy of this repository
_RECORDED_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def append_environment(path: Path) -> None:
    """Append this environment to the list at `path`, unless it is the same as the last one there."""
    environments = read_json(path, ENVIRONMENTS_SCHEMA) if path.exists() else []
    current = to_jsonable(describe_environment())
    if current not in environments[-1:]:
        write_json(path, [*environments, current])


def describe_environment() -> dict[str, Any]:
    """Describe the machine, the package versions and the state of the source."""
    import jax

    root = Path(__file__).parents[1]
    device = jax.devices()[0]
    return {
        "revision": run_git(root, "rev-parse", "HEAD") or "unknown",
        "source_changed": has_changes(root),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _RECORDED_PACKAGES},
        "platform": platform.platform(),
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "cores": os.cpu_count(),
        "settings": {name: getattr(jax.config, name, None) for name in _RECORDED_SETTINGS},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "command": " ".join(sys.argv),
    }


def run_git(folder: Path, *words: str) -> str:
    """What git prints in a folder; nothing where it fails or is not there."""
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def has_changes(folder: Path) -> bool:
    """Whether files that git tracks in a folder have been changed since its revision.

    Records are no source: one that was written a moment ago says nothing against the next result.
    """
    return bool(run_git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".", f":(exclude){_RECORDS}"))
