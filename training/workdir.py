"""The files of a run's directory: claimed, written and held against each other."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from training import distributed, files, metrics, provenance
from training.builder import Run, flattened, identity
from training.ensemble import Group, fastest, form_group, make_mesh
from training.task_description import description

MEND = "put it back from a copy, or check out the revision that wrote it"  # of a file that no command writes anew


def read_result(path: Path, run: Run) -> dict[str, Any]:
    """What a finished run came to. Raises ValueError where the file is damaged or another run's."""
    result = files.read_json(path, files.RESULT)
    if result["key"] != files.key(identity(run.config)):
        raise ValueError(f"{path} is of another run than config.json; delete it and the same command writes it anew")
    return result


def describe(run: Run, workdir: Path) -> None:
    """Write where a run takes place and, on real data, what its task is without them."""
    provenance.add_environment(workdir / "environment.json")
    if run.config["task"].get("dataset"):
        files.write_json(workdir / "task.json", description(run.task))


@contextlib.contextmanager
def claim(workdir: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Make `workdir` this config's, and this process's while it lasts; ValueError if it is another's."""
    path = workdir / "config.json"
    workdir.mkdir(parents=True, exist_ok=True)
    with files.locked(workdir):
        if not path.exists():
            files.write_json(path, config)
        theirs, ours = files.read_json(path, files.CONFIG), config
        theirs_at, ours_at = identity(theirs), identity(ours)
        other = sorted(k for k in theirs_at | ours_at if theirs_at.get(k) != ours_at.get(k))
        if other:
            was, wanted = flattened(theirs), flattened(ours)
            told = [f"{name} is {was.get(name)!r}, not {wanted.get(name)!r}" for name in other[:3]]
            more = f" and {len(other) - 3} more" if len(other) > 3 else ""
            raise ValueError(
                f"{workdir} holds another config's run ({'; '.join(told)}{more}); give another --workdir, "
                f"or that run's own values to go on with it"
            )
        yield


def recorded_group(workdir: Path, run: Run, regroup: bool) -> Group:
    """How this run's replicas were first grouped, which a resumed one keeps: another way gives other last bits."""
    path = workdir / "group.json"
    read = distributed.from_first(lambda: files.read_json(path, files.GROUP) if path.exists() and not regroup else None)
    if read:
        group = group_of(read)
        check_members(workdir, form_group(run.config), group.seeds, group.learning_rates)
        if (begun := group.devices * group.shards) > len(jax.devices()):
            raise ValueError(
                f"{workdir} was begun on {begun} devices and {len(jax.devices())} are here; "
                f"--regroup goes on all the same, with other last bits"
            )
        return group
    group, more = form_group(run.config), {}
    make_mesh(group)  # raises before anything is written
    if group.how == "measured":
        group, ways = fastest(run, group)
        more = {"measured": ways}
    distributed.from_first(lambda: files.write_json(path, {**group._asdict(), **more}))
    return group


def check_members(workdir: Path, group: Group, seeds: Sequence[int], learning_rates: Sequence[float]) -> None:
    """Refuse, with ValueError, other seeds or learning rates than the group's: a file was changed."""
    same = np.array_equal(group.seeds, seeds) and np.array_equal(
        np.asarray(group.learning_rates, np.float32), np.asarray(learning_rates, np.float32)
    )
    if not same:
        raise ValueError(
            f"{workdir}: config.json, group.json and the newest checkpoint are not of the same seeds and learning "
            f"rates, so one of them was changed; put it back from a copy, or start anew in another directory"
        )


def check_log(run: Run, path: Path, step: int) -> None:
    """Refuse, with ValueError, a log that lacks what was written up to `step`: time and curves would be of a part.

    What is damaged behind that is cut off: it is made again.
    """
    rows, size, damage = metrics.read_lines(path, metrics.ROW)
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


def group_of(saved: Mapping[str, Any]) -> Group:
    """The group that a group.json holds."""
    seeds, rates = tuple(saved["seeds"]), tuple(saved["learning_rates"])
    return Group(saved["how"], saved["devices"], seeds, rates, saved.get("shards", 1))  # an older run has no shards
