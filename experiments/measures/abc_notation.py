"""Tunes in ABC notation: does music21 read them, how many bars are as long as the meter says, and how do they sound?

Bars are counted from the text, by the ABC standard 2.1 (abcnotation.com/wiki/abc:standard:v2.1), in tunes of one voice:
music21 finds no bars where there are fewer than two bar lines, and keeps to the first meter.
"""

import io
import re
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

# Number, title, meter and key. The standard allows a tune without a meter, whose bars could not be checked.
REQUIRED_FIELDS = ("X:", "T:", "M:", "K:")
_LENGTH_PATTERN = r"(?P<{0}over>\d*)(?P<{0}slashes>/*)(?P<{0}under>\d*)"
_NOTE_PATTERN = r"[_^=]*[A-Ga-gxz][,']*" + _LENGTH_PATTERN.format("")
_TOKEN = re.compile(
    "|".join(
        [
            r'"[^"\n]*"|%[^\n]*|![\w.<>()+-]+!|\+[\w.<>()+-]+\+|\{[^}\n]*\}',  # text, decorations, grace notes
            r"^(?P<field>[A-Za-z]):(?![|:])(?P<value>[^\n]*)",
            r"\[(?P<inline>[A-Za-z]):(?P<here>[^]\n]*)\]",
            r"(?P<bar>\[?\|[|:\]]*|:+\|[|:\]]*|::+)[ \t]*(?P<ending>\[?\d[\d,.-]*)?",
            r"\[(?P<variant>\d[\d,.-]*)",
            r"\((?P<tuplet>\d)(?::(?P<time>\d*))?(?::(?P<count>\d*))?",
            r"\[(?P<chord>[^]|\n]*)\]" + _LENGTH_PATTERN.format("all_"),
            r"(?P<note>" + re.sub(r"\?P<\w+>", "?:", _NOTE_PATTERN) + ")",
            r"[XZ](?P<rest>\d*)",
            r"(?P<broken><+|>+)",
            r"(?P<overlay>&)",
        ]
    ),
    re.MULTILINE,
)
_FIRST_NOTE = re.compile(_NOTE_PATTERN)  # of a chord: it says how long the chord lasts
# A tuplet is so many notes in the time of so many others; of 5, 7 and 9 notes it depends on the meter.
_TUPLET_TIMES = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
_COMPOUND_METERS = ("6/", "9/", "12/")
_MAX_REST_BARS = 99  # of one rest, so that a slip of the pen doesn't fill the memory


class TuneContents(NamedTuple):
    """What a tune holds: notes, bars, and how many of these last as long as the meter says.

    A bar is what stands between two bar lines, before the first or after the last. Double bars, repeats and the numbers
    of endings split the tune into parts. What a part begins with, if shorter than a bar, is an upbeat and no bar of its
    own; the last bar of a part is also full if it is so together with one of the tune's upbeats. In a tune without a
    meter ("M:none") no bars are counted.
    """

    notes: int
    bars: int
    full_bars: int


class Bar(NamedTuple):
    """Its length and that of the meter, in whole notes, and whether it is the first and the last of a part."""

    length: Fraction
    meter: Fraction | None
    starts_part: bool
    ends_part: bool

    @property
    def is_upbeat(self) -> bool:
        return self.meter is not None and self.starts_part and not self.ends_part and self.length < self.meter


def parse_tune(tune: str) -> TuneContents:
    """Count a tune's notes and bars. Raises ValueError, in one line, for one that music21 can't read, that lacks one of
    the required fields, or that has no note."""
    notes = len(_read_score(tune).flatten().notes)
    if not notes:
        raise ValueError("it has no note")
    return TuneContents(notes, *count_full_bars(split_bars(tune)))


def count_full_bars(bars: Sequence[Bar]) -> tuple[int, int]:
    """How many bars there are, and how many of them are full; see TuneContents."""
    upbeats = {bar.length for bar in bars if bar.is_upbeat}
    counted = [bar for bar in bars if bar.meter is not None and not bar.is_upbeat]
    return len(counted), sum(
        bar.length == bar.meter or (bar.ends_part and (bar.meter or 0) - bar.length in upbeats) for bar in counted
    )


def split_bars(tune: str) -> list[Bar]:
    """The bars of a tune, upbeats among them."""
    header, _, body = tune.replace("\r\n", "\n").partition("\nK:")
    fields = {line[0]: line[2:].strip() for line in header.splitlines() if line[1:2] == ":"}
    reader = _BarReader(fields.get("M", "none"), fields.get("L", ""))
    for token in _TOKEN.finditer(body.partition("\n")[2]):
        reader.read_token(token)
    reader.end_bar(ends_part=True)
    return reader.bars


class _BarReader:
    """Reads a tune's body token by token and adds up the lengths of its bars, in whole notes."""

    def __init__(self, meter: str, unit: str):
        self.bars: list[Bar] = []
        self.meter = meter  # as the field M: has it
        is_short = (_parse_meter(meter) or 1) < Fraction(3, 4)
        self.unit = _parse_fraction(unit) or Fraction(1, 16 if is_short else 8)  # the length of a note without one
        self.lengths: list[Fraction] = []  # of the notes since the last bar line
        self.longest_voice = Fraction(0)  # of the voices before an "&" in this bar
        self.before_ending: list[Fraction] = []  # the notes that all endings share which begin inside a bar
        self.starts_part = True
        self.tuplet_factor, self.tuplet_notes = Fraction(1), 0  # of so many notes that are left
        self.next_factor = Fraction(1)  # of the note after a > or <

    def read_token(self, token: re.Match[str]) -> None:
        """Take in one match of the token pattern."""
        groups = token.groupdict()
        ending = (groups["ending"] or groups["variant"] or "").lstrip("[")
        if name := groups["field"] or groups["inline"]:
            self._set_field(name, (groups["value"] or groups["here"] or "").strip())
        elif ending:
            self._begin_ending(ending, inside_bar=bool(groups["variant"]))
        elif groups["bar"]:
            self.end_bar(ends_part=groups["bar"] != "|")
            self.before_ending = self.before_ending if groups["bar"] == "|" else []
        elif groups["tuplet"]:
            self._begin_tuplet(int(groups["tuplet"]), groups["time"], groups["count"])
        elif first_note := _FIRST_NOTE.search(groups["note"] or groups["chord"] or ""):
            self._add_note(_length_factor(first_note) * (_length_factor(token, "all_") if groups["chord"] else 1))
        elif groups["rest"] is not None:
            self._add_rest(int(groups["rest"] or 1))
        elif groups["broken"] and self.lengths:
            self._break_rhythm(groups["broken"])
        elif groups["overlay"]:
            self.longest_voice = max(self.longest_voice, sum(self.lengths, Fraction(0)))
            self.lengths.clear()

    def end_bar(self, *, ends_part: bool) -> None:
        """End the bar, if it holds anything, and with `ends_part` the part that it is in."""
        if self.lengths:
            length = max(sum(self.lengths, Fraction(0)), self.longest_voice)
            self.bars.append(Bar(length, _parse_meter(self.meter), self.starts_part, ends_part))
            self.lengths.clear()
            self.starts_part = False
        elif ends_part and self.bars:
            self.bars[-1] = self.bars[-1]._replace(ends_part=True)
        self.starts_part, self.longest_voice = self.starts_part or ends_part, Fraction(0)

    def _set_field(self, name: str, value: str) -> None:
        if name == "M":
            self.meter = value
        elif name == "L":
            self.unit = _parse_fraction(value) or self.unit

    def _begin_ending(self, number: str, *, inside_bar: bool) -> None:
        """An ending begins at a bar line; or inside a bar, whose first notes all of the endings share."""
        if inside_bar and self.lengths:
            self.before_ending = [*self.lengths]
            return
        self.end_bar(ends_part=True)
        self.before_ending = [] if number[0] == "1" else self.before_ending
        self.lengths += self.before_ending

    def _begin_tuplet(self, notes: int, time: str | None, count: str | None) -> None:
        by_meter = 3 if self.meter.startswith(_COMPOUND_METERS) else 2
        self.tuplet_factor = Fraction(int(time or _TUPLET_TIMES.get(notes, by_meter)), max(notes, 1))
        self.tuplet_notes = int(count or notes)

    def _add_note(self, factor: Fraction) -> None:
        tuplet_factor = self.tuplet_factor if self.tuplet_notes else 1
        self.lengths.append(self.unit * factor * self.next_factor * tuplet_factor)
        self.tuplet_notes, self.next_factor = max(self.tuplet_notes - 1, 0), Fraction(1)

    def _add_rest(self, bars: int) -> None:
        for index in range(min(bars, _MAX_REST_BARS)):
            if index:
                self.end_bar(ends_part=False)
            self.lengths.append(_parse_meter(self.meter) or Fraction(1))

    def _break_rhythm(self, marks: str) -> None:
        """`>` lengthens the note before it and shortens the next; `<` the other way round."""
        short = Fraction(1, 2 ** len(marks))
        last, self.next_factor = (2 - short, short) if marks[0] == ">" else (short, 2 - short)
        self.lengths[-1] *= last


def _length_factor(match: re.Match[str], prefix: str = "") -> Fraction:
    """`3`, `/`, `3/2` or `//` after a note or a chord, as a factor."""
    over, slashes, under = (match[prefix + part] for part in ("over", "slashes", "under"))
    return Fraction(int(over or 1), max(1, int(under or 2) * 2 ** (len(slashes) - 1)) if slashes else 1)


def _parse_fraction(text: str) -> Fraction | None:
    match = re.match(r"(\d+)/(\d+)", text)
    return Fraction(int(match[1]), int(match[2])) if match and int(match[2]) else None


def _parse_meter(text: str) -> Fraction | None:
    """The length of a bar, in whole notes, by the field M: (6/8, C, C|, 2+3/8, (2+2+3)/8); None without a meter."""
    text = text.replace(" ", "")
    if text.startswith("C"):
        return Fraction(1)
    match = re.match(r"\(?(\d+(?:\+\d+)*)\)?/(\d+)", text)
    if not match or not int(match[2]):
        return None
    return Fraction(sum(map(int, match[1].split("+"))), int(match[2])) or None


def _read_score(tune: str) -> Any:
    """music21's score of one tune."""
    music21 = import_music21()
    lines = tune.splitlines()
    if missing := [field for field in REQUIRED_FIELDS if not any(line.startswith(field) for line in lines)]:
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


def write_midi(tune: str, path: Path) -> Path:
    """Write a tune as a MIDI file. Raises as `parse_tune` does."""
    parse_tune(tune)
    _read_score(tune).write("midi", str(path))
    return path


def import_music21() -> Any:
    try:
        import music21
    except ImportError:
        raise ValueError("reading tunes needs music21: pip install -e '.[music]'") from None
    return music21
