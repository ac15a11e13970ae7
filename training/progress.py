"""Progress that a person can follow: a live bar on a terminal, a plain line every few seconds elsewhere."""

import contextlib
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 5.0  # seconds between plain lines


class ProgressBar:
    """`with ProgressBar(name, steps) as display: display.step(done, loss=0.3)`; on standard error, never on output."""

    def __init__(self, name: str, steps: int, done: int = 0):
        self.name, self.steps, self.first = name, steps, done
        self.console = Console(stderr=True)
        self.begun, self.printed = None, time.monotonic()
        self.bar = None
        self.last = ""  # the newest line, if it is not printed yet

    def __enter__(self) -> "ProgressBar":
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[told]}"))
            self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
            self.bar.start()
            self.bar.add_task(self.name, total=self.steps, completed=self.first, told="compiling")
        else:
            print_status(f"{self.name}: compiling")
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar:
            with contextlib.suppress(OSError):
                self.bar.stop()
        elif self.last:
            print_status(self.last)

    def update(self, done: int, **values: float) -> None:
        """Say how far the run is, `values` by name, its steps a second and the time left."""
        now = time.monotonic()
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        told = f"{done}/{self.steps}  {numbers}"
        if self.begun is None:
            self.begun, self.first = now, done
        elif done > self.first and now > self.begun:
            rate = (done - self.first) / (now - self.begun)
            told += f"  {rate:.3g} steps/s  {format_duration((self.steps - done) / rate)} left"
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=done, told=told)
            return
        self.last = f"{self.name}: {told}"
        if now - self.printed >= _SECONDS_BETWEEN_LINES:
            self.printed = now
            print_status(self.last)
            self.last = ""


def print_status(line: str) -> None:
    """A line on standard error; training goes on where no one reads it any more."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    """75 as "1:15", 4000 as "1:06:40"."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
