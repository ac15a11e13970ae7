"""The page of experiments/explore.py, and the arrays that it holds.

One HTML file that needs no network. Arrays are little-endian float32 in base 85, of causal maps only the half that
there is; what is a sum of two others is added up in the page, as float32 too. Text is escaped, or put in by
`textContent`.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.inspection import activations
from experiments.inspection.stages import (
    DIVERGING_RAMP,
    MAX_OUTPUTS,
    SEQUENTIAL_RAMP,
    ModelReading,
    path_stages,
    position_note,
)
from experiments.reporting import charts
from tasks.real.words import split_words
from training import files

TEMPLATE = Path(__file__).with_name("page.html.jinja")
SCRIPT = Path(__file__).with_name("page.js")
_EXAMPLE_QUERIES = ("ghost of my father", "a fool in the storm", "the moor and the handkerchief", "pound of flesh")
_EXAMPLE_QUERIES += ("the crown of england", "sea, storm and spirits")


class SearchPanel(NamedTuple):
    """What a search needs: the model, its words (the first is no word), and title, kind and year of each class."""

    search: activations.SearchModel
    words: Sequence[str]
    titles: Sequence[tuple[str, str, int]]
    told: str


# ---- the arrays that it holds ---------------------------------------------------------------------------------------


def _pack_array(x: np.ndarray, causal: bool = False) -> dict[str, Any]:
    """An array for the page; of causal maps [*H, T, T], row by row what is not ahead."""
    values = x[..., *np.tril_indices(x.shape[-1])] if causal else x
    return {"shape": list(x.shape), "packed": causal, "data": _encode_base85(values, "<f4")}


def _encode_base85(x: np.ndarray, dtype: str) -> str:
    """Numbers as text that needs no escape anywhere: Python's base 85, with , . : for < > &, and zeros at the end up to
    a multiple of four bytes. Base 64 would take 7 % more."""
    data = np.ascontiguousarray(x, dtype).tobytes()
    return base64.b85encode(data + bytes(-len(data) % 4)).translate(bytes.maketrans(b"<>&", b",.:")).decode()


def _path_data(reading: ModelReading) -> dict[str, Any]:
    """The arrays of `inside`, but for what the page adds up itself; empty cells in what a query may not see."""
    run, found = reading.run, reading.activations
    model = run.config["model"]
    adds = model["residual"] and model["norm"] != "post"
    blocks = []
    for block in found.blocks:
        some: dict[str, Any] = {
            name: x if x is None else _pack_array(x) for name, x in block._replace(attention=None)._asdict().items()
        }
        for name in ["added", "after"] if adds else []:
            some[name] = None
        if block.attention:
            seen = np.asarray(activations.visible_keys(run, len(found.placed)))
            for name, x in block.attention._asdict().items():
                pairs = name in ("scores", "weights")
                some[name] = _pack_array(np.where(seen, x, np.nan), bool(model["causal"])) if pairs else _pack_array(x)
        blocks.append(some)
    attention = next((block.attention for block in found.blocks if block.attention), None)
    p = found.probabilities
    best, whole = _top_outputs(p), p.shape[1] <= MAX_OUTPUTS
    number = {output: i for i, output in enumerate(_shown_outputs(p))}
    return {
        "embedding": _pack_array(found.embedding),
        "position": None if found.position is None else _pack_array(found.position),
        "blocks": blocks,
        "final": _pack_array(found.final),
        "probabilities": _pack_array(p) if whole else None,
        "top": None if whole else [[[number[o], float(p[r, o])] for o in row.tolist()] for r, row in enumerate(best)],
        "rows": len(p),
        "heads": 0 if attention is None else len(attention.query),
        "kv_heads": 0 if attention is None else len(attention.key),
    }


def _top_outputs(p: np.ndarray) -> np.ndarray:
    """The ten likeliest outputs of each row, in their order."""
    return np.argsort(-p, axis=1, kind="stable")[:, :10]


def _shown_outputs(p: np.ndarray) -> list[int]:
    """The outputs whose names the page needs: all, or where they are many those that are among the ten likeliest."""
    return list(range(p.shape[1])) if p.shape[1] <= MAX_OUTPUTS else np.unique(_top_outputs(p)).tolist()


def _model_data(readings: Sequence[ModelReading]) -> list[dict[str, Any]]:
    """Both influences of each model, as maps and against distance."""
    looks = charts.assign_styles(reading.name for reading in readings)
    found = []
    for reading in readings:
        one: dict[str, Any] = {"name": reading.name, "colour": looks[reading.name].color[1:]}
        for kind, moved in reading.influence._asdict().items():
            square = len(moved) == moved.shape[1] and reading.run.task.per == "token"
            one[kind] = _pack_array(moved, square and bool(reading.run.config["model"]["causal"]))
            one[f"{kind}_curve"] = files.to_jsonable(activations.mean_by_distance(moved)) if square else []
        found.append(one)
    return found


def _next_token_ranks(reading: ModelReading, tokens: np.ndarray) -> list[tuple[float, int]] | None:
    """Probability and rank that the model gives to the token that does come next."""
    if not reading.run.task.next_tokens:
        return None
    p = reading.activations.probabilities[:-1]
    right = np.take_along_axis(p, tokens[1:, None], axis=1)
    return [(float(x[0]), 1 + int((row > x).sum())) for row, x in zip(p, right, strict=True)]


def _search_data(panel: SearchPanel) -> dict[str, Any]:
    """The search model: a table of halves, the rest as float32."""
    search = panel.search
    return {
        "table": _encode_base85(search.words, "<f2"),
        "features": search.words.shape[1],
        "keys": _pack_array(search.keys),
        "bias": _pack_array(search.bias[None]),
        "words": "\n".join(panel.words),
        "titles": [{"title": title, "kind": kind, "year": year} for title, kind, year in panel.titles],
    }


def _example_queries(words: Sequence[str]) -> list[str]:
    """Those of `_EXAMPLE_QUERIES` whose words a search model knows; or else the first of its words."""
    known = set(words)
    return [query for query in _EXAMPLE_QUERIES if known.issuperset(split_words(query.replace(",", "")))] or [
        *words[1:2]
    ]


def _token_labels(names: Iterable[str]) -> list[dict[str, str]]:
    """Of tokens: what stands in a cell for each, and what is said of it in a sentence."""
    blank = {" ": ("␣", "space"), "\n": ("⏎", "line break"), "\t": ("⇥", "tab"), "": ("∅", "padding")}
    return [
        {"shown": blank[name][0], "said": blank[name][1]} if name in blank else {"shown": name, "said": f"‘{name}’"}
        for name in names
    ]


def script_json(data: Any) -> str:
    """JSON that can stand in a script element whatever is in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


# ---- the page -------------------------------------------------------------------------------------------------------


def write_page(
    out: Path,
    text: str,
    tokens: np.ndarray,
    names: Sequence[str],
    outputs: Sequence[str],
    readings: Sequence[ModelReading],
    panel: SearchPanel | None,
    command: str = "",
) -> Path:
    """Write the page for one sentence. The first of the readings with attention, or else the first, is taken apart."""
    import jinja2
    from markupsafe import Markup

    shown = next((one for one in readings if one.heads), readings[0])
    heads = activations.sort_by_role(shown.heads)
    first: Mapping[str, int] = {"layer": heads[0].block, "head": heads[0].head} if heads else {"layer": 0, "head": 0}
    data = {
        "tokens": _token_labels([names[int(token)] for token in tokens]),
        "outputs": _token_labels([outputs[output] for output in _shown_outputs(shown.activations.probabilities)]),
        "chosen": {"token": 3 * len(tokens) // 4, **first},
        "path": _path_data(shown),
        "heads": [{"block": one.block, "head": one.head} for one in heads],
        "models": _model_data(readings),
        "next": _next_token_ranks(shown, tokens),
        "search": None if panel is None else _search_data(panel),
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    looks = charts.assign_styles(reading.name for reading in readings)
    page = environment.from_string(TEMPLATE.read_text("utf-8")).render(
        text=text,
        readings=readings,
        shown=shown,
        stages=[stage._replace(equation=Markup(stage.equation)) for stage in path_stages(shown)],
        positions=position_note(shown),
        heads=heads,
        layers=[
            f"{index + 1}" + ("" if block.attention or not heads else " (no attention)")
            for index, block in enumerate(shown.activations.blocks)
        ],
        count=data["path"]["heads"],
        normalizer=shown.run.config["model"].get("attention", {}).get("normalizer", "softmax"),
        roles=activations.HEAD_ROLES,
        measures=activations.HEAD_MEASURES,
        clear=activations.MIN_EXCESS,
        found=panel,
        queries=_example_queries(panel.words) if panel else [],
        pairs=activations.MIN_PAIRS,
        distances=[
            0,
            *(2**i for i in range(12) if 2**i < len(activations.mean_by_distance(readings[0].influence.occlusion))),
        ],
        curves=[[activations.mean_by_distance(moved) for moved in one.influence] for one in readings],
        square=all(one.run.task.per == "token" for one in readings),
        colours=charts.DARK_COLORS,
        ramps={"rising": " ".join(SEQUENTIAL_RAMP), "diverging": " ".join(DIVERGING_RAMP)},
        looks=looks,
        command=command,
        data=Markup(script_json(data)),
        script=Markup(SCRIPT.read_text("utf-8")),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(out, page.encode("utf-8", "replace"))
    return out
