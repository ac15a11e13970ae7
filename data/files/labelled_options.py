"""Options of labelled sequences."""

import dataclasses
from typing import ClassVar

from data.files.row_tokens import TOKENIZERS, has_vocab_size
from data.files.sources import FASTA_SUFFIXES, TABLE_SUFFIXES


@dataclasses.dataclass(frozen=True)
class Options:
    """Fields of `config.task` that say how labelled sequences are read.

    `sequence_column` and `label_column` name columns; of FASTA files they are "sequence" and "label". `labels_path` is
    a table with the columns id and label, for FASTA. `tokenizer` is one of characters, words, tokens (between blanks),
    bytes; of words and tokens the `vocab_size` most frequent ones are known. Sequences have room for `max_length`
    tokens, 0: for as many as the longest has, of training where splits are given; longer ones are refused, or with
    `cut` cut. `class_weights` is "", "balanced" for n / (k n_c), or numbers. Of validation and test `eval_examples`
    rows are evaluated.
    """

    path: str = ""
    validation_path: str = ""
    test_path: str = ""
    labels_path: str = ""
    split_column: str = ""
    sequence_column: str = "sequence"
    label_column: str = "label"
    tokenizer: str = "characters"
    vocab_size: int = 8000
    max_length: int = 0
    cut: bool = False
    class_weights: str | tuple[float, ...] = ""
    extra_metrics: bool = True
    eval_examples: int = 4096
    stream: str = "auto"

    path_fields: ClassVar = ("path", "validation_path", "test_path", "labels_path")
    load_fields: ClassVar = ("class_weights", "extra_metrics", "eval_examples", "stream")
    suffixes: ClassVar = (*TABLE_SUFFIXES, *FASTA_SUFFIXES)

    def __post_init__(self):
        is_default = self.vocab_size == type(self).vocab_size
        unused = (
            f"is for words and tokens, and task.tokenizer={self.tokenizer} knows all there are: leave it at "
            f"{type(self).vocab_size}"
        )
        for name, is_valid, rule in (
            ("tokenizer", self.tokenizer in TOKENIZERS, f"must be one of {', '.join(TOKENIZERS)}"),
            ("stream", self.stream in ("auto", "yes", "no"), "must be one of auto, yes, no"),
            ("vocab_size", self.vocab_size >= 1, "must be 1 or more"),
            ("vocab_size", is_default or has_vocab_size(self.tokenizer), unused),
            ("max_length", self.max_length >= 0, "must be 0 or more"),
            ("eval_examples", self.eval_examples >= 0, "must be 0 or more"),
            ("sequence_column", self.sequence_column, "name the column that holds the sequences"),
            ("label_column", self.label_column, "name the column that holds the labels"),
        ):
            if not is_valid:
                raise ValueError(f"task.{name}={getattr(self, name)}: {rule}")
        if self.class_weights != "balanced":
            self.parse_weights()

    def parse_weights(self) -> tuple[float, ...]:
        """The `class_weights` that are given as numbers."""
        given = self.class_weights
        try:
            return tuple(map(float, given.split(",") if isinstance(given, str) and given else given))
        except ValueError:
            raise ValueError(
                f"task.class_weights={given}: must be balanced, or numbers with commas between, one for each class"
            ) from None
