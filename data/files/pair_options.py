"""Options of pairs of texts."""

import dataclasses
from typing import ClassVar

from data.files.row_tokens import TOKENIZERS, has_vocab_size
from data.files.sources import TABLE_SUFFIXES

SIDES = ("source", "target")


@dataclasses.dataclass(frozen=True)
class Options:
    """Fields of `config.task` that say how pairs of texts are read.

    `source_column` and `target_column` name columns. Each side has a tokenizer, one of characters, words, tokens
    (between blanks), bytes; of words and tokens the `vocab_size` most frequent ones of that side are known. A side has
    room for `source_max_length` or `target_max_length` tokens, 0: for as many as its longest text has, of training
    where splits are given; pairs that are longer are refused, or with `drop_longer` left out. All pairs are read into
    memory, so that `stream` can't be "yes".
    """

    path: str = ""
    validation_path: str = ""
    test_path: str = ""
    split_column: str = ""
    source_column: str = "source"
    target_column: str = "target"
    source_tokenizer: str = "words"
    target_tokenizer: str = "words"
    vocab_size: int = 8000
    source_max_length: int = 0
    target_max_length: int = 0
    drop_longer: bool = False
    stream: str = "auto"

    path_fields: ClassVar = ("path", "validation_path", "test_path")
    load_fields: ClassVar = ("stream",)
    suffixes: ClassVar = TABLE_SUFFIXES

    def __post_init__(self):
        is_default = self.vocab_size == type(self).vocab_size
        unused = (
            f"is for words and tokens, and task.source_tokenizer={self.source_tokenizer} and "
            f"task.target_tokenizer={self.target_tokenizer} know all there are: leave it at {type(self).vocab_size}"
        )
        known = f"must be one of {', '.join(TOKENIZERS)}"
        for name, is_valid, rule in (
            ("source_tokenizer", self.source_tokenizer in TOKENIZERS, known),
            ("target_tokenizer", self.target_tokenizer in TOKENIZERS, known),
            ("vocab_size", self.vocab_size >= 1, "must be 1 or more"),
            ("vocab_size", is_default or any(map(has_vocab_size, self.tokenizers)), unused),
            ("source_max_length", self.source_max_length >= 0, "must be 0 or more"),
            ("target_max_length", self.target_max_length >= 0, "must be 0 or more"),
            ("source_column", self.source_column, "name the column that holds the sources"),
            ("target_column", self.target_column, "name the column that holds the targets"),
            ("stream", self.stream in ("auto", "no"), "must be auto or no: pairs are read into memory"),
        ):
            if not is_valid:
                raise ValueError(f"task.{name}={getattr(self, name)}: {rule}")

    @property
    def tokenizers(self) -> tuple[str, str]:
        """The tokenizers of both sides."""
        return self.source_tokenizer, self.target_tokenizer

    @property
    def columns(self) -> tuple[str, str]:
        """The columns of both sides."""
        return self.source_column, self.target_column

    @property
    def max_lengths(self) -> tuple[int, int]:
        """The most tokens of both sides; 0: as many as training has."""
        return self.source_max_length, self.target_max_length
