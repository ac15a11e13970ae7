"""Classes of labelled sequences: their order, their balance, and sequences that stand in several of them."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from data.files.splits import SPLITS

_MAX_KNOWN = 2**18  # sequences that are remembered to find those with two labels
_SHOWN = 3  # examples in a message


class LabelSketch:
    """Finds sequences that have several labels, in memory of a fixed size.

    Up to `_MAX_KNOWN` different sequences each is remembered by its hash; of more, those whose hash ends in so many
    zero bits, and counts are scaled up.
    """

    def __init__(self, state: Mapping[str, Any] | None = None):
        """`state`, of an earlier one, is gone on from."""
        state = state or {}
        self._first: dict[int, str] = dict(state.get("first", ()))
        self._mixed: set[int] = set(state.get("mixed", ()))
        self._bits: int = state.get("bits", 0)

    def state(self) -> dict[str, Any]:
        """All that is remembered, as JSON."""
        return {"first": list(self._first.items()), "mixed": sorted(self._mixed), "bits": self._bits}

    def add_row(self, contents: bytes, label: str) -> None:
        """Note a sequence and its label."""
        number = int.from_bytes(hashlib.blake2b(contents, digest_size=8).digest())
        if number & ((1 << self._bits) - 1):
            return
        if self._first.setdefault(number, label) != label:
            self._mixed.add(number)
        if len(self._first) > _MAX_KNOWN:
            self._bits += 1
            mask = (1 << self._bits) - 1
            self._first = {number: label for number, label in self._first.items() if not number & mask}
            self._mixed = {number for number in self._mixed if not number & mask}

    def notes(self) -> list[str]:
        """How many sequences have several labels, a sentence if there are any."""
        if not self._mixed:
            return []
        about = "about " if self._bits else ""
        return [
            f"Sequences that stand in several rows with different labels, which are all kept: {about}"
            f"{len(self._mixed) << self._bits:,}."
        ]


def describe_classes(classes: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The balance of the classes, a line each for the first 20: rows of each split and share of the training rows."""
    total = sum(counts["train"].values())
    lines = []
    for label in classes[:20]:
        rows = " + ".join(f"{counts[split].get(label, 0):,}" for split in SPLITS)
        unit = "row" if sum(counts[split].get(label, 0) for split in SPLITS) == 1 else "rows"
        lines.append(f"  {label}: {rows} {unit} ({counts['train'].get(label, 0) / max(total, 1):.1%} of training)")
    return lines + ([f"  and {len(classes) - 20:,} more"] if len(classes) > 20 else [])


def sort_classes(labels: set[str]) -> list[str]:
    """Labels in order: by their size if all are numbers, else by the alphabet."""
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label)) if all(
        map(math.isfinite, numbers.values())) else sorted(labels)  # fmt: skip


def list_some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
