from pathlib import Path

import numpy as np

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
