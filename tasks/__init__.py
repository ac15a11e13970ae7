"""Tasks: what a model is asked. Each is a pure function of a key; see `tasks.batch.Task`."""

from tasks.adding import Adding
from tasks.batch import Batch, Split, Task
from tasks.characters import Characters
from tasks.copying import CopyMemory
from tasks.curve import Curve
from tasks.pixels import Pixels
from tasks.recall import Recall
from tasks.translation import Translation

__all__ = [
    "TASKS",
    "Adding",
    "Batch",
    "Characters",
    "CopyMemory",
    "Curve",
    "Pixels",
    "Recall",
    "Split",
    "Task",
    "Translation",
]

# Name: class, called with the fields of a config and, for real data, with what `datasets.load` returns.
TASKS = {
    "recall": Recall,
    "copy_memory": CopyMemory,
    "adding": Adding,
    "pixels": Pixels,
    "characters": Characters,
    "translation": Translation,
    "curve": Curve,
}
