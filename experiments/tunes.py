"""Tunes in ABC notation, as music21 reads them: do they parse, how many bars are full, and how do they sound?"""

import io
import warnings
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

FIELDS = ("X:", "T:", "M:", "L:", "K:")  # number, title, metre, length of a note, key: every tune of `irish` has them


class Heard(NamedTuple):
    """What a tune holds: notes, bars, and how many of these last as long as the metre says."""

    notes: int
    bars: int
    full: int


def heard(tune: str) -> Heard:
    """A tune as music21 reads it. Raises ValueError, in one line, for one that it can't read, that lacks one of the
    FIELDS, or that has no note."""
    score = read(tune)
    bars = [bar for part in score.parts for bar in part.getElementsByClass("Measure")]
    notes = len(score.flatten().notes)
    if not notes:
        raise ValueError("it has no note")
    full = sum(abs(bar.duration.quarterLength - bar.barDuration.quarterLength) < 1e-6 for bar in bars)
    return Heard(notes, len(bars), full)


def read(tune: str) -> Any:
    """music21's score of one tune."""
    music21 = imported()
    lines = tune.splitlines()
    if missing := [field for field in FIELDS if not any(line.startswith(field) for line in lines)]:
        raise ValueError(f"it has no field {missing[0]}")
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            score = music21.converter.parse(tune, format="abc")
    except Exception as error:  # music21 raises nearly anything for what it did not foresee
        raise ValueError(f"music21 can't read it ({type(error).__name__}: {str(error)[:80]!r})") from None
    if not isinstance(score, music21.stream.Score):
        raise ValueError("it is more than one tune: a second field X: begins another")
    return score


def play(tune: str, path: Path) -> Path:
    """Write a tune as a MIDI file. Raises as `heard` does."""
    heard(tune)
    read(tune).write("midi", str(path))
    return path


def imported() -> Any:
    try:
        import music21
    except ImportError:
        raise ValueError("reading tunes needs music21: pip install -e '.[music]'") from None
    return music21
