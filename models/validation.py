"""Refuse a `config.model` that can't be built; each mixer checks its own options (`Mixer.validate`)."""

from collections.abc import Mapping
from typing import Any

from models import associative_memory, seq2seq
from models.associative_memory import ASSOCIATIVE_MEMORIES
from models.feedforward import ACTIVATIONS
from models.field_errors import idle_field_error, validate_choice
from models.mixers.base import MixerOptions
from models.ops.position_encodings import ADDITIVE_POSITIONS, POSITION_ENCODINGS, RANDOM_POSITION_LIMIT, SCORE_POSITIONS
from models.registry import (
    MIXERS,
    field_defaults,
    has_field,
    hidden_sizes,
    mixer_class,
    mixer_options,
    parse_layer_pattern,
)
from models.seq2seq import ENCODER_DECODERS

# Upper limits, so that nothing is traced that could not be stored; `count_model_params` checks what they add up to.
_MAX_SIZES = {"depth": 1024, "width": 2**16, "hidden_size": 2**18, "max_length": 2**24}
# Fields that an associative memory has no use for, with their defaults. `hidden_size` and `max_length` are missing
# since they are filled in, and `positions` since config files set it.
UNUSED_BY_MEMORY: dict[str, Any] = {"depth": 2, "feedforward": 2.0, "activation": "gelu", "norm": "pre"}
UNUSED_BY_MEMORY |= {"residual": True, "final_norm": True, "tie_embeddings": False, "dropout": 0.0, "pool": "last"}
UNUSED_BY_MEMORY |= {"remat": False, "causal": True, "encoder_decoder": "", "cross_attention_heads": 1}


def validate_model(model: Mapping[str, Any]) -> None:
    """Raise ValueError, in one line, for a `config.model` that can't be a model."""
    names = parse_layer_pattern(model["mixer"])
    _validate_pattern(model, names)
    _validate_sizes(model)
    validate_choice("model.positions", model["positions"], POSITION_ENCODINGS)
    validate_choice("model.activation", model["activation"], ACTIVATIONS)
    validate_choice("model.norm", model["norm"], ("pre", "post", "none"))
    validate_choice("model.pool", model["pool"], ("last", "mean"))
    validate_choice("model.dtype", model["dtype"], ("float32", "bfloat16"))
    if model.get("encoder_decoder"):
        _validate_encoder_decoder(model)
    if model.get("associative_memory"):
        _validate_associative_memory(model)
    if not 0 <= model["dropout"] < 1:
        raise ValueError(f"model.dropout={model['dropout']}: must be at least 0 and below 1")
    if not isinstance(model.get("remat", False), bool):
        raise ValueError(f"model.remat={model['remat']}: must be True or False")
    if model["positions"] in SCORE_POSITIONS and "attention" not in names:
        raise ValueError(
            f"model.positions={model['positions']}: acts on attention's scores, which {model['mixer']} has none of; "
            f"use none, {', '.join(ADDITIVE_POSITIONS)}"
        )
    if model["positions"] == "randomised" and model["max_length"] > RANDOM_POSITION_LIMIT:
        raise ValueError(
            f"model.positions=randomised: are drawn from {RANDOM_POSITION_LIMIT}, so model.max_length="
            f"{model['max_length']} is too long; use sinusoidal, or sequences of {RANDOM_POSITION_LIMIT} at most"
        )
    _refuse_idle_fields(model, names)
    for name, hidden_size in zip(names, hidden_sizes(model), strict=True):
        _validate_mixer(name, hidden_size, model)


def _validate_pattern(model: Mapping[str, Any], names: list[str]) -> None:
    """Refuse unknown mixers, and a pattern that fits neither the depth nor the hidden sizes."""
    for name in names:
        validate_choice("model.mixer", name, MIXERS)
        if mixer_options(name) and name not in model:
            raise ValueError(
                f"model.mixer={model['mixer']}: this config was made for another mixer and has no model.{name}; name "
                f"the mixer behind the colon, --config=FILE:{model['mixer']}"
            )
    if len(names) > model["depth"] >= 1:
        raise ValueError(
            f"model.mixer={model['mixer']}: {len(names)} mixers take turns in {model['depth']} blocks, so that some "
            f"never would; give model.depth={len(names)} or more"
        )
    sizes = hidden_sizes(model)
    if any(type(size) is not int or size < 0 for size in sizes) or len(sizes) != len(names):
        raise ValueError(
            f"model.hidden_size={model['hidden_size']}: must be 0 or more, one number for all mixers or one for each"
        )


def _validate_sizes(model: Mapping[str, Any]) -> None:
    """Refuse sizes that are out of range."""
    for name, maximum in _MAX_SIZES.items():
        for value in hidden_sizes(model) if name == "hidden_size" else [model[name]]:
            if value > maximum:
                raise ValueError(f"model.{name}={value}: must be {maximum:,} or less")
    for name, minimum in (("depth", 0), ("width", 1), ("max_length", 0), ("feedforward", 0)):
        if model[name] < minimum:
            raise ValueError(f"model.{name}={model[name]}: must be {minimum} or more")
    feedforward = model["feedforward"] * model["width"]
    text = f"model.feedforward={model['feedforward']}: times model.width={model['width']}, the feed-forward layers'"
    if not model["feedforward"] < float("inf") or 0 < feedforward < 0.5:  # nan is not below infinity either
        raise ValueError(f"{text} hidden width must be a number of units, 1 or more, or 0 for no such layers")
    if feedforward > _MAX_SIZES["hidden_size"]:
        raise ValueError(f"{text} hidden width must be {_MAX_SIZES['hidden_size']:,} or less")


def _validate_mixer(name: str, hidden_size: int, model: Mapping[str, Any]) -> None:
    """Refuse options of one mixer that can't be, or not with this `hidden_size` (0: not matched yet)."""
    if not model["causal"] and not has_field(name, "causal"):
        if hidden_size % 2:
            raise ValueError(
                f"model.hidden_size={hidden_size}: {name} reads both ways, each with half of it; use {hidden_size + 1}"
            )
        hidden_size //= 2
    defaults = mixer_options(name)
    # An older record does not have all options, and a mixer may be without some of its class's.
    values = field_defaults(name) | defaults | dict(model.get(name, {}))
    mixer_class(name).validate(MixerOptions(name, values, defaults, hidden_size, model))


def _refuse_idle_fields(model: Mapping[str, Any], names: list[str]) -> None:
    """Refuse fields that have no effect in this model but are not at their defaults: they would only change its key."""
    memory = model.get("associative_memory")
    if not memory and model.get("update_rule", "sum") != "sum":
        raise idle_field_error("update_rule", model["update_rule"], "sum", "with a model.associative_memory")
    heads = model.get("cross_attention_heads", 1)  # config files may set it without an encoder–decoder
    if model.get("encoder_decoder", "") == "" and (heads < 1 or model["width"] % heads):
        acts = "with a model.encoder_decoder that attends, as scaled"
        raise idle_field_error("cross_attention_heads", heads, 1, acts)
    if model["activation"] != "gelu" and not model["feedforward"]:
        acts = "with feed-forward layers, model.feedforward above 0"
        raise idle_field_error("activation", model["activation"], "gelu", acts)
    if memory:
        for name, default in UNUSED_BY_MEMORY.items():
            if model.get(name, default) != default:
                raise idle_field_error(name, model[name], default, "without a model.associative_memory")
    for name in MIXERS:
        if name in model and (memory or name not in names):
            defaults = mixer_options(name)
            for option, value in model[name].items():
                if value != defaults.get(option, value):
                    acts = "without a model.associative_memory" if memory else f"with {name} in model.mixer"
                    raise idle_field_error(f"{name}.{option}", value, defaults[option], acts)


def _validate_encoder_decoder(model: Mapping[str, Any]) -> None:
    """Refuse what can't be an encoder–decoder."""
    validate_choice("model.encoder_decoder", model["encoder_decoder"], ENCODER_DECODERS)
    seq2seq.validate_encoder_decoder(model["encoder_decoder"], model["cross_attention_heads"], model["width"])
    if not model["causal"]:
        raise ValueError(
            "model.causal=False: a decoder is causal; an encoder (model.encoder_decoder) looks both ways anyway"
        )


def _validate_associative_memory(model: Mapping[str, Any]) -> None:
    """Refuse what can't be an associative memory."""
    memory, rule = model["associative_memory"], model["update_rule"]
    validate_choice("model.associative_memory", memory, ASSOCIATIVE_MEMORIES)
    validate_choice("model.update_rule", rule, associative_memory.UPDATE_RULES)
    if memory == "softmax" and rule != "sum":
        raise ValueError(f"model.update_rule={rule}: writes to a matrix, which softmax has none of; use sum")
    for name, required in (("encoder_decoder", ""), ("dtype", "float32")):
        if model[name] != required:
            raise ValueError(
                f"model.{name}={model[name]}: does not go with model.associative_memory={memory}; use "
                f"{required or 'none'}"
            )
