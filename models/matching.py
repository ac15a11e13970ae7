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
    hidden_sizes,
    mixer_class,
    mixer_kwargs,
    mixer_options,
    parse_layer_pattern,
)
from models.validation import MAX_ARRAY_SIZE, validate_model


def resolve_model(model: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """`config.model` with its zeros filled in: `max_length` with the task's, `hidden_size` with what matches attention.

    Every mixer, and attention whatever its options, then has as many parameters as plain attention at the same width,
    as near as a whole number of units allows.
    """
    model = dict(model)
    validate_model(model)
    model["max_length"] = model["max_length"] or max_length
    if model["max_length"] < max_length:
        raise ValueError(
            f"model.max_length={model['max_length']}: the task has sequences of {max_length}; give {max_length} or more"
        )
    width, longest, causal = model["width"], model["max_length"], model["causal"]
    found = [
        hidden_size or match_hidden_size(name, width, longest, causal, **mixer_kwargs(model, name))
        for name, hidden_size in zip(parse_layer_pattern(model["mixer"]), hidden_sizes(model), strict=True)
    ]
    model["hidden_size"] = found if len(set(found)) > 1 else found[0]
    validate_model(model)
    return model


def encoder_hidden_sizes(model: Mapping[str, Any]) -> list[int]:
    """The inner widths with which the mixers of an encoder, reading both ways, have the decoder's parameters."""
    found = []
    for name, hidden_size in zip(parse_layer_pattern(model["mixer"]), hidden_sizes(model), strict=True):
        own = mixer_kwargs(model, name)
        decoders = params_at_hidden_size(name, model["width"], model["max_length"], hidden_size, True, **own)
        found.append(match_hidden_size(name, model["width"], model["max_length"], False, decoders, **own))
    return found


@lru_cache
def match_hidden_size(
    mixer: str, width: int, max_length: int, causal: bool = True, target: int | None = None, **own: Any
) -> int:
    """The inner width at which `mixer` has nearly `target` parameters, or those of plain attention at this width.

    Plain attention, whose query, key, value and output have `width`² weights and `width` biases each, keeps its usual
    inner width, which is `width`.
    """
    own = mixer_options(mixer) | own
    heads, attention = own.get("heads", 1), mixer_class(mixer) is Attention
    if attention and width % heads and target is None:
        return width  # `check` will say what is wrong with it
    unit = heads * (2 if own.get("positions") == "rope" or not (causal or attention) else 1)

    def count(units: int) -> int:
        return params_at_hidden_size(mixer, width, max_length, units * unit, causal, **own)

    return unit * cost.search_monotone(
        count, target or 4 * width * width + 4 * width, upper_bound=max(8, 4 * width // unit)
    )


@lru_cache
def params_at_hidden_size(mixer: str, width: int, max_length: int, hidden_size: int, causal: bool, **own: Any) -> int:
    """The parameters of one mixer."""
    made = causal_or_bidirectional(mixer, causal, **own)(width=width, hidden_size=hidden_size, max_length=max_length)

    def initial() -> Any:  # all of it inside, so that no device is needed yet, nor chosen
        x, steps = jnp.zeros((1, 1, width)), jnp.zeros((1, 1), jnp.int32)
        return made.init(jax.random.key(0, impl="threefry2x32"), x, positions=steps, segments=steps)

    return cost.count_params(jax.eval_shape(initial))


def count_model_params(network: nn.Module, inputs: jax.ShapeDtypeStruct) -> int:
    """How many numbers a network has for inputs of this shape; nothing is made, and no device is chosen.

    Raises ValueError for one with an array that is too large to be counted in 32 bits.
    """

    def initial() -> Any:
        return network.init(jax.random.key(0, impl="threefry2x32"), jnp.zeros(inputs.shape, inputs.dtype))

    shapes = jax.eval_shape(initial)
    for path, leaf in jax.tree.leaves_with_path(shapes):
        if math.prod(leaf.shape) >= MAX_ARRAY_SIZE:
            name = jax.tree_util.keystr(path[1:], simple=True, separator=".")
            raise ValueError(
                f"{name} would have {math.prod(leaf.shape):,} numbers, and an array can have {MAX_ARRAY_SIZE:,}"
            )
    return cost.count_params(shapes)
