"""The text that explore trains on where none is given: rolls of names and numbers, each read out three times.

Who comes next and with which number can't be known in the first reading; in the second it can, but only by looking back
at the first. Lines are wrapped at 20 characters, so that where a line ends can be known only by counting.

    iris7 eve8 bob5 tom4
    mia6 paul3 iris7
    eve8 bob5 tom4 mia6
    paul3.
"""

import random
import textwrap
from collections.abc import Sequence
from pathlib import Path

from training import files

NAMES = ("ann", "bob", "eve", "jack", "felix", "amir", "paul", "tom", "cleo", "grit", "iris", "mia")
ENTRIES, READINGS, LINE = 6, 3, 20  # of a roll; characters of a line
ROLLS = 8000
EXAMPLE = ("iris7", "eve8", "bob5", "tom4", "mia6", "paul3")

ABOUT = (
    f"They were trained on rolls: {ENTRIES} names, each with a digit, are read out {READINGS} times in the same order. "
    "In the first reading nobody can know who comes next; from the second on, whoever looks one reading back can. "
    f"Lines are wrapped at {LINE} characters, so that where a line ends is known only by counting."
)


def read_out(entries: Sequence[str], times: int, end: str = "") -> str:
    """The entries of a roll so many times, in lines."""
    return textwrap.fill(" ".join([*entries] * times) + end, LINE)


def write_text(path: Path) -> Path:
    """Write `ROLLS` rolls with a blank line between two, always the same ones, unless they are there."""
    drawn = random.Random(0)
    rolls = []
    for _ in range(ROLLS):
        names, numbers = drawn.sample(NAMES, ENTRIES), drawn.sample("0123456789", ENTRIES)
        rolls.append(read_out([name + number for name, number in zip(names, numbers, strict=True)], READINGS, "."))
    text = ("\n\n".join(rolls) + "\n").encode()
    if not path.exists() or path.read_bytes() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, text)
    return path
