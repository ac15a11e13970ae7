"""Tunes by hand, tunes of people, and what is no tune."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.sources import irish, oneill
from experiments.measures import abc_notation
from experiments.measures.sampling import check_tunes
from tests.experiments.measures import TUNE


def test_what_is_heard_in_a_tune():
    """Two bars of eight quavers, and one of half as many."""
    assert abc_notation.parse_tune(TUNE) == abc_notation.TuneContents(notes=8 + 4 + 3, bars=3, full_bars=2)


@pytest.mark.parametrize(
    ("body", "bars", "full"),
    [
        # bar lines: none, one, doubled, at a line's begin, in pieces
        ("CDEF GABc", 1, 1),
        ("CDEF GABc d", 1, 0),
        ("CDEF GAB", 1, 0),
        ("CDEF GABc|c2BA G4", 2, 2),
        ("CDEF GABc|\n|c2BA G4||\n|:c8:|\n", 3, 3),
        ("[|CDEF GABc|c2BA G4|]c8:||:d8::e8:|:f8|]", 6, 6),
        ("CDEF GABc.|c2BA|", 2, 1),
        # upbeats: with the last bar of their own part, of the one before, of the tune; or with nothing
        ("G|CDEF GABc|c2BA G3:|", 2, 2),
        ("CDEF GABc|c2BA G3:|:c|CDEF GABc|c2BA G3:|", 4, 4),
        ("c|d8|d8||d8|e7|]", 4, 4),
        ("G2|CDEF GABc|c2BA G3:|", 2, 1),
        ("G|CDEF GABc|c2BA G4:|", 2, 2),
        ("G|CDEF GAB|c2BA G3:|", 2, 1),
        ("CDEF GABc|c2BA G3:|", 2, 1),
        ("CD|EF|GA|", 2, 0),
        # endings: behind a bar line, inside a bar, with an upbeat of their own
        ("G|CDEF GABc|1c2BA G3:|2c2BA G4|]", 3, 3),
        ("CDEF GABc |[1 c8:|[2 d8 | e8 || [3 f8 |]", 5, 5),
        ("c8|A4[1B4:|[2c4||B4[1A4:|2c5||c4||", 6, 4),
        ("A|b8|c7|\n[1A|b8|c7:|\n[2 c|d8|c7|]", 6, 6),
        ("c8|1,3 d8:|2 e8:|", 3, 3),
        # lengths, rests, chords, ties, accidentals, octaves
        ("C/D/E/F/ C3/2D/ C//D//C/4D/4 C1 zx|", 1, 1),
        ("^C_D=E^^F__G,A,,b'c''|", 1, 1),
        ("[CEG]2[C2E2]2 [C/E/][CE]/z|", 1, 1),
        ("C4-C4-|C8|Z|Z2|X3|Z\nC8|", 9, 8),
        ("A2`B`2|", 1, 0),
        # broken rhythm, over spaces and grace notes, doubled
        ("C>D E<F G>>A B<<c|C >D E> {d}F G2A2|", 2, 2),
        # tuplets, of more notes, of chords and rests, with all three numbers
        ("(3CDE (3FGA (3[CE]zD B2|", 1, 1),
        ("(2CDE2 (4CDEF E2|(3:2:4C>DEF E4|(3::2CDE6/3 E4 (0|", 3, 0),
        ("(6CDEFGA (5CDEFG (7CDEFGAB (9CDEFGABcd|", 1, 1),
        ("(3:4:2CD (3:4:1E C4|(3::C2D2E2 C4|", 2, 2),
        # what lasts no time: grace notes, texts, decorations, slurs, space, comments, other voices of the bar
        ('{cd}C"Am7"D!trill!E+fermata+F (G~A).Bvc|{/g}C2y3D2uETFHGc|', 2, 2),
        ("CDEF % GABc|c8|\nGABc|%\n%%vskip CDE\nC8|", 2, 2),
        ('"100 % C|D"C8|', 1, 1),
        ("CDEF \\\nGABc|\\\nC8|!\nC8|!", 3, 3),
        ("C8&E4G4&c8|C8&E2|", 2, 2),
        # fields in the tune and inside of it
        ("C8|\nM:3/4\nC6|D6|\nM:C|\nC8|", 4, 4),
        ("C8|[M:6/8]C6|D6|[M:2/4]C4|C8|", 5, 4),
        ("C8|[L:1/16]C16|[L:1/8][K:G]C8|\nL:1/4\nC4|", 4, 4),
        ("C8|\nP:B\nw:a b c|d e f|\nC8|\nK:Am\nV:1\nC8|", 3, 3),
        ("C8|[M:2+3/8]C5|[M:(2+2+3)/8]C7|[M:none]C9|D2|[M:C|]C8|", 4, 4),
        ("A:|\nC8|", 2, 1),
    ],
)
def test_bars_are_counted_as_they_are_written(body: str, bars: int, full: int):
    found = abc_notation.split_bars(f"X:1\nT:t\nM:4/4\nL:1/8\nK:C\n{body}")
    assert abc_notation.count_full_bars(found) == (bars, full)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("M:2/4", "C8|C4D4|"),  # below 3/4 a sixteenth, else an eighth
        ("M:5/8", "C10|"),
        ("M:3/4", "C6|"),
        ("M:6/8", "C6|C>DE (2CD|"),
        ("M:C", "C8|"),
        ("M:C|\nL:1/4", "C4|"),
        ("L:1/4\nM:3/2 % slow", "C6|"),
        ("M:2/4", "C8|\nM:4/4\nC16|"),  # the first metre says it for all
        ("M:9/8", "(2CD C6|(4CDEF C6|(5CDEFG C6|"),
    ],
)
def test_the_length_of_a_note_is_that_of_the_metre_unless_given(header: str, body: str):
    found = abc_notation.split_bars(f"X:1\nT:t\n{header}\nK:C\n{body}")
    bars, full = abc_notation.count_full_bars(found)
    assert bars == full == body.count("|")


@pytest.mark.parametrize("metre", ["none", "", "x", "4/0", "0/4"])
def test_without_a_metre_no_bar_is_counted(metre: str):
    assert abc_notation.count_full_bars(abc_notation.split_bars(f"X:1\nT:t\nM:{metre}\nK:C\nC8|C2|")) == (0, 0)


def test_no_writing_stops_the_count():
    """Whatever a model writes, in no time."""
    random = np.random.default_rng(0)
    letters = list("|:[]()<>/{}!\"&%ABcdzZX0123456789'^-\n M")
    for _ in range(300):
        abc_notation.count_full_bars(
            abc_notation.split_bars("X:1\nM:4/4\nK:C\n" + "".join(random.choice(letters, 200)))
        )
    for text in (
        "C>>" * 200,
        "C" + "/" * 600,
        "Z999999999|",
        "C" + "9" * 500,
        "[" * 600,
        "|:" * 300,
        "(9" * 300,
        '"' * 599,
    ):
        abc_notation.count_full_bars(abc_notation.split_bars(f"X:1\nM:4/4\nK:C\n{text}"))


def people(source: Callable[[], list[str]]) -> list[str]:
    try:
        return source()
    except (OSError, ValueError) as error:
        pytest.skip(f"the data are not there: {error}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("source", "least"), [(irish.read_source, 0.998), (oneill.read_source, 0.984)])
def test_what_people_wrote_parses_and_is_full(source: Callable[[], list[str]], least: float):
    """99 of 100 tunes or more; what is left of the bars are slips, each looked at: bars of 7/8 in 4/4 and the like."""
    some = people(source)
    counted = [abc_notation.count_full_bars(abc_notation.split_bars(tune)) for tune in some]
    bars, full = map(sum, zip(*counted, strict=True))
    assert least < full / bars < least + 0.002
    without = [tune for tune, (bars, _) in zip(some, counted, strict=True) if not bars]
    assert len(without) == {irish.read_source: 2, oneill.read_source: 0}[source]  # which have no notes
    lacking = [tune for tune in some if "\nL:" not in tune]
    assert len(lacking) == {irish.read_source: 0, oneill.read_source: 135}[source]
    sample = [*some[::50], *lacking[::10]]
    assert check_tunes(sample).parsed_share >= 0.99


@pytest.mark.parametrize(
    ("tune", "says"),
    [
        ("hello", "it has no field X:"),
        (TUNE.replace("M:4/4\n", ""), "it has no field M:"),
        (TUNE.replace("K:C\n", ""), "it has no field K:"),
        (TUNE.split("CDEF")[0], "it has no note"),
        (TUNE + "\n" + TUNE.replace("X:1", "X:2"), "it is more than one tune: a second field X: begins another"),
        (TUNE + "##qq^^^^", r"music21 can't read it \(.*\)"),
    ],
)
def test_what_is_no_tune(tune: str, says: str):
    with pytest.raises(ValueError, match=f"^{says}$") as caught:
        abc_notation.parse_tune(tune)
    assert "\n" not in str(caught.value)


def test_a_tune_can_be_played(tmp_path: Path):
    path = abc_notation.write_midi(TUNE, tmp_path / "tune.mid")
    assert path.read_bytes()[:4] == b"MThd"
    assert len(abc_notation.import_music21().converter.parse(str(path)).flatten().notes) == 15


def test_the_length_of_a_note_need_not_be_given():
    assert abc_notation.parse_tune(TUNE.replace("L:1/8\n", "")) == abc_notation.parse_tune(TUNE)
