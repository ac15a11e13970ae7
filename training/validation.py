"""Refuse configs that can't be trained, before anything is built or written."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import configs
import models
from tasks.base import Task, suggest_name
from training.optimizer import DECAY_MASKS, SCHEDULES, count_decay_steps, validate_optimizer

KEPT = ("best", "last")  # which parameters of a member are kept and reported
EVAL_SETS = ("shared", "by_seed")

_MAX_INT32 = 2**31 - 1
_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_MIN_SCALE = 1e-12  # learning rates and gradient norms below it move no parameter in float32


def validate_config(config: Mapping[str, Any]) -> None:
    """Raise ValueError for unknown fields, and for values outside of `task` and `model` that can't be trained with."""
    _check_field_names(config)
    config = configs.add_missing_fields(config)
    _validate_training(config["training"])
    _validate_optimizer(config["optimizer"])
    _validate_ensemble(config["ensemble"])
    _validate_schedule(config)
    validate_optimizer(config)
    for name, devices in config.get("mesh", {}).items():
        if type(devices) is not int or not 0 <= devices <= _MAX_INT32:
            raise ValueError(f"mesh.{name}={devices}: must be a number of devices, or 0 to leave it open")


def _check_field_names(config: Mapping[str, Any]) -> None:
    """Raise ValueError for a field that no code reads, such as a misspelled one in a config file."""
    known = configs.default_fields("attention")
    known["model"] |= dict.fromkeys(models.MIXERS)
    for group in ("model", "optimizer", "training", "ensemble", "mesh"):
        for name in config.get(group, {}):
            if name not in known[group]:
                raise ValueError(f"{group}.{name}: no such field; {suggest_name(name, known[group])}".rstrip("; "))


def _validate_training(training: Mapping[str, Any]) -> None:
    for name in ("steps", "batch_size", "steps_per_call", "eval_every"):
        _check_range(f"training.{name}", training[name], 1, _MAX_INT32)
    for name in ("steps", "eval_every"):
        if training[name] % training["steps_per_call"]:
            raise ValueError(
                f"training.{name}={training[name]}: must be a multiple of training.steps_per_call="
                f"{training['steps_per_call']}"
            )
    _check_range("training.min_length", training["min_length"], 0, _MAX_INT32)
    _check_range("training.accumulate_steps", training["accumulate_steps"], 1, _MAX_INT32)
    if training["batch_size"] % training["accumulate_steps"]:
        raise ValueError(
            f"training.accumulate_steps={training['accumulate_steps']}: must divide training.batch_size="
            f"{training['batch_size']}"
        )
    _check_share("training.label_smoothing", training["label_smoothing"])
    _check_range("training.z_loss", training["z_loss"], 0, _MAX_FLOAT32)
    _check_range("training.patience", training["patience"], 0, _MAX_INT32)
    models.validate_choice("training.keep", training["keep"], KEPT)
    if training["keep"] == "last" and training["patience"]:
        raise ValueError("training.keep=last: with training.patience the best is kept; give one of the two")
    models.validate_choice("training.eval_sets", training["eval_sets"], EVAL_SETS)
    if type(training.get("carry_state", False)) is not bool:
        raise ValueError(f"training.carry_state={training['carry_state']}: must be True or False")


def _validate_optimizer(optimizer: Mapping[str, Any]) -> None:
    _check_learning_rate("optimizer.learning_rate", optimizer["learning_rate"])
    _check_range("optimizer.warmup_steps", optimizer["warmup_steps"], 0, _MAX_INT32)
    _check_range("optimizer.weight_decay", optimizer["weight_decay"], 0, _MAX_FLOAT32)
    _check_range("optimizer.grad_clip_norm", optimizer["grad_clip_norm"], _MIN_SCALE, _MAX_FLOAT32)
    _check_range("optimizer.l2", optimizer["l2"], 0, _MAX_FLOAT32)
    for name in ("b1", "b2", "ema_decay"):
        _check_share(f"optimizer.{name}", optimizer[name])
    models.validate_choice("optimizer.decay_mask", optimizer["decay_mask"], DECAY_MASKS)


def _validate_schedule(config: Mapping[str, Any]) -> None:
    optimizer, steps = config["optimizer"], config["training"]["steps"]
    models.validate_choice("optimizer.schedule", optimizer["schedule"], SCHEDULES)
    if not 0 <= optimizer["decay_share"] <= 1:
        raise ValueError(f"optimizer.decay_share={optimizer['decay_share']}: must be a number from 0 to 1")
    if (
        optimizer["schedule"] == "wsd"
        and (sum_of_both := optimizer["warmup_steps"] + count_decay_steps(config)) > steps
    ):
        raise ValueError(
            f"optimizer.schedule=wsd: {optimizer['warmup_steps']} steps of warm-up and {count_decay_steps(config)} of "
            f"decay are {sum_of_both}, and there are {steps}; use fewer warmup_steps or a smaller decay_share"
        )


def _validate_ensemble(ensemble: Mapping[str, Any]) -> None:
    seeds, rates = ensemble["seeds"], ensemble["learning_rates"]
    if not seeds or any(type(seed) is not int or not 0 <= seed <= _MAX_INT32 for seed in seeds):
        raise ValueError(f"ensemble.seeds={seeds}: give one or more whole numbers from 0 to {_MAX_INT32}")
    for rate in rates:
        _check_learning_rate("ensemble.learning_rates", rate)
    for decay in ensemble["weight_decays"]:
        _check_number("ensemble.weight_decays", decay)
        _check_range("ensemble.weight_decays", decay, 0, _MAX_FLOAT32)
    for momentum in ensemble["momenta"]:
        _check_number("ensemble.momenta", momentum)
        _check_share("ensemble.momenta", momentum)
    lists = ("learning_rates", "weight_decays", "momenta")
    for name, values, dtype in (("seeds", seeds, np.int64), *((name, ensemble[name], np.float32) for name in lists)):
        if len(np.unique(np.asarray(values, dtype))) < len(values):
            raise ValueError(f"ensemble.{name}={values}: each may be given once")
    models.validate_choice("ensemble.mode", ensemble["mode"], ("auto", "map", "vmap", "autotune"))


def _check_learning_rate(name: str, rate: Any) -> None:
    _check_number(name, rate)
    _check_range(name, rate, _MIN_SCALE, _MAX_FLOAT32)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}={value}: must be a number")


def _check_share(name: str, value: float) -> None:
    """Raise ValueError unless 0 ≤ value < 1."""
    if not 0 <= value < 1 or np.float32(value) >= 1:
        raise ValueError(f"{name}={value}: must be at least 0 and below 1, in float32 too")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low ≤ value ≤ high. NaN fails both comparisons."""
    if not low <= value <= high:
        bounds = f"{low:g} to {high}" if isinstance(high, int) else f"{low:g} to {high:.1e}"
        raise ValueError(f"{name}={value}: must be a number from {bounds}")


def validate_loss(training: Mapping[str, Any], task: Any) -> None:
    """Raise ValueError for label smoothing or a z-loss with a task whose loss is no cross entropy."""
    for name in ("label_smoothing", "z_loss"):
        if training[name] and type(task).loss is not Task.loss:
            raise ValueError(
                f"training.{name}={training[name]}: is for cross entropies, and the loss of {type(task).__name__} is "
                f"another; use 0"
            )


def validate_model_for_task(model: Mapping[str, Any], task: Any) -> None:
    """Raise ValueError if the model would see its targets, or has fewer positions than the longest test sequence."""
    if task.next_tokens and not model["causal"]:
        raise ValueError(
            f"model.causal=False: the targets of {type(task).__name__} are the tokens to come, which the model would "
            f"see; use model.causal=True"
        )
    longest = max(split.length for split in task.splits.values())
    # Source and target each have half of a row.
    needed = (longest + 1) // 2 if model.get("encoder_decoder") else longest
    if model["positions"] in ("learned", "randomised") and needed > model["max_length"]:
        raise ValueError(
            f"model.positions={model['positions']}: there are {model['max_length']} of them, and test sequences of "
            f"{longest}; give model.max_length={needed} or more"
        )
