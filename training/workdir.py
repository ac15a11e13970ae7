"""The files of a run's directory: claimed, written and held against each other."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from training import distributed, files, metrics, provenance
from training.builder import Run, fingerprint_fields, flatten_config
from training.ensemble import EnsemblePlan, autotune_plan, make_mesh, plan_ensemble
from training.task_description import describe_task

REPAIR_HINT = (
    "put it back from a copy, or check out the revision that wrote it"  # of a file that no command writes anew
)


def _read_result(path: Path, run: Run) -> dict[str, Any]:
    """What a finished run came to. Raises ValueError where the file is damaged or another run's."""
    result = files.read_json(path, files.RESULT_SCHEMA)
    if result["key"] != files.fingerprint(fingerprint_fields(run.config)):
        raise ValueError(f"{path} is of another run than config.json; delete it and the same command writes it anew")
    return result


def _write_description(run: Run, workdir: Path) -> None:
    """Write where a run takes place and, on real data, what its task is without them."""
    provenance.append_environment(workdir / "environment.json")
    if run.config["task"].get("dataset"):
        files.write_json(workdir / "task.json", describe_task(run.task))


@contextlib.contextmanager
def claim_workdir(workdir: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Make `workdir` this config's, and this process's while it lasts; ValueError if it is another's."""
    path = workdir / "config.json"
    workdir.mkdir(parents=True, exist_ok=True)
    with files.lock_directory(workdir):
        if not path.exists():
            files.write_json(path, config)
        theirs, ours = files.read_json(path, files.CONFIG_SCHEMA), config
        theirs_at, ours_at = fingerprint_fields(theirs), fingerprint_fields(ours)
        other = sorted(k for k in theirs_at | ours_at if theirs_at.get(k) != ours_at.get(k))
        if other:
            was, wanted = flatten_config(theirs), flatten_config(ours)
            told = [f"{name} is {was.get(name)!r}, not {wanted.get(name)!r}" for name in other[:3]]
            more = f" and {len(other) - 3} more" if len(other) > 3 else ""
            raise ValueError(
                f"{workdir} holds another config's run ({'; '.join(told)}{more}); give another --workdir, "
                f"or that run's own values to go on with it"
            )
        yield


def restore_plan(workdir: Path, run: Run, allow_fewer_devices: bool) -> EnsemblePlan:
    """How this run's replicas were first grouped, which a resumed one keeps: another way gives other last bits."""
    path = workdir / "group.json"
    read = distributed.broadcast_from_process_0(
        lambda: files.read_json(path, files.GROUP_SCHEMA) if path.exists() and not allow_fewer_devices else None
    )
    if read:
        group = plan_from_json(read)
        check_members(workdir, plan_ensemble(run.config), group.seeds, group.learning_rates)
        if (begun := group.devices * group.shards) > len(jax.devices()):
            raise ValueError(
                f"{workdir} was begun on {begun} devices and {len(jax.devices())} are here; "
                f"--regroup goes on all the same, with other last bits"
            )
        return group
    group, more = plan_ensemble(run.config), {}
    make_mesh(group)  # raises before anything is written
    if group.mode == "autotune":
        group, ways = autotune_plan(run, group)
        more = {"measured": ways}
    distributed.broadcast_from_process_0(lambda: files.write_json(path, {**group._asdict(), **more}))
    return group


def check_members(workdir: Path, plan: EnsemblePlan, seeds: Sequence[int], learning_rates: Sequence[float]) -> None:
    """Refuse, with ValueError, other seeds or learning rates than the group's: a file was changed."""
    same = np.array_equal(plan.seeds, seeds) and np.array_equal(
        np.asarray(plan.learning_rates, np.float32), np.asarray(learning_rates, np.float32)
    )
    if not same:
        raise ValueError(
            f"{workdir}: config.json, group.json and the newest checkpoint are not of the same seeds and learning "
            f"rates, so one of them was changed; put it back from a copy, or start anew in another directory"
        )


def _check_metrics_log(run: Run, path: Path, step: int) -> None:
    """Refuse, with ValueError, a log that lacks what was written up to `step`: time and curves would be of a part.

    What is damaged behind that is cut off: it is made again.
    """
    rows, size, damage = metrics.read_json_lines(path, metrics.ROW_SCHEMA)
    training, there = run.config["training"], {(row["step"], row["split"]) for row in rows}
    for at in range(training["steps_per_call"], step + 1, training["steps_per_call"]):
        evaluated = at % training["eval_every"] == 0 or at == training["steps"]
        for split in ("train", *(run.task.splits if evaluated else ())):
            if (at, split) not in there:
                raise ValueError(
                    f"{damage or path}: there is no row of {split} at step {at}, though the run was saved at step "
                    f"{step}; put the file back from a copy, or start anew in another directory"
                )
    if damage:
        os.truncate(path, size)


def plan_from_json(recorded: Mapping[str, Any]) -> EnsemblePlan:
    """The group that a group.json holds."""
    seeds, rates = tuple(recorded["seeds"]), tuple(recorded["learning_rates"])
    return EnsemblePlan(
        recorded["mode"], recorded["devices"], seeds, rates, recorded.get("shards", 1)
    )  # an older run has no shards
