"""The maps of experiments/explore.py as figures for papers (SVG and PDF), and every array as .npz."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.inspection.activations import named_arrays, visible_keys
from experiments.inspection.heads import HEAD_ROLES, sort_by_role
from experiments.inspection.influence import Influence, mean_by_distance
from experiments.inspection.probes import ProbeResult
from experiments.inspection.reading import ModelReading, taken_apart
from experiments.inspection.recurrence import RecurrenceReading
from experiments.inspection.stages import DIVERGING_RAMP, MAX_OUTPUTS, SEQUENTIAL_RAMP
from experiments.reporting import charts
from experiments.reporting.charts import LineChart, Series
from training import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MIN_INFLUENCE = 1e-3  # smaller influences look alike, as on the page


def write_figures(out: Path, tokens: np.ndarray, names: Sequence[str], readings: Sequence[ModelReading]) -> list[Path]:
    """Write heads, path and influence as SVG and PDF, and all arrays, beside the page `out`; the files written."""
    written = []
    for name, draw in figure_drawers(readings, names).items():
        written += [charts.save_figure(draw, out.with_name(f"{out.stem}-{name}.{kind}")) for kind in ("svg", "pdf")]
    if by_distance := _distance_charts(readings):
        paths = [out.with_name(f"{out.stem}-distance.{kind}") for kind in ("svg", "pdf")]
        written += [charts.save_charts(by_distance, path, columns=2) for path in paths]
    return [*written, save_arrays(out, collect_arrays(tokens, readings))]


def save_arrays(out: Path, arrays: Mapping[str, Any]) -> Path:
    """Write arrays as .npz beside the page `out`; the file."""
    compressed = io.BytesIO()
    np.savez_compressed(compressed, **arrays)
    files.write_atomically(npz := out.with_suffix(".npz"), compressed.getvalue())
    return npz


def figure_drawers(
    readings: Sequence[ModelReading], names: Sequence[str], columns: int = 3
) -> dict[str, "Callable[[], Figure]"]:
    """What draws each figure, by its name: "path", "influence" and, if a model has attention, "heads".

    `columns` are those of the path.
    """
    shown = taken_apart(readings)
    drawers: dict[str, Callable[[], Figure]] = {
        "path": partial(_draw_path, shown, names, columns),
        "influence": partial(_draw_influence, readings, names),
    }
    if shown.heads:
        drawers["heads"] = partial(_draw_heads, shown, names)
    return drawers


def collect_arrays(tokens: np.ndarray, readings: Sequence[ModelReading]) -> dict[str, Any]:
    """All arrays by name: "tokens", "attention/block_0.weights", "lstm/occlusion" …"""
    arrays: dict[str, Any] = {"tokens": tokens}
    for one in readings:
        of_model = named_arrays(one.activations) | one.influence._asdict()
        for index, (found, probe) in enumerate(zip(one.recurrences, one.probes, strict=True)):
            of_model |= {f"block_{index}.{name}": value for name, value in recurrence_arrays(found, probe).items()}
        arrays |= {f"{one.name}/{name}": value for name, value in of_model.items()}
    return arrays


def recurrence_arrays(found: RecurrenceReading | None, probe: ProbeResult | None) -> dict[str, np.ndarray]:
    """What the inside of a block's recurrence is as arrays: "kept", "gates.forget", "states.c", "eigenvalues" …

    Of gates, states and all that is one number a unit, the units are in the order of "units", which has their own
    numbers from 0. "probe_accuracy" has a row for each distance: the distance, and the share named.
    """
    arrays: dict[str, Any] = {}
    for name, value in (found._asdict() if found else {}).items():
        if isinstance(value, Mapping):
            arrays |= {f"{name}.{key}": one for key, one in value.items()}
        elif value is not None and name != "note":
            arrays[name] = value
    if probe is not None:
        arrays["probe_accuracy"] = np.array(list(probe.accuracy.items()))
        if found is not None and found.units is not None and probe.line_correlations is not None:
            arrays["line_correlations_on_test"] = probe.line_correlations[found.units]
    return arrays


def _draw_heads(reading: ModelReading, names: Sequence[str]) -> "Figure":
    """The weights of every head, one row of panels per layer."""
    layers = sorted({one.block for one in reading.heads})
    count = max(one.head for one in reading.heads) + 1
    drawing, grid = _make_panels(len(layers), count, 2.4, 2.6)
    visible = np.asarray(visible_keys(reading.run, len(names)))
    for one in reading.heads:
        axes, attended = grid[layers.index(one.block)][one.head], reading.activations.blocks[one.block].attention
        if attended:
            weights = np.where(visible[one.head], attended.weights[one.head], np.nan)
            _draw_map(axes, weights, SEQUENTIAL_RAMP, 0, 1, root=True)
        role = f"{HEAD_ROLES[one.role]} {one.measured[one.role]:.2f}" if one.role in HEAD_ROLES else "mixed"
        axes.set_title(f"Layer {one.block + 1}, head {one.head + 1}\n{role}", fontsize=9)
        _label_axes(axes, names, names, 2.4)
    return drawing


class _Panel(NamedTuple):
    """One map of the path: features [D, T], or pairs [T, T] of queries and keys. A share is from 0 to 1."""

    title: str
    x: np.ndarray
    is_pairs: bool = False
    is_share: bool = False


def _draw_path(reading: ModelReading, names: Sequence[str], columns: int) -> "Figure":
    """Every array of the path, of one layer and head: those of the head with the clearest role."""
    panels = _path_panels(reading, names)
    drawing, grid = _make_panels(-(-len(panels) // columns), columns, 3.4, 2.9)
    for axes, panel in zip(grid.ravel(), panels, strict=False):
        if panel.is_share:
            _draw_map(axes, panel.x, SEQUENTIAL_RAMP, 0, 1, root=True, square=panel.is_pairs)
        else:
            limit = float(np.nanmax(np.abs(panel.x))) or 1.0
            _draw_map(axes, panel.x, DIVERGING_RAMP, -limit, limit, square=panel.is_pairs)
        axes.set_title(panel.title, fontsize=9)
        _label_axes(axes, names, names if panel.is_pairs else None, 3.4)
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    return drawing


def _path_panels(reading: ModelReading, names: Sequence[str]) -> list[_Panel]:
    activations = reading.activations
    clearest = sort_by_role(reading.heads)[0] if reading.heads else None
    index, head = (clearest.block, clearest.head) if clearest else (0, 0)
    panels = [_Panel("Embedding", activations.embedding.T)]
    if activations.position is not None:
        panels.append(_Panel("+ position", activations.input.T))
    if activations.blocks:
        block = activations.blocks[index]
        if attended := block.attention:
            where = f"layer {index + 1}, head {head + 1}"
            group = head * len(attended.key) // len(attended.query)
            visible = np.asarray(visible_keys(reading.run, len(names)))[head]
            panels += [
                _Panel(f"Q, {where}", attended.query[head].T),
                _Panel(f"K, {where}", attended.key[group].T),
                _Panel(f"V, {where}", attended.value[group].T),
                _Panel(f"Scores, {where}", np.where(visible, attended.scores[head], np.nan), True),
                _Panel(f"Weights, {where}", np.where(visible, attended.weights[head], np.nan), True, True),
                _Panel("What the head reads", attended.heads[head].T),
            ]
        panels.append(_Panel(f"Output of the mixer, layer {index + 1}", block.mixer_output.T))
        panels.append(_Panel(f"What leaves layer {index + 1}", block.output.T))
    p = activations.probabilities
    if len(p) == len(names) and p.shape[1] <= MAX_OUTPUTS:
        panels.append(_Panel("Prediction", p.T, is_share=True))
    return panels


def _draw_influence(readings: Sequence[ModelReading], names: Sequence[str]) -> "Figure":
    """Occlusion and gradient of every model, on one logarithmic scale."""
    drawing, grid = _make_panels(2, len(readings), 2.9, 3.0)
    for column, one in enumerate(readings):
        for axes, (kind, influence) in zip(grid[:, column], one.influence._asdict().items(), strict=True):
            is_square = len(influence) == len(names)
            shown = np.clip(influence, _MIN_INFLUENCE, 1)
            if is_square and one.run.config["model"]["causal"]:
                shown = np.where(np.tril(np.ones_like(influence)) > 0, shown, np.nan)
            _draw_map(axes, shown, SEQUENTIAL_RAMP, _MIN_INFLUENCE, 1, log=True, square=is_square)
            axes.set_title(f"{one.name}: {kind}", fontsize=9)
            _label_axes(axes, names, names if is_square else None, 2.9)
    shade = grid[0][0].images[0]
    drawing.colorbar(shade, ax=grid.ravel().tolist(), shrink=0.6, label="influence", format="{x:g}")
    return drawing


def _distance_charts(readings: Sequence[ModelReading]) -> list[LineChart]:
    """Mean influence against distance, for the models with one output per token."""
    per_token = [one for one in readings if one.run.task.target_level == "token"]
    by_kind = []
    for kind in Influence._fields if per_token else ():
        series = []
        for one in per_token:
            curve = mean_by_distance(getattr(one.influence, kind))
            series.append(Series(one.name, np.arange(len(curve)), np.maximum(curve, _MIN_INFLUENCE)))
        by_kind.append(LineChart(kind, kind.capitalize(), "distance, tokens", "influence", series, log_y=True))
    return by_kind


# ---- what the figures share -----------------------------------------------------------------------------------------


def _make_panels(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return drawing, drawing.subplots(rows, columns, squeeze=False)


def _draw_map(
    axes: "Axes", x: np.ndarray, colors: Sequence[str], low: float, high: float, *, root=False, log=False, square=True
) -> None:
    """Draw a map of numbers as colored cells."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, PowerNorm

    ramp = LinearSegmentedColormap.from_list("", list(colors))
    norm = LogNorm(low, high) if log else PowerNorm(0.5, low, high) if root else Normalize(low, high)
    axes.imshow(x, cmap=ramp, norm=norm, aspect="equal" if square else "auto", interpolation="nearest")
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _label_axes(axes: "Axes", across: Sequence[str], down: Sequence[str] | None, width: float) -> None:
    """Write tokens along the sides of a panel that is `width` inches wide, as small as they must be."""
    size = min(7.0, 72 * width / len(across))
    for axis, names in ((axes.xaxis, across), (axes.yaxis, down)):
        if names is None:
            axis.set_ticks([])
            continue
        axis.set_ticks(range(len(names)), [name.replace("\n", "⏎") for name in names], fontsize=size)
        axis.set_tick_params(length=0, pad=1)
    if max(map(len, across)) > 2:
        axes.tick_params(axis="x", rotation=90)
