"""Sequences of FASTA files, with labels from their headers or from a second file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data.files.columns import Row, name_paths
from data.files.formats import SPLIT_NAMES, file_splits
from data.files.sources import Counts, read_lines
from data.files.splits import known_split
from data.files.stamps import check_unchanged, take_stamps

FASTA_COLUMNS = ("id", "description", "sequence", "label")


def read_fasta(
    field: str,
    paths: Sequence[Path],
    start_row: int = 0,
    counts: Counts | None = None,
    labels: Mapping[str, str] | None = None,
) -> Iterator[Row]:
    """Read the sequences of FASTA files as rows with the `FASTA_COLUMNS`.

    The label is that of the id in `labels`, if given. Otherwise it comes from the header: what follows `label=`; or
    else what follows the first blank; or else what follows the last `|`. Where that is the name of a split, as in
    `>P1|1|training`, it is the row's split unless its file has one, and the label stands before it.

    Raises ValueError, in one line, for a sequence without a header, an empty one, and one without a label.
    """
    index, bytes_before = 0, 0
    for path, file_split in zip(paths, file_splits(paths), strict=True):
        stamps, given = take_stamps([path]), known_split(file_split, counts if index >= start_row else None)
        if given is None:
            continue
        sequences = _read_sequences(field, path, None if start_row else counts)
        for number, (header, sequence, bytes_read) in enumerate(sequences, 1):
            place = f"{path.name}, sequence {number}"
            name, _, description = header.partition(" ")
            if not sequence:
                raise ValueError(f"{place} ({name}) is empty: remove it, or give its letters below the line with >")
            label, split = _header_label(header)
            if labels is not None and (label := labels.get(name)) is None:
                raise ValueError(f"{place}: the file of labels has no id {name}: add it there")
            if label is None:
                raise ValueError(f"{place} ({name}) has no label: write it after a blank, or give task.labels_path")
            if index >= start_row:
                yield Row(
                    (name, description.strip(), sequence, label),
                    place,
                    index,
                    bytes_before + bytes_read,
                    given or split,
                )
            index += 1
        check_unchanged(stamps)
        bytes_before += stamps[0].size
    if index == 0:
        raise ValueError(f"task.{field}={name_paths(paths)}: there is no sequence: each begins with a line >name label")


def _read_sequences(field: str, path: Path, counts: Counts | None) -> Iterator[tuple[str, str, int]]:
    """Header without ">", letters, and bytes read of each sequence."""
    header, parts, bytes_read = None, [], 0
    for line, bytes_read in read_lines(path, f"task.{field}={path}", counts):
        line = line.strip()
        if line.startswith(">"):
            if header is not None:
                yield header, "".join(parts), bytes_read
            header, parts = line[1:].strip(), []
        elif line and header is None:
            raise ValueError(f"task.{field}={path}: not FASTA: it begins with no line >name")
        else:
            parts.append(line)
    if header is not None:
        yield header, "".join(parts), bytes_read


def _header_label(header: str) -> tuple[str | None, str]:
    """Label and split that the header of a sequence gives; None and "" for what it doesn't."""
    if found := re.search(r"(?:^|[\s|;])label=([^\s|;]+)", header):
        return found[1], ""
    name, _, description = header.partition(" ")
    if description.strip():
        return description.strip(), ""
    *before, last = name.split("|")
    if len(before) >= 2 and last.lower() in SPLIT_NAMES:
        return before[-1], SPLIT_NAMES[last.lower()]
    return (last if before else None), ""


def read_labels(field: str, paths: Sequence[Path]) -> dict[str, str]:
    """Label of each id, from the columns `id` and `label` of a table.

    Raises ValueError for an id with two labels.
    """
    from data.files.tables import read_rows  # which has read_fasta too

    labels: dict[str, str] = {}
    for row in read_rows(field, paths, ("id", "label")):
        name, label = ("" if value is None else str(value) for value in row.values)
        if not name or not label:
            raise ValueError(f"{row.place} has no {'label' if name else 'id'}: give it one")
        if labels.setdefault(name, label) != label:
            raise ValueError(f"{row.place}: {name} has the label {label}, and above {labels[name]}: give it one")
    return labels
