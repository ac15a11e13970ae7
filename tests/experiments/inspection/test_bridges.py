"""The page of encoder–decoders: what it reads off the model, and what a browser says of it."""

import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from configs import translation
from experiments import explore
from experiments.inspection import bridges, reading
from experiments.inspection.reading import LoadedRun, load_run
from tests.experiments.inspection import close, export
from tests.experiments.inspection.test_browser import BEFORE, browse
from training import cli

FIELDS = {"task__max_items": 6, "task__words": 8, "model__width": 8, "model__feedforward": 1.0}
SOURCE = "3 5 4 6"

ACT = """<script>
{
const all = (selector) => [...document.querySelectorAll(selector)];
const seen = { maps: {} };
for (const figure of all("figure.map")) {
  const [canvas, readout] = [figure.querySelector("canvas"), figure.querySelector(".readout")];
  const press = (key) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key }));
  ["PageUp", "PageUp", "Home"].forEach(press);
  const first = readout.textContent;
  press("ArrowDown"); press("ArrowRight");
  seen.maps[figure.id] = [first, readout.textContent];
}
const options = [...$("reads-0").children];
options[options.length - 1].dispatchEvent(new Event("focus"));
seen.reads = $("reads-0-readout").textContent;
seen.wrong = wrong;
seen.resources = performance.getEntriesByType("resource").map((one) => one.name);
seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const told = document.createElement("pre");
told.id = "seen";
told.textContent = JSON.stringify(seen);
document.body.append(told);
}
</script>"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Exported: a GRU with attention, attention, and a GRU that hands over one vector."""
    root = tmp_path_factory.mktemp("bridges")
    vector = {"model__encoder_decoder": "vector"}
    return [
        export(root / "gru", translation.get_config("gru"), **FIELDS),
        export(root / "attention", translation.get_config("attention"), **FIELDS, model__cross_attention_heads=2),
        export(root / "vector", translation.get_config("gru"), **FIELDS, **vector),
    ]


@pytest.fixture(scope="module")
def loaded(runs: list[Path]) -> list[LoadedRun]:
    return [load_run(path, "data", 0) for path in runs]


def read_with(one: LoadedRun, text: str | None = SOURCE) -> tuple[np.ndarray, bridges.BridgeReading]:
    row = bridges.build_row(one.run, one.params, reading.encode_source(one.run, text))
    return row, bridges.read_bridge("model", "", one.run, one.params, row)


def test_the_target_is_what_the_model_writes(loaded: list[LoadedRun]):
    """At every step the likeliest token follows, or the end."""
    for one in loaded:
        row, found = read_with(one)
        assert row[:5].tolist() == [3, 5, 4, 6, one.run.task.separator]
        best = found.probabilities.argmax(axis=-1).tolist()
        steps = len(row) - 4
        assert best[: steps - 1] == row[5:].tolist()
        assert steps == 7 or best[-1] == one.run.task.end


def test_weights_are_shares_of_the_source(loaded: list[LoadedRun]):
    for one, heads in zip(loaded, (1, 2, None), strict=True):
        row, found = read_with(one, "3 5 4 6 1 11 12")
        assert row.tolist() == [3, 5, 4, 6, 1, 11, 12]
        if heads is None:
            assert not found.weights
            continue
        (weights,) = found.weights
        assert weights.shape == (heads, 3, 4)
        close(weights.sum(axis=-1), 1)


def test_outputs_are_the_model_s_own_without_padding(loaded: list[LoadedRun]):
    """A row as long as the task's needs no padding; a shorter one gives the same numbers with it."""
    one = loaded[0]
    row, found = read_with(one, "3 5 4 6 7 8 1 11 12 13 14 15 16")
    logits, _ = one.run.model.apply({"params": one.params}, jnp.asarray(row)[None])
    p = np.exp(np.asarray(logits[0, 6:], np.float64))
    close(found.probabilities, p / p.sum(axis=-1, keepdims=True))
    _, shorter = read_with(one, "3 5 4 6 7 8 1 11 12 13")
    close(shorter.probabilities, found.probabilities[:4])


def test_what_lies_ahead_moves_nothing(loaded: list[LoadedRun]):
    row, found = read_with(loaded[0], "3 5 4 6 1 11 12")
    known = np.isfinite(found.occlusion)
    assert known.tolist() == [[True] * 4 + [False] + [s <= t for s in (1, 2)] for t in range(3)]
    assert (found.occlusion[known] > 0).all()
    assert found.occlusion[known].max() <= 1
    assert found.occlusion.shape == (3, len(row))


def test_without_an_input_a_pair_of_the_test_is_read(loaded: list[LoadedRun]):
    row, found = read_with(loaded[0], None)
    assert (row == loaded[0].run.task.separator).sum() == 1
    assert len(found.probabilities) == len(row) - int(row.tolist().index(1))


def test_the_page_says_the_numbers_of_the_arrays(runs: list[Path], loaded: list[LoadedRun], tmp_path: Path):
    written = explore.write_exploration(runs, SOURCE, tmp_path / "page.html", "data", 0, figures=True)
    assert [path.name for path in written] == ["page.html", "page.npz"]
    text = written[0].read_text("utf-8")
    assert set(re.findall(r"https?:[^\s\"')]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert "hands over one vector" in text
    copy = tmp_path / "used.html"
    copy.write_text(text.replace("<head>", f"<head>{BEFORE}", 1).replace("</body>", f"{ACT}</body>", 1), "utf-8")
    seen: Any = browse(copy)
    assert seen["wrong"] == []
    assert seen["resources"] == []
    assert seen["wide"] == 0
    with np.load(written[1]) as arrays:
        names = {"bridge-0-0-0": ("gru (gru)/layer_0.weights", 0), "bridge-1-0-0": ("attention/layer_0.weights", 0)}
        names |= {"bridge-1-0-1": ("attention/layer_0.weights", 1), "moved-2": ("gru (vector)/occlusion", None)}
        for name, (key, head) in names.items():
            x = arrays[key] if head is None else arrays[key][head]
            for said, (r, c) in zip(seen["maps"][f"map-{name}"], ((0, 0), (1, 1)), strict=True):
                assert float(said.split()[-1].replace("−", "-")) == pytest.approx(float(x[r, c]), rel=1e-3), said
        assert set(seen["maps"]) == {f"map-{name}" for name in (*names, "moved-0", "moved-1")}
        last = arrays["gru (gru)/layer_0.weights"][0][-1]
        most = ["‘3’ (1)", "‘5’ (2)", "‘4’ (3)", "‘6’ (4)"][int(last.argmax())]
        assert f": reads {most} " in seen["reads"] or f"reads {most} " in seen["reads"]


def refused(call: Any, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        cli.report_errors(call)
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("error: ")


def test_what_is_no_source_is_refused_in_one_line(
    runs: list[Path], loaded: list[LoadedRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def told(text: str) -> str:
        return refused(lambda: explore.write_exploration(runs, text, tmp_path / "x.html", "data", 0, False), capsys)

    assert "'x' is no token of this task" in told("x")
    assert told("3 4 5 3 4 5 3").startswith("--input has 7 tokens of a source: this model takes 1 to 6")
    assert told("1 3").startswith("--input has 0 tokens of a source")
