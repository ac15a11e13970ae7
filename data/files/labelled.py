"""A user's own labelled sequences: tables of a sequence and a label, and FASTA files.

The label of a row is a text, a number or a truth value; classes are in the order of numbers, or of the alphabet. Rows
without a label or without a sequence are left out and counted. Copies of a sequence are kept within a split, also with
different labels, since people do disagree, and counted; across splits that are given they are dropped. A label that
only validation or test has is refused, and so is a sequence that is longer than `max_length`, unless `cut`.

A record is the number of the class, four bytes, and the tokens, in the smallest type that holds them. Token 0 is
padding; `<unk>` is the last one, and is there only if some token of the data is not known.
"""

import itertools
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer

from data.files import FileData
from data.files.classes import describe_classes
from data.files.labelled_options import Options
from data.files.labelled_scan import LabelledRow, LabelledScan, RowReader
from data.files.row_reading import Position, Sources, count_source_bytes, is_fasta, prepare_in_two_readings
from data.files.row_tokens import TokenEncoder, Vocabulary, smallest_dtype
from data.files.sources import reading_notes
from data.files.splits import SPLITS
from data.files.store import Store
from data.files.store_writer import StoreWriter
from tasks.real.rows import MAX_DISTINCT_ROWS
from tasks.real.words import UNKNOWN

VERSION = 1
MAX_BYTES = 2**28  # of a split, padded, that is read into memory
_FIRST_TOKENS = 2**22  # of the training rows in memory where the others stay on disk
_LABEL = np.dtype("<u4")


# ---- preparing ------------------------------------------------------------------------------------------------------


def prepare(options: Options, sources: Sources, writer: StoreWriter) -> dict[str, Any]:
    """Write the records; see `data.files` and `row_reading.prepare_in_two_readings`."""
    return prepare_in_two_readings(
        _open_reader(options, sources), count_source_bytes(sources), writer, _scan_rows, _write_rows
    )


def _open_reader(options: Options, sources: Sources) -> RowReader:
    if sources.get("labels_path") and not is_fasta(sources["path"]):
        raise ValueError(
            f"task.labels_path={options.labels_path}: is for FASTA; a table has its labels in task.label_column"
        )
    return RowReader(options, sources)


def _scan_rows(reader: RowReader, writer: StoreWriter, begin: int, start: Position) -> dict[str, Any]:
    """Count what the rows hold, from `start` on: the content that follows. `begin` are the bytes that were read before.

    Raises ValueError for what is no data for a classifier.
    """
    state = writer.resumed or {}
    scan = LabelledScan(reader, state.get("scan"))
    reader.duplicates.dropped = dict(state.get("dropped", {}))
    for row in reader.read_rows(start, scan.tally, scan.counts):
        scan.add_row(row, *reader.cut_text(row.sequence))
        if writer.is_checkpoint_due(begin + row.bytes_read):
            kept = {"scan": scan.state(), "dropped": reader.duplicates.dropped, "after": row.after}
            writer.checkpoint(kept, begin + row.bytes_read)
    vocabulary = scan.tokens.build_vocabulary(reader.options.vocab_size)
    for problem in scan.find_problems(vocabulary):
        raise ValueError(problem)
    return {
        "classes": scan.classes,
        "tokens": list(vocabulary.tokens),
        "has_unknown": vocabulary.needs_unknown,
        "max_length": scan.max_length,
        "rows": {split: dict(counter) for split, counter in scan.labels.items()},
        "notes": _all_notes(reader, scan, vocabulary),
    }


def _all_notes(reader: RowReader, scan: LabelledScan, vocabulary: Vocabulary) -> list[str]:
    left_out = [*scan.tally.notes(), *reader.duplicates.notes("rows")]
    by_hash = reader.rule.notes(scan.count_rows(), "rows")
    return [*reading_notes(scan.counts), *by_hash, *left_out, *scan.notes(vocabulary)]


def _write_rows(reader: RowReader, content: dict[str, Any], writer: StoreWriter, begin: int, start: Position) -> None:
    """Write the records of the rows from `start` on. `begin` are the bytes that were read before."""
    number = {label: i for i, label in enumerate(content["classes"])}
    tokens, dtype = content["tokens"], _token_dtype(content)
    encoder = TokenEncoder(reader.options.tokenizer, tokens, first=1, unknown=1 + len(tokens))

    def encode_row(row: LabelledRow) -> bytes:
        pieces = reader.cut_text(row.sequence)[0][: content["max_length"]]
        return _LABEL.type(number[row.label]).tobytes() + encoder.encode(pieces).astype(dtype).tobytes()

    for row in reader.read_rows(start):
        writer.append(row.split, encode_row(row))
        if writer.is_checkpoint_due(begin + row.bytes_read):
            writer.checkpoint({"content": content, "after": row.after}, begin + row.bytes_read)


def _token_names(content: dict[str, Any]) -> tuple[str, ...]:
    return ("", *content["tokens"], *([UNKNOWN] if content["has_unknown"] else []))


def _token_dtype(content: dict[str, Any]) -> np.dtype:
    return smallest_dtype(len(_token_names(content))).newbyteorder("<")


# ---- loading --------------------------------------------------------------------------------------------------------


def load(options: Options, store: Store) -> FileData:
    """Arguments of `tasks.Classification`; training rows stay on disk if asked for, or if they take over `MAX_BYTES`.

    Of a split that does not fit into memory a part that is drawn evenly does: of training for baselines and pictures.
    """
    content = store.content
    width, dtype = content["max_length"], _token_dtype(content)
    size = width * dtype.itemsize  # of a padded row
    source = StoredRows(store, width, dtype)
    is_streamed = options.stream == "yes" or (options.stream == "auto" and store.count("train") * size > MAX_BYTES)
    limits = dict.fromkeys(SPLITS, max(1, MAX_BYTES // size))
    limits["train"] = min(MAX_DISTINCT_ROWS, max(1, _FIRST_TOKENS // width)) if is_streamed else store.count("train")
    inputs, labels = {}, {}
    for split in SPLITS:
        inputs[split], labels[split] = source.read_split(split, limits[split])
    arguments = {
        "inputs": inputs,
        "labels": labels,
        "names": _token_names(content),
        "classes": tuple(content["classes"]),
        "class_weights": _class_weights(options, content),
        "extra_metrics": options.extra_metrics,
        "split_at_blanks": options.tokenizer == "tokens",
        "eval_examples": min(options.eval_examples or MAX_DISTINCT_ROWS, MAX_DISTINCT_ROWS),
    }
    if not is_streamed:
        return FileData(arguments)
    return FileData({**arguments, "train_size": store.count("train")}, source)


def _class_weights(options: Options, content: dict[str, Any]) -> tuple[float, ...]:
    if options.class_weights != "balanced":
        return options.parse_weights()
    counts = [content["rows"]["train"][label] for label in content["classes"]]
    return tuple(sum(counts) / (len(counts) * count) for count in counts)


class StoredRows:
    """Rows of a store, read by number, as the `gather` of `tasks.Classification` gives them."""

    def __init__(self, store: Store, max_length: int, dtype: np.dtype):
        self.store, self.max_length, self.dtype = store, max_length, dtype

    def gather(
        self, ids: Int64[np.ndarray, "n"], max_length: int, split: str = "train"
    ) -> tuple[Integer[np.ndarray, "n {max_length}"], Integer[np.ndarray, "n"]]:
        """Sequences, cut at `max_length`, and labels."""
        return self._parse_records(self.store.read(split, np.asarray(ids)), len(ids), max_length)

    def read_split(self, split: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """All rows of a split in their order, or `limit` of them, drawn evenly and always the same."""
        count = self.store.count(split)
        if count <= limit:
            return self._parse_records(self.store.read_all(split), count, self.max_length)
        return self.gather(
            np.sort(np.random.default_rng(0).choice(count, limit, replace=False)), self.max_length, split
        )

    def _parse_records(self, records: Any, count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        tokens, labels = np.zeros((count, width), self.dtype.newbyteorder("=")), np.zeros(count, np.int32)
        for i, record in enumerate(records):
            labels[i] = np.frombuffer(record, _LABEL, 1)[0]
            row = np.frombuffer(record, self.dtype, offset=_LABEL.itemsize)[:width]
            tokens[i, : len(row)] = row
        return tokens, labels


# ---- describing -----------------------------------------------------------------------------------------------------


def describe(options: Options, sources: Sources, limit: int | None = None) -> list[str]:
    """What `prepare` would make of the first `limit` rows, or of all: splits, lengths, tokens, classes and notes."""
    reader = _open_reader(options, sources)
    reader.survey_splits(lambda done: None, limit)
    scan = LabelledScan(reader)
    for row in itertools.islice(reader.read_rows(tally=scan.tally, counts=scan.counts), limit):
        scan.add_row(row, *reader.cut_text(row.sequence))
    vocabulary = scan.tokens.build_vocabulary(options.vocab_size)
    rows, lengths = scan.count_rows(), scan.lengths["train"]
    total = sum(rows.values())
    given = ", ".join(sorted(reader.rule.given))
    how = f"{given} as given" if given else "by a hash of the sequence"
    mean = sum(length * count for length, count in lengths.items()) / max(lengths.total(), 1)
    shown = " ".join(map(repr, vocabulary.tokens[:20])) + (" …" if len(vocabulary.tokens) > 20 else "")
    return [
        f"{total:,} labelled sequence{'' if total == 1 else 's'}{' (of the first rows)' if limit else ''}: "
        f"{', '.join(f'{rows[split]:,} {split}' for split in SPLITS)} ({how})",
        f"length in training: {min(lengths, default=0):,} to {max(lengths, default=0):,} {options.tokenizer}, mean "
        f"{mean:.1f}; rows have room for {scan.max_length:,}",
        f"tokens: {len(vocabulary.tokens):,} {options.tokenizer}: {shown}",
        f"classes: {len(scan.classes):,}",
        *([*describe_classes(scan.classes, scan.labels), *_describe_baseline(scan)] if scan.are_classes else []),
        *(f"note: {note}" for note in _all_notes(reader, scan, vocabulary)),
        *(f"to be mended: {problem}" for problem in scan.find_problems(vocabulary)),
    ]


def _describe_baseline(scan: LabelledScan) -> list[str]:
    """What the most frequent class of training scores on the test rows; nothing where there are none."""
    train, test = scan.labels["train"], scan.labels["test"]
    if not train or not test:
        return []
    label = max(train, key=lambda label: (train[label], label))
    return [
        f"baseline: {label}, the most frequent class, is right for {test[label] / test.total():.1%} of the test rows"
    ]
