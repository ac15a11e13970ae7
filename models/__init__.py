"""Sequence mixers under one interface, and the networks built from them; `models.registry` says how to add a mixer."""

from models.associative_memory import AssociativeMemory
from models.build import build, build_memory, skeleton
from models.matching import matched_inner, parameters, resolve, size
from models.registry import COMMON, MIXERS, SOURCES, applies, fields, module, one_of, one_way_or_both, options, pattern
from models.registry import version as version
from models.seq2seq import Seq2Seq
from models.skeleton import Skeleton
from models.validation import UNUSED_BY_MEMORY, check

__all__ = [
    "COMMON",
    "MIXERS",
    "SOURCES",
    "UNUSED_BY_MEMORY",
    "AssociativeMemory",
    "Seq2Seq",
    "Skeleton",
    "applies",
    "build",
    "build_memory",
    "check",
    "fields",
    "matched_inner",
    "module",
    "one_of",
    "one_way_or_both",
    "options",
    "parameters",
    "pattern",
    "resolve",
    "size",
    "skeleton",
    "version",
]
