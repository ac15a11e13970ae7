"""Markdown tables of what is registered: the mixers, with where each is from and what it carries along."""

import inspect
from pathlib import Path
from typing import Any

import models
from experiments.reporting.html_report import markdown_table
from models import cost
from models.__main__ import mixer_programs

_REPOSITORY = Path(__file__).parents[2]
WIDTH, CONTEXT = 64, 256  # features of a token, and tokens read, at which states are counted


def models_table() -> str:
    """One row per mixer: name, paper, the file that holds it, and the floats of its state after CONTEXT tokens."""
    rows = []
    for name in models.MIXERS:
        file = Path(inspect.getfile(models.mixer_class(name))).relative_to(_REPOSITORY)
        rows.append([f"`{name}`", models.MIXERS[name].paper, f"[{file.stem}]({file})", f"{state_floats(name):,}"])
    return markdown_table(["mixer", "paper", "file", "state"], rows)


def state_floats(mixer: str) -> int:
    """Floats that a mixer of attention's parameters carries from one token to the next; nothing is computed."""
    arguments: Any = mixer_programs(mixer, WIDTH, CONTEXT)["step"][1]
    return cost.count_state_floats(arguments[2])
