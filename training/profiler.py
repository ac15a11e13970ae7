"""JAX's own profile of some calls of the train steps."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from training.console import print_status


class CallProfiler:
    """Records `calls` calls of a loop, from the second on, in `directory`; with 0 none.

    The first call is left out: it touches memory that the process has not used before. What the loop does between the
    calls is in the profile too. A profile that fails is said in one line and stops no run. As a context it ends the
    profile of a loop that ends early.
    """

    def __init__(self, name: str, directory: Path, calls: int):
        self.name, self.directory, self.calls_left = name, directory, calls
        self.seen, self.recorded, self.is_open = 0, 0, False

    def __enter__(self) -> "CallProfiler":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.is_open:
            self._stop()
        elif self.calls_left and self.seen:
            print_status(f"{self.name}: nothing was profiled, since there was no call after the first")

    @contextlib.contextmanager
    def record_call(self, step: int) -> Iterator[None]:
        """A context for one call, which begins at `step`; its results must be waited for inside."""
        self.seen += 1
        if not self.calls_left or self.seen == 1:
            yield
            return
        if not self.is_open:
            self.is_open = self._attempt(lambda: jax.profiler.start_trace(str(self.directory)))
        if not self.is_open:
            yield
            return
        with jax.profiler.StepTraceAnnotation("train_call", step_num=step):
            yield
        self.recorded, self.calls_left = self.recorded + 1, self.calls_left - 1
        if not self.calls_left:
            self._stop()

    def _stop(self) -> None:
        self.is_open, self.calls_left = False, 0
        if self._attempt(jax.profiler.stop_trace):
            calls = "1 call" if self.recorded == 1 else f"{self.recorded} calls"
            print_status(
                f"{self.name}: a profile of {calls} is in {self.directory}; pip install xprof, and then xprof "
                f"{self.directory}, shows it, and ui.perfetto.dev opens its *.trace.json.gz"
            )

    def _attempt(self, function: Callable[[], Any]) -> bool:
        """Call `function`; whether it raised nothing. After an error no call is recorded any more."""
        try:
            function()
        except Exception as error:  # another profile in this process, a full disk
            self.calls_left = 0
            print_status(f"{self.name}: no profile can be written: {' '.join(str(error).split())[:300]}")
            return False
        return True
