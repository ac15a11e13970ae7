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

    def git(*words: str) -> str:
        try:
            return subprocess.run(
                ["git", *words], cwd=root, capture_output=True, text=True, timeout=5, check=True
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ""

    device = jax.devices()[0]
    return {
        "revision": git("rev-parse", "HEAD") or "unknown",
        "source_changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _RECORDED_PACKAGES},
        "platform": platform.platform(),
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "cores": os.cpu_count(),
        "settings": {name: getattr(jax.config, name, None) for name in _RECORDED_SETTINGS},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "command": " ".join(sys.argv),
    }
