"""Show progress on standard error: a live bar on a terminal, and a plain line every few seconds elsewhere."""

import contextlib
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from training.console import print_status

_SECONDS_BETWEEN_LINES = 5.0


class ProgressBar:
    """`with ProgressBar(name, steps) as progress: progress.update(done, loss=0.3)`."""

    def __init__(self, name: str, steps: int, done: int = 0):
        self.name, self.steps, self.first_step = name, steps, done
        self.console = Console(stderr=True)
        self.first_time, self.last_printed = None, time.monotonic()
        self.bar = None
        self.unprinted = ""  # the newest line, until it is printed

    def __enter__(self) -> "ProgressBar":
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[message]}"))
            self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
            self.bar.start()
            self.bar.add_task(self.name, total=self.steps, completed=self.first_step, message="compiling")
        else:
            print_status(f"{self.name}: compiling")
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar:
            with contextlib.suppress(OSError):
                self.bar.stop()
        elif self.unprinted:
            print_status(self.unprinted)

    def update(self, done: int, **values: float) -> None:
        """Show the steps done, `values` by name, the steps per second and the time left."""
        now = time.monotonic()
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        message = f"{done}/{self.steps}  {numbers}"
        if self.first_time is None:  # the first call took the time of compilation too
            self.first_time, self.first_step = now, done
        elif done > self.first_step and now > self.first_time:
            rate = (done - self.first_step) / (now - self.first_time)
            message += f"  {rate:.3g} steps/s  {format_duration((self.steps - done) / rate)} left"
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=done, message=message)
            return
        self.unprinted = f"{self.name}: {message}"
        if now - self.last_printed >= _SECONDS_BETWEEN_LINES:
            self.last_printed = now
            print_status(self.unprinted)
            self.unprinted = ""


class ReadingProgress:
    """`progress = ReadingProgress("preparing notes.txt"); progress(bytes_read, bytes_in_all)`.

    A line every few seconds says how much is read, how fast, and how long the rest will take.
    """

    def __init__(self, name: str):
        self.name = name
        self.first: tuple[float, int] | None = None
        self.last_printed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first is None or done < self.first[1]:  # the first call, or the next reading of the same files
            self.first = (now, done)
        if now - self.last_printed < _SECONDS_BETWEEN_LINES:
            return
        self.last_printed = now
        rate = (done - self.first[1]) / max(now - self.first[0], 1e-9)
        left = f", {format_duration((total - done) / rate)} left" if rate else ""
        print_status(f"{self.name}: {done / 2**20:,.0f} of {total / 2**20:,.0f} MiB, {rate / 2**20:,.1f} MiB/s{left}")


def format_duration(seconds: float) -> str:
    """Format 75 as "1:15" and 4000 as "1:06:40"."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
