"""Whose data a page is about: the source, what is in its splits, and what trivial rules score on it."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.files import has_files, is_prepared, read_content
from experiments.ablation.own_data import OwnData, check_settings
from experiments.ablation.study import Scale, Study
from experiments.reporting.html_report import Table, text_table
from experiments.reporting.study_charts import study_title
from training import builder

SPLITS = ("train", "validation", "test")
UNITS = {
    "classification": "sequences",
    "parallel_text": "pairs",
    "pixels": "images",
    "words": "words",
}
SHOWN_NAMES = 8  # of classes or columns


def introduce_data(
    name: str,
    study: Study,
    scale: Scale,
    data: OwnData,
    remarks: Sequence[str],
    data_dir: str,
    selected: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Load the data, check that every setting of the study can be trained on them, and print whose they are.

    `remarks` say what was left out of the study called `name`. Returns what its report shows: data, title and command.
    Raises ValueError or OSError, in one line, for data or settings that can't be trained.
    """
    is_known = not has_files(data.task) or is_prepared(data.task["name"], data.task, data_dir)
    task = builder.build_task(data.task, data_dir)
    check_settings(study, scale, task, selected)
    table = summarize_data(data, task, data_dir)
    note = table.note if is_known else ""  # else the preparation has just printed it
    print("\n".join(filter(None, [text_table(table), note, *remarks])), end="\n\n", flush=True)
    return {"data": table, "title": f"{study_title(name)} on {data.title}", "command": command_line()}


def command_line() -> str:
    """The command that this process was called by, a flag that names data on a line of its own."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    words = [f"python -m {spec.name if spec else 'experiments.run'}", *map(shlex.quote, sys.argv[1:])]
    return "".join(f" \\\n    {word}" if word.startswith("--config") else f" {word}" for word in words).strip()


def summarize_data(data: OwnData, task: Any, data_dir: str) -> Table:
    """Tabulate source, kind, sizes of the splits, scores of trivial rules, and the fingerprint of the contents."""
    kind, rules = data.task["name"], getattr(task, "baselines", dict([task.baseline]))
    rows = [("kind", kind), *((split, size) for split, size in split_sizes(task, kind).items())]
    if task.vocabulary:
        rows.append(("vocabulary", f"{task.vocabulary:,} tokens"))
    if getattr(task, "classes", None) and kind == "classification":
        rows.append(("classes", f"{len(task.classes):,}: {_list_names(task.classes)}"))
    guess = "uniform guess" if task.vocabulary else "always the mean"
    rows += [(f"{task.metric}, {rule}", f"{score:.4g}") for rule, score in {guess: task.chance, **rules}.items()]
    if fingerprint := data_fingerprint(data.task, data_dir):
        rows.append(("fingerprint", fingerprint))
    content = read_content(kind, data.task, data_dir) if has_files(data.task) else {}
    if kind == "series":
        rows[1:1] = [
            ("series", f"{content.get('series', len(task.borders) - 1):,}"),
            ("target columns", _list_names(task.target_columns)),
            ("horizon", f"{task.horizon:,} step{'s' * (task.horizon > 1)}"),
        ]
    if documents := content.get("documents"):
        rows[1:1] = [("documents", ", ".join(f"{split} {documents[split]:,}" for split in SPLITS))]
    return Table("The data", ["data", data.source], [list(row) for row in rows], " ".join(content.get("notes", ())))


def _list_names(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + (" …" if len(names) > SHOWN_NAMES else "")


def split_sizes(task: Any, kind: str) -> dict[str, str]:
    """How many rows or tokens each split has; of series, steps, and those that a forecast can be made from; nothing for
    a generated task."""
    if kind == "series":
        steps = np.bincount(task.subsets, minlength=len(SPLITS)).tolist()
        return {
            split: f"{count:,} steps, {len(task.ends[split]):,} forecasts"
            for split, count in zip(SPLITS, steps, strict=True)
        }
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
