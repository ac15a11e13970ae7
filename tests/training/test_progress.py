import io
import re

import pytest
from rich.console import Console

from training import progress
from training.progress import ProgressBar, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3599.6, "1:00:00"), (4000, "1:06:40"), (-3, "0:00")]
)
def test_a_clock_reads_as_people_write_it(seconds, text):
    assert format_duration(seconds) == text


def test_away_from_a_terminal_each_line_says_how_far_how_fast_and_how_long(monkeypatch, capsys):
    now = iter([0.0, *(10.0 * i for i in range(1, 9))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with ProgressBar("recall", 300) as shown:
        for done in (100, 200, 300):
            shown.update(done, loss=0.51234, accuracy=0.75)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "recall: compiling"
    assert re.fullmatch(r"recall: 100/300  loss 0\.5123  accuracy 0\.75", lines[1])  # no rate: that was compilation
    assert re.fullmatch(r"recall: 200/300  loss .*  10 steps/s  0:10 left", lines[2])
    assert lines[3].startswith("recall: 300/300")
    assert len(lines) == 4


def test_plain_lines_come_seconds_apart_but_the_last_always(monkeypatch, capsys):
    now = iter([0.01 * i for i in range(1000)])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with ProgressBar("quick", 100) as shown:
        for done in range(1, 101):
            shown.update(done, loss=1.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[-1].startswith("quick: 100/100")


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=120))
    with ProgressBar("recall", 10) as shown:
        shown.update(5, loss=0.5)
        assert shown.bar
        shown.bar.refresh()
    assert "5/10  loss 0.5" in screen.getvalue()
