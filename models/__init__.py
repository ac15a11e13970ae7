"""Sequence mixers under one interface, and the networks built from them; `models.registry` says how to add a mixer."""

from models.associative_memory import AssociativeMemory
from models.build import _build_associative_memory, _build_skeleton, build_model
from models.matching import count_model_params, match_hidden_size, params_at_hidden_size, resolve_model
from models.registry import (
    COMMON_FIELDS,
    MIXERS,
    SOURCES,
    causal_or_bidirectional,
    mixer_class,
    mixer_kwargs,
    mixer_options,
    option_applies,
    parse_layer_pattern,
    validate_choice,
)
from models.registry import mixer_version as mixer_version
from models.seq2seq import Seq2Seq
from models.skeleton import Skeleton
from models.validation import UNUSED_BY_MEMORY, validate_model

__all__ = [
    "COMMON_FIELDS",
    "MIXERS",
    "SOURCES",
    "UNUSED_BY_MEMORY",
    "AssociativeMemory",
    "Seq2Seq",
    "Skeleton",
    "_build_associative_memory",
    "_build_skeleton",
    "build_model",
    "causal_or_bidirectional",
    "count_model_params",
    "match_hidden_size",
    "mixer_class",
    "mixer_kwargs",
    "mixer_options",
    "mixer_version",
    "option_applies",
    "params_at_hidden_size",
    "parse_layer_pattern",
    "resolve_model",
    "validate_choice",
    "validate_model",
]
