from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.inspection import figures
from experiments.inspection.activations import named_arrays
from experiments.inspection.reading import ModelReading
from tests.experiments.inspection import NASTY


def test_figures_and_arrays(page: Path, readings: dict[str, ModelReading]):
    drawn = {path.name for path in page.parent.iterdir() if path.suffix in (".svg", ".pdf", ".npz")}
    names = ("path", "heads", "influence", "distance")
    assert drawn == {f"explore-{name}.{kind}" for name in names for kind in ("svg", "pdf")} | {"explore.npz"}
    assert "Layer 2, head 4" in page.with_name("explore-heads.svg").read_text()
    reading = readings["attention"]
    with np.load(page.with_suffix(".npz")) as kept:
        tokens = kept["tokens"]
        assert "".join(reading.run.task.names[token] for token in tokens) == NASTY
        for name, x in named_arrays(reading.activations).items():
            np.testing.assert_allclose(kept[f"attention/{name}"], x, rtol=1e-6)
        assert kept["lstm/occlusion"].shape == (len(NASTY), len(NASTY))
        assert "lstm/block_0.weights" not in kept
        (found,), (probe,) = readings["lstm"].recurrences, readings["lstm"].probes
        assert found is not None
        assert probe is not None
        assert probe.line_correlations is not None
        expected: dict[str, Any] = {
            "kept": found.kept,
            "gates.forget": found.gates["forget"],
            "states.c": found.states["c"],
            "units": found.units,
            "time_constants": found.time_constants,
            "eigenvalues": found.eigenvalues,
            "line_correlations_on_test": probe.line_correlations[found.units],
            "probe_accuracy": list(probe.accuracy.items()),
        }
        for name, x in expected.items():
            np.testing.assert_allclose(kept[f"lstm/block_0.{name}"], x, rtol=1e-4, atol=1e-6)


def test_without_attention_there_is_no_figure_of_heads(
    readings: dict[str, ModelReading], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(figures.charts, "save_figure", lambda draw, path: path)
    monkeypatch.setattr(figures.charts, "save_charts", lambda lines, path, columns: path)
    written = figures.write_figures(tmp_path / "page.html", np.arange(3), ["a", "b", "c"], [readings["lstm"]])
    assert {path.stem for path in written} == {"page-path", "page-influence", "page-distance", "page"}
