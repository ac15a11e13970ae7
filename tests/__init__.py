"""What several of the tests above the models and tasks share: a run that takes seconds, and ways to look at it."""

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from training import checkpoint

ROOT = Path(__file__).parent.parent
# The suite spends its time compiling small programs. LLVM's optimizations, which this leaves out, double that, and so
# does XLA's newer code for fused loops (jax 0.11 knows no other). XLA's own optimizations, which rearrange the program,
# stay in.
QUICK_XLA_FLAGS = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):
    QUICK_XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false"
TINY_FIELDS = {
    "task.pairs": 2,
    "task.symbols": 16,
    "task.max_length": 8,
    "model.width": 8,
    "model.depth": 1,
    "optimizer.learning_rate": 1e-2,
    "optimizer.warmup_steps": 5,
    "training.steps": 40,
    "training.batch_size": 4,
    "training.steps_per_call": 5,
    "training.eval_every": 10,
}


def tiny_config(mixer: str = "rnn", fields: dict[str, Any] | None = None) -> Any:
    """Recall at its smallest: 40 steps in 8 calls. `fields` are set by their dotted names."""
    from configs.recall import get_config  # not above: pytest's import hook for models has to come first

    config = get_config(mixer)
    config.update_from_flattened_dict({**TINY_FIELDS, **(fields or {})})
    return config


def tiny_flags(mixer: str = "rnn", fields: dict[str, Any] | None = None) -> list[str]:
    """`tiny_config`, as flags of train.py."""
    changed = {**TINY_FIELDS, **(fields or {})}
    changed = {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in changed.items()}
    return [f"--config=configs/recall.py:{mixer}", *(f"--config.{name}={value}" for name, value in changed.items())]


def start_training(*flags: str, devices: int = 1, quick: bool = True) -> subprocess.Popen:
    """train.py in a process of its own, with so many devices; it compiles as a user's does if not `quick`."""
    xla_flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "train.py", *flags],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": f"{xla_flags} {QUICK_XLA_FLAGS}" if quick else xla_flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_checkpoint(workdir: Path, step: int | None = None) -> Any:
    """What a run's newest checkpoint holds, or that of `step`, as nested dicts of numpy arrays."""
    return checkpoint.Checkpoints(workdir / "checkpoints").restore_numpy(step)


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


def listening_addresses(process: int) -> set[str]:
    """The addresses at which a process takes connections, as /proc has them: IPv4, and the IPv4 in an IPv6."""
    sockets = {os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()}
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                words = [bytes.fromhex(fields[1][i : i + 8])[::-1] for i in range(0, len(fields[1]) - 5, 8)]
                address = ipaddress.ip_address(b"".join(words))
                found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return found


_FORK_SERVER = """
import json, os, resource, runpy, sys
sys.path.insert(0, os.getcwd())
import train, orbax.checkpoint, tensorboardX
for line in sys.stdin:
    job = json.loads(line)
    if not (child := os.fork()):
        for number, path in enumerate(("/dev/null", job["out"], job["err"])):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
        if job["largest"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest"],) * 2)
        sys.argv = ["train.py", *job["flags"]]
        runpy.run_path("train.py", run_name="__main__")
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class ForkedProgram:
    """`program(*flags)` is `python train.py *flags`, forked from a process that has all its imports behind it."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.server = subprocess.Popen(
            [sys.executable, "-c", _FORK_SERVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def __call__(self, *flags: str | Path, max_file_size: int = 0) -> tuple[int, str, str]:
        """Exit status, output and errors. No file may grow past `max_file_size` bytes."""
        assert self.server.stdin
        assert self.server.stdout
        out, err = self.directory / "out", self.directory / "err"
        out.write_text("")
        err.write_text("")
        job = {"flags": list(map(str, flags)), "out": str(out), "err": str(err), "largest": max_file_size}
        print(json.dumps(job), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline()), out.read_text(), err.read_text()
