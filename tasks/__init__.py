"""Tasks: what a model is asked. Each is a pure function of a key; see `tasks.base.Task`."""

from tasks.base import Batch, Split, Task, random_key, static
from tasks.real.characters import Characters
from tasks.real.classification import Classification
from tasks.real.needle import Needle
from tasks.real.parallel_text import ParallelText
from tasks.real.pixels import Pixels
from tasks.real.series import Series
from tasks.real.text import Text
from tasks.real.words import Words
from tasks.synthetic.adding import Adding
from tasks.synthetic.associations import Associations
from tasks.synthetic.copying import CopyMemory, CopyString, SelectiveCopy
from tasks.synthetic.counting import Counting
from tasks.synthetic.curve import Curve
from tasks.synthetic.flip_flop import FlipFlop
from tasks.synthetic.formal_languages import FormalLanguage
from tasks.synthetic.induction import Induction
from tasks.synthetic.key_lookup import KeyLookup
from tasks.synthetic.memorization import Compression, Memorization
from tasks.synthetic.pair_streams import FuzzyRecall, InContextRecall
from tasks.synthetic.recall import Recall
from tasks.synthetic.translation import Translation
from tasks.synthetic.word_problem import WordProblem

__all__ = [
    "TASKS",
    "Adding",
    "Associations",
    "Batch",
    "Characters",
    "Classification",
    "Compression",
    "CopyMemory",
    "CopyString",
    "Counting",
    "Curve",
    "FlipFlop",
    "FormalLanguage",
    "FuzzyRecall",
    "InContextRecall",
    "Induction",
    "KeyLookup",
    "Memorization",
    "Needle",
    "ParallelText",
    "Pixels",
    "Recall",
    "SelectiveCopy",
    "Series",
    "Split",
    "Task",
    "Text",
    "Translation",
    "WordProblem",
    "Words",
    "random_key",
    "static",
]

# Name: class, called with the fields of a config and, for real data, with what `data.load_dataset` returns.
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
    "key_lookup": KeyLookup,
    "induction": Induction,
    "flip_flop": FlipFlop,
    "formal_language": FormalLanguage,
    "word_problem": WordProblem,
    "counting": Counting,
    "in_context_recall": InContextRecall,
    "fuzzy_recall": FuzzyRecall,
    "memorization": Memorization,
    "compression": Compression,
    "needle": Needle,
    "words": Words,
    "classification": Classification,
    "parallel_text": ParallelText,
    "text": Text,
    "series": Series,
}
