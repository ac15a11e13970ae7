"""Build a run from a config: its task, its model and its optimizer, and the fields and VERSIONs that identify it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array
from ml_collections import ConfigDict

import configs
import data
import models
import tasks
from data import DEFAULT_DATA_DIR
from training import files, runtime
from training.validation import validate_config, validate_model_for_task

VERSION = 3  # of this loop and of the defaults in configs.base: raised by hand whenever the numbers they make change


class Run(NamedTuple):
    """What a config describes. `config` is the resolved one: every field as it is used, and the VERSIONs behind it."""

    config: dict[str, Any]
    task: Any
    model: models.Skeleton | models.Seq2Seq | models.AssociativeMemory
    optimizer: optax.GradientTransformation


def build_run(config: Mapping[str, Any], data_dir: str | Path = DEFAULT_DATA_DIR) -> Run:
    """The task, the model and the optimizer of `config`. Raises ValueError, in one line, where it can't be."""
    config = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    runtime.check_jax_settings()
    validate_config(config)
    models.validate_model(config["model"])
    return assemble_run(config, build_task(config["task"], data_dir), collect_versions(config, data_dir))


def assemble_run(config: Mapping[str, Any], task: Any, versions: Mapping[str, Any]) -> Run:
    """The run of a checked `config` on `task`. Raises ValueError, in one line, where they don't go together."""
    if (shortest := config["training"]["min_length"]) > task.max_length:
        raise ValueError(f"training.min_length={shortest}: the task's sequences have {task.max_length} steps at most")
    if 0 < shortest < task.min_length:
        raise ValueError(f"training.min_length={shortest}: the task's sequences have {task.min_length} steps at least")
    model = models.resolve_model(config["model"], task.max_length)
    validate_model_for_task(model, task)
    sizes = {"vocabulary": task.vocabulary, "channels": task.channels, "outputs": task.outputs, "per": task.per}
    sizes["separator"] = getattr(task, "separator", None)
    optimizer = config["optimizer"]
    return Run(
        config={**config, "model": model, "versions": dict(versions)},
        task=task,
        model=models.build_model(model, **sizes),
        optimizer=optax.chain(
            optax.clip_by_global_norm(optimizer["grad_clip_norm"]),
            optax.scale_by_adam(b1=optimizer["b1"], b2=optimizer["b2"]),
            optax.add_decayed_weights(optimizer["weight_decay"], mask=weight_decay_mask),
        ),
    )


def collect_versions(config: Mapping[str, Any], data_dir: str | Path = DEFAULT_DATA_DIR) -> dict[str, Any]:
    """What is behind a result: the VERSIONs of its mixer, of its task, of this loop, and of a bridge or memory it has;
    and the fingerprint of its data, where they are real, for which they are prepared if need be."""
    mixer, task = models.mixer_version(config["model"]["mixer"]), tasks.TASKS[config["task"]["name"]].VERSION
    bridge = {"encoder_decoder": models.Seq2Seq.VERSION} if config["model"].get("encoder_decoder") else {}
    memory = (
        {"associative_memory": models.AssociativeMemory.VERSION} if config["model"].get("associative_memory") else {}
    )
    dataset = config["task"].get("dataset")
    fingerprint = {"data": data.data_fingerprint(dataset, data_dir)} if dataset else {}
    return {"mixer": mixer, "task": task, "loop": VERSION, **bridge, **memory, **fingerprint}


def fingerprint_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run this one and no other: every field that `configs.base` does not have, or has otherwise.

    A field that is added to `base` later, with a default that keeps the old behaviour, so leaves old keys as they are.
    """
    default = files.flatten_dict(files.to_jsonable(configs.base(config["model"]["mixer"]).to_dict()))
    del default["model.mixer"]
    return {
        name: value for name, value in flatten_config(config).items() if name not in default or value != default[name]
    }


def flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return files.flatten_dict(files.to_jsonable(config.to_dict() if isinstance(config, ConfigDict) else config))


def build_task(config: Mapping[str, Any], data_dir: str | Path = DEFAULT_DATA_DIR) -> Any:
    """The task that `config.task` names, with its data where it has a `dataset`."""
    fields = dict(config)
    name, dataset = fields.pop("name"), fields.pop("dataset", "")
    models.validate_choice("task.name", name, tasks.TASKS)
    if dataset:
        check_data_package()
    arrays = data.load_dataset(dataset, data_dir) if dataset else {}
    try:
        return tasks.TASKS[name](**arrays, **fields)
    except TypeError as error:  # a field that this task does not have
        raise ValueError(f"task: {error}") from None


def check_data_package() -> None:
    """Raise ValueError where another package called `data` was imported in place of ours."""
    folder, found = Path(__file__).resolve().parents[1], list(getattr(data, "__path__", [str(data.__file__)]))
    if folder / "data" not in [Path(place).resolve() for place in found]:
        raise ValueError(
            f"data is another package of that name, {', '.join(found)}: put {folder} first on sys.path before it "
            f"is imported, or run in that folder"
        )


def weight_decay_mask(params: Any) -> Any:
    """Weight decay is for products: not for biases and norms, nor for the rates at which a state fades and turns."""

    def weighs(path: Any, leaf: Array) -> bool:
        return leaf.ndim > 1 and not any(word in path[-1].key for word in ("bias", "rates"))

    return jax.tree.map_with_path(weighs, params)
