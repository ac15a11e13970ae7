"""The table of all mixers with their papers, files and states, from the registry of models."""

import models
from experiments.reporting.html_report import markdown_table
from experiments.reporting.publishing import Publication
from models import cost
from models.__main__ import mixer_programs

WIDTH, LENGTH = 64, 256


def models_table() -> str:
    """Tabulate the mixers; their state is that of one mixer of width 64 after 256 tokens, in floats."""
    rows = []
    for name, entry in models.MIXERS.items():
        _, (_, _, state, _) = mixer_programs(name, WIDTH, LENGTH)["step"]
        module = entry.mixer_class.__module__
        link = f"[{module.split('.')[-1]}](../{module.replace('.', '/')}.py)"
        rows.append([f"`{name}`", entry.paper, link, f"{cost.count_state_floats(state):,}"])
    return markdown_table(["mixer", "paper", "file", "state"], rows)


def build_models() -> Publication:
    """Return the table of mixers of docs/models.md."""
    return {"models": models_table()}
