"""Export one replica of a run, and load runs and exports."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from data import DEFAULT_DATA_DIR
from training import checkpoint, files
from training.builder import Run, assemble_run, build_run, collect_versions, fingerprint_fields
from training.task_description import task_from_description
from training.trainer import init_params
from training.validation import validate_config
from training.workdir import REPAIR_HINT, check_members, plan_from_json


def export_member(workdir: Path, destination: Path, member: int, which: str) -> None:
    """One replica of a run as an ordinary checkpoint: `destination`/params, beside the config.json that builds its
    model and, of a task on real data, task.json, with all that a model of it needs but the data.

    Raises ValueError where there is no such run, replica or checkpoint, and FileExistsError where `destination` exists.
    """
    config = member_config(workdir, member)
    if destination.exists():
        raise FileExistsError(f"{destination} exists already; --export needs a new directory")
    params = read_member_params(workdir, member, which)
    destination.mkdir(parents=True)
    checkpoint.save_params(destination / "params", params, files.fingerprint(fingerprint_fields(config)))
    if (workdir / "task.json").exists():
        files.write_json(
            destination / "task.json", files.read_json(workdir / "task.json", files.TASK_SCHEMA, REPAIR_HINT)
        )
    files.write_json(destination / "config.json", config)


def member_config(workdir: Path, member: int) -> dict[str, Any]:
    """The config of a run as if this replica had been its only one."""
    if not (workdir / "group.json").exists():
        raise ValueError(f"{workdir} holds no run; --workdir names the one to export from")
    config = files.read_json(workdir / "config.json", files.CONFIG_SCHEMA, REPAIR_HINT)
    group = files.read_json(workdir / "group.json", files.GROUP_SCHEMA)
    if not 0 <= member < len(group["seeds"]):
        raise ValueError(f"--replica={member}: {workdir} has replicas 0 to {len(group['seeds']) - 1}")
    config["ensemble"] = {"seeds": [group["seeds"][member]], "learning_rates": [group["learning_rates"][member]]}
    config["ensemble"]["mode"] = group["mode"]
    return config


def read_member_params(workdir: Path, member: int, which: str) -> Any:
    """What a run's newest checkpoint has of a replica: its "best" parameters, or the "last"."""
    return checkpoint.take_member(read_latest_state(workdir)["best_params" if which == "best" else "params"], member)


def load_members(workdir: str | Path, part: str = "best_params") -> list[Any]:
    """The newest parameters of every replica of a run, on the default device: its best ones, or its "params".

    Raises ValueError as `read_latest_state` does.
    """
    state = read_latest_state(Path(workdir))
    return [jax.device_put(checkpoint.take_member(state[part], index)) for index in range(len(state["seed"]))]


def read_latest_state(workdir: Path) -> Any:
    """A run's newest checkpoint, as nested dicts of numpy arrays, on however many devices it was made.

    Raises ValueError, in one line, where there is none, it can't be read, or it is not of the run that config.json,
    group.json and result.json are of.
    """
    config = files.read_json(workdir / "config.json", files.CONFIG_SCHEMA, REPAIR_HINT)
    key, result = files.fingerprint(fingerprint_fields(config)), workdir / "result.json"
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints", read_only=True, run_key=key)
    state = checkpoints.restore_numpy()
    if not isinstance(state, Mapping) or not {"params", "best_params", "seed", "learning_rate"} <= set(state):
        raise ValueError(f"{workdir}/checkpoints are of another format than train.py writes: they hold no best_params")
    group = plan_from_json(files.read_json(workdir / "group.json", files.GROUP_SCHEMA))
    check_members(workdir, group, state["seed"], state["learning_rate"])
    if (
        result.exists()
        and (steps := files.read_json(result, files.RESULT_SCHEMA)["steps"]) != checkpoints.latest_step()
    ):
        raise ValueError(
            f"{workdir}: result.json is of step {steps} and the newest checkpoint of step {checkpoints.latest_step()}; "
            f"delete result.json, and the command that trained it makes the rest again"
        )
    return state


def load_exported(directory: str | Path, data_dir: str | Path | None = None) -> tuple[Run, Any]:
    """The run and the parameters of what `--export` wrote: `run.model.apply({"params": params}, inputs)`.

    Of real data nothing is needed, and `run.task` has none to sample; with a `data_dir` it has. Raises ValueError where
    mixer, task, loop or those data have changed since: the parameters would mean something else now.
    """
    directory = Path(directory)
    config, described = (
        files.read_json(directory / "config.json", files.CONFIG_SCHEMA, REPAIR_HINT),
        directory / "task.json",
    )
    task = (
        task_from_description(config, files.read_json(described, files.TASK_SCHEMA, REPAIR_HINT))
        if described.exists()
        else None
    )
    run = _restore_run(config, directory, data_dir or DEFAULT_DATA_DIR, task if data_dir is None else None)
    params = checkpoint.load_params(directory / "params", files.fingerprint(fingerprint_fields(config)))
    _check_param_shapes(run, params, directory)
    return run, params


def _check_param_shapes(run: Run, params: Any, directory: Path) -> None:
    """Refuse, with ValueError, parameters that are not of the shapes of the run's model."""
    expected = jax.eval_shape(lambda: init_params(run, jnp.uint32(0)))
    if jax.tree.structure(params) != jax.tree.structure(expected) or any(
        a.shape != b.shape for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True)
    ):
        raise ValueError(f"{directory} holds parameters of another model than its config.json says; train it anew")


def load(directory: str | Path, data_dir: str | Path = DEFAULT_DATA_DIR, member: int = 0) -> tuple[Run, Any]:
    """The run and the best parameters of one replica of a workdir, or of what `--export` wrote; nothing is written.

    The task of an export has its data where `data_dir` has the same. Raises ValueError, in one line, for anything else,
    and for parameters that are not those of the config's model.
    """
    directory = Path(directory)
    exported = (directory / "params").exists()
    if not (directory / "config.json").exists() or not (exported or (directory / "group.json").exists()):
        raise ValueError(
            f"{directory} is no run: it must hold config.json, and group.json and checkpoints/ as --workdir leaves "
            f"them or params/ as --export does"
        )
    if exported:
        return load_exported(directory, data_dir if _has_same_data(directory, data_dir) else None)
    run = _restore_run(member_config(directory, member), directory, data_dir)
    params = jax.device_put(read_member_params(directory, member, "best"))
    _check_param_shapes(run, params, directory)
    return run, params


def _has_same_data(directory: Path, data_dir: str | Path) -> bool:
    """Whether the data that an exported model was trained on can be had."""
    config = files.read_json(directory / "config.json", files.CONFIG_SCHEMA, REPAIR_HINT)
    try:
        return config["versions"].get("data") == collect_versions(config, data_dir).get("data")
    except (OSError, ImportError, ValueError, KeyError):
        return False


def _restore_run(config: Mapping[str, Any], directory: str | Path, data_dir: str | Path, task: Any = None) -> Run:
    """The run of a config.json that was read in `directory`, on `task` where it is given."""
    try:
        recorded = config["versions"]
        if task is None:
            run = build_run(config, data_dir)
        else:
            validate_config(config)
            apart = {**config, "task": {"name": config["task"]["name"]}}
            run = assemble_run(config, task, {**collect_versions(apart), "data": recorded["data"]})
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
