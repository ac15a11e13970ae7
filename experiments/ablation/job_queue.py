"""Commands as processes of their own: several at once, each on a core and with a log of its own.

Jobs start in their order. Those that share a folder run one after another, and one that runs `alone` has the machine to
itself. Processor cores are given out on Linux only; elsewhere the system places the processes.
"""

import contextlib
import math
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from training.cli import SIGNAL_NAMES, GracefulShutdown, Preempted

_POLL_SECONDS = 0.1
# A job that is told to stop while it ends one training and before it begins the next may not have noticed.
_REPEAT_SECONDS = 1.0
_TAIL_BYTES = 4096  # of a log, in which its last line is looked for


class Job(NamedTuple):
    """A command, the `log` that its output is appended to, and the `folder` that only one process may use at a time."""

    name: str
    command: Sequence[str]
    log: Path
    folder: Path
    alone: bool = False


class RunningJob(NamedTuple):
    """A job with its process, its place among those that run at once, and `time.monotonic()` when it was started."""

    job: Job
    process: subprocess.Popen
    place: int
    started: float


class Monitor(Protocol):
    """What is told of the jobs."""

    def on_start(self, job: Job) -> None:
        """A job has been started."""

    def on_end(self, job: Job, status: int, seconds: float) -> None:
        """A job has ended with this exit status, negative for a signal."""

    def on_stop(self, job: Job, seconds: float) -> None:
        """A job has ended because the queue was stopped."""

    def on_poll(self, running: Sequence[RunningJob]) -> None:
        """Some time has passed."""


def run_jobs(jobs: Sequence[Job], places: int, monitor: Monitor) -> None:
    """Run jobs, at most `places` at once; one that fails stops no other.

    Ctrl-C, SIGTERM and SIGHUP are passed on to the jobs as SIGTERM, upon which they can save; after the last has ended
    Preempted is raised. A second Ctrl-C kills them.
    """
    waiting, running, terminator = list(jobs), [], _Terminator()
    with GracefulShutdown() as shutdown:
        try:
            while running or (waiting and not shutdown.caught):
                while not shutdown.caught and (job := next_job(waiting, [one.job for one in running], places)):
                    waiting.remove(job)
                    running.append(start_job(job, min(set(range(places)) - {one.place for one in running})))
                    monitor.on_start(job)
                if is_stopping := shutdown.caught is not None:
                    terminator.tell(running)
                monitor.on_poll(running)
                ended = list(wait_for_some(running))
                running = [one for one in running if one not in ended]
                for one in ended:
                    seconds = time.monotonic() - one.started
                    if is_stopping and one.process.returncode:
                        monitor.on_stop(one.job, seconds)
                    else:
                        monitor.on_end(one.job, one.process.returncode, seconds)
        except KeyboardInterrupt:
            for one in running:
                one.process.kill()
            raise
        finally:  # after an error too, no process is left behind
            while running:
                terminator.tell(running)
                ended = list(wait_for_some(running))
                running = [one for one in running if one not in ended]
    if shutdown.caught:
        raise Preempted(
            f"stopped by {SIGNAL_NAMES[shutdown.caught]}: what was run is kept, and the same command goes on",
            128 + shutdown.caught,
        )


class _Terminator:
    """Tells jobs to stop, and again every `_REPEAT_SECONDS` those that still run."""

    def __init__(self) -> None:
        self.last_told = -math.inf

    def tell(self, running: Sequence[RunningJob]) -> None:
        """Send SIGTERM to each, unless it was sent a moment ago."""
        if time.monotonic() >= self.last_told + _REPEAT_SECONDS:
            self.last_told = time.monotonic()
            for one in running:
                one.process.terminate()


def next_job(waiting: Sequence[Job], running: Sequence[Job], places: int) -> Job | None:
    """The first waiting job that may start beside the running ones; None if there is none."""
    if len(running) >= places or any(job.alone for job in running):
        return None
    busy = {job.folder for job in running}
    for job in waiting:
        if job.alone:  # those behind it wait as well, or it might never have its turn
            return None if running else job
        if job.folder not in busy:
            return job
    return None


def start_job(job: Job, place: int) -> RunningJob:
    """Start a job's process in a group of its own, which Ctrl-C at the terminal does not reach.

    Unless it runs alone, it is bound to one core, so that what it computes does not depend on how many run at once.
    """
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            job.command,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},  # so that the log has all that was said
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    if hasattr(os, "sched_setaffinity") and not job.alone:
        cores = sorted(os.sched_getaffinity(0))
        # At once, before the process has threads: those that it has by then would stay where they are.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(process.pid, {cores[place % len(cores)]})
    return RunningJob(job, process, place, time.monotonic())


def wait_for_some(running: Sequence[RunningJob]) -> Iterator[RunningJob]:
    """Wait a little, and yield the jobs that have ended by then."""
    if all(one.process.poll() is None for one in running):
        time.sleep(_POLL_SECONDS)
    for one in running:
        if one.process.poll() is not None:
            yield one


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, or its end if it is very long; "" where there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
