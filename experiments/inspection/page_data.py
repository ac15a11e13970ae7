"""The arrays in the page of experiments/explore.py, as JSON.

Arrays are little-endian float32 in base 85; of causal maps only the lower triangle. Sums of two other arrays are left
out: the page adds them up, as float32 too.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.inspection.activations import visible_keys
from experiments.inspection.heads import HeadSummary
from experiments.inspection.influence import mean_by_distance
from experiments.inspection.probes import ProbeResult
from experiments.inspection.reading import ModelReading
from experiments.inspection.recurrence import RecurrenceReading
from experiments.inspection.search_model import SearchModel
from experiments.inspection.stages import MAX_OUTPUTS
from experiments.reporting import charts
from training import files

TOP_OUTPUTS = 10
MAX_UNITS = 64  # that are shown of a state; of more, evenly spaced ones
MAX_EIGENVALUES = 64  # that are shown of a step, the largest
COUNTING_UNITS = 4  # that are listed of a block
_LABELS = {" ": ("␣", "space"), "\n": ("⏎", "line break"), "\t": ("⇥", "tab"), "": ("∅", "padding")}


class SearchPanel(NamedTuple):
    """What a search needs: the model, its words (the first is no word), title, kind and year of each class, and what
    the model is, in one line."""

    search: SearchModel
    words: Sequence[str]
    titles: Sequence[tuple[str, str, int]]
    description: str


def collect_page_data(
    tokens: np.ndarray,
    names: Sequence[str],
    outputs: Sequence[str],
    readings: Sequence[ModelReading],
    shown: ModelReading,
    heads: Sequence[HeadSummary],
    panel: SearchPanel | None,
) -> dict[str, Any]:
    """Everything that the page's script reads. `shown` is the reading whose path is shown, `heads` are in its order."""
    chosen = {"layer": heads[0].block, "head": heads[0].head} if heads else {"layer": 0, "head": 0}
    return {
        "tokens": label_tokens([names[int(token)] for token in tokens]),
        "outputs": label_tokens([outputs[output] for output in _named_outputs(shown.activations.probabilities)]),
        "chosen": {"token": 3 * len(tokens) // 4, **chosen},
        "path": _path_data(shown),
        "heads": [{"block": one.block, "head": one.head} for one in heads],
        "models": _model_data(readings, tokens),
        "recurrences": _recurrence_data(readings),
        "next": _next_token_ranks(shown, tokens),
        "search": None if panel is None else _search_data(panel),
    }


def script_json(data: Any) -> str:
    """JSON that can stand in a script element whatever is in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


# ---- arrays ---------------------------------------------------------------------------------------------------------


def pack_array(x: np.ndarray, causal: bool = False) -> dict[str, Any]:
    """An array for the page; of causal maps [*H, T, T] the lower triangle, row by row."""
    values = x[..., *np.tril_indices(x.shape[-1])] if causal else x
    return {"shape": list(x.shape), "packed": causal, "data": _encode_base85(values, "<f4")}


def _encode_base85(x: np.ndarray, dtype: str) -> str:
    """Numbers as text that needs no escape anywhere: Python's base 85, with , . : for < > &, and zeros at the end up to
    a multiple of four bytes. Base 64 would take 7 % more."""
    data = np.ascontiguousarray(x, dtype).tobytes()
    return base64.b85encode(data + bytes(-len(data) % 4)).translate(bytes.maketrans(b"<>&", b",.:")).decode()


# ---- the path, the models, the search -------------------------------------------------------------------------------


def _path_data(reading: ModelReading) -> dict[str, Any]:
    """The activations, except sums; scores and weights are nan where a query may not look."""
    activations = reading.activations
    attention = next((block.attention for block in activations.blocks if block.attention), None)
    p = activations.probabilities
    all_shown = p.shape[1] <= MAX_OUTPUTS
    return {
        "embedding": pack_array(activations.embedding),
        "position": None if activations.position is None else pack_array(activations.position),
        "blocks": [_block_data(reading, index) for index in range(len(activations.blocks))],
        "final": pack_array(activations.final),
        "probabilities": pack_array(p) if all_shown else None,
        "top": None if all_shown else _top_probabilities(p),
        "rows": len(p),
        "heads": 0 if attention is None else len(attention.query),
        "kv_heads": 0 if attention is None else len(attention.key),
    }


def _block_data(reading: ModelReading, index: int) -> dict[str, Any]:
    model, block = reading.run.config["model"], reading.activations.blocks[index]
    arrays = block._replace(attention=None)._asdict()
    if model["residual"] and model["norm"] != "post":  # sums of what the page has
        arrays |= {"after_mixer": None, "output": None}
    data = {name: None if x is None else pack_array(x) for name, x in arrays.items()}
    if block.attention:
        visible = np.asarray(visible_keys(reading.run, len(reading.activations.input)))
        for name, x in block.attention._asdict().items():
            is_map = name in ("scores", "weights")
            shown = np.where(visible, x, np.nan) if is_map else x
            data[name] = pack_array(shown, is_map and bool(model["causal"]))
    return data


def _top_probabilities(p: np.ndarray) -> list[list[list[Any]]]:
    """[output, probability] of each row's likeliest outputs; outputs are numbered as the page has their names."""
    number = {output: i for i, output in enumerate(_named_outputs(p))}
    return [
        [[number[output], float(p[row, output])] for output in top.tolist()] for row, top in enumerate(_top_outputs(p))
    ]


def _top_outputs(p: np.ndarray) -> np.ndarray:
    """The likeliest outputs of each row, in their order."""
    return np.argsort(-p, axis=1, kind="stable")[:, :TOP_OUTPUTS]


def _named_outputs(p: np.ndarray) -> list[int]:
    """The outputs whose names the page needs: all, or of many those that are among the likeliest of a row."""
    return list(range(p.shape[1])) if p.shape[1] <= MAX_OUTPUTS else np.unique(_top_outputs(p)).tolist()


def _model_data(readings: Sequence[ModelReading], tokens: np.ndarray) -> list[dict[str, Any]]:
    """Both influences of each model, as maps and against distance; and what it expected of each token."""
    styles = charts.assign_styles(reading.name for reading in readings)
    models = []
    for reading in readings:
        ranks = _next_token_ranks(reading, tokens)
        model: dict[str, Any] = {"name": reading.name, "color": styles[reading.name].color[1:]}
        model["expected"] = ranks and [p for p, _ in ranks]  # of all tokens but the first
        for kind, influence in reading.influence._asdict().items():
            is_square = len(influence) == influence.shape[1] and reading.run.task.target_level == "token"
            model[kind] = pack_array(influence, is_square and bool(reading.run.config["model"]["causal"]))
            model[f"{kind}_curve"] = files.to_jsonable(mean_by_distance(influence)) if is_square else []
        models.append(model)
    return models


def _recurrence_data(readings: Sequence[ModelReading]) -> list[dict[str, Any]]:
    """The models with a recurrence: of each block what its state keeps, or None."""
    return [
        {
            "name": one.name,
            "blocks": [_block_recurrence(*both) for both in zip(one.recurrences, one.probes, strict=True)],
        }
        for one in readings
        if any(one.recurrences)
    ]


def _block_recurrence(found: RecurrenceReading | None, probe: ProbeResult | None) -> dict[str, Any] | None:
    if found is None:
        return None
    units = np.arange(0) if found.units is None else found.units
    shown = shown_units(found, probe)
    values = found.eigenvalues
    if values is not None:
        values = values[:1] if (values == values[:1]).all() else values  # the same at every token
    first = next(iter(found.states), "")
    return {
        "units": len(units),
        "numbers": (units[shown] + 1).tolist(),
        "gates": {name: pack_array(gate[:, shown]) for name, gate in found.gates.items()},
        "state": pack_array(found.states[first][:, shown]) if first else None,
        "state_name": first,
        "time_constants": [] if found.time_constants is None else found.time_constants[shown].tolist(),
        "line_correlations": [] if found.line_correlations is None else found.line_correlations[shown].tolist(),
        "kept": None if found.kept is None else pack_array(found.kept, causal=True),
        "weights": None if found.weights is None else pack_array(found.weights, causal=True),
        "eigenvalues": None if values is None else _pack_eigenvalues(values[:, :MAX_EIGENVALUES]),
        "eigenvalue_count": 0 if values is None else values.shape[1],
        "memory": None if found.memory is None else pack_array(found.memory.swapaxes(0, 1)),
        "note": found.note,
    }


def _pack_eigenvalues(values: np.ndarray) -> dict[str, Any]:
    """[T, M] as [2, T, M], real and imaginary parts."""
    return pack_array(np.stack([np.real(values), np.imag(values)]))


def shown_units(found: RecurrenceReading, probe: ProbeResult | None) -> np.ndarray:
    """The places, in the reading's order, of the units that the page shows: all, or of many evenly spaced ones, and
    those that count best."""
    count = 0 if found.units is None else len(found.units)
    shown = evenly_chosen(np.arange(count), MAX_UNITS)
    return np.union1d(shown, [place for place, _ in counting_units(found, probe)]).astype(int)


def counting_units(found: RecurrenceReading, probe: ProbeResult | None) -> list[tuple[int, float]]:
    """(place, r): the units that go with the characters since the last line break on the test split, best first."""
    if found.units is None or not found.states or probe is None or probe.line_correlations is None:
        return []
    correlations = probe.line_correlations[found.units]
    best = np.argsort(-np.abs(correlations), kind="stable")[:COUNTING_UNITS]
    return [(int(place), float(correlations[place])) for place in best]


def evenly_chosen(items: np.ndarray, most: int) -> np.ndarray:
    """All items, or of many `most`, evenly spaced from the first to the last."""
    return items if len(items) <= most else items[np.linspace(0, len(items) - 1, most).round().astype(int)]


def _next_token_ranks(reading: ModelReading, tokens: np.ndarray) -> list[tuple[float, int]] | None:
    """Probability and rank that the model gives to the token that does come next."""
    if not reading.run.task.next_tokens:
        return None
    p = reading.activations.probabilities[:-1]
    next_p = np.take_along_axis(p, tokens[1:, None], axis=1)
    return [(float(x[0]), 1 + int((row > x).sum())) for row, x in zip(p, next_p, strict=True)]


def _search_data(panel: SearchPanel) -> dict[str, Any]:
    """The search model: its table of words as float16, the rest as float32."""
    search = panel.search
    return {
        "table": _encode_base85(search.words, "<f2"),
        "features": search.words.shape[1],
        "keys": pack_array(search.keys),
        "bias": pack_array(search.bias[None]),
        "words": "\n".join(panel.words),
        "titles": [{"title": title, "kind": kind, "year": year} for title, kind, year in panel.titles],
    }


def label_tokens(names: Iterable[str]) -> list[dict[str, str]]:
    """How each token is shown in a cell, and how it is said in a sentence."""
    labels = [_LABELS.get(name, (name, f"‘{name}’")) for name in names]
    return [{"shown": shown, "said": said} for shown, said in labels]
