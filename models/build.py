"""Build the network that a resolved `config.model` describes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from models.associative_memory import ASSOCIATIVE_MEMORIES, AssociativeMemory
from models.matching import encoder_hidden_sizes
from models.mixers.xlstm import SLSTM
from models.registry import (
    attention_handles_positions,
    causal_or_bidirectional,
    hidden_sizes,
    mixer_class,
    mixer_kwargs,
    parse_layer_pattern,
)
from models.seq2seq import Seq2Seq
from models.skeleton import Skeleton
from models.validation import idle_field_error, validate_model

# The fields of `config.model` that go to the skeleton as they are.
_SKELETON_FIELDS = ["depth", "width", "max_length", "pool", "activation", "norm", "residual", "final_norm", "positions"]
_SKELETON_FIELDS += ["tie_embeddings", "dropout"]


def build_model(
    model: Mapping[str, Any], *, vocabulary: int, channels: int, outputs: int, per: str, separator: int | None = None
) -> Skeleton | Seq2Seq | AssociativeMemory:
    """The network that a resolved `config.model` describes, for inputs and outputs of these sizes.

    With a `encoder_decoder` it is an encoder–decoder, which tells source and target apart by the token `separator`;
    with a `memory` it is that alone, with keys of `width` numbers, and no mixers.
    Raises ValueError, in one line, for a name or number that can't be built.
    """
    validate_model(model)
    if model.get("associative_memory"):  # an older record does not have it
        return _build_associative_memory(model, vocabulary, outputs, per)
    if model["pool"] != "last" and (per == "token" or model.get("encoder_decoder")):
        raise idle_field_error(
            "pool", model["pool"], "last", "where a whole sequence has one label; this task has one a token"
        )
    if model["tie_embeddings"] and not vocabulary == outputs:
        raise ValueError(
            f"model.tie_embeddings: the head can share the embedding only where inputs and outputs are the same "
            f"tokens, "
            f"not with {vocabulary} tokens in and {outputs} outputs"
        )
    sizes: dict[str, Any] = {"vocabulary": vocabulary, "channels": channels, "per": per}
    decoder = _build_skeleton(model, outputs=outputs, **sizes)
    if not model.get("encoder_decoder"):  # an older record does not have it
        return decoder
    if separator is None:
        raise ValueError(
            f"model.encoder_decoder={model['encoder_decoder']}: this task has no source and target; translation has"
        )
    return Seq2Seq(
        encoder=_build_skeleton(
            {**model, "causal": False, "hidden_size": encoder_hidden_sizes(model)}, outputs=0, **sizes
        ),
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
    own = ASSOCIATIVE_MEMORIES[model["associative_memory"]]
    return AssociativeMemory(outputs, model["width"], update_rule=model["update_rule"], **own)


def _build_skeleton(model: Mapping[str, Any], **sizes: Any) -> Skeleton:
    """A skeleton of the mixers that `model` names."""
    names, depth = parse_layer_pattern(model["mixer"]), model["depth"]
    own = {name: model[name] for name in _SKELETON_FIELDS}
    if attention_handles_positions(model):
        own["positions"] = "none"
    return Skeleton(
        mixers=tuple(bind_mixer(model, block % len(names), block / max(1, depth - 1)) for block in range(depth)),
        hidden=round(model["feedforward"] * model["width"]),
        dtype=jnp.dtype(model["dtype"]),
        **own,
        **sizes,
    )


def bind_mixer(model: Mapping[str, Any], index: int, place: float) -> Callable[..., nn.Module]:
    """A mixer of the pattern with everything that `model` says of it; the skeleton adds width and dtype.

    `place` is that of its block in the stack, from 0, the first, to 1, the last.
    """
    name, hidden_size = parse_layer_pattern(model["mixer"])[index], hidden_sizes(model)[index]
    placed = {"place": place} if mixer_class(name) is SLSTM else {}
    made = causal_or_bidirectional(name, model["causal"], **mixer_kwargs(model, name), **placed)
    return partial(made, hidden_size=hidden_size, max_length=model["max_length"])
