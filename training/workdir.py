"""The files of a run's directory: claim it, read them, and check that they belong together."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from training import distributed, files, metrics, provenance
from training.builder import Run, fingerprint_fields, flatten_config, has_data, run_fingerprint
from training.ensemble import MEMBER_FIELDS, EnsemblePlan, autotune_plan, make_mesh, plan_ensemble, plan_to_json
from training.result import RunResult
from training.sharding import MeshShape, mesh_fields
from training.task_description import describe_task

REPAIR_HINT = "put it back from a copy, or check out the revision that wrote it"  # for files that no command rewrites
LAST_REVISION_OF_OLD_FIELDS = "f72bc2c"  # the last one whose configs have `replicas`, `optimizer.clip`, `model.inner`


@contextlib.contextmanager
def claim_workdir(workdir: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Hold `workdir` for this process, and write config.json if it is new.

    Raises ValueError if it holds the run of another config, or another process holds it.
    """
    path = workdir / "config.json"
    workdir.mkdir(parents=True, exist_ok=True)
    if is_exported(workdir):
        raise ValueError(f"{workdir} is an exported model, which can't be trained on; give another --workdir")
    with files.lock_directory(workdir):
        if not path.exists():
            files.write_json(path, config)
        _check_same_config(workdir, read_config(path, hint=files.DELETE_HINT), config)
        yield


def is_exported(directory: Path) -> bool:
    """Whether a directory holds the parameters of an export."""
    return (directory / "params").exists() or (directory / "model.safetensors").exists()


def _check_same_config(workdir: Path, recorded: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the first fields that differ, unless both configs are of one run."""
    recorded_fields, fields = fingerprint_fields(recorded), fingerprint_fields(config)
    changed = sorted(name for name in recorded_fields | fields if recorded_fields.get(name) != fields.get(name))
    if not changed:
        return
    if recorded.get("parent") and not config.get("parent"):
        raise ValueError(
            f"{workdir} holds a run that began with the parameters of another; to resume it, give --init_from as "
            f"{workdir}/parent.json says"
        )
    old, new = flatten_config(recorded), flatten_config(config)
    differences = [f"{name} is {old.get(name)!r}, not {new.get(name)!r}" for name in changed[:3]]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    raise ValueError(
        f"{workdir} holds another config's run ({'; '.join(differences)}{more}); give another --workdir, "
        f"or that run's own values to resume it"
    )


def read_config(path: Path, hint: str = REPAIR_HINT) -> dict[str, Any]:
    """Read the config.json of a run or an export.

    Raises ValueError, in one line, if it is damaged, or of a revision from before the config fields were renamed.
    """
    config = files.read_json(path, hint=hint)
    if isinstance(config, dict) and "replicas" in config and "ensemble" not in config:
        raise ValueError(
            f"{path.parent} was written by an older revision (its config has `replicas` where this one has "
            f"`ensemble`); check out {LAST_REVISION_OF_OLD_FIELDS} to go on with it, or train anew in another "
            f"directory"
        )
    return files.read_json(path, files.CONFIG_SCHEMA, hint)


def read_result(path: Path, run: Run) -> RunResult:
    """Read the result.json of a finished run. Raises ValueError if it is damaged or of another run."""
    result = files.read_json(path, files.RESULT_SCHEMA)
    if result["key"] != run_fingerprint(run.config):
        raise ValueError(f"{path} is of another run than config.json; delete it and the same command writes it anew")
    return result


def write_description(run: Run, workdir: Path) -> None:
    """Write environment.json and, for a task on real data, task.json, which describes the task without the data."""
    provenance.append_environment(workdir / "environment.json")
    if has_data(run.config["task"]):
        files.write_json(workdir / "task.json", describe_task(run.task))


# ---- the ensemble's plan --------------------------------------------------------------------------------------------


def restore_plan(workdir: Path, run: Run, allow_fewer_devices: bool) -> EnsemblePlan:
    """Read the plan of a run from group.json, or make it and write it there.

    A resumed run keeps its plan, because the last bits of its numbers depend on it. With `allow_fewer_devices` a new
    plan is made. Raises ValueError if the recorded plan needs more devices than there are.
    """
    path = workdir / "group.json"
    recorded = distributed.broadcast_from_process_0(
        lambda: files.read_json(path, files.GROUP_SCHEMA) if path.exists() and not allow_fewer_devices else None
    )
    if recorded:
        plan = plan_from_json(recorded)
        check_members(workdir, plan_ensemble(run.config), plan._asdict())
        _check_same_mesh(workdir, mesh_fields(run.config), plan.mesh_shape)
        if (needed := plan.mesh_shape.devices) > len(jax.devices()):
            raise ValueError(
                f"{workdir} was begun on {needed} devices and {len(jax.devices())} are here; "
                f"--allow_fewer_devices resumes it all the same, with other last bits"
            )
        return plan
    plan, timings = plan_ensemble(run.config), {}
    make_mesh(plan)  # raises before group.json is written
    if plan.mode == "autotune":
        plan, autotuned = autotune_plan(run, plan)
        timings = {"autotuned": autotuned}
    distributed.broadcast_from_process_0(lambda: files.write_json(path, {**plan_to_json(plan), **timings}))
    return plan


def _check_same_mesh(workdir: Path, fields: MeshShape, recorded: MeshShape) -> None:
    """Raise ValueError if the config asks for another mesh than the recorded one."""
    asked = MeshShape(*(field or size for field, size in zip(fields, recorded, strict=True)))
    if asked != recorded:
        raise ValueError(
            f"{workdir} was begun on a mesh of {recorded} devices (ensemble × batch × params), and the config's is "
            f"{asked}; leave out config.mesh, or resume it with --allow_fewer_devices, with other last bits"
        )


def plan_from_json(recorded: Mapping[str, Any]) -> EnsemblePlan:
    """The plan that a group.json holds."""
    return EnsemblePlan(
        mode=recorded["mode"],
        devices=recorded["devices"],
        seeds=tuple(recorded["seeds"]),
        learning_rates=tuple(recorded["learning_rates"]),
        shards=recorded["shards"],
        **{field: tuple(recorded.get(field, ())) for field in MEMBER_FIELDS.values()},
        params=recorded.get("params", 1),
    )


def check_members(workdir: Path, plan: EnsemblePlan, found: Mapping[str, Any]) -> None:
    """Raise ValueError if the members of a file are not the plan's: one of the files was changed.

    `found` are the values of its members, by the names of the plan's fields.
    """
    for name in ("seeds", "learning_rates", *MEMBER_FIELDS.values()):
        dtype = np.int64 if name == "seeds" else np.float32
        planned, values = (np.asarray(of, dtype) for of in (getattr(plan, name), found.get(name, ())))
        if not np.array_equal(planned, values):
            raise ValueError(
                f"{workdir}: config.json, group.json and the newest checkpoint are not of the same "
                f"{name.replace('_', ' ')}, so one of them was changed; put it back from a copy, or start anew in "
                f"another directory"
            )


def members_of_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the members of a checkpoint, as `check_members` takes them; fields of a state may be missing."""
    fields = {"seed": "seeds", "learning_rate": "learning_rates", **MEMBER_FIELDS}
    return {field: state[name] for name, field in fields.items() if state.get(name) is not None}


# ---- the log --------------------------------------------------------------------------------------------------------


def is_evaluation_step(config: Mapping[str, Any], step: int) -> bool:
    """Whether all splits are evaluated after `step`."""
    training = config["training"]
    return step % training["eval_every"] == 0 or step == training["steps"]


def check_metrics_log(run: Run, path: Path, step: int) -> None:
    """Raise ValueError if metrics.jsonl lacks a row up to `step`, the step of the newest checkpoint.

    Damage behind that is cut off: the resumed run writes those rows again.
    """
    rows, size, damage = metrics.read_json_lines(path, metrics.ROW_SCHEMA)
    logged = {(row["step"], row["split"]) for row in rows}
    steps_per_call = run.config["training"]["steps_per_call"]
    for logged_step in range(steps_per_call, step + 1, steps_per_call):
        splits = run.task.splits if is_evaluation_step(run.config, logged_step) else ()
        for split in ("train", *splits):
            if (logged_step, split) not in logged:
                raise ValueError(
                    f"{damage or path}: there is no row of {split} at step {logged_step}, though the run was saved at "
                    f"step {step}; put the file back from a copy, or start anew in another directory"
                )
    if damage:
        os.truncate(path, size)
