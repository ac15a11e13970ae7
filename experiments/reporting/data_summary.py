"""Whose data a page is about: the source, what is in its splits, and what trivial rules score on it."""

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from experiments.ablation.own_data import OwnData
from experiments.reporting.html_report import Table
from training import builder

SPLITS = ("train", "validation", "test")
UNITS = {"classification": "sequences", "parallel_text": "pairs", "pixels": "images", "words": "words"}


def summarize_data(data: OwnData, task: Any, data_dir: str) -> Table:
    """Tabulate source, kind, sizes of the splits, scores of trivial rules, and the fingerprint of the contents."""
    kind, (rule, score) = data.task["name"], task.baseline
    rows = [("kind", kind), *((split, size) for split, size in split_sizes(task, kind).items())]
    if task.vocabulary:
        rows.append(("vocabulary", f"{task.vocabulary:,} tokens"))
    rows += [(f"{task.metric}, uniform guess", f"{task.chance:.4g}"), (f"{task.metric}, {rule}", f"{score:.4g}")]
    if fingerprint := data_fingerprint(data.task, data_dir):
        rows.append(("fingerprint", fingerprint))
    return Table("The data", ["data", data.source], [list(row) for row in rows])


def split_sizes(task: Any, kind: str) -> dict[str, str]:
    """How many rows or tokens each split has; nothing for a generated task."""
    held = next(
        (value for value in vars(task).values() if isinstance(value, Mapping) and set(SPLITS) <= set(value)), {}
    )
    sizes = {split: len(held[split]) for split in SPLITS if held}
    if sizes and getattr(task, "train_size", 0):  # only the beginning of a streamed split is in memory
        sizes["train"] = task.train_size
    return {split: f"{size:,} {UNITS.get(kind, 'tokens')}" for split, size in sizes.items()}


def data_fingerprint(task: Mapping[str, Any], data_dir: str) -> str:
    """What stands for the contents of the data in the key of every trial; "" for a generated task."""
    config = {"model": {"mixer": "attention"}, "task": task}
    return builder.collect_versions(config, data_dir).get("data", "")


def command_line(command: str) -> str:
    """The command that this process was called by, with the flags that name the data."""
    return f"python -m experiments.{command} {shlex.join(sys.argv[1:])}"
