"""Tunes in ABC notation: does music21 read them, how many bars are as long as the metre says, and how do they sound?

Bars are counted from the text, by the ABC standard 2.1 (abcnotation.com/wiki/abc:standard:v2.1), in tunes of one voice:
music21 makes none where there are fewer than two bar lines, and keeps to the first metre.
"""

import io
import re
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

# Number, title, metre and key. The standard lets a tune go without a metre, by which its bars could not be told.
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
_FIRST_NOTE = re.compile(_NOTE_PATTERN)  # the first of a chord says how long that lasts
_TUPLET_TIMES = {
    2: 3,
    3: 2,
    4: 3,
    6: 2,
    8: 3,
}  # so many notes in the time of so many others; 5, 7 and 9 go by the metre
_MAX_REST_BARS = 99  # bars of one rest, so that a slip of the pen does not fill the memory


class TuneContents(NamedTuple):
    """What a tune holds: notes, bars, and how many of these last as long as the metre says.

    A bar is what stands between two bar lines, or before the first or behind the last. The tune has parts: double bars,
    repeats and numbers of endings are between them. What a part begins with, if shorter than a bar, is an upbeat, and
    no bar of its own; the last bar of a part is full too where it is so with one of the tune's upbeats. Of a tune
    without a metre ("M:none") no bars are counted.
    """

    notes: int
    bars: int
    full_bars: int


class Bar(NamedTuple):
    """Its length and that of the metre, in whole notes, and whether it is the first and the last of a part."""

    length: Fraction
    meter: Fraction | None
    starts_part: bool
    ends_part: bool

    @property
    def is_upbeat(self) -> bool:
        return self.meter is not None and self.starts_part and not self.ends_part and self.length < self.meter


def parse_tune(tune: str) -> TuneContents:
    """What a tune holds. Raises ValueError, in one line, for one that music21 can't read, that lacks one of the FIELDS,
    or that has no note."""
    notes = len(_read_score(tune).flatten().notes)
    if not notes:
        raise ValueError("it has no note")
    return TuneContents(notes, *count_full_bars(split_bars(tune)))


def count_full_bars(bars: Sequence[Bar]) -> tuple[int, int]:
    """How many bars there are, and how many of them are full; see Heard."""
    upbeats = {bar.length for bar in bars if bar.is_upbeat}
    there = [bar for bar in bars if bar.meter is not None and not bar.is_upbeat]
    return len(there), sum(
        bar.length == bar.meter or (bar.ends_part and (bar.meter or 0) - bar.length in upbeats) for bar in there
    )


def split_bars(tune: str) -> list[Bar]:
    """The bars of a tune, upbeats among them."""
    header, _, body = tune.replace("\r\n", "\n").partition("\nK:")
    given = {line[0]: line[2:].strip() for line in header.splitlines() if line[1:2] == ":"}
    signature = given.get("M", "none")
    unit = _parse_fraction(given.get("L", "")) or Fraction(
        1, 16 if (_parse_meter(signature) or 1) < Fraction(3, 4) else 8
    )
    found: list[Bar] = []
    lengths: list[Fraction] = []  # of the notes since the last bar line
    longest = Fraction(0)  # of the voices before an "&" in this bar
    shared: list[Fraction] = []  # what a bar has of its endings begin with that begin inside of it
    begins = True
    factor, left, swing = Fraction(1), 0, Fraction(1)  # of so many notes of a tuplet; of the note behind a > or <

    def end(part: bool) -> None:
        """Of a bar, and of a part."""
        nonlocal begins, longest
        if lengths:
            found.append(Bar(max(sum(lengths, Fraction(0)), longest), _parse_meter(signature), begins, part))
            lengths.clear()
            begins = False
        elif part and found:
            found[-1] = found[-1]._replace(ends_part=True)
        begins, longest = begins or part, Fraction(0)

    for token in _TOKEN.finditer(body.partition("\n")[2]):
        one = token.groupdict()
        if name := one["field"] or one["inline"]:
            value = (one["value"] or one["here"] or "").strip()
            signature = value if name == "M" else signature
            unit = (_parse_fraction(value) or unit) if name == "L" else unit
        elif ending := (one["ending"] or one["variant"] or "").lstrip("["):
            if one["variant"] and lengths:
                shared = [*lengths]
                continue
            end(True)
            shared = [] if ending[0] == "1" else shared
            lengths += shared
        elif one["bar"]:
            end(one["bar"] != "|")
            shared = shared if one["bar"] == "|" else []
        elif one["tuplet"]:
            notes = int(one["tuplet"])
            time = int(one["time"] or _TUPLET_TIMES.get(notes, 3 if signature.startswith(("6/", "9/", "12/")) else 2))
            factor, left = Fraction(time, max(notes, 1)), int(one["count"] or notes)
        elif first := _FIRST_NOTE.search(one["note"] or one["chord"] or ""):
            lasts = _length_factor(first) * (_length_factor(token, "all_") if one["chord"] else 1)
            lengths.append(unit * lasts * swing * (factor if left else 1))
            left, swing = max(left - 1, 0), Fraction(1)
        elif one["rest"] is not None:
            for bar in range(min(int(one["rest"] or 1), _MAX_REST_BARS)):
                if bar:
                    end(False)
                lengths.append(_parse_meter(signature) or Fraction(1))
        elif (marks := one["broken"]) and lengths:
            short = Fraction(1, 2 ** len(marks))
            long, swing = (2 - short, short) if marks[0] == ">" else (short, 2 - short)
            lengths[-1] *= long
        elif one["overlay"]:
            longest = max(longest, sum(lengths, Fraction(0)))
            lengths.clear()
    end(True)
    return found


def _length_factor(found: re.Match[str], name: str = "") -> Fraction:
    """`3`, `/`, `3/2`, `//` behind a note or a chord, as a factor."""
    over, slashes, under = (found[name + part] for part in ("over", "slashes", "under"))
    return Fraction(int(over or 1), max(1, int(under or 2) * 2 ** (len(slashes) - 1)) if slashes else 1)


def _parse_fraction(text: str) -> Fraction | None:
    found = re.match(r"(\d+)/(\d+)", text)
    return Fraction(int(found[1]), int(found[2])) if found and int(found[2]) else None


def _parse_meter(text: str) -> Fraction | None:
    """The length of a bar, in whole notes, that `M:` names: 6/8, C, C|, 2+3/8, (2+2+3)/8; None where it is free."""
    text = text.replace(" ", "")
    if text.startswith("C"):
        return Fraction(1)
    found = re.match(r"\(?(\d+(?:\+\d+)*)\)?/(\d+)", text)
    if not found or not int(found[2]):
        return None
    return Fraction(sum(map(int, found[1].split("+"))), int(found[2])) or None


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
