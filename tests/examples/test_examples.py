"""Every script of examples/ runs to its end and prints what it promises."""

import importlib
from pathlib import Path

import pytest

import models
import tasks
from tests import ROOT

SAYS = {
    "quickstart": "whole and streamed outputs differ by",
    "add_a_mixer": "moving_average: test accuracy",
    "add_a_task": "majority: test accuracy",
    "add_a_data_set": "Ω and ß among them: True",
    "own_data": "Größe, test bits per byte",
    "in_a_notebook": "heads (4, 5, 5)",
    "first_study": "32 units recall more than 2 do",
}


def test_every_example_is_run_here():
    """Or in test_serve_exported.py, in a process without this code."""
    examples = {path.stem for path in (ROOT / "examples").glob("[a-z]*.py")}
    assert examples == {*SAYS, "serve_exported"}


@pytest.mark.parametrize("name", SAYS)
def test_it_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for registry in (models.MIXERS, tasks.TASKS):  # what an example registers is gone afterwards
        for key in ("moving_average", "majority"):
            monkeypatch.setitem(registry, key, registry.get(key))
            monkeypatch.delitem(registry, key)
    importlib.import_module(f"examples.{name}").main(tmp_path / name)
    assert SAYS[name] in capsys.readouterr().out
