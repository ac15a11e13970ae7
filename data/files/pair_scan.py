"""What a table of pairs of texts holds: its rows with their splits, and the tokens and lengths of either side."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from data.files.pair_options import SIDES, Options
from data.files.row_lengths import find_room_problem, note_room
from data.files.row_reading import (
    GivenRow,
    Position,
    RowTally,
    Sources,
    encode_contents,
    has_given_splits,
    parse_text,
    read_given_rows,
)
from data.files.row_tokens import Pieces, TokenCounts, Vocabulary, split_text
from data.files.sources import Counts
from data.files.splits import SPLITS, DuplicateFilter, SplitRule, check_splits, survey_splits


class Pair(NamedTuple):
    """A source and a target, cut into tokens, and their split. Reading goes on after them at `after`."""

    pieces: tuple[Pieces, Pieces]
    split: str
    place: str
    after: Position
    bytes_read: int

    @property
    def lengths(self) -> tuple[int, int]:
        """The numbers of tokens of both sides."""
        return len(self.pieces[0]), len(self.pieces[1])


class PairReader:
    """Reads the rows of a user's files; `rule` and `duplicates` say where each goes and whether it stays.

    Raises ValueError, in one line, for what can't be read or is no pair of texts.
    """

    def __init__(self, options: Options, sources: Sources):
        self.options, self.sources = options, sources
        self.columns = {f"{side}_column": column for side, column in zip(SIDES, options.columns, strict=True)}
        if options.split_column:
            self.columns["split_column"] = options.split_column
        self.is_surveyed = has_given_splits(sources, self.columns)
        self.rule, self.duplicates = SplitRule(), DuplicateFilter()

    def survey_splits(self, progress: Callable[[int], Any], limit: int | None = None) -> None:
        """Look over the first `limit` rows, or all, for given splits; `progress` gets the bytes read so far."""

        def read() -> Iterator[tuple[str, bytes]]:
            for row in itertools.islice(read_given_rows(self.sources, self.columns), limit):
                progress(row.bytes_read)
                yield row.given, b"\0".join(contents for _, contents in self._parse_sides(row))

        if self.is_surveyed:
            self.rule, self.duplicates = survey_splits(read())

    def read_pairs(
        self, start: Position = (0, 0), tally: RowTally | None = None, counts: Counts | None = None
    ) -> Iterator[Pair]:
        """Pairs that stay, from the position `start` on. What is left out is counted in `tally`."""
        tally = tally or RowTally()
        for row in read_given_rows(self.sources, self.columns, start, counts):
            sides = self._parse_sides(row)
            pieces = [split_text(name, text) for name, (text, _) in zip(self.options.tokenizers, sides, strict=True)]
            if not all(pieces):
                tally.add(f"Pairs left out, since they have no {SIDES[0 if not pieces[0] else 1]}", row.place)
                continue
            contents = [contents for _, contents in sides]
            split = self.rule.assign_item(row.given, contents[0])
            if self.duplicates.keep_item(split, b"\0".join(contents)):
                yield Pair((pieces[0], pieces[1]), split, row.place, row.after, row.bytes_read)

    def _parse_sides(self, row: GivenRow) -> list[tuple[str, bytes]]:
        """The text of each side, and it in UTF-8."""
        texts = [
            parse_text(value, row.place, f"{side}_column={column}")
            for value, side, column in zip(row.values, SIDES, self.options.columns, strict=True)
        ]
        return [
            (text, encode_contents(text, row.place, f"{side}_column")) for text, side in zip(texts, SIDES, strict=True)
        ]


class PairScan:
    """What the pairs hold, counted one by one; `finish` makes the vocabularies and limits of it.

    `is_given`: whether splits are given, and not all by hash, which may put the longest into any split. `state`,
    of an earlier scan, is gone on from.
    """

    def __init__(self, options: Options, is_given: bool, state: Mapping[str, Any] | None = None):
        self.options, self.is_given, state = options, is_given, state or {}
        self.tally, self.counts = RowTally.restore(state.get("tally")), dict(state.get("counts", {}))
        lengths, longest = state.get("lengths", {}), state.get("longest", {})
        self.lengths: dict[str, Counter[tuple[int, int]]] = {
            split: Counter({(source, target): count for source, target, count in lengths.get(split, ())})
            for split in SPLITS
        }
        self.longest: dict[str, tuple[int, str]] = {side: tuple(longest.get(side, (0, ""))) for side in SIDES}
        tokens = state.get("tokens", [None] * len(SIDES))
        self._tokens = [TokenCounts(*both) for both in zip(options.tokenizers, tokens, strict=True)]
        self.vocabularies: list[Vocabulary] = []
        self.max_lengths: tuple[int, int] = options.max_lengths

    def state(self) -> dict[str, Any]:
        """All counts, as JSON."""
        return {
            "tally": self.tally.state(),
            "counts": self.counts,
            "lengths": {
                split: [(*lengths, count) for lengths, count in counter.items()]
                for split, counter in self.lengths.items()
            },
            "longest": self.longest,
            "tokens": [tokens.state() for tokens in self._tokens],
        }

    def add_pair(self, pair: Pair) -> None:
        """Count a pair. One that is dropped for its length gives no tokens."""
        self.lengths[pair.split][pair.lengths] += 1
        for side, length in zip(SIDES, pair.lengths, strict=True):
            self.longest[side] = max(self.longest[side], (length, pair.place), key=lambda known: known[0])
        if self.options.drop_longer and self._is_longer(pair.lengths):
            return
        for tokens, pieces in zip(self._tokens, pair.pieces, strict=True):
            tokens.add_pieces(pieces, pair.split)

    def finish(self) -> None:
        """Make the vocabularies, and the limits that follow from the longest texts: of training if splits are given."""
        self.vocabularies = [tokens.build_vocabulary(self.options.vocab_size) for tokens in self._tokens]
        splits = ("train",) if self.is_given else SPLITS
        kept = [lengths for split in splits for lengths in self.lengths[split] if not self._is_longer(lengths)]
        source, target = (
            most or max((lengths[number] for lengths in kept), default=0)
            for number, most in enumerate(self.options.max_lengths)
        )
        self.max_lengths = source, target

    def _is_longer(self, lengths: tuple[int, int]) -> bool:
        return any(0 < most < length for length, most in zip(lengths, self.max_lengths, strict=True))

    def count_longer(self, split: str) -> int:
        """Pairs of a split that there is no room for."""
        return sum(count for lengths, count in self.lengths[split].items() if self._is_longer(lengths))

    def count_pairs(self) -> dict[str, int]:
        """Pairs of each split that there is room for, or all if longer ones are not dropped."""
        dropped = self.count_longer if self.options.drop_longer else lambda split: 0
        return {split: counter.total() - dropped(split) for split, counter in self.lengths.items()}

    def find_problems(self) -> Iterator[str]:
        """What makes it no data to train on, one line each."""
        try:
            check_splits("path", self.options.path, self.count_pairs(), "pairs")
        except ValueError as error:
            yield str(error)
            return
        for vocabulary, side, column in zip(self.vocabularies, SIDES, self.options.columns, strict=True):
            if problem := vocabulary.find_problem(f"task.{side}_column={column}"):
                yield problem
        for number, side in enumerate(SIDES):
            if not self.options.max_lengths[number]:
                room, (length, place) = self.max_lengths[number], self.longest[side]
                place = f"{place}, {side}" if length == room else side
                tokenizer = self.options.tokenizers[number]
                yield from find_room_problem(room, place, tokenizer, f"{side}_max_length", "drop_longer")
        longer = sum(map(self.count_longer, SPLITS))
        if longer and not self.options.drop_longer:
            for number, side in enumerate(SIDES):
                length, place = self.longest[side]
                if length > self.max_lengths[number]:
                    yield (
                        f"task.{side}_max_length={self.options.max_lengths[number]}: {longer:,} "
                        f"{'pair is' if longer == 1 else 'pairs are'} too long; "
                        f"{place} has {length:,} {self.options.tokenizers[number]} in its {side}, and there is room "
                        f"for {self.max_lengths[number]:,}: "
                        f"task.{side}_max_length={length} takes all, task.drop_longer=True leaves them out"
                    )

    def notes(self) -> list[str]:
        """What is not kept as it stands, a sentence each."""
        notes = []
        for vocabulary, side, column in zip(self.vocabularies, SIDES, self.options.columns, strict=True):
            notes += vocabulary.notes(f"task.{side}_column={column}")
        if dropped := sum(map(self.count_longer, SPLITS)):
            notes.append(
                f"Pairs left out, since they have more than {self.max_lengths[0]:,} {self.options.tokenizers[0]} in "
                f"the source or {self.max_lengths[1]:,} {self.options.tokenizers[1]} in the target: {dropped:,}."
            )
        for number, side in enumerate(SIDES):
            if not self.options.max_lengths[number]:
                lengths: Counter[int] = Counter()
                for both, count in self.lengths["train"].items():
                    lengths[both[number]] += count if not self._is_longer(both) else 0
                room, tokenizer = self.max_lengths[number], self.options.tokenizers[number]
                notes += note_room(f"training {side}s", lengths, room, tokenizer, f"{side}_max_length", "drop_longer")
        return notes
