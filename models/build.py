"""Build the network that a resolved `config.model` describes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from models.associative_memory import ASSOCIATIVE_MEMORIES, AssociativeMemory
from models.field_errors import idle_field_error
from models.matching import encoder_hidden_sizes
from models.registry import (
    attention_handles_positions,
    causal_or_bidirectional,
    has_field,
    hidden_sizes,
    mixer_kwargs,
    parse_layer_pattern,
)
from models.seq2seq import Seq2Seq
from models.skeleton import Skeleton
from models.validation import validate_model

# The fields of `config.model` that go to the skeleton as they are.
_SKELETON_FIELDS = ("depth", "width", "max_length", "pool", "activation", "norm", "residual", "final_norm", "positions")
_SKELETON_FIELDS += ("tie_embeddings", "dropout")


def build_model(
    model: Mapping[str, Any], *, vocabulary: int, channels: int, outputs: int, per: str, separator: int | None = None
) -> Skeleton | Seq2Seq | AssociativeMemory:
    """The network that a resolved `config.model` describes, for inputs and outputs of these sizes.

    With `encoder_decoder` it is an encoder–decoder, which tells source from target by the token `separator`; with
    `associative_memory` it is that memory alone, with keys of `width` numbers and no mixers. Raises ValueError, in one
    line, for a name or number that can't be built.
    """
    validate_model(model)
    if model.get("associative_memory"):  # an older record does not have it
        return _build_associative_memory(model, vocabulary, outputs, per)
    if model["pool"] != "last" and (per == "token" or model.get("encoder_decoder")):
        acts = "where a whole sequence has one label; this task has one a token"
        raise idle_field_error("pool", model["pool"], "last", acts)
    if model["tie_embeddings"] and vocabulary != outputs:
        raise ValueError(
            f"model.tie_embeddings: the head can share the embedding only where inputs and outputs are the same "
            f"tokens, not with {vocabulary} tokens in and {outputs} outputs"
        )
    sizes: dict[str, Any] = {"vocabulary": vocabulary, "channels": channels, "per": per}
    decoder = _build_skeleton(model, outputs=outputs, **sizes)
    if not model.get("encoder_decoder"):  # an older record does not have it
        return decoder
    if separator is None:
        raise ValueError(
            f"model.encoder_decoder={model['encoder_decoder']}: this task has no source and target; translation has"
        )
    encoder = {**model, "causal": False, "hidden_size": encoder_hidden_sizes(model)}
    return Seq2Seq(
        encoder=_build_skeleton(encoder, outputs=0, **sizes),
        decoder=decoder,
        encoder_decoder=model["encoder_decoder"],
        separator=separator,
        heads=model["cross_attention_heads"],
        halves=True,
    )


def _build_associative_memory(model: Mapping[str, Any], vocabulary: int, outputs: int, per: str) -> AssociativeMemory:
    if per != "sequence" or vocabulary != 2 * outputs + 1:
        raise ValueError(
            f"model.associative_memory={model['associative_memory']}: this task has no rows of keys and values; "
            f"associations has"
        )
    fields = ASSOCIATIVE_MEMORIES[model["associative_memory"]]
    return AssociativeMemory(outputs, model["width"], update_rule=model["update_rule"], **fields)


def _build_skeleton(model: Mapping[str, Any], **sizes: Any) -> Skeleton:
    """The skeleton of the mixers that `model` names."""
    fields = {name: model[name] for name in _SKELETON_FIELDS}
    if attention_handles_positions(model):
        fields["positions"] = "none"
    return Skeleton(
        mixers=tuple(_bind_mixer(model, block) for block in range(model["depth"])),
        hidden=round(model["feedforward"] * model["width"]),
        dtype=jnp.dtype(model["dtype"]),
        remat=model.get("remat", False),  # an older record does not have it
        **fields,
        **sizes,
    )


def _bind_mixer(model: Mapping[str, Any], block: int) -> Callable[..., nn.Module]:
    """A constructor of the mixer in block `block` of the stack, to which the skeleton gives width and dtype.

    A mixer that asks for it is told the place of its block: `depth_index` counts from 0, and `depth_fraction` is 0 for
    the first and 1 for the last.
    """
    names = parse_layer_pattern(model["mixer"])
    index = block % len(names)
    name, hidden_size = names[index], hidden_sizes(model)[index]
    fields = mixer_kwargs(model, name)
    places = {"depth_index": block, "depth_fraction": block / max(1, model["depth"] - 1)}
    fields |= {field: place for field, place in places.items() if has_field(name, field)}
    constructor = causal_or_bidirectional(name, model["causal"], **fields)
    return partial(constructor, hidden_size=hidden_size, max_length=model["max_length"])
