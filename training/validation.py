"""Refuse configs that can't be trained, before anything is built or written."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import configs
import models
from tasks.base import suggest_name

_MAX_INT32 = 2**31 - 1
_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_MIN_SCALE = 1e-12  # learning rates and gradient norms below it move no parameter in float32


def validate_config(config: Mapping[str, Any]) -> None:
    """Raise ValueError for unknown fields, and for values outside of `task` and `model` that can't be trained with."""
    _check_field_names(config)
    _validate_training(config["training"])
    _validate_optimizer(config["optimizer"])
    _validate_ensemble(config["ensemble"])


def _check_field_names(config: Mapping[str, Any]) -> None:
    """Raise ValueError for a field that no code reads, such as a misspelled one in a config file."""
    known = configs.default_fields("attention")
    known["model"] |= dict.fromkeys(models.MIXERS)
    for group in ("model", "optimizer", "training", "ensemble"):
        for name in config[group]:
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


def _validate_optimizer(optimizer: Mapping[str, Any]) -> None:
    _check_learning_rate("optimizer.learning_rate", optimizer["learning_rate"])
    _check_range("optimizer.warmup_steps", optimizer["warmup_steps"], 0, _MAX_INT32)
    _check_range("optimizer.weight_decay", optimizer["weight_decay"], 0, _MAX_FLOAT32)
    _check_range("optimizer.grad_clip_norm", optimizer["grad_clip_norm"], _MIN_SCALE, _MAX_FLOAT32)
    for name in ("b1", "b2"):
        value = optimizer[name]
        if not 0 <= value < 1 or np.float32(value) >= 1:
            raise ValueError(f"optimizer.{name}={value}: must be at least 0 and below 1, in float32 too")


def _validate_ensemble(ensemble: Mapping[str, Any]) -> None:
    seeds, rates = ensemble["seeds"], ensemble["learning_rates"]
    if not seeds or any(type(seed) is not int or not 0 <= seed <= _MAX_INT32 for seed in seeds):
        raise ValueError(f"ensemble.seeds={seeds}: give one or more whole numbers from 0 to {_MAX_INT32}")
    for rate in rates:
        _check_learning_rate("ensemble.learning_rates", rate)
    for name, values, dtype in (("seeds", seeds, np.int64), ("learning_rates", rates, np.float32)):
        if len(np.unique(np.asarray(values, dtype))) < len(values):
            raise ValueError(f"ensemble.{name}={values}: each may be given once")
    models.validate_choice("ensemble.mode", ensemble["mode"], ("auto", "map", "vmap", "autotune"))


def _check_learning_rate(name: str, rate: Any) -> None:
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise ValueError(f"{name}={rate}: must be a number")
    _check_range(name, rate, _MIN_SCALE, _MAX_FLOAT32)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low ≤ value ≤ high. NaN fails both comparisons."""
    if not low <= value <= high:
        bounds = f"{low:g} to {high}" if isinstance(high, int) else f"{low:g} to {high:.1e}"
        raise ValueError(f"{name}={value}: must be a number from {bounds}")


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
