"""`python -m models`, and that everything it lists lowers for every platform."""

import subprocess
import sys

import pytest

import models
from models import cost
from models.__main__ import COST_COLUMNS, PLATFORMS, cost_rows, lowering_platforms, main, mixer_programs


@pytest.mark.parametrize("name", models.MIXERS)
def test_it_lowers_for_every_platform(name: str):
    """The gradient, with the forward pass in it, and a streamed step; whether a TPU runs them, only a TPU can tell."""
    programs = mixer_programs(name, width=8, length=6, hidden_size=8)
    for function, shapes in (programs["gradient"], programs["step"]):
        assert lowering_platforms(function, shapes) == PLATFORMS


def test_every_mixer_says_where_it_comes_from():
    assert models.MIXERS
    assert all(entry.paper for entry in models.MIXERS.values())


def test_its_figures_are_those_of_the_model():
    """An LSTM of 64: parameters and state by hand, and a chain that grows with length."""
    (row,) = cost_rows(["lstm"], width=64, length=20)
    told = dict(zip(COST_COLUMNS, row, strict=True))
    n = models.match_hidden_size("lstm", 64, 20, **models.mixer_options("lstm"))
    count = 64 * 4 * n + n * 4 * n + 4 * n + n * 64 + 64
    assert int(told["parameters"].replace(",", "")) == count
    assert int(told["state"]) == 2 * n
    assert int(told["depth"]) == cost.critical_path(
        *mixer_programs("lstm", 64, 20)["forward"][:1], *mixer_programs("lstm", 64, 20)["forward"][1]
    )
    assert 2 * count < int(told["stream/token"].replace(",", "")) < 2.2 * count
    assert 6 * count < int(told["train/token"].replace(",", "")) < 6.8 * count
    assert "(run)" in told["lowers for"]


@pytest.mark.timeout(100)
def test_the_command():
    words = [sys.executable, "-m", "models", "--only=mingru,dense", "--width=16", "--length=8"]
    process = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
    assert process.returncode == 0
    assert "Feng et al. 2024" in process.stdout
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("word", "code", "message"),
    [
        ("--only=mingu", 1, "--only=mingu: must be one of dense,"),
        ("--width=0", 1, "--width=0: must be 1 or more"),
        ("--help", 0, "python -m models --width=128"),
    ],
)
def test_what_the_command_says(
    word: str, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["models", word])
    with pytest.raises(SystemExit) as exited:
        main()
    output = capsys.readouterr()
    assert exited.value.code == code
    assert message in output.out + output.err
