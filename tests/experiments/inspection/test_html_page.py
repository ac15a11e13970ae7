"""The page without a browser: its size, and what it says of models without attention and of a bag of words."""

from pathlib import Path
from typing import Any

import numpy as np

from configs import shakespeare
from experiments import explore
from experiments.inspection.activations import Activations, AttentionActivations, BlockActivations
from experiments.inspection.heads import summarize_heads
from experiments.inspection.html_page import write_page
from experiments.inspection.influence import Influence
from experiments.inspection.page_data import SearchPanel
from experiments.inspection.probes import DISTANCES, ProbeResult
from experiments.inspection.reading import ModelReading
from experiments.inspection.recurrence import KEPT_GATES, RecurrenceReading
from experiments.inspection.search_model import SearchModel
from tests.experiments.inspection import text_of
from training import builder


def drawn_reading(name: str, mixer: str) -> ModelReading:
    """The arrays of a model of two layers, four heads and 64 features over 64 tokens, without a model behind them."""
    random = np.random.default_rng(0)
    config: Any = shakespeare.get_config(mixer)
    config.task.max_length = 64
    config.model.positions = "sinusoidal" if mixer == "attention" else "none"
    run = builder.build_run(config)
    run = run._replace(task=run.task.replace(alphabet="".join(map(chr, range(32, 116)))))
    draw = lambda *shape: random.normal(size=shape).astype(np.float32)  # noqa: E731
    x, pairs, heads, outputs = draw(64, 64), draw(4, 64, 64), draw(4, 64, 16), draw(64, 84)
    attended = AttentionActivations(heads, heads, heads, pairs, pairs, heads) if mixer == "attention" else None
    block = BlockActivations(x, attended, x, x, x, x)
    found = Activations(x, x, x, (block, block), x, outputs, outputs)
    moved = Influence(np.abs(draw(64, 64)), np.abs(draw(64, 64)))
    recurrences, probes = [None, None], [None, None]
    if mixer in KEPT_GATES:
        gates = {gate: np.abs(draw(64, 96)) for gate in ("input", "forget", "output")}
        kept = RecurrenceReading(np.tril(pairs[0]), None, gates, {"c": draw(64, 96)}, np.arange(96), np.abs(draw(96)))
        values = draw(64, 96).astype(np.complex64)
        recurrences = [kept._replace(line_correlations=draw(96), eigenvalues=values)] * 2
        probes = [ProbeResult(dict.fromkeys(DISTANCES, 0.5), 0.1, 128, draw(96))] * 2
    return ModelReading(name, name, run, found, summarize_heads(run, found, np.arange(64)), moved, recurrences, probes)


def test_two_layers_of_four_heads_over_64_tokens_are_below_one_and_a_half_mebibytes(tmp_path: Path):
    """With three models' influence, the gates of two, and a search over 4,000 words and 42 titles."""
    random = np.random.default_rng(0)
    readings = [drawn_reading(mixer, mixer) for mixer in ("attention", "lstm", "gru")]
    draw = lambda *shape: random.normal(size=shape).astype(np.float32)  # noqa: E731
    words = ["".join(random.choice(list("abcdefghijklmno"), 8)) for _ in range(4000)]
    found = SearchPanel(SearchModel(draw(4001, 24), draw(24, 42), draw(42)), ["", *words],
                                [(f"The Title Number {i}", "history", 1600) for i in range(42)], "")  # fmt: skip
    names = readings[0].run.task.names
    out = write_page(tmp_path / "page.html", "", np.arange(64), names, names, readings, found)
    assert out.stat().st_size < 1.5 * 2**20


def test_without_attention_the_page_says_so_and_shows_influence(runs: Path, tmp_path: Path):
    explore.write_exploration([runs / "lstm"], "tosses", tmp_path / "page.html", "data", 0, figures=False)
    text = text_of(tmp_path / "page.html")
    assert "This model has no attention: no queries, keys and values to show" in text
    assert "None of these models has attention" in text
    assert "No search model is among these runs" in text
    assert 'id="map-occlusion-0"' in text
    assert 'id="map-given"' in text
    assert 'id="map-query"' not in text
