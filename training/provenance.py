"""Where a result comes from: the machine, the versions, the revision; and the key that it is found again by."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from training.files import ENVIRONMENTS_SCHEMA, read_json, to_jsonable, write_json

# Settings of JAX that change numbers, beside those that train.py refuses or does without.
_RECORDED_SETTINGS = ("jax_default_matmul_precision", "jax_default_prng_impl", "jax_numpy_dtype_promotion")
_RECORDED_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def append_environment(path: Path) -> None:
    """Append to a list of environments, one for each start of a run that found something changed."""
    known = read_json(path, ENVIRONMENTS_SCHEMA) if path.exists() else []
    if (now := to_jsonable(describe_environment())) not in known[-1:]:
        write_json(path, [*known, now])


def describe_environment() -> dict[str, Any]:
    """The machine, the versions and the state of the source that a result was made with."""
    import jax

    here = Path(__file__).parents[1]

    def git(*words: str) -> str:
        try:
            return subprocess.run(
                ["git", *words], cwd=here, capture_output=True, text=True, timeout=5, check=True
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
