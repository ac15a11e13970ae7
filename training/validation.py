"""Refuse configs that can't be trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import models

MIN_LEARNING_RATE = 1e-12  # learning rate: a smaller one moves no parameter in float32


def validate_model_for_task(model: Mapping[str, Any], task: Any) -> None:
    """Refuse, with ValueError, a model that would cheat in this task, or could not be tested in it."""
    if task.next_tokens and not model["causal"]:
        raise ValueError(
            f"model.causal=False: the targets of {type(task).__name__} are the tokens to come, which the model would "
            f"see; use model.causal=True"
        )
    longest = max(split.length for split in task.splits.values())
    places = (
        (longest + 1) // 2 if model.get("encoder_decoder") else longest
    )  # source and target each have half of a row
    if model["positions"] in ("learned", "randomised") and places > model["max_length"]:
        raise ValueError(
            f"model.positions={model['positions']}: there are {model['max_length']} of them, and test sequences of "
            f"{longest}; give model.max_length={places} or more"
        )


def validate_config(config: Mapping[str, Any]) -> None:
    """Refuse, with ValueError, numbers that can't be trained with."""
    training, optimizer, ensemble = config["training"], config["optimizer"], config["ensemble"]
    for name in ("steps", "batch_size", "steps_per_call", "eval_every"):
        if not 1 <= training[name] < 2**31:
            raise ValueError(f"training.{name}={training[name]}: must be 1 or more, and below 2³¹")
    for name in ("steps", "eval_every"):
        if training[name] % training["steps_per_call"]:
            raise ValueError(
                f"training.{name}={training[name]}: must be a multiple of training.steps_per_call="
                f"{training['steps_per_call']}"
            )
    if training["min_length"] < 0:
        raise ValueError(f"training.min_length={training['min_length']}: must be 0 or more")
    largest = float(np.finfo(np.float32).max)
    for rate in (optimizer["learning_rate"], *ensemble["learning_rates"]):
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
            raise ValueError(f"learning_rate={rate}: must be a number above 0")
        if not MIN_LEARNING_RATE <= rate <= largest:
            raise ValueError(f"learning_rate={rate}: must be from {MIN_LEARNING_RATE:g}, below which nothing moves in float32, "
                             f"to {largest:.1e}")  # fmt: skip
    for name, least, below in (("warmup_steps", 0, 2**31), ("weight_decay", 0, largest), ("b1", 0, 1), ("b2", 0, 1)):
        if not least <= optimizer[name] < below or np.float32(optimizer[name]) >= below:  # nan is neither
            raise ValueError(
                f"optimizer.{name}={optimizer[name]}: must be at least {least} and below {below:.7g}, in float32 too"
            )
    if not MIN_LEARNING_RATE <= optimizer["grad_clip_norm"] <= largest:
        raise ValueError(f"optimizer.grad_clip_norm={optimizer['grad_clip_norm']}: must be a number above 0, from "
                         f"{MIN_LEARNING_RATE:g} to "
                         f"{largest:.1e}")  # fmt: skip
    seeds = ensemble["seeds"]
    if not seeds or any(type(seed) is not int or not 0 <= seed < 2**31 for seed in seeds):
        raise ValueError(f"ensemble.seeds={seeds}: give one or more whole numbers from 0 to 2147483647")
    for name, kind in (("seeds", np.int64), ("learning_rates", np.float32)):
        if len(np.unique(np.asarray(ensemble[name], kind))) < len(ensemble[name]):
            raise ValueError(f"ensemble.{name}={ensemble[name]}: each may be given once")
    models.validate_choice("ensemble.mode", ensemble["mode"], ("auto", "map", "vmap", "measured"))
