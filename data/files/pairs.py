"""A user's own pairs of texts, a source and its translation: tables with two columns of text.

Both sides share one list of names: "" for padding, the separator, the end, and then the tokens of the sources and
those of the targets, each with `<unk>` before them if some token of that side is not known. The same letters may spell
a token of either side, which are then two tokens, marked "(source)" and "(target)".

Pairs without a source or a target are left out and counted. A split by hash goes by the source, so that all of its
translations are in one split; across splits that are given, the same pair is dropped. Longer texts than there is room
for are refused, or left out with `drop_longer`.

A record is the number of tokens of the source, four bytes, and the tokens of both sides, in the smallest type that
holds them.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from data.files import FileData
from data.files.pair_options import SIDES, Options
from data.files.pair_scan import Pair, PairReader, PairScan
from data.files.row_reading import Position, Sources, count_source_bytes, prepare_in_two_readings
from data.files.row_tokens import TokenEncoder, smallest_dtype
from data.files.sources import reading_notes
from data.files.splits import SPLITS
from data.files.store import Store
from data.files.store_writer import StoreWriter
from tasks.real.words import UNKNOWN

VERSION = 1
_COUNT = np.dtype("<u4")


class SharedNames(NamedTuple):
    """Names of all tokens, and for each side the number of its first token and that of its unknown one."""

    names: tuple[str, ...]
    first: tuple[int, int]
    unknown: tuple[int, int]


def share_names(tokens: list[list[str]], has_unknown: list[bool]) -> SharedNames:
    """One list of names for the tokens of both sides; those that stand on both are marked with their side."""
    by_side = [[UNKNOWN, *part] if unknown else list(part) for part, unknown in zip(tokens, has_unknown, strict=True)]
    on_both = set(by_side[0]) & set(by_side[1])
    taken = {*by_side[0], *by_side[1]}
    names = ["", *(short if short not in taken else long for short, long in (("⟶", "<to>"), ("·", "<end>")))]
    first, unknown = [], []
    for side, part, has_one in zip(SIDES, by_side, has_unknown, strict=True):
        unknown.append(len(names))
        first.append(len(names) + has_one)
        names += [f"{name} ({side})" if name in on_both else name for name in part]
    return SharedNames(tuple(names), (first[0], first[1]), (unknown[0], unknown[1]))


# ---- preparing ------------------------------------------------------------------------------------------------------


def prepare(options: Options, sources: Sources, writer: StoreWriter) -> dict[str, Any]:
    """Write the records; see `data.files` and `row_reading.prepare_in_two_readings`."""
    return prepare_in_two_readings(
        PairReader(options, sources), count_source_bytes(sources), writer, _scan_pairs, _write_pairs
    )


def _scan_pairs(reader: PairReader, writer: StoreWriter, begin: int, start: Position) -> dict[str, Any]:
    """Count what the rows hold, from `start` on: the content that follows. `begin` are the bytes that were read before.

    Raises ValueError for what is no data to train on.
    """
    state = writer.resumed or {}
    scan = PairScan(reader.options, bool(reader.rule.given), state.get("scan"))
    reader.duplicates.dropped = dict(state.get("dropped", {}))
    for pair in reader.read_pairs(start, scan.tally, scan.counts):
        scan.add_pair(pair)
        if writer.is_checkpoint_due(begin + pair.bytes_read):
            kept = {"scan": scan.state(), "dropped": reader.duplicates.dropped, "after": pair.after}
            writer.checkpoint(kept, begin + pair.bytes_read)
    scan.finish()
    for problem in scan.find_problems():
        raise ValueError(problem)
    return {
        "tokens": [list(vocabulary.tokens) for vocabulary in scan.vocabularies],
        "has_unknown": [vocabulary.needs_unknown for vocabulary in scan.vocabularies],
        "max_lengths": list(scan.max_lengths),
        "notes": _all_notes(reader, scan),
    }


def _all_notes(reader: PairReader, scan: PairScan) -> list[str]:
    left_out = [*scan.tally.notes(), *reader.duplicates.notes("pairs")]
    return [*reading_notes(scan.counts), *reader.rule.notes(scan.count_pairs(), "pairs"), *left_out, *scan.notes()]


def _write_pairs(reader: PairReader, content: dict[str, Any], writer: StoreWriter, begin: int, start: Position) -> None:
    """Write the records of the pairs from `start` on. `begin` are the bytes that were read before."""
    shared = share_names(content["tokens"], content["has_unknown"])
    dtype = _token_dtype(shared)
    encoders = [
        TokenEncoder(tokenizer, tokens, first, unknown)
        for tokenizer, tokens, first, unknown in zip(
            reader.options.tokenizers, content["tokens"], shared.first, shared.unknown, strict=True
        )
    ]

    def encode_pair(pair: Pair) -> bytes:
        sides = [encoder.encode(pieces) for encoder, pieces in zip(encoders, pair.pieces, strict=True)]
        return _COUNT.type(len(sides[0])).tobytes() + np.concatenate(sides).astype(dtype).tobytes()

    for pair in reader.read_pairs(start):
        if all(length <= most for length, most in zip(pair.lengths, content["max_lengths"], strict=True)):
            writer.append(pair.split, encode_pair(pair))
        if writer.is_checkpoint_due(begin + pair.bytes_read):
            writer.checkpoint({"content": content, "after": pair.after}, begin + pair.bytes_read)


def _token_dtype(shared: SharedNames) -> np.dtype:
    return smallest_dtype(len(shared.names)).newbyteorder("<")


# ---- loading and describing -----------------------------------------------------------------------------------------


def load(options: Options, store: Store) -> FileData:
    """Arguments of `tasks.ParallelText`: all pairs, in memory, both sides with room for the longer of their limits."""
    del options
    content = store.content
    shared = share_names(content["tokens"], content["has_unknown"])
    width, dtype = max(content["max_lengths"]), _token_dtype(shared)
    sides: tuple[dict[str, np.ndarray], ...] = ({}, {})
    for split in SPLITS:
        arrays = [np.zeros((store.count(split), width), dtype.newbyteorder("=")) for _ in sides]
        for i, record in enumerate(store.read_all(split)):
            count = int(np.frombuffer(record, _COUNT, 1)[0])
            tokens = np.frombuffer(record, dtype, offset=_COUNT.itemsize)
            arrays[0][i, :count], arrays[1][i, : len(tokens) - count] = tokens[:count], tokens[count:]
        for side, array in zip(sides, arrays, strict=True):
            side[split] = array
    return FileData({"sources": sides[0], "targets": sides[1], "names": shared.names})


def describe(options: Options, sources: Sources, limit: int | None = None) -> list[str]:
    """What `prepare` would make of the first `limit` rows, or of all: splits, lengths, tokens of each side, notes."""
    reader = PairReader(options, sources)
    reader.survey_splits(lambda done: None, limit)
    scan = PairScan(options, bool(reader.rule.given))
    for pair in itertools.islice(reader.read_pairs(tally=scan.tally, counts=scan.counts), limit):
        scan.add_pair(pair)
    scan.finish()
    rows, given = scan.count_pairs(), ", ".join(sorted(reader.rule.given))
    how, total = f"{given} as given" if given else "by a hash of the source", sum(rows.values())
    return [
        f"{total:,} pair{'' if total == 1 else 's'}{' (of the first rows)' if limit else ''}: "
        f"{', '.join(f'{rows[split]:,} {split}' for split in SPLITS)} ({how})",
        *_describe_sides(options, scan),
        *(f"note: {note}" for note in _all_notes(reader, scan)),
        *(f"to be mended: {problem}" for problem in scan.find_problems()),
    ]


def _describe_sides(options: Options, scan: PairScan) -> Iterator[str]:
    for number, (side, tokenizer, vocabulary) in enumerate(
        zip(SIDES, options.tokenizers, scan.vocabularies, strict=True)
    ):
        lengths = [lengths[number] for lengths in scan.lengths["train"]]
        shown = " ".join(map(repr, vocabulary.tokens[:20])) + (" …" if len(vocabulary.tokens) > 20 else "")
        yield (
            f"{side}: {min(lengths, default=0):,} to {max(lengths, default=0):,} {tokenizer} in training, room for "
            f"{scan.max_lengths[number]:,}; {len(vocabulary.tokens):,} {tokenizer}: {shown}"
        )
