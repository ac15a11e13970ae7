"""The ledger: published results and the notes' claims again, from nothing, until they are decided; it may be stopped.

  python -m experiments.ledger                        all of them, results with other seeds too: a night on two cores
  python -m experiments.ledger --dry_run              what it would run, what is done, and about how long the rest takes
  python -m experiments.ledger --only=slots,heads     some of them, in this order
  python -m experiments.ledger --no_other_seeds       the first runs alone
  python -m experiments.ledger --jobs=1               one at a time, on one core

Each result is run as `python -m experiments.reproduce --result=NAME --until=decided --record` runs it, and then with
--other_seeds; a study of a claim of the lecture notes as `python -m experiments.run --study=NAME` with the same. As
many run at once as there are cores (--jobs), each on a core of its own, so that its numbers do not depend on how many
there are. First come all first runs, then those with other seeds, and last, with nothing beside them and on all
cores, the studies that measure time. Every run writes its record in experiments/records/studies/, and keeps its
output in WORKDIR/NAME-SCALE.log, and trials and report in WORKDIR/NAME/. Compiled programs are shared by all, in
$JAX_COMPILATION_CACHE_DIR or the user's cache directory.

Stop it any way you like: the same command goes on. What is done is not repeated unless its claims, its code or its
record have changed since; another --workdir begins anew. A run that fails stops no other, and makes the exit status 1.
At the end stand the verdicts, the minutes, and the hours that it takes from nothing. `python -m experiments.publish
--only=reproduce,claims` puts the records into docs/.
"""

import sys
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from experiments.ablation import verdicts
from experiments.ablation.job_queue import Job, RunningJob, last_line, run_jobs
from experiments.ablation.verdicts import VERDICT_SIGNS
from experiments.reporting import claims, html_report
from experiments.reporting.html_report import Table
from experiments.reporting.ledger_runs import (
    LedgerRun,
    expected_seconds,
    fill_unknown,
    is_done,
    list_runs,
    read_state,
    record_digest,
    schedule_seconds,
    write_state,
)
from experiments.reporting.published_results import NOT_RUN, read_result, verdict_label, weakest_verdict
from experiments.reporting.result_studies import RESULT_NAMES, result_flags
from experiments.reporting.study_report import read_study_record
from training import cli, files
from training.progress import format_duration
from training.runtime import DEFAULT_DATA_DIR, usable_cores

REPRODUCE = (sys.executable, "-m", "experiments.reproduce")
RUN = (sys.executable, "-m", "experiments.run")
UNTIL = "decided"


def make_job(run: LedgerRun, workdir: Path, data_dir: str) -> Job:
    """The process that makes a run. With other seeds, it finds in the folder how the learning rates were chosen."""
    folder = workdir / run.study_name
    if run.is_result:
        words = [*REPRODUCE, *result_flags(run.study_name, run.base_scale, other_seeds=run.other_seeds, until=UNTIL)]
    else:
        words = [*RUN, f"--study={run.study_name}", f"--scale={run.base_scale}", f"--until={UNTIL}"]
    command = [*words, "--record", f"--workdir={folder}", f"--data_dir={data_dir}"]
    return Job(run.name, command, workdir / f"{run.name}.log", folder, alone=run.is_timed)


class LedgerMonitor:
    """Prints a line when a run starts and ends, keeps its state, and shows on a terminal what each last said."""

    def __init__(self, runs: Sequence[LedgerRun], done: Collection[str], workdir: Path, places: int):
        self.waiting = {run.name: run for run in runs if run.name not in done}
        self.running: dict[str, tuple[LedgerRun, float]] = {}
        self.failed: list[str] = []
        self.total, self.count, self.workdir, self.places = len(runs), len(done), workdir, places
        self.expected = fill_unknown({run.name: expected_seconds(run) for run in self.waiting.values()})
        self.taken = self.foreseen = 0.0  # seconds of what has been done
        self.started = self.last_shown = time.monotonic()
        console = Console()
        one_line = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        said = TextColumn("{task.fields[said]}", markup=False, table_column=one_line)
        columns = (TextColumn("{task.description}"), TimeElapsedColumn(), said)
        self.display = Progress(*columns, console=console, transient=True, expand=True, disable=not console.is_terminal)
        self.tasks: dict[str, Any] = {}

    def on_start(self, job: Job) -> None:
        """Say that a run has started, and where its output is."""
        self.running[job.name] = (self.waiting.pop(job.name), time.monotonic())
        self.tasks[job.name] = self.display.add_task(job.name, total=None, said="")
        about = f", about {format_duration(self.expected[job.name])}" if self.expected else ""
        self.print(f"{job.name}: started{about}; {job.log}")

    def on_end(self, job: Job, status: int, seconds: float) -> None:
        """Keep and say how a run has ended, and how long the rest will take."""
        run = self._remove(job)
        is_done = status == 0 and bool(record_digest(run))
        write_state(run, self.workdir, seconds, ended_well=is_done)
        if is_done:
            self.count, self.taken = self.count + 1, self.taken + seconds
            self.foreseen += self.expected.get(job.name, 0.0)
            self.print(f"{job.name}: done in {format_duration(seconds)}; {self.describe_progress()}")
            return
        self.failed.append(job.name)
        cause = f"signal {-status}" if status < 0 else f"status {status}"
        said = last_line(job.log) or f"nothing in {job.log}"
        self.print(f"{job.name}: failed after {format_duration(seconds)} with {cause}: {said}")

    def on_stop(self, job: Job, seconds: float) -> None:
        """Keep how long a run took until it was stopped."""
        run = self._remove(job)
        write_state(run, self.workdir, seconds, ended_well=False)
        self.print(f"{job.name}: stopped after {format_duration(seconds)}")

    def on_poll(self, running: Sequence[RunningJob]) -> None:
        """On a terminal, show what each job last said."""
        if self.display.disable or time.monotonic() < self.last_shown + 1:
            return
        self.last_shown = time.monotonic()
        for one in running:
            self.display.update(self.tasks[one.job.name], said=last_line(one.job.log))

    def print(self, line: str) -> None:
        """Print a line, above what is shown of the running jobs."""
        self.display.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def describe_progress(self) -> str:
        """How many runs are done, the time so far, and about the time left, at the pace so far."""
        now = time.monotonic()
        text = f"{self.count} of {self.total}, {format_duration(now - self.started)} so far"
        if self.foreseen:
            seconds = {name: self.taken / self.foreseen * expected for name, expected in self.expected.items()}
            seconds |= {name: max(0.0, seconds[name] - (now - begun)) for name, (_, begun) in self.running.items()}
            runs = [*(run for run, _ in self.running.values()), *self.waiting.values()]
            text += f", about {format_duration(schedule_seconds(runs, seconds, self.places))} left"
        return text

    def _remove(self, job: Job) -> LedgerRun:
        self.display.remove_task(self.tasks.pop(job.name))
        return self.running.pop(job.name)[0]


def plan_table(runs: Sequence[LedgerRun], done: Collection[str], workdir: Path) -> Table:
    """Tabulate the runs in their order: whether they are done, and the minutes that they took or will take."""
    rows = []
    for run in runs:
        seconds = read_state(run, workdir)["seconds"] if run.name in done else expected_seconds(run)
        state = "done" if run.name in done else "alone, at the end" if run.is_timed else "to run"
        rows.append([run.name, state, "?" if seconds is None else f"{seconds / 60:.0f}"])
    return Table("Runs", ["run", "state", "minutes"], rows)


def describe_plan(runs: Sequence[LedgerRun], done: Collection[str], places: int) -> str:
    """How long the rest takes, by the records that there are."""
    rest = [run for run in runs if run.name not in done]
    expected = {run.name: expected_seconds(run) for run in rest}
    text = f"{len(rest)} of {len(runs)} to run, {places} at once"
    if rest and (seconds := fill_unknown(expected)):
        text += f": about {schedule_seconds(rest, seconds, places) / 3600:.1f} hours, by the seconds in the records"
        if unknown := sum(value is None for value in expected.values()):
            text += f"; {unknown} without one count as the mean of the others"
    return text


def ledger_table(runs: Sequence[LedgerRun], done: Collection[str], workdir: Path) -> Table:
    """Tabulate the verdicts on each study, those on a result with other seeds, and the minutes that both took."""
    rows = []
    for first in (run for run in runs if not run.other_seeds):
        again = first._replace(other_seeds=True)
        seconds = sum(read_state(run, workdir)["seconds"] for run in (first, again) if run in runs)
        if first.is_result:
            outcomes = describe_result(first, done)
        else:
            outcomes = (count_verdicts(first) if first.name in done else NOT_RUN, "")
        rows.append([first.study_name, *outcomes, f"{seconds / 60:.0f}"])
    return Table("The ledger", ["study", "verdict", "with other seeds", "minutes"], rows)


def describe_result(first: LedgerRun, done: Collection[str]) -> tuple[str, str]:
    """The verdict on a result, and that with other seeds."""
    found = read_result(first.study_name, first.scale) if first.name in done else None
    if found and first._replace(other_seeds=True).name not in done:
        found = found._replace(other_seeds=[], other_seeds_outdated=0)
    other = weakest_verdict(found.other_seeds) if found else "not run"
    return verdict_label(found) if found else NOT_RUN, f"{VERDICT_SIGNS[other]} {other}"


def count_verdicts(run: LedgerRun) -> str:
    """How many of a study's claims came out how, by its record."""
    trials = read_study_record(run.study_name, run.study, run.scale)
    return claims.describe_outcomes(verdicts.judge_claims(run.study, trials, run.scale))


def describe_hours(runs: Sequence[LedgerRun], workdir: Path, places: int) -> str:
    """How long the runs took in all, and takes who repeats them from nothing."""
    seconds = {run.name: read_state(run, workdir)["seconds"] for run in runs}
    hours, total = schedule_seconds(runs, seconds, places) / 3600, sum(seconds.values()) / 3600
    return f"{total:.2f} hours in all; from nothing, with --jobs={places}, about {hours:.2f} hours"


def main() -> None:
    args: Any = flags.FLAGS
    runs = list_runs(args.only, args.scale, with_other_seeds=not args.no_other_seeds)
    workdir, places = Path(args.workdir), args.jobs or usable_cores()
    done = {run.name for run in runs if is_done(run, workdir, args.data_dir)}
    if args.dry_run:
        print(html_report.text_table(plan_table(runs, done, workdir)))
        return print(describe_plan(runs, done, places))
    workdir.mkdir(parents=True, exist_ok=True)
    with files.lock_directory(workdir):
        jobs = [make_job(run, workdir, args.data_dir) for run in runs if run.name not in done]
        for folder in {job.folder for job in jobs if job.folder.exists()}:
            with files.lock_directory(folder):  # else what a killed ledger has started is still at work there
                pass
        print(describe_plan(runs, done, places), flush=True)
        monitor = LedgerMonitor(runs, done, workdir, places)
        with monitor.display:
            run_jobs(jobs, places, monitor)
        done = {run.name for run in runs} - set(monitor.failed)
        print(html_report.text_table(ledger_table(runs, done, workdir)))
        print(describe_hours(runs, workdir, places))
    if monitor.failed:
        names = ", ".join(monitor.failed)
        raise ValueError(f"{len(monitor.failed)} of {len(runs)} runs failed: {names}; the same command tries again")
    return None


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Define the flags, in a test in `values` of its own."""
    names = f"Some of them, in this order: {', '.join([*RESULT_NAMES, *claims.notes_studies()])}."
    scale = "smoke, quick, standard or full: how many seeds, rates and steps."
    jobs = "How many run at once: as many as there are cores unless given; 1 where they would share a GPU."
    dry_run = "Say what would be run, what is done and how long the rest takes; run nothing."
    flags.DEFINE_list("only", [], names, flag_values=values)
    flags.DEFINE_string("scale", "quick", scale, flag_values=values)
    flags.DEFINE_integer("jobs", None, jobs, lower_bound=1, flag_values=values)
    flags.DEFINE_bool("no_other_seeds", False, "The first runs alone.", flag_values=values)
    flags.DEFINE_bool("dry_run", False, dry_run, flag_values=values)
    directory = partial(cli.define_directory, flag_values=values)
    directory("workdir", "runs/ledger", "Where states, logs and trials are kept.")
    directory("data_dir", DEFAULT_DATA_DIR, "Where real data are prepared, once, and read from.")


if __name__ == "__main__":
    define_flags()
    cli.run_command(main)
