"""The page of experiments/explore.py for encoder–decoders: one HTML file that needs no network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from experiments.inspection.activations import Tokens
from experiments.inspection.bridges import NUM_REPLACEMENTS, BridgeReading
from experiments.inspection.html_page import SCRIPTS, join_scripts, style_context
from experiments.inspection.page_data import label_tokens, pack_array, script_json
from experiments.reporting.html_report import make_environment
from training import files

_SCRIPTS = ("basics", "maps", "paint", "sentence", "bridge", "begin")


def write_bridge_page(
    out: Path, text: str, row: Tokens, task: Any, names: Sequence[str], readings: Sequence[BridgeReading], command=""
) -> Path:
    """Write the page for one row of the task that all the models are trained on."""
    start = int((row == task.separator).argmax())
    following = [*row[start + 1 :].tolist(), task.end]
    page = (
        make_environment(SCRIPTS.parent)
        .get_template("page/bridge.html.jinja")
        .render(
            text=text,
            readings=readings,
            replacements=NUM_REPLACEMENTS,
            steps=_compare_steps(row, following, names, readings),
            command=command,
            data=Markup(script_json(_collect_data(row, following, names, readings))),
            script=Markup(join_scripts(_SCRIPTS)),
            **style_context([one.name for one in readings]),
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(out, page.encode("utf-8", "replace"))
    return out


def _collect_data(
    row: Tokens, following: Sequence[int], names: Sequence[str], readings: Sequence[BridgeReading]
) -> dict[str, Any]:
    bridges = [
        {"weights": [pack_array(weights) for weights in one.weights], "occlusion": pack_array(one.occlusion)}
        for one in readings
    ]
    start = len(row) - len(following)
    return {
        "tokens": label_tokens([names[int(token)] for token in row]),
        "next": label_tokens([names[token] for token in following]),
        "start": start,
        "bridges": bridges,
        "chosen": {"token": min(start + 1, len(row) - 1), "layer": 0, "head": 0},
        "path": {"blocks": []},
        "models": [],
    }


def _compare_steps(
    row: Tokens, following: Sequence[int], names: Sequence[str], readings: Sequence[BridgeReading]
) -> list[dict[str, Any]]:
    """For every step of the target: what it follows, what comes next, and of each model the likeliest token, its
    probability and that of what comes next."""
    after = row[-len(following) :].tolist()
    return [
        {
            "after": names[before],
            "next": names[token],
            "models": [
                (names[int(p.argmax())], float(p.max()), float(p[token]))
                for p in (one.probabilities[step] for one in readings)
            ],
        }
        for step, (before, token) in enumerate(zip(after, following, strict=True))
    ]
