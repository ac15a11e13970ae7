"""Match the parameters of every mixer to those of attention."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models import cost
from models.mixers.attention import Attention
from models.registry import (
    causal_or_bidirectional,
    has_field,
    hidden_sizes,
    mixer_class,
    mixer_kwargs,
    mixer_options,
    parse_layer_pattern,
)
from models.validation import validate_model

MAX_ARRAY_SIZE = 2**31  # numbers in one array: XLA indexes them in 32 bits


def resolve_model(model: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """`config.model` with its zeros filled in: `max_length` with the task's, `hidden_size` with what matches attention.

    Every mixer, and attention with any options, then has as many parameters as plain attention at the same width, as
    nearly as a whole number of units allows.
    """
    model = dict(model)
    validate_model(model)
    model["max_length"] = model["max_length"] or max_length
    if model["max_length"] < max_length:
        raise ValueError(
            f"model.max_length={model['max_length']}: the task has sequences of {max_length}; give {max_length} or more"
        )
    width, max_length, causal = model["width"], model["max_length"], model["causal"]
    sizes = [
        size or match_hidden_size(name, width, max_length, causal, **mixer_kwargs(model, name))
        for name, size in zip(parse_layer_pattern(model["mixer"]), hidden_sizes(model), strict=True)
    ]
    model["hidden_size"] = sizes if len(set(sizes)) > 1 else sizes[0]
    validate_model(model)
    return model


def encoder_hidden_sizes(model: Mapping[str, Any]) -> list[int]:
    """The hidden sizes that give the mixers of an encoder, which read both ways, the decoder's parameters."""
    sizes, width, max_length = [], model["width"], model["max_length"]
    for name, hidden_size in zip(parse_layer_pattern(model["mixer"]), hidden_sizes(model), strict=True):
        kwargs = mixer_kwargs(model, name)
        target = params_at_hidden_size(name, width, max_length, hidden_size, True, **kwargs)
        sizes.append(match_hidden_size(name, width, max_length, False, target, **kwargs))
    return sizes


@lru_cache
def match_hidden_size(
    mixer: str, width: int, max_length: int, causal: bool = True, target: int | None = None, **kwargs: Any
) -> int:
    """The hidden size at which `mixer` has about `target` parameters, or those of plain attention at this width.

    Plain attention has `width`² weights and `width` biases for each of query, key, value and output, and keeps its
    usual hidden size, which is `width`.
    """
    options = mixer_options(mixer) | kwargs
    if mixer_class(mixer) is Attention and width % options["heads"] and target is None:
        return width  # `validate_model` will refuse it
    unit = mixer_class(mixer).hidden_size_unit(options)
    if not causal and not has_field(mixer, "causal"):
        unit *= 2  # for two directions

    def count(units: int) -> int:
        return params_at_hidden_size(mixer, width, max_length, units * unit, causal, **options)

    target = target or 4 * width * width + 4 * width
    return unit * cost.search_monotone(count, target, upper_bound=max(8, 4 * width // unit))


@lru_cache
def params_at_hidden_size(
    mixer: str, width: int, max_length: int, hidden_size: int, causal: bool, **kwargs: Any
) -> int:
    """How many parameters one mixer has at this hidden size."""
    constructor = causal_or_bidirectional(mixer, causal, **kwargs)
    module = constructor(width=width, hidden_size=hidden_size, max_length=max_length)

    def initialize() -> Any:  # everything is traced inside, so that no device is chosen yet
        x, steps = jnp.zeros((1, 1, width)), jnp.zeros((1, 1), jnp.int32)
        return module.init(jax.random.key(0, impl="threefry2x32"), x, positions=steps, segments=steps)

    return cost.count_params(jax.eval_shape(initialize))


def count_model_params(network: nn.Module, inputs: jax.ShapeDtypeStruct) -> int:
    """How many parameters a network has for inputs of this shape; nothing is computed, and no device is chosen.

    Raises ValueError for a network with an array that is too large to be indexed in 32 bits.
    """

    def initialize() -> Any:
        return network.init(jax.random.key(0, impl="threefry2x32"), jnp.zeros(inputs.shape, inputs.dtype))

    shapes = jax.eval_shape(initialize)
    for path, leaf in jax.tree.leaves_with_path(shapes):
        size = math.prod(leaf.shape)
        if size >= MAX_ARRAY_SIZE:
            name = jax.tree_util.keystr(path[1:], simple=True, separator=".")
            raise ValueError(f"{name} would have {size:,} numbers, and an array can have {MAX_ARRAY_SIZE:,}")
    return cost.count_params(shapes)
