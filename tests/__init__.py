"""What several of the tests above the models and tasks share: a run that takes seconds, and ways to look at it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import checkpoint
from configs.recall import get_config

ROOT = Path(__file__).parent.parent
FIELDS = {
    "task.pairs": 2,
    "task.symbols": 16,
    "task.max_length": 8,
    "model.width": 8,
    "model.depth": 1,
    "optimizer.learning_rate": 1e-2,
    "optimizer.warmup": 5,
    "training.steps": 40,
    "training.batch": 4,
    "training.steps_per_call": 5,
    "training.eval_every": 10,
}


def tiny(mixer: str = "rnn", fields: dict[str, Any] | None = None) -> ConfigDict:
    """Recall at its smallest: 40 steps in 8 calls. `fields` are set by their dotted names."""
    config = get_config(mixer)
    config.update_from_flattened_dict({**FIELDS, **(fields or {})})
    return config


def words(mixer: str = "rnn", fields: dict[str, Any] | None = None) -> list[str]:
    """`tiny`, as flags of train.py."""
    changed = {**FIELDS, **(fields or {})}
    return [f"--config=configs/recall.py:{mixer}", *(f"--config.{name}={value}" for name, value in changed.items())]


def start(*flags: str, devices: int = 1) -> subprocess.Popen:
    """train.py in a process of its own, with so many devices."""
    return subprocess.Popen(
        [sys.executable, "train.py", *flags],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def state(workdir: Path, step: int | None = None) -> Any:
    """What a run's newest checkpoint holds, or that of `step`, as nested dicts of numpy arrays."""
    return checkpoint.Checkpoints(workdir / "checkpoints").raw(step)


def assert_same(ours: Any, theirs: Any) -> None:
    """Bit for bit, nan and all."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype, path
        assert a.tobytes() == b.tobytes(), path


def assert_close(ours: Any, theirs: Any, within: float = 1e-5) -> None:
    """Every leaf, relative to the largest number in it."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=within * (np.abs(b).max() + 1e-30), err_msg=str(path))
