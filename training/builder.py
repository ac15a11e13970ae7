"""Build a run from a config: its task, its model, its optimizer, and the fields that identify it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import configs
import data
import models
import tasks
from data.files import RowSource, files_fingerprint, has_files, load_files, path_fields, task_fields
from training import files, runtime
from training.carried_state import validate_carried_state
from training.optimizer import Optimizer, build_optimizer, resolve_optimizer
from training.progress import ReadingProgress
from training.runtime import DEFAULT_DATA_DIR
from training.validation import validate_config, validate_loss, validate_model_for_task

# The version of the training loop and of the defaults in configs.base: raised whenever the numbers they make change.
VERSION = 3


class Run(NamedTuple):
    """What a config describes: the resolved config, and what is built from it.

    In the resolved config every field has the value that is used, and `versions` is what `collect_versions` returns.
    """

    config: dict[str, Any]
    task: Any
    model: models.Skeleton | models.Seq2Seq | models.AssociativeMemory
    optimizer: Optimizer
    rows: RowSource | None = None  # the training rows, where they stay on disk


def build_run(config: Mapping[str, Any], data_dir: str | Path = DEFAULT_DATA_DIR) -> Run:
    """Build the task, the model and the optimizer of `config`. Raises ValueError, in one line, if it can't."""
    config = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    runtime.check_jax_settings()
    validate_config(config)
    models.validate_model(config["model"])
    task, rows = load_task(config["task"], data_dir)
    return assemble_run(config, task, collect_versions(config, data_dir))._replace(rows=rows)


def assemble_run(config: Mapping[str, Any], task: Any, versions: Mapping[str, Any]) -> Run:
    """Build a run from a validated `config` and its task. Raises ValueError, in one line, if they don't go together."""
    config = configs.add_missing_fields(config)
    _check_min_length(config["training"]["min_length"], task)
    validate_loss(config["training"], task)
    model = models.resolve_model(config["model"], task.max_length)
    validate_model_for_task(model, task)
    validate_carried_state(config, model, task)
    sizes = {
        "vocabulary": task.vocabulary,
        "channels": task.channels,
        "outputs": task.outputs,
        "per": task.target_level,
    }
    sizes["separator"] = getattr(task, "separator", None)
    config = {**config, "model": model, "optimizer": resolve_optimizer(config["optimizer"]), "versions": dict(versions)}
    return Run(
        config=config,
        task=task,
        model=models.build_model(model, **sizes),
        optimizer=build_optimizer(config, model),
    )


def _check_min_length(min_length: int, task: Any) -> None:
    if min_length > task.max_length:
        raise ValueError(f"training.min_length={min_length}: the task's sequences have {task.max_length} steps at most")
    if 0 < min_length < task.min_length:
        raise ValueError(
            f"training.min_length={min_length}: the task's sequences have {task.min_length} steps at least"
        )


def build_task(config: Mapping[str, Any], data_dir: str | Path = DEFAULT_DATA_DIR) -> Any:
    """Build the task of `load_task`, without the rows that stay on disk."""
    return load_task(config, data_dir)[0]


def load_task(config: Mapping[str, Any], data_dir: str | Path = DEFAULT_DATA_DIR) -> tuple[Any, RowSource | None]:
    """Build the task that `config.task` names, with its data, which are prepared in `data_dir`.

    If it names a `dataset`, the data are those; if it has a `path`, they are read from the user's files there. The
    second value is the training rows, where they stay on disk. Raises ValueError or OSError, in one line.
    """
    fields: dict[str, Any] = {name: files.lists_to_tuples(value) for name, value in config.items()}
    name, dataset = fields.pop("name"), fields.pop("dataset", "")
    models.validate_choice("task.name", name, tasks.TASKS)
    arrays, rows = {}, None
    if has_files(fields):
        loaded = load_files(name, fields, data_dir, ReadingProgress)
        # An argument that a loader made of an option, such as weights of classes, stands in its place.
        fields = {**task_fields(name, fields), **loaded.arguments}
        rows = loaded.rows
    elif dataset:
        arrays = data.load_dataset(dataset, data_dir)
    try:
        return tasks.TASKS[name](**arrays, **fields), rows
    except TypeError as error:  # the task has no such field
        raise ValueError(f"task: {error}") from None


def has_data(task: Mapping[str, Any]) -> bool:
    """Whether the fields of a task name real data: a data set, or a user's files."""
    return bool(task.get("dataset")) or has_files(task)


# ---- what identifies a run ------------------------------------------------------------------------------------------


def collect_versions(config: Mapping[str, Any], data_dir: str | Path = DEFAULT_DATA_DIR) -> dict[str, Any]:
    """The VERSIONs of the code behind a result, and the fingerprint of its data.

    These are the mixer's, the task's and this loop's, and those of the encoder-decoder and the associative memory if
    the model has one. Real data are prepared if they are not yet in `data_dir`.
    """
    model, task = config["model"], config["task"]
    versions: dict[str, Any] = {
        "mixer": models.mixer_version(model["mixer"]),
        "task": tasks.TASKS[task["name"]].VERSION,
        "loop": VERSION,
    }
    if model.get("encoder_decoder"):
        versions["encoder_decoder"] = models.Seq2Seq.VERSION
    if model.get("associative_memory"):
        versions["associative_memory"] = models.AssociativeMemory.VERSION
    if has_files(task):
        options = {name: value for name, value in task.items() if name != "name"}
        versions["data"] = files_fingerprint(task["name"], options, data_dir)
    elif dataset := task.get("dataset"):
        versions["data"] = data.data_fingerprint(dataset, data_dir)
    return versions


def fingerprint_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that make a run this one and no other, by dotted name: all that differ from `configs.base`.

    So adding a field to `base`, with a default that keeps the old behavior, leaves old fingerprints as they are. Paths
    of a user's files are not among them: `versions.data` stands for what the files hold. Nor is the mesh: it says where
    a run is trained, and changes its numbers by their rounding.
    """
    paths = {f"task.{field}" for field in path_fields(config["task"])}
    defaults = files.flatten_dict(files.to_jsonable(configs.base(config["model"]["mixer"]).to_dict()))
    del defaults["model.mixer"]
    fields = flatten_config(config)
    return {
        name: value
        for name, value in fields.items()
        if name not in paths and not name.startswith("mesh.") and (name not in defaults or value != defaults[name])
    }


def run_fingerprint(config: Mapping[str, Any]) -> str:
    """The key of a resolved config: of its result, its checkpoints and its exports."""
    return files.fingerprint(fingerprint_fields(config))


def flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config as JSON can hold them, by dotted name."""
    return files.flatten_dict(files.to_jsonable(config.to_dict() if isinstance(config, ConfigDict) else config))
