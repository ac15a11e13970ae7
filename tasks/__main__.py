"""List the tasks, or show rows drawn from one of them.

  python -m tasks                            each task in a line: what it asks for, and what a uniform guess scores
  python -m tasks recall                     three rows of a small example
  python -m tasks recall pairs=2 symbols=8   with other settings: those of config.task in configs/
  python -m tasks flip_flop --subset=98 --rows=5 --seed=1

In a row, targets stand below the inputs at which they are due; where there is none, nothing counts. · is an empty
token, ␣ a space and ⏎ the end of a line. A task on real data shows rows of a made-up example: data.DATASETS names the
data sets.
"""

import argparse
import ast
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from tasks import TASKS
from tasks.base import Task, suggest_name
from tasks.preview import preview_task


def summary_line(task: Task) -> str:
    """What a task asks for: the first line of its docstring."""
    return (type(task).__doc__ or "").strip().partition("\n")[0]


def setting_names(task: Any) -> list[str]:
    """The fields of a task that are not arrays."""
    return [field.name for field in dataclasses.fields(task) if not field.metadata.get("pytree_node", True)]


def list_tasks() -> Iterator[str]:
    """A header and one line for each task."""
    rows = [("task", "a guess scores", "asks for")]
    for name, task_type in TASKS.items():
        needs_data = any(
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            for field in dataclasses.fields(task_type)
        )
        task: Any = task_type.example() if needs_data else task_type()
        chance = f"{task.metric}, by data" if needs_data else f"{task.metric} {task.chance:.3g}"
        rows.append((name, chance, summary_line(task)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, chance, asked in rows:
        yield f"{name:{widths[0]}}  {chance:{widths[1]}}  {asked}"


def describe_task(name: str, task: Task, rows: int, seed: int, subset: str) -> Iterator[str]:
    """A task's summary, its settings, and rows drawn from it."""
    rule, score = task.baseline
    yield f"{name}: {summary_line(task)}"
    yield "  ".join(f"{setting}={getattr(task, setting)}" for setting in setting_names(task))
    yield f"{task.metric}: a uniform guess scores {task.chance:.3g}; {rule}, {score:.3g}"
    yield ""
    yield preview_task(task, rows, seed, subset)


def example_with(name: str, settings: Sequence[str]) -> Task:
    """The example of the task `name`, with settings given as "field=value". Raises ValueError for what is wrong."""
    if name not in TASKS:
        raise ValueError(f"no task is called {name!r}: {suggest_name(name, TASKS)}the tasks are {', '.join(TASKS)}")
    task: Any = TASKS[name].example()
    known = setting_names(task)
    changes: dict[str, Any] = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r} is no setting: write field=value")
        if field not in known:
            raise ValueError(f"{name} has no setting {field!r}: {suggest_name(field, known)}it has {', '.join(known)}")
        try:
            changes[field] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            changes[field] = value  # a word
        default = getattr(task, field)
        if not isinstance(changes[field], (int, float) if isinstance(default, float) else type(default)):
            raise ValueError(f"{setting}: must be like {default!r}")
    return dataclasses.replace(task, **changes)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tasks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", nargs="?", help="a task's name; without it, all tasks are listed")
    parser.add_argument("settings", nargs="*", metavar="field=value", help="settings of the task")
    parser.add_argument("--rows", type=int, default=3, help="rows to draw (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    parser.add_argument("--subset", default="train", help="what to draw from, such as train or test (default: train)")
    args = parser.parse_intermixed_args(argv)
    try:
        if args.task is None:
            lines = list_tasks()
        else:
            task = example_with(args.task, args.settings)
            subsets = dict.fromkeys(("train", *(split.subset for split in task.splits.values())))
            if args.subset not in subsets:
                raise ValueError(f"--subset={args.subset}: must be one of {', '.join(subsets)}")
            if args.rows < 1:
                raise ValueError(f"--rows={args.rows}: must be 1 or more")
            lines = describe_task(args.task, task, args.rows, args.seed, args.subset)
        for line in lines:
            print(line)
    except ValueError as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
