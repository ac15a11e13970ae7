"""Begin a run with the parameters of another, its parent: which one, which of its members, and what is recorded of it.

The run is one of its own: its steps, learning rate, schedule and data are those of its config, from step 0 on. The
parent is only read.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import models
from training import files
from training.builder import Run, build_run, build_task, flatten_config, run_fingerprint
from training.console import print_status
from training.ensemble import count_members
from training.export import load_exported, read_latest_state
from training.task_description import task_from_description
from training.trainer import TrainState, init_train_state
from training.workdir import read_config

RECORD_NAME = "parent.json"
_RECORD_SCHEMA = {"type": "object", "required": ["path", "run", "which", "optimizer", "members"]}
# Fields of a model that may differ between a run and its parent without a word: none changes what parameters mean.
_FREE_MODEL_FIELDS = ("dropout", "dtype", "max_length", "remat")


class InitSource(NamedTuple):
    """What a run begins with: the "best" or the "last" parameters of a run's workdir, or those of an export.

    `optimizer` says whether the state of its optimizer is taken too. All members begin from `member`, or without one,
    each from the member of the same number.
    """

    directory: Path
    which: str = "best"
    optimizer: bool = False
    member: int | None = None


class Parent(NamedTuple):
    """What was read of a parent, for every member of the run that begins from it.

    `identity` is what the run's config, and so its key, has as `parent`. `params` and `optimizer` are arrays
    [members, …] by dotted name: None if a run that is resumed has them already, and `optimizer` also if it begins anew.
    """

    identity: dict[str, Any]
    params: dict[str, np.ndarray] | None
    optimizer: dict[str, np.ndarray] | None
    notes: list[str]


def resolve_parent(run: Run, source: InitSource, workdir: Path | None = None) -> tuple[Run, Parent]:
    """Read the parent of a run; the run with `parent` in its config, and what was read.

    A run that has a checkpoint in `workdir` needs its parent no more: it may have been trained on, or be gone.

    Raises ValueError, in one line, if there is no such parent, member or optimizer state, if it is in use or of an
    other version, or if its parameters are not those of the run's model.
    """
    if workdir is not None and source.directory.resolve() == workdir.resolve():
        raise ValueError(f"--init_from={source.directory} is the --workdir too; a new run needs a directory of its own")
    parent = _recall_parent(source, workdir) if workdir is not None else None
    parent = parent or _read_parent(run, source)
    return run._replace(config={**run.config, "parent": parent.identity}), parent


def build_child(
    config: Mapping[str, Any], data_dir: str | Path, source: InitSource | None, workdir: Path | None = None
) -> tuple[Run, Parent | None]:
    """Build the run of `config`, and read the parent that `source` names, if it names one, as `resolve_parent` does.

    Raises ValueError, in one line, if it can't, and for the config of a run that had a parent if none is named.
    """
    if source is None:
        if parent := config.get("parent"):
            raise ValueError(
                f"this config is of a run that began from run {parent['run']}; give init_from=DIR, its directory"
            )
        return build_run(config, data_dir), None
    models.validate_choice("--init_which", source.which, ("best", "last"))
    return resolve_parent(build_run(config, data_dir), source, workdir)


def announce_parent(name: str, workdir: Path, source: InitSource, parent: Parent) -> None:
    """Say in a few lines where a new run begins and how its parent differs, and write it to parent.json."""
    path = workdir / RECORD_NAME
    if path.exists():
        return
    for line in [f"begins with {describe_parent(parent)} of {source.directory}", *parent.notes]:
        print_status(f"{name}: {line}")
    files.write_json(path, {"path": str(source.directory.resolve()), **parent.identity, "notes": parent.notes})


def describe_parent(parent: Parent) -> str:
    """What a run takes of its parent, as "the best parameters (step 40; member 2)"."""
    identity = parent.identity
    places = [f"step {', '.join(map(str, dict.fromkeys(identity['steps'])))}"] if "steps" in identity else []
    numbers = list(dict.fromkeys(identity["members"]))
    places.append(f"member {numbers[0]}" if len(numbers) == 1 else f"members {numbers[0]} to {numbers[-1]}")
    what = "last parameters and optimizer state" if identity["optimizer"] else f"{identity['which']} parameters"
    what = what if "steps" in identity else "parameters"  # an export does not say which
    return f"the {what} ({'; '.join(places)})"


def replace_params(states: TrainState, parent: Parent) -> TrainState:
    """Replace the parameters of a new ensemble, and its optimizer's state if that was read, by the parent's."""

    def place(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
        # A copy each time, since a donated buffer can't be in the state twice.
        return jax.tree.map_with_path(
            lambda path, leaf: jax.device_put(np.array(arrays[_leaf_name(path)]), leaf.sharding), like
        )

    if parent.params is None:
        raise ValueError("the parameters of the parent were not read")
    parts = ("params", "best_params", *(["ema_params"] if states.ema_params is not None else []))
    states = states._replace(**{part: place(parent.params, getattr(states, part)) for part in parts})
    return states if parent.optimizer is None else states._replace(optimizer=place(parent.optimizer, states.optimizer))


# ---- reading a parent -----------------------------------------------------------------------------------------------


def _recall_parent(source: InitSource, workdir: Path) -> Parent | None:
    """The recorded parent of a run that has a checkpoint, if `source` is the one that it began from."""
    path = workdir / RECORD_NAME
    if not path.exists() or not any(entry.name.isdigit() for entry in (workdir / "checkpoints").glob("*")):
        return None
    record = files.read_json(path, _RECORD_SCHEMA)
    asked = (str(source.directory.resolve()), source.which, source.optimizer)
    if asked != (record["path"], record["which"], record["optimizer"]):
        return None
    if source.member is not None and set(record["members"]) != {source.member}:
        return None
    config_path = source.directory / "config.json"
    if config_path.exists() and run_fingerprint(read_config(config_path)) != record["run"]:
        return None
    identity = {name: value for name, value in record.items() if name not in ("path", "notes")}
    return Parent(identity, None, None, record.get("notes", []))


def _read_parent(run: Run, source: InitSource) -> Parent:
    directory = source.directory
    if not (directory / "config.json").exists():
        raise ValueError(f"--init_from={directory}: no run is there; give the workdir of a run, or what --export wrote")
    read = _read_workdir if (directory / "group.json").exists() else _read_export
    config, identity, params, optimizer = read(source, count_members(run.config))
    _check_versions(source, config, run)
    expected = jax.eval_shape(partial(init_train_state, run), 0, 0.1)
    _check_shapes(source, "parameters", params, expected.params)
    if optimizer is not None:
        _check_shapes(source, "optimizer state", optimizer, expected.optimizer)
    return Parent(identity, params, optimizer, _describe_differences(directory, config, run))


_Read = tuple[dict[str, Any], dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray] | None]


def _read_workdir(source: InitSource, count: int) -> _Read:
    """Config, identity, parameters and optimizer state of a workdir, for `count` members."""
    with files.lock_directory(source.directory, shared=True):
        config = read_config(source.directory / "config.json")
        state = read_latest_state(source.directory)
    members = _choose_members(source, len(state["seed"]), count)
    is_best = source.which == "best"
    steps = np.asarray(state["best_step" if is_best else "step"])[members].tolist()
    if 0 in steps:
        raise ValueError(
            f"--init_from={source.directory}: member {members[steps.index(0)]} was never evaluated, so it has no best "
            f"parameters; give --init_which=last"
        )
    if source.optimizer and is_best:
        raise ValueError("--init_optimizer: only the optimizer state of the last step is kept; give --init_which=last")
    identity = {
        "run": run_fingerprint(config),
        "which": source.which,
        "optimizer": source.optimizer,
        "members": members,
        "steps": steps,
    }

    def select(part: str) -> dict[str, np.ndarray]:
        return {name: np.asarray(leaf)[members] for name, leaf in _named_leaves(state[part]).items()}

    params = select("best_params" if is_best else "params")
    return config, identity, params, select("optimizer") if source.optimizer else None


def _read_export(source: InitSource, count: int) -> _Read:
    """Config, identity and parameters of an export, for `count` members; it has no optimizer state."""
    if source.optimizer:
        raise ValueError(
            f"--init_optimizer: the export {source.directory} has no optimizer state; give --init_from the workdir"
        )
    if source.member:
        raise ValueError(f"--member={source.member}: the export {source.directory} has one member, 0")
    run, params = load_exported(source.directory)
    leaves = {name: np.asarray(leaf) for name, leaf in _named_leaves(params).items()}
    # An export does not say whether it is the best or the last: its numbers do.
    digest = hashlib.sha256()
    for name in sorted(leaves):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(leaves[name]).tobytes())
    identity = {
        "run": run_fingerprint(run.config),
        "which": source.which,
        "optimizer": False,
        "members": [0] * count,
        "params": digest.hexdigest()[:16],
    }
    return run.config, identity, {name: np.stack([leaf] * count) for name, leaf in leaves.items()}, None


def _choose_members(source: InitSource, there: int, count: int) -> list[int]:
    """The parent's member from which each of `count` members begins."""
    if source.member is not None:
        if not 0 <= source.member < there:
            raise ValueError(f"--member={source.member}: {source.directory} has members 0 to {there - 1}")
        return [source.member] * count
    if there == 1:
        return [0] * count
    if there == count:
        return list(range(count))
    raise ValueError(
        f"--init_from={source.directory} has {there} members and this run {count}; give --member=0 to {there - 1}, the "
        f"one that all begin from"
    )


def _named_leaves(tree: Any) -> dict[str, Any]:
    return {_leaf_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _leaf_name(path: Any) -> str:
    """A leaf's name, as mixer_0.input.kernel: the same for a train state and for what a checkpoint holds."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


# ---- what does not fit ----------------------------------------------------------------------------------------------


def _check_shapes(source: InitSource, what: str, arrays: Mapping[str, np.ndarray], like: Any) -> None:
    """Raise ValueError, naming the first leaf, unless arrays [members, …] have the names and shapes of one member."""
    expected, hint = _named_leaves(like), ""
    if what == "optimizer state":
        hint = "; the optimizer must be the same, or give --init_optimizer=False"
    for name in sorted(expected.keys() | arrays.keys()):
        if name not in arrays or name not in expected:
            has, lacks = ("this run", "it") if name not in arrays else ("it", "this run")
            problem = f"{has} has {name}, which {lacks} has not"
        elif arrays[name].shape[1:] != expected[name].shape or arrays[name].dtype != expected[name].dtype:
            shapes = [f"{leaf.dtype}{list(shape)}" for leaf, shape in
                      ((arrays[name], arrays[name].shape[1:]), (expected[name], expected[name].shape))]  # fmt: skip
            problem = f"{name} is {shapes[0]}, and this run's {shapes[1]}"
        else:
            continue
        raise ValueError(f"--init_from={source.directory} holds {what} of another model: {problem}{hint}")


def _check_versions(source: InitSource, config: Mapping[str, Any], run: Run) -> None:
    """Raise ValueError if the code of the model has changed since: the parameters would mean something else."""
    ours, theirs = run.config["versions"], config["versions"]
    is_same_mixer = config["model"]["mixer"] == run.config["model"]["mixer"]
    for part in ("mixer", "encoder_decoder", "associative_memory"):
        if is_same_mixer and part in ours and part in theirs and ours[part] != theirs[part]:
            raise ValueError(
                f"--init_from={source.directory} was made by version {theirs[part]} of its {part}, and this is "
                f"{ours[part]}: its parameters mean something else; train it anew"
            )


def _describe_differences(directory: Path, config: Mapping[str, Any], run: Run) -> list[str]:
    """What parameters of the right shapes do not show: other model fields, and other symbols of the same number."""
    theirs, ours = (flatten_config({"model": model}) for model in (config["model"], run.config["model"]))
    free = {f"model.{name}" for name in _FREE_MODEL_FIELDS}
    notes = [
        f"{name} was {theirs[name]!r} in the parent and is {ours[name]!r} here"
        for name in sorted(theirs.keys() & ours.keys() - free)
        if theirs[name] != ours[name]
    ]
    task = _read_task(directory, config)
    if task is not None and task.vocabulary and task.vocabulary == run.task.vocabulary:
        pairs = [(task.input_symbol(value), run.task.input_symbol(value)) for value in range(task.vocabulary)]
        changed = [pair for pair in pairs if pair[0] != pair[1]]
        if changed:
            old, new = changed[0]
            notes.append(
                f"{len(changed)} of {len(pairs)} symbols are others than the parent's, the first {new!r} in place of "
                f"{old!r}"
            )
    return notes


def _read_task(directory: Path, config: Mapping[str, Any]) -> Any:
    """The parent's task without its data, or None if this code can't make it."""
    path = directory / "task.json"
    try:
        if path.exists():
            return task_from_description(config, files.read_json(path, files.TASK_SCHEMA))
        return build_task(config["task"])
    except (ValueError, OSError, KeyError, TypeError):
        return None
