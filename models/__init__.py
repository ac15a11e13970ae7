"""Sequence mixers under one interface, and the networks built from them; `models.registry` says how to add a mixer."""

from models.associative_memory import AssociativeMemory
from models.build import build_model
from models.field_errors import validate_choice
from models.matching import count_model_params, match_hidden_size, params_at_hidden_size, resolve_model
from models.mixers.base import Mixer, MixerOptions, Steps
from models.product_matrices import product_matrix_counter
from models.registry import (
    COMMON_FIELDS,
    HYBRIDS,
    MIXERS,
    MixerEntry,
    causal_or_bidirectional,
    mixer_class,
    mixer_kwargs,
    mixer_options,
    mixer_version,
    parse_layer_pattern,
)
from models.seq2seq import Seq2Seq
from models.skeleton import Skeleton
from models.validation import UNUSED_BY_MEMORY, validate_model

__all__ = [
    "COMMON_FIELDS",
    "HYBRIDS",
    "MIXERS",
    "UNUSED_BY_MEMORY",
    "AssociativeMemory",
    "Mixer",
    "MixerEntry",
    "MixerOptions",
    "Seq2Seq",
    "Skeleton",
    "Steps",
    "build_model",
    "causal_or_bidirectional",
    "count_model_params",
    "match_hidden_size",
    "mixer_class",
    "mixer_kwargs",
    "mixer_options",
    "mixer_version",
    "params_at_hidden_size",
    "parse_layer_pattern",
    "product_matrix_counter",
    "resolve_model",
    "validate_choice",
    "validate_model",
]
