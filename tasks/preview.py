"""Rows of a task as text that people can read: inputs over the targets that count."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import jax
import numpy as np

from tasks.base import Batch, Task, random_key

LINE_WIDTH = 100  # characters, after which a row goes on in further lines
_VISIBLE = {"": "·", " ": "␣", "\n": "⏎"}


def preview_task(task: Task, rows: int = 3, seed: int = 0, subset: str = "train") -> str:
    """`rows` sequences drawn from a task, with a blank line between two."""
    length = task.max_length
    draw = jax.jit(lambda key: task.sample(key, rows, length, length, subset))
    batch = jax.tree.map(np.asarray, draw(random_key(seed)))
    return "\n\n".join("\n".join(format_row(task, batch, row)) for row in range(rows))


def format_row(task: Task, batch: Batch, row: int) -> Iterator[str]:
    """Lines of one sequence of a batch: its inputs, and the targets that count below them."""
    steps = max(1, int((batch.segments[row] > 0).sum()))
    inputs = [_make_visible(task.input_symbol(value)) for value in batch.inputs[row, :steps]]
    if task.target_level == "sequence":
        target = task.target_symbol(batch.targets[row]) if batch.weights[row] else "(nothing is asked)"
        yield from (f"input   {line}" for (line,) in _align_columns(inputs))
        yield f"target  {_make_visible(target)}"
        return
    asked = zip(batch.targets[row, :steps], batch.weights[row, :steps], strict=True)
    targets = [_make_visible(task.target_symbol(target)) if weight else "" for target, weight in asked]
    for input_line, target_line in _align_columns(inputs, targets):
        yield f"input   {input_line}"
        yield f"target  {target_line}".rstrip()


def _make_visible(symbol: str) -> str:
    """A symbol that a line can hold: blanks and ends of lines by signs for them."""
    return _VISIBLE.get(symbol) or symbol.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")


def _align_columns(*cells_by_line: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The same columns in each of several lines, in as many blocks as `LINE_WIDTH` asks for."""
    widths = [max(map(len, column)) for column in zip(*cells_by_line, strict=True)]
    blocks = [(end - 1) // LINE_WIDTH for end in accumulate(width + 1 for width in widths)]
    for block in sorted(set(blocks)):
        columns = [i for i, found in enumerate(blocks) if found == block]
        yield tuple(" ".join(cells[i].ljust(widths[i]) for i in columns).rstrip() for cells in cells_by_line)
