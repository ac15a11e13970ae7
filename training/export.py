"""Export one member of a run, and load runs and exports."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from data.files import has_files, is_prepared
from models import validate_choice
from training import checkpoint, exported_programs, files, safetensors_files
from training.builder import Run, assemble_run, build_run, collect_versions, run_fingerprint
from training.console import print_status
from training.ensemble import MEMBER_FIELDS, member_values
from training.runtime import DEFAULT_DATA_DIR
from training.task_description import task_from_description
from training.trainer import init_params
from training.validation import validate_config
from training.workdir import (
    REPAIR_HINT,
    check_members,
    is_exported,
    members_of_state,
    plan_from_json,
    read_config,
)

# What --export_format takes: params/, an Orbax checkpoint; model.safetensors; programs that run without this code.
FORMATS = ("orbax", "safetensors", "program")


def export_member(
    workdir: Path, destination: Path, member: int, which: str, formats: Sequence[str] = ("orbax",)
) -> None:
    """Export one member of a run, its "best" or its "last" parameters, to a new directory, whole or not at all.

    `destination` gets config.json, which builds the model; for a task on real data task.json, which has all that the
    model needs of the task but the data; and for each of `formats`: "orbax", params/, an ordinary checkpoint;
    "safetensors", model.safetensors; "program", that too, and what `exported_programs.save_programs` writes.

    Raises ValueError if there is no such run, member, checkpoint or format, and FileExistsError if `destination`
    exists.
    """
    written = _resolve_formats(formats)
    config = member_config(workdir, member)
    if destination.exists():
        raise FileExistsError(f"{destination} exists already; --export needs a new directory")
    params = read_member_params(workdir, member, which)
    part = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        files.write_json(part / "config.json", config)
        if (workdir / "task.json").exists():
            description = files.read_json(workdir / "task.json", files.TASK_SCHEMA, REPAIR_HINT)
            files.write_json(part / "task.json", description)
        if "orbax" in written:
            checkpoint.save_params(part / "params", params, run_fingerprint(config))
        if "safetensors" in written:
            safetensors_files.save_params(part / safetensors_files.FILE_NAME, params, run_fingerprint(config))
        if "program" in written:
            exported_programs.save_programs(part, *load_exported(part))
        os.rename(part, destination)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _resolve_formats(formats: Sequence[str]) -> set[str]:
    """The formats to write: a program takes its parameters from safetensors. Raises ValueError for an unknown one."""
    for name in formats or [""]:
        validate_choice("--export_format", name, FORMATS)
    resolved = {*formats, *(["safetensors"] if "program" in formats else [])}
    if "safetensors" in resolved:
        safetensors_files.import_safetensors()
    if "program" in resolved:
        exported_programs.import_jax_export()
    return resolved


# ---- reading a workdir ----------------------------------------------------------------------------------------------


def member_config(workdir: Path, member: int) -> dict[str, Any]:
    """The config of a run as if `member` had been its only one."""
    if not (workdir / "group.json").exists():
        raise ValueError(f"{workdir} holds no run; --workdir names the one to export from")
    config = read_config(workdir / "config.json")
    plan = plan_from_json(files.read_json(workdir / "group.json", files.GROUP_SCHEMA))
    if not 0 <= member < len(plan.seeds):
        raise ValueError(f"--member={member}: {workdir} has members 0 to {len(plan.seeds) - 1}")
    config["ensemble"] = {
        "seeds": [plan.seeds[member]],
        "learning_rates": [plan.learning_rates[member]],
        "mode": plan.mode,
        **{MEMBER_FIELDS[name]: [value] for name, value in member_values(plan, member).items()},
    }
    return config


def read_member_params(workdir: Path, member: int, which: str) -> Any:
    """Read the "best" or the "last" parameters of a member from the newest checkpoint, as numpy arrays."""
    state = read_latest_state(workdir)
    return checkpoint.take_member(_read_params(state, "best_params" if which == "best" else "params"), member)


def load_members(workdir: str | Path, part: str = "best_params") -> list[Any]:
    """Load the newest "best_params" or "params" of every member of a run, to the default device.

    Raises ValueError as `read_latest_state` does.
    """
    state = read_latest_state(Path(workdir))
    params = _read_params(state, part)
    return [jax.device_put(checkpoint.take_member(params, index)) for index in range(len(state["seed"]))]


def _read_params(state: Mapping[str, Any], part: str) -> Any:
    """The "best_params" or the "params" of a checkpoint; of these the average, which was evaluated, if it was kept."""
    return state["ema_params"] if part == "params" and state.get("ema_params") is not None else state[part]


def read_latest_state(workdir: Path) -> Any:
    """Read a run's newest checkpoint as nested dicts of numpy arrays, whatever devices it was saved from.

    Raises ValueError, in one line, if there is none, if it can't be read, or if it does not belong to config.json,
    group.json and result.json.
    """
    key = run_fingerprint(read_config(workdir / "config.json"))
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints", read_only=True, run_key=key)
    state = checkpoints.restore_numpy()
    if not isinstance(state, Mapping) or not {"params", "best_params", "seed", "learning_rate"} <= set(state):
        raise ValueError(f"{workdir}/checkpoints are of another format than train.py writes: they hold no best_params")
    plan = plan_from_json(files.read_json(workdir / "group.json", files.GROUP_SCHEMA))
    check_members(workdir, plan, members_of_state(state))
    _check_result_step(workdir, checkpoints.latest_step())
    return state


def _check_result_step(workdir: Path, newest_step: int | None) -> None:
    """Raise ValueError if there is a result.json of another step than the newest checkpoint."""
    path = workdir / "result.json"
    if not path.exists():
        return
    steps = files.read_json(path, files.RESULT_SCHEMA)["steps"]
    if steps != newest_step:
        raise ValueError(
            f"{workdir}: result.json is of step {steps} and the newest checkpoint of step {newest_step}; "
            f"delete result.json, and the command that trained it makes the rest again"
        )


# ---- loading models -------------------------------------------------------------------------------------------------


def load(directory: str | Path, data_dir: str | Path = DEFAULT_DATA_DIR, member: int = 0) -> tuple[Run, Any]:
    """Load a run and the best parameters of one of its members, from a workdir or an export. Nothing is written.

    The outputs are `run.model.apply({"params": params}, inputs)`. The task of an export has its data if they are in
    `data_dir`. Raises ValueError, in one line, for a directory that holds no run or a damaged one, and if mixer, task,
    loop or data have changed since.
    """
    directory = Path(directory)
    is_export = is_exported(directory)
    if not (directory / "config.json").exists() or not (is_export or (directory / "group.json").exists()):
        raise ValueError(
            f"{directory} is no run: it must hold config.json, and group.json and checkpoints/ as --workdir leaves "
            f"them or params/ or {safetensors_files.FILE_NAME} as --export does"
        )
    if is_export:
        return load_exported(directory, data_dir if _has_same_data(directory, data_dir) else None)
    config = member_config(directory, member)
    run = _restore_run(config, directory, data_dir, _task_without_files(config, directory, data_dir))
    params = jax.device_put(read_member_params(directory, member, "best"))
    _check_param_shapes(run, params, directory)
    return run, params


def load_exported(directory: str | Path, data_dir: str | Path | None = None) -> tuple[Run, Any]:
    """Load the run and the parameters of an export.

    The parameters are those of params/, or of model.safetensors where there is no params/. No data are needed. Without
    a `data_dir`, `run.task` can encode and decode, but not sample. Raises ValueError if `directory` is no export, and
    if mixer, task, loop or the data in `data_dir` have changed since: the parameters would then mean something else.
    """
    directory = Path(directory)
    if not (directory / "config.json").exists() or not is_exported(directory):
        hint = "; train.load reads a run where it lies" if (directory / "group.json").exists() else ""
        raise ValueError(
            f"{directory} is no export: it must hold config.json, and params/ or {safetensors_files.FILE_NAME}, as "
            f"train.py --export writes them{hint}"
        )
    config = read_config(directory / "config.json")
    task = None
    if data_dir is None and (directory / "task.json").exists():
        task = _read_task(config, directory)
    run = _restore_run(config, directory, data_dir or DEFAULT_DATA_DIR, task)
    if not (directory / "params").exists():
        expected = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
        path = directory / safetensors_files.FILE_NAME
        return run, safetensors_files.load_params(path, expected, run_fingerprint(config))
    params = checkpoint.load_params(directory / "params", run_fingerprint(config))
    _check_param_shapes(run, params, directory)
    return run, params


def _restore_run(config: Mapping[str, Any], directory: str | Path, data_dir: str | Path, task: Any = None) -> Run:
    """Build the run of a config.json that was read in `directory`; on `task`, if one is given."""
    try:
        recorded = config["versions"]
        if task is None:
            run = build_run(config, data_dir)
        else:
            validate_config(config)
            without_data = {**config, "task": {"name": config["task"]["name"]}}
            versions = {**collect_versions(without_data), "data": recorded["data"]}
            run = assemble_run(config, task, versions)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{directory}/config.json is of another format than train.py writes ({type(error).__name__}: {error}); "
            f"check out the revision that wrote it"
        ) from error
    if run.config["versions"] != recorded:
        raise ValueError(
            f"{directory} was made by versions {recorded} and this is {run.config['versions']}; "
            f"check out the revision in the run's environment.json"
        )
    return run


def _task_without_files(config: Mapping[str, Any], directory: Path, data_dir: str | Path) -> Any:
    """The task of a run on a user's files as task.json describes it, if these are gone or have changed; else None."""
    task = {name: value for name, value in config["task"].items() if name != "name"}
    if not has_files(task) or not (directory / "task.json").exists():
        return None
    try:
        if collect_versions(config, data_dir)["data"] == config["versions"]["data"]:
            return None
        fate = "have changed"
    except OSError:
        fate = "are gone"
    print_status(f"{directory}: the files that it was trained on {fate}, so the model is loaded without data")
    return _read_task(config, directory)


def _read_task(config: Mapping[str, Any], directory: Path) -> Any:
    description = files.read_json(directory / "task.json", files.TASK_SCHEMA, REPAIR_HINT)
    return task_from_description(config, description)


def _has_same_data(directory: Path, data_dir: str | Path) -> bool:
    """Whether `data_dir` has, or can get, the data that an exported model was trained on.

    A user's own files count if they are prepared: a model is not loaded to prepare a gigabyte first.
    """
    config = read_config(directory / "config.json")
    task = {name: value for name, value in config["task"].items() if name != "name"}
    try:
        if config["versions"].get("data") != collect_versions(config, data_dir).get("data"):
            return False
        return not has_files(task) or is_prepared(config["task"]["name"], task, data_dir)
    except (OSError, ImportError, ValueError, KeyError):
        return False


def _check_param_shapes(run: Run, params: Any, directory: Path) -> None:
    """Raise ValueError if the parameters are not those of the run's model."""
    expected = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
    if jax.tree.structure(params) != jax.tree.structure(expected) or any(
        a.shape != b.shape for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True)
    ):
        raise ValueError(f"{directory} holds parameters of another model than its config.json says; train it anew")
