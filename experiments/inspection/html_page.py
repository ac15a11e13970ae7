"""The page of experiments/explore.py: one HTML file that needs no network.

Text is escaped, or put in by `textContent`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from experiments.inspection import heads as head_roles
from experiments.inspection.influence import MIN_PAIRS, mean_by_distance
from experiments.inspection.page_data import SearchPanel, collect_page_data, counting_units, script_json
from experiments.inspection.reading import ModelReading, taken_apart
from experiments.inspection.stages import (
    DIVERGING_RAMP,
    RECURRENCE_EQUATIONS,
    SEQUENTIAL_RAMP,
    path_stages,
    position_note,
)
from experiments.reporting import charts
from experiments.reporting.html_report import make_environment
from tasks.real.words import split_words
from training import files

SCRIPTS = Path(__file__).with_name("page")
# In this order, of which later ones use what earlier ones define.
SCRIPT_NAMES = (
    "basics", "maps", "paint", "sentence", "path", "heads", "influence", "recurrence", "units", "softmax", "search",
    "begin",
)  # fmt: skip
MAX_COUNTING = 10  # units that are listed
_EXAMPLE_QUERIES = (
    "ghost of my father",
    "a fool in the storm",
    "the moor and the handkerchief",
    "pound of flesh",
    "the crown of england",
    "sea, storm and spirits",
)


def write_page(
    out: Path,
    text: str,
    tokens: np.ndarray,
    names: Sequence[str],
    outputs: Sequence[str],
    readings: Sequence[ModelReading],
    panel: SearchPanel | None,
    command: str = "",
    about: str = "",
) -> Path:
    """Write the page for one sentence: the path through one model, and the influence in all of them.

    `about` says what text the models were trained on, to a reader who has not seen it.
    """
    shown = taken_apart(readings)
    heads = head_roles.sort_by_role(shown.heads)
    data = collect_page_data(tokens, names, outputs, readings, shown, heads, panel)
    page = (
        make_environment(SCRIPTS.parent)
        .get_template("page/page.html.jinja")
        .render(
            text=text,
            readings=readings,
            shown=shown,
            heads=heads,
            panel=panel,
            queries=_example_queries(panel.words) if panel else [],
            command=command,
            about=about,
            data=Markup(script_json(data)),
            script=Markup(join_scripts(SCRIPT_NAMES)),
            **_path_context(shown, bool(heads)),
            **_head_context(),
            **_influence_context(readings),
            **_recurrence_context(readings),
            **style_context([one.name for one in readings]),
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(out, page.encode("utf-8", "replace"))
    return out


def join_scripts(names: Sequence[str]) -> str:
    return "\n".join((SCRIPTS / f"{name}.js").read_text("utf-8") for name in names)


def _path_context(shown: ModelReading, has_heads: bool) -> dict[str, Any]:
    """The stages of the path, and the names of the layers."""
    blocks = shown.activations.blocks
    attention = next((block.attention for block in blocks if block.attention), None)
    return {
        "stages": [stage._replace(equation=Markup(stage.equation)) for stage in path_stages(shown)],
        "positions": position_note(shown),
        "layers": [
            f"{index + 1}" + ("" if block.attention or not has_heads else " (no attention)")
            for index, block in enumerate(blocks)
        ],
        "count": 0 if attention is None else len(attention.query),
        "normalizer": shown.run.config["model"].get("attention", {}).get("normalizer", "softmax"),
    }


def _head_context() -> dict[str, Any]:
    return {"roles": head_roles.HEAD_ROLES, "measures": head_roles.HEAD_MEASURES, "clear": head_roles.MIN_EXCESS}


def _influence_context(readings: Sequence[ModelReading]) -> dict[str, Any]:
    """Influence against distance, for the table."""
    curves = [[mean_by_distance(influence) for influence in one.influence] for one in readings]
    farthest = len(curves[0][0])  # of the first model's occlusion
    return {
        "expecting": any(one.run.task.next_tokens for one in readings),
        "pairs": MIN_PAIRS,
        "distances": [0, *(2**i for i in range(12) if 2**i < farthest)],
        "curves": curves,
        "square": all(one.run.task.target_level == "token" for one in readings),
    }


def _recurrence_context(readings: Sequence[ModelReading]) -> dict[str, Any]:
    """The models with a recurrence, the gates that they have, how many layers and heads at most, their probes, and the
    units that count."""
    recurrent = [one for one in readings if any(one.recurrences)]
    blocks = [block for one in recurrent for block in one.recurrences if block]
    probes = [
        (f"{one.name}, layer {index + 1}", probe)
        for one in recurrent
        for index, probe in enumerate(one.probes)
        if probe is not None
    ]
    counting = [
        {
            "name": one.name,
            "model": index,
            "block": block,
            "unit": int(found.units[place]),
            "time_constant": None if found.time_constants is None else found.time_constants[place],
            "on_test": on_test,
            "here": None if found.line_correlations is None else found.line_correlations[place],
        }
        for index, one in enumerate(recurrent)
        for block, (found, probe) in enumerate(zip(one.recurrences, one.probes, strict=True))
        if found is not None and found.units is not None
        for place, on_test in counting_units(found, probe)
    ]
    counting = sorted(counting, key=lambda one: -abs(one["on_test"]))[:MAX_COUNTING]
    return {
        "recurrent": recurrent,
        "gates": list(dict.fromkeys(name for block in blocks for name in block.gates)),
        "has_states": any(block.states for block in blocks),
        "counting": counting,
        "counting_sequences": probes[0][1].sequences if probes else 0,
        "has_kept": any(block.kept is not None for block in blocks),
        "has_memory": any(block.memory is not None for block in blocks),
        "has_eigenvalues": any(block.eigenvalues is not None for block in blocks),
        "deepest": max((len(one.recurrences) for one in recurrent), default=0),
        "most_heads": max((len(block.weights) for block in blocks if block.weights is not None), default=0),
        "probes": probes,
        "probe_distances": sorted({distance for _, probe in probes for distance in probe.accuracy}),
        "recurrence_equations": {name: Markup(text) for name, text in RECURRENCE_EQUATIONS.items()},
    }


def style_context(names: Sequence[str]) -> dict[str, Any]:
    """Colors, ramps, and the style of each model's lines."""
    return {
        "colors": charts.DARK_COLORS,
        "ramps": {"rising": " ".join(SEQUENTIAL_RAMP), "diverging": " ".join(DIVERGING_RAMP)},
        "styles": charts.assign_styles(names),
    }


def _example_queries(words: Sequence[str]) -> list[str]:
    """The example queries whose words the search model knows; or else the first of its words."""
    known = set(words)
    queries = [query for query in _EXAMPLE_QUERIES if known.issuperset(split_words(query.replace(",", "")))]
    return queries or [*words[1:2]]
