"""`python -m models`, and that everything it lists lowers for every platform."""

import subprocess
import sys

import pytest

import models
from models import cost
from models.__main__ import COST_COLUMNS, PLATFORMS, cost_rows, lowering_platforms, mixer_programs


@pytest.mark.parametrize("name", models.MIXERS)
def test_it_lowers_for_every_platform(name: str):
    """Forward pass, gradient and a streamed step; whether a TPU then runs it, only a TPU can tell."""
    for function, shapes in mixer_programs(name, width=8, length=6, hidden_size=8).values():
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
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--only=mingru,dense", "--width=16", "--length=8"], 0, "Feng et al. 2024"),
        (["--only=mingu"], 1, "--only=mingu: must be one of dense,"),
        (["--width=0"], 1, "--width=0: must be 1 or more"),
        (["--help"], 0, "python -m models --width=128"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_command(words: list[str], code: int, said: str):
    done = subprocess.run(
        [sys.executable, "-m", "models", *words], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
