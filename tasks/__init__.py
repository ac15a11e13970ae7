"""Tasks: what a model is asked. Each is a pure function of a key; see `tasks.batch.Task`."""

from tasks.adding import Adding
from tasks.associations import Associations
from tasks.batch import Batch, Split, Task, random_key
from tasks.characters import Characters
from tasks.classification import Classification
from tasks.copying import CopyMemory, CopyString, SelectiveCopy
from tasks.counting import Counting
from tasks.curve import Curve
from tasks.flip_flop import FlipFlop
from tasks.formal_languages import FormalLanguage
from tasks.induction import Induction
from tasks.parallel_text import ParallelText
from tasks.pixels import Pixels
from tasks.recall import Recall
from tasks.translation import Translation
from tasks.word_problem import WordProblem
from tasks.words import Words

__all__ = [
    "TASKS",
    "Adding",
    "Associations",
    "Batch",
    "Characters",
    "Classification",
    "CopyMemory",
    "CopyString",
    "Counting",
    "Curve",
    "FlipFlop",
    "FormalLanguage",
    "Induction",
    "ParallelText",
    "Pixels",
    "Recall",
    "SelectiveCopy",
    "Split",
    "Task",
    "Translation",
    "WordProblem",
    "Words",
    "random_key",
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
    "associations": Associations,
    "selective_copy": SelectiveCopy,
    "copy_string": CopyString,
    "induction": Induction,
    "flip_flop": FlipFlop,
    "formal_language": FormalLanguage,
    "word_problem": WordProblem,
    "counting": Counting,
    "words": Words,
    "classification": Classification,
    "parallel_text": ParallelText,
}
