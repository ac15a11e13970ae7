"""Commands as processes of their own: in their order, some at once, stopped together."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.ablation import job_queue
from experiments.ablation.job_queue import Job, RunningJob, last_line, next_job, run_jobs
from training.cli import Preempted

# Tells its parent to stop, and ends in its own way when it is told so itself for the second time.
STOPS_ALL = """
import os, signal
told = []
def end(*_):
    told.append("so")
    if len(told) == 2:
        print("saved", flush=True)
        os._exit(143)
signal.signal(signal.SIGTERM, end)
os.kill(os.getppid(), signal.SIGTERM)
while True:
    signal.pause()
"""


class Diary:
    """A monitor that writes down what it is told."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, int | None]] = []

    def on_start(self, job: Job) -> None:
        self.entries.append(("start", job.name, None))

    def on_end(self, job: Job, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.entries.append(("end", job.name, status))

    def on_stop(self, job: Job, seconds: float) -> None:
        assert seconds >= 0
        self.entries.append(("stop", job.name, None))

    def on_poll(self, running: Sequence[RunningJob]) -> None:
        pass


def python_job(folder: Path, name: str, code: str, *, alone: bool = False) -> Job:
    return Job(name, [sys.executable, "-S", "-c", code], folder / f"{name}.log", folder / name, alone)


@given(st.data(), st.integers(1, 4), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=10))
def test_every_job_has_its_turn(data: st.DataObject, places: int, drawn: list[tuple[int, bool]]):
    """Whichever ends first: never too many, no two in one folder, nothing beside one that runs alone."""
    jobs = [Job(str(i), [], Path("log"), Path(str(folder)), alone) for i, (folder, alone) in enumerate(drawn)]
    waiting, running, started = list(jobs), [], []
    while waiting or running:
        while job := next_job(waiting, running, places):
            waiting.remove(job)
            running.append(job)
            started.append(job)
            assert len({one.folder for one in running}) == len(running) <= places
            assert len(running) == 1 or not any(one.alone for one in running)
        assert running  # or the rest would wait for ever
        running.remove(data.draw(st.sampled_from(running)))
    assert sorted(started) == sorted(jobs)
    for folder in {job.folder for job in jobs}:
        assert [job for job in started if job.folder == folder] == [job for job in jobs if job.folder == folder]


def test_one_that_fails_stops_no_other_and_logs_grow(tmp_path: Path):
    jobs = [
        python_job(tmp_path, "bad", "print('begun'); raise SystemExit('error: no such thing')"),
        python_job(tmp_path, "good", "print('well')"),
        python_job(tmp_path, "alone", "print('quiet')", alone=True),
    ]
    for attempt in (1, 2):
        diary = Diary()
        run_jobs(jobs, 2, diary)
        assert [name for what, name, _ in diary.entries if what == "start"] == ["bad", "good", "alone"]
        ends = {name: status for what, name, status in diary.entries if what == "end"}
        assert ends == {"bad": 1, "good": 0, "alone": 0}
        assert [name for _, name, _ in diary.entries[-2:]] == ["alone", "alone"]
        assert jobs[0].log.read_text() == "begun\nerror: no such thing\n" * attempt
    assert last_line(jobs[0].log) == "error: no such thing"
    assert last_line(tmp_path / "none.log") == ""


@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="needs two cores to choose from")
def test_each_has_a_core_of_its_own_and_one_alone_has_all(tmp_path: Path):
    bound = "import os\nwhile len(cores := os.sched_getaffinity(0)) > 1: pass\nprint(cores)"
    jobs = [python_job(tmp_path, name, bound) for name in "ab"]
    jobs.append(python_job(tmp_path, "c", "import os\nprint(os.sched_getaffinity(0))", alone=True))
    run_jobs(jobs, 1, Diary())
    first = {min(os.sched_getaffinity(0))}
    assert [job.log.read_text().strip() for job in jobs] == [*map(str, [first, first, os.sched_getaffinity(0)])]


def test_a_signal_lets_the_jobs_end_and_starts_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One that did not notice the first time is told again."""
    monkeypatch.setattr(job_queue, "_REPEAT_SECONDS", 0)
    jobs = [python_job(tmp_path, "first", STOPS_ALL), python_job(tmp_path, "second", "print('never')")]
    diary = Diary()
    with pytest.raises(Preempted, match=r"stopped by SIGTERM: what was run is kept, and the same command goes on") as e:
        run_jobs(jobs, 1, diary)
    assert e.value.code == 128 + signal.SIGTERM
    assert diary.entries == [("start", "first", None), ("stop", "first", None)]
    assert last_line(jobs[0].log) == "saved"
    assert not jobs[1].log.exists()


def test_an_error_leaves_no_process_behind(tmp_path: Path):
    seen = []

    class Broken(Diary):
        def on_poll(self, running: Sequence[RunningJob]) -> None:
            seen.extend(running)
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_jobs([python_job(tmp_path, "endless", "import signal\nsignal.pause()")], 1, Broken())
    assert [one.process.returncode for one in seen] == [-signal.SIGTERM]
