"""What a table of labelled sequences holds: its rows with their splits, and its classes, tokens and lengths."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from data.files.classes import LabelSketch, list_some, sort_classes
from data.files.fasta import read_labels
from data.files.labelled_options import Options
from data.files.row_lengths import find_room_problem, note_room
from data.files.row_reading import (
    GivenRow,
    Position,
    RowTally,
    Sources,
    encode_contents,
    has_given_splits,
    is_fasta,
    parse_text,
    read_given_rows,
    type_name,
)
from data.files.row_tokens import Pieces, TokenCounts, Vocabulary, split_text
from data.files.splits import SPLITS, DuplicateFilter, SplitRule, check_splits, survey_splits

MAX_CLASSES = 10_000
UNEVEN = 5  # rows of the largest class for one of the smallest from which on their balance is said
_FEW_CLASSES = 50  # up to which nobody asks whether they are classes at all


class LabelledRow(NamedTuple):
    """A sequence with its label and its split. Reading goes on after it at `after`."""

    sequence: str
    contents: bytes
    label: str
    split: str
    place: str
    after: Position
    bytes_read: int


_NO_LABEL = "Rows left out, since they have no label"
_NO_SEQUENCE = "Rows left out, since they have no sequence"
_BLANKS = "Labels without the blanks around them"


class RowReader:
    """Reads the rows of a user's files; `rule` and `duplicates` say where each goes and whether it stays.

    Raises ValueError, in one line, for what can't be read or is no labelled sequence.
    """

    def __init__(self, options: Options, sources: Sources):
        self.options, self.sources = options, sources
        self.columns = {"sequence_column": options.sequence_column, "label_column": options.label_column}
        if options.split_column:
            self.columns["split_column"] = options.split_column
        paths = sources.get("labels_path")
        self.labels = read_labels("labels_path", paths) if paths else None
        self.is_fasta = is_fasta(sources["path"])
        self.is_surveyed = has_given_splits(sources, self.columns)
        self.rule, self.duplicates = SplitRule(), DuplicateFilter()

    def survey_splits(self, progress: Callable[[int], Any], limit: int | None = None) -> None:
        """Look over the first `limit` rows, or all, for given splits; `progress` gets the bytes read so far."""

        def read() -> Iterator[tuple[str, bytes]]:
            for row in itertools.islice(read_given_rows(self.sources, self.columns, labels=self.labels), limit):
                progress(row.bytes_read)
                yield row.given, self._parse_sequence(row)[1]

        if self.is_surveyed:
            self.rule, self.duplicates = survey_splits(read())

    def read_rows(
        self, start: Position = (0, 0), tally: RowTally | None = None, counts: Any = None
    ) -> Iterator[LabelledRow]:
        """Rows that stay, from the position `start` on. What is left out is counted in `tally`."""
        tally = tally or RowTally()
        for row in read_given_rows(self.sources, self.columns, start, counts, self.labels):
            sequence, contents = self._parse_sequence(row)
            label = self._parse_label(row, tally)
            if not label:
                tally.add(_NO_LABEL, row.place)
            elif not sequence:
                tally.add(_NO_SEQUENCE, row.place)
            else:
                split = self.rule.assign_item(row.given, contents)
                if self.duplicates.keep_item(split, contents):
                    yield LabelledRow(sequence, contents, label, split, row.place, row.after, row.bytes_read)

    def cut_text(self, text: str) -> tuple[Pieces, int]:
        """A text cut into tokens, no more than `max_length` if longer ones are cut, and how many there were."""
        pieces = split_text(self.options.tokenizer, text)
        length = len(pieces)
        return (pieces[: self.options.max_length] if self.options.cut and self.options.max_length else pieces), length

    def _parse_sequence(self, row: GivenRow) -> tuple[str, bytes]:
        text = parse_text(row.values[0], row.place, f"sequence_column={self.options.sequence_column}")
        return text, encode_contents(text, row.place, "sequence_column")

    def _parse_label(self, row: GivenRow, tally: RowTally) -> str:
        """A label as the name of its class: whole numbers without a point; "" for null, nan and an empty text."""
        value = row.values[1]
        if isinstance(value, str):
            if value != (label := value.strip()):
                tally.add(_BLANKS, row.place)
            return label
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            return str(int(value) if float(value).is_integer() else value)
        raise ValueError(
            f"task.label_column={self.options.label_column}: {row.place} holds {type_name(value)}: a label is a text, "
            f"a number or a truth value"
        )


class LabelledScan:
    """What the rows hold, counted row by row.

    `reader` has the options and says whether splits are given, and not all by hash. `state`, of an earlier scan, is
    gone on from. `tally` and `counts` are those of reading.
    """

    def __init__(self, reader: RowReader, state: Mapping[str, Any] | None = None):
        self.options, self.is_given, self.is_fasta = reader.options, bool(reader.rule.given), reader.is_fasta
        state = state or {}
        self.labels = {split: Counter(state.get("labels", {}).get(split)) for split in SPLITS}
        lengths = state.get("lengths", {})
        self.lengths: dict[str, Counter[int]] = {split: Counter(dict(lengths.get(split, ()))) for split in SPLITS}
        longest = state.get("longest", {})
        self.longest: dict[str, tuple[int, str]] = {split: tuple(longest.get(split, (0, ""))) for split in SPLITS}
        self.tokens = TokenCounts(self.options.tokenizer, state.get("tokens"))
        self.sketch = LabelSketch(state.get("sketch"))
        self.tally, self.counts = RowTally.restore(state.get("tally")), dict(state.get("counts", {}))

    def state(self) -> dict[str, Any]:
        """All counts, as JSON."""
        return {
            "labels": {split: dict(counter) for split, counter in self.labels.items()},
            "lengths": {split: list(counter.items()) for split, counter in self.lengths.items()},
            "longest": self.longest,
            "tokens": self.tokens.state(),
            "sketch": self.sketch.state(),
            "tally": self.tally.state(),
            "counts": self.counts,
        }

    def add_row(self, row: LabelledRow, pieces: Pieces, length: int) -> None:
        """Count a row, its sequence cut into tokens, of which there were `length`."""
        self.labels[row.split][row.label] += 1
        self.lengths[row.split][length] += 1
        if length > self.longest[row.split][0]:
            self.longest[row.split] = length, row.place
        self.tokens.add_pieces(pieces, row.split)
        self.sketch.add_row(row.contents, row.label)

    @property
    def classes(self) -> list[str]:
        """All classes in order: numbers by their size, else by the alphabet."""
        return sort_classes(set().union(*self.labels.values()))

    @property
    def are_classes(self) -> bool:
        """Whether the labels can be classes: not more than `MAX_CLASSES`, nor nearly as many as there are rows."""
        count, total = len(self.classes), sum(self.count_rows().values())
        return count <= MAX_CLASSES and (count <= _FEW_CLASSES or count <= total / 2)

    @property
    def max_length(self) -> int:
        """Tokens that a row has room for: as many as were asked for, or as the longest has.

        Where splits are given, the longest in training; a hash may put the longest of all into any split.
        """
        return self.options.max_length or self._find_longest()[0]

    def _find_longest(self) -> tuple[int, str]:
        return self.longest["train"] if self.is_given else max(self.longest.values())

    def count_rows(self) -> dict[str, int]:
        """Rows of each split."""
        return {split: counter.total() for split, counter in self.labels.items()}

    def find_problems(self, vocabulary: Vocabulary) -> Iterator[str]:
        """What makes it no data to train a classifier on, one line each."""
        column, rows = f"task.label_column={self.options.label_column}", self.count_rows()
        classes, total = self.classes, sum(rows.values())
        try:
            check_splits("path", self.options.path, rows, "rows")
        except ValueError as error:
            yield str(error)
            return
        if len(classes) == 1:
            yield f"{column}: all {total:,} rows have the label {classes[0]!r}: a classifier needs two classes or more"
        if not self.are_classes:
            where, remedy = f"{column}: it has", "name a column of classes"
            if self.is_fasta and self.options.labels_path:
                where, remedy = f"task.labels_path={self.options.labels_path}: it has", "give it a column of classes"
            elif self.is_fasta:
                where = f"task.path={self.options.path}: its headers have"
                remedy = "give classes by task.labels_path=labels.csv (columns id, label)"
            yield f"{where} {len(classes):,} different labels in {total:,} rows, such as {list_some(classes)}: {remedy}"
            return
        for split in ("validation", "test"):
            if strange := sort_classes(self.labels[split].keys() - self.labels["train"].keys()):
                count = sum(self.labels[split][label] for label in strange)
                one = count == 1
                yield (
                    f"{column}: {count:,} row{'' if one else 's'} of the {split} split {'has' if one else 'have'} a "
                    f"label that no training row has ({list_some(strange)}): leave {'it' if one else 'them'} out, or "
                    f"give such rows to training with task.split_column"
                )
        weights = self.options.parse_weights() if self.options.class_weights != "balanced" else ()
        if weights and (len(weights) != len(classes) or not min(weights) > 0):
            yield (  # in the words of tasks.Classification
                f"task.class_weights={weights}: must be {len(classes)} numbers above 0, one for each class, or none"
            )
        yield from filter(None, [vocabulary.find_problem(f"task.sequence_column={self.options.sequence_column}")])
        if not self.options.cut:
            yield from self._find_long_rows()
        if not self.options.max_length:
            place = self._find_longest()[1]
            yield from find_room_problem(self.max_length, place, self.options.tokenizer, "max_length", "cut")

    def _find_long_rows(self) -> Iterator[str]:
        longer = {split: self.count_longer(split) for split in SPLITS}
        if not (count := sum(longer.values())):
            return
        length, place = max(self.longest.values())
        limit = "the longest of training has" if not self.options.max_length else "it allows"
        yield (
            f"task.max_length={self.options.max_length}: {count:,} sequences of "
            f"{', '.join(filter(longer.get, SPLITS))} "
            f"have more than the {self.max_length:,} {self.options.tokenizer} that {limit}, {place} has {length:,}: "
            f"task.max_length={length} takes all of them, task.cut=True cuts them"
        )

    def count_longer(self, split: str) -> int:
        """Rows of a split that are longer than `max_length`."""
        return sum(count for length, count in self.lengths[split].items() if length > self.max_length)

    def notes(self, vocabulary: Vocabulary) -> list[str]:
        """What is not kept as it stands, and what to know of the classes, a sentence each."""
        notes = self.sketch.notes() + vocabulary.notes(f"task.sequence_column={self.options.sequence_column}")
        if cut := sum(map(self.count_longer, SPLITS)):
            notes.append(f"Sequences cut at {self.max_length:,} {self.options.tokenizer}: {cut:,}.")
        rows = self.labels["train"]
        classes = self.classes if self.are_classes else []
        if classes and len(rows) > 1 and max(rows.values()) >= UNEVEN * min(rows.values()):
            balance = list_some([f"{label} {rows[label]:,}" for label in self.classes])
            notes.append(
                f"The classes are uneven ({balance} in training): task.class_weights=balanced lets them count alike in "
                f"the loss, and task.metric='balanced accuracy' in the score."
            )
        if not self.options.max_length:
            notes += note_room(
                "training sequences",
                self.lengths["train"],
                self.max_length,
                self.options.tokenizer,
                "max_length",
                "cut",
            )
        for split in ("validation", "test"):
            if missing := [label for label in classes if not self.labels[split][label]]:
                notes.append(f"The {split} split has no row of {list_some(missing)}.")
            if 0 < self.options.eval_examples < (rows := self.labels[split].total()):
                notes.append(
                    f"Evaluations are of {self.options.eval_examples:,} of the {rows:,} {split} rows, always the same "
                    f"ones (task.eval_examples)."
                )
        return notes
