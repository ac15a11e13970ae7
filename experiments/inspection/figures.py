"""The maps of experiments/explore.py as figures for papers (SVG and PDF), and every array as .npz."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.inspection import activations
from experiments.inspection.stages import DIVERGING_RAMP, MAX_OUTPUTS, SEQUENTIAL_RAMP, ModelReading
from experiments.reporting import charts
from experiments.reporting.charts import LineChart, Series
from training import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MIN_INFLUENCE = 1e-3  # influences below it look alike, as in the page


def write_figures(out: Path, tokens: np.ndarray, names: Sequence[str], readings: Sequence[ModelReading]) -> list[Path]:
    """Beside the page: heads, path and influence as SVG and PDF, and all arrays; the files written."""
    shown = next((one for one in readings if one.heads), readings[0])
    drawn: dict[str, Callable[[], Figure]] = {
        "path": lambda: _draw_path(shown, names),
        "influence": lambda: _draw_influence(readings, names),
    }
    if shown.heads:
        drawn["heads"] = lambda: _draw_heads(shown, names)
    written = []
    for name, draw in drawn.items():
        written += [charts.save_figure(draw, out.with_name(f"{out.stem}-{name}.{kind}")) for kind in ("svg", "pdf")]
    if lines := _distance_charts(readings):
        written += [
            charts.save_charts(lines, out.with_name(f"{out.stem}-distance.{kind}"), columns=2)
            for kind in ("svg", "pdf")
        ]
    file = io.BytesIO()
    np.savez_compressed(file, **_collect_arrays(tokens, readings))
    files.write_atomically(npz := out.with_suffix(".npz"), file.getvalue())
    return [*written, npz]


def _collect_arrays(tokens: np.ndarray, readings: Sequence[ModelReading]) -> dict[str, Any]:
    """By name: "tokens", "attention/block_0.weights", "lstm/occlusion" …"""
    found: dict[str, Any] = {"tokens": tokens}
    for one in readings:
        both = activations.named_arrays(one.activations) | one.influence._asdict()
        found |= {f"{one.name}/{name}": value for name, value in both.items()}
    return found


def _draw_heads(reading: ModelReading, names: Sequence[str]) -> "Figure":
    """The weights of every head, a row a layer."""
    layers = sorted({one.block for one in reading.heads})
    count = max(one.head for one in reading.heads) + 1
    drawing, grid = _make_panels(len(layers), count, 2.4, 2.6)
    for one in reading.heads:
        axes, attended = grid[layers.index(one.block)][one.head], reading.activations.blocks[one.block].attention
        if attended:
            seen = np.asarray(activations.visible_keys(reading.run, len(names)))[one.head]
            _draw_map(axes, np.where(seen, attended.weights[one.head], np.nan), SEQUENTIAL_RAMP, 0, 1, root=True)
        told = (
            f"\n{activations.HEAD_ROLES[one.role]} {one.found[one.role]:.2f}"
            if one.role in activations.HEAD_ROLES
            else "\nmixed"
        )
        axes.set_title(f"Layer {one.block + 1}, head {one.head + 1}{told}", fontsize=9)
        _label_axes(axes, names, names, 2.4)
    return drawing


def _draw_path(reading: ModelReading, names: Sequence[str]) -> "Figure":
    """Every array of the path, of heads the one that does the clearest thing, in the first layer that has it."""
    first = activations.sort_by_role(reading.heads)[0] if reading.heads else None
    block, head = (first.block, first.head) if first else (0, 0)
    found: list[tuple[str, np.ndarray, bool]] = [("Embedding", reading.activations.embedding.T, False)]
    if reading.activations.position is not None:
        found.append(("+ position", reading.activations.placed.T, False))
    if reading.activations.blocks:
        one = reading.activations.blocks[block]
        where = f"layer {block + 1}"
        if one.attention:
            where += f", head {head + 1}"
            group = head * len(one.attention.key) // len(one.attention.query)
            of_head = {"Q": one.attention.query[head], "K": one.attention.key[group], "V": one.attention.value[group]}
            found += [(f"{name}, {where}", x.T, False) for name, x in of_head.items()]
            seen = np.asarray(activations.visible_keys(reading.run, len(names)))[head]
            for name, x in (("Scores", one.attention.scores), ("Weights", one.attention.weights)):
                found.append((f"{name}, {where}", np.where(seen, x[head], np.nan), True))
            found.append(("What the head reads", one.attention.heads[head].T, False))
        found.append((f"Output of the mixer, layer {block + 1}", one.mixed.T, False))
        found.append((f"What leaves layer {block + 1}", one.after.T, False))
    if (
        len(reading.activations.probabilities) == len(names)
        and reading.activations.probabilities.shape[1] <= MAX_OUTPUTS
    ):
        found.append(("Prediction", reading.activations.probabilities.T, False))
    rows = -(-len(found) // 3)
    drawing, grid = _make_panels(rows, 3, 3.4, 2.9)
    for axes, (title, x, square) in zip(grid.ravel(), found, strict=False):
        if title.startswith(("Weights", "Prediction")):
            _draw_map(axes, x, SEQUENTIAL_RAMP, 0, 1, root=True, square=square)
        else:
            limit = float(np.nanmax(np.abs(x))) or 1.0
            _draw_map(axes, x, DIVERGING_RAMP, -limit, limit, square=square)
        axes.set_title(title, fontsize=9)
        _label_axes(axes, names, names if square else None, 3.4)
    for axes in grid.ravel()[len(found) :]:
        axes.set_axis_off()
    return drawing


def _draw_influence(readings: Sequence[ModelReading], names: Sequence[str]) -> "Figure":
    """Occlusion and gradient of every model, on one logarithmic scale."""
    drawing, grid = _make_panels(2, len(readings), 2.9, 3.0)
    for column, one in enumerate(readings):
        for row, (kind, moved) in enumerate(one.influence._asdict().items()):
            square = len(moved) == len(names)
            shown = np.clip(moved, _MIN_INFLUENCE, 1)
            if square and one.run.config["model"]["causal"]:
                shown = np.where(np.tril(np.ones_like(moved)) > 0, shown, np.nan)
            _draw_map(grid[row][column], shown, SEQUENTIAL_RAMP, _MIN_INFLUENCE, 1, log=True, square=square)
            grid[row][column].set_title(f"{one.name}: {kind}", fontsize=9)
            _label_axes(grid[row][column], names, names if square else None, 2.9)
    shade = grid[0][0].images[0]
    drawing.colorbar(shade, ax=grid.ravel().tolist(), shrink=0.6, label="influence", format="{x:g}")
    return drawing


def _distance_charts(readings: Sequence[ModelReading]) -> list[LineChart]:
    """Mean influence against distance, where a model has an output a token."""
    square = [one for one in readings if one.run.task.per == "token"]
    found = []
    for kind in activations.Influence._fields if square else ():
        curves = [activations.mean_by_distance(getattr(one.influence, kind)) for one in square]
        series = [
            Series(one.name, np.arange(len(curve)), np.maximum(curve, _MIN_INFLUENCE))
            for one, curve in zip(square, curves, strict=True)
        ]
        found.append(LineChart(kind, kind.capitalize(), "distance, tokens", "influence", series, log_y=True))
    return found


# ---- what the figures share -----------------------------------------------------------------------------------------


def _make_panels(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return drawing, drawing.subplots(rows, columns, squeeze=False)


def _draw_map(
    axes: "Axes", x: np.ndarray, colors: Sequence[str], low: float, high: float, *, root=False, log=False, square=True
) -> None:
    """A map, one cell a number."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, PowerNorm

    ramp = LinearSegmentedColormap.from_list("", list(colors))
    norm = LogNorm(low, high) if log else PowerNorm(0.5, low, high) if root else Normalize(low, high)
    axes.imshow(x, cmap=ramp, norm=norm, aspect="equal" if square else "auto", interpolation="nearest")
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _label_axes(axes: "Axes", across: Sequence[str], down: Sequence[str] | None, width: float) -> None:
    """Tokens along the sides of a panel so many inches wide, as small as they must be."""
    size = min(7.0, 72 * width / len(across))
    for axis, names in ((axes.xaxis, across), (axes.yaxis, down)):
        if names is None:
            axis.set_ticks([])
            continue
        axis.set_ticks(range(len(names)), [name.replace("\n", "⏎") for name in names], fontsize=size)
        axis.set_tick_params(length=0, pad=1)
    if max(map(len, across)) > 2:
        axes.tick_params(axis="x", rotation=90)
