"""Programs of this repository in processes of their own: how long they take, and what they print."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def time_process(words: list[str], cache: Path) -> float:
    """Seconds that `python WORDS` takes, compiled programs being kept in `cache`.

    Raises ValueError with the last line of its standard error where it fails.
    """
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    begun = time.monotonic()
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(words[:3])} failed: {done.stderr.strip().splitlines()[-1]}")
    return time.monotonic() - begun


def run_module(*words: str) -> dict[str, Any]:
    """The JSON that `python -m WORDS` prints as its last line; where it fails, {"error": its last line}."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


class Worker:
    """A library in a process of its own (experiments.benchmarks.worker), which is asked and answers.

    Its code is that of `root`, this repository or another copy of it.
    """

    def __init__(self, library: str, root: Path = ROOT):
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if root != ROOT:  # before every other copy that Python might find
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.worker", library],
            cwd=root,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, **question: Any) -> dict[str, Any]:
        """The answer, or {"error": ...} where there is none."""
        self.send(**question)
        return self.receive()

    def send(self, **question: Any) -> None:
        """Ask, and go on before there is an answer, which `receive` waits for."""
        assert self.process.stdin
        with contextlib.suppress(OSError):
            print(json.dumps(question), file=self.process.stdin, flush=True)

    def receive(self) -> dict[str, Any]:
        """The answer to the last question, or {"error": ...} where there is none."""
        assert self.process.stdout
        try:
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            return {"error": f"its process ended with status {self.process.wait()}"}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
