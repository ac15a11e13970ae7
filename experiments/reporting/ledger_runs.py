"""Runs of published results and of the notes' studies, until they are decided: their order, which are done, how long
they take."""

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import models
from experiments.ablation import record_files, sequential, study, verdicts
from experiments.ablation.record_table import outdated_records
from experiments.ablation.study import Study
from experiments.measures import registry
from experiments.reporting.claims import notes_studies
from experiments.reporting.result_studies import OTHER_SEEDS_SUFFIX, RESULT_NAMES, load_result
from experiments.reporting.study_report import read_study_record, record_path
from training import files

_STATE_SCHEMA = {
    "type": "object",
    "required": ["record", "seconds"],
    "properties": {"record": {"type": "string"}, "seconds": {"type": "number", "minimum": 0}},
}


class LedgerRun(NamedTuple):
    """A study at a scale. A published result is run again with other seeds, and its `study` has both scales."""

    study_name: str
    study: Study
    base_scale: str
    other_seeds: bool = False

    @property
    def is_result(self) -> bool:
        """Whether the study repeats a published result; else it tests a claim of the lecture notes."""
        return self.study_name in RESULT_NAMES

    @property
    def scale(self) -> str:
        """The scale that is run."""
        return f"{self.base_scale}{OTHER_SEEDS_SUFFIX}" if self.other_seeds else self.base_scale

    @property
    def name(self) -> str:
        """The name of its record, its log and its state."""
        return record_path(self.study_name, self.scale).stem

    @property
    def is_timed(self) -> bool:
        """Whether it measures time, which other work on the machine would show in."""
        return bool(registry.TIMED_MEASURES & set(self.study.measures))


def list_runs(names: Sequence[str], scale: str, with_other_seeds: bool = True) -> list[LedgerRun]:
    """All runs in their order: first runs, results with other seeds, and last, likewise, the studies that time. No
    `names` are all of them.

    Raises ValueError, in one line, for an unknown name or scale and for a study with nothing to decide.
    """
    known = [*RESULT_NAMES, *notes_studies()]
    for name in names:
        models.validate_choice("--only", name, known)
    firsts = [
        LedgerRun(name, load_result(name) if name in RESULT_NAMES else study.load_study(name), scale)
        for name in dict.fromkeys(names or [*RESULT_NAMES, *notes_studies(scale)])
    ]
    for run in firsts:
        scales = [known for known in run.study.scales if not known.endswith(OTHER_SEEDS_SUFFIX)]
        models.validate_choice("--scale", scale, scales)
        sequential.validate_until_decided(run.study, scale)
    runs = firsts + [run._replace(other_seeds=True) for run in firsts if with_other_seeds and run.is_result]
    return sorted(runs, key=lambda run: run.is_timed)


# ---- what is done ---------------------------------------------------------------------------------------------------


def read_state(run: LedgerRun, workdir: Path) -> dict[str, Any]:
    """The digest of the record that a run wrote, "" if it has not, and the seconds that it took in all attempts."""
    path = workdir / f"{run.name}.json"
    return files.read_json(path, _STATE_SCHEMA) if path.exists() else {"record": "", "seconds": 0.0}


def write_state(run: LedgerRun, workdir: Path, seconds: float, *, ended_well: bool) -> None:
    """Keep how a run ended, after so many seconds more."""
    record = record_digest(run) if ended_well else ""
    seconds += read_state(run, workdir)["seconds"]
    files.write_json(workdir / f"{run.name}.json", {"record": record, "seconds": seconds})


def record_digest(run: LedgerRun) -> str:
    """A digest of the run's record in the repository, with its claims and revisions; "" if there is none."""
    path = record_path(run.study_name, run.scale)
    return record_files.short_digest(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else ""


def is_done(run: LedgerRun, workdir: Path, data_dir: str) -> bool:
    """Whether the record in the repository is the one that this run wrote, of the claims and the code that are now."""
    record = read_state(run, workdir)["record"]
    if not record or record != record_digest(run):
        return False
    try:
        trials = read_study_record(run.study_name, run.study, run.scale)
    except ValueError:  # of another study: it was changed since
        return False
    is_edited = any(verdicts.is_edited(claim, trials) for claim in run.study.claims)
    if is_edited or verdicts.count_removed_claims(run.study, trials):
        return False
    return not outdated_records(trials, run.study, run.study.scales[run.scale], data_dir)


# ---- how long it takes ----------------------------------------------------------------------------------------------


def expected_seconds(run: LedgerRun) -> float | None:
    """About how long a run takes, by the trials in its record, or in that of the first run; None if neither is there.

    With other seeds, the learning rates are chosen already.
    """
    for scale in (run.scale, run.base_scale):
        rows = record_files.read_record(record_path(run.study_name, scale))
        if rows:
            counted = [row for row in rows if row["part"] == "report" or not run.other_seeds]
            return sum(float(row["seconds"] or 0) for row in counted)
    return None


def fill_unknown(seconds: Mapping[str, float | None]) -> dict[str, float]:
    """The same with the mean of what is known in place of None; empty if nothing is known."""
    known = [value for value in seconds.values() if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    return {name: mean if value is None else value for name, value in seconds.items()} if known else {}


def schedule_seconds(runs: Sequence[LedgerRun], seconds: Mapping[str, float], places: int) -> float:
    """How long runs take that need so many `seconds` each, so many at once, and those that time alone."""
    ends = [0.0] * places
    for run in runs:
        if not run.is_timed:
            heapq.heapreplace(ends, ends[0] + seconds[run.name])
    return max(ends) + sum(seconds[run.name] for run in runs if run.is_timed)
