import json
import re
import shutil
import subprocess
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import data
from configs import digits, shakespeare, titles, translation
from experiments import explore
from experiments.inspection import activations, html_page
from experiments.inspection.stages import ModelReading
from tests import tiny_config
from training import builder, checkpoint, cli, files, loop, trainer
from training import export as export_module

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NASTY = "</script><b>'x"  # all of whose characters the model below knows
ALPHABET = " \n!\"'()-./:;<=>?abcdefghijklmnopqrstuvwxyz"
WORDS = ("", "love", "blood", "crown", "<i>", "sea", "o'er")
PLAY = "A </script><img src=x onerror=alert(1)> Play"
TITLES = (PLAY, "King Ink", "The Sea")
ABOUT = {PLAY: ("comedy", 1594), "King Ink": ("history", 1596), "The Sea": ("tragedy", 1610)}


def made_up(name: str, data_dir: Any = None) -> dict[str, Any]:
    """What `data.load_dataset` returns, with noise in it."""
    random = np.random.default_rng(0)
    splits = {"train": 300, "validation": 100, "test": 100}
    if name == "shakespeare":
        text = {split: random.integers(0, len(ALPHABET), n).astype(np.uint8) for split, n in splits.items()}
        return {"text": text, "alphabet": ALPHABET}
    inputs = {split: random.integers(1, len(WORDS), (n, 6)).astype(np.uint16) for split, n in splits.items()}
    labels = {split: random.integers(0, 3, n).astype(np.int32) for split, n in splits.items()}
    return {"inputs": inputs, "labels": labels, "names": WORDS, "classes": TITLES}


def export(directory: Path, config: Any, **fields: Any) -> Path:
    """An untrained model as `train.export_member` leaves it, with biases and norms that are something."""
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    run = builder.build_run(config)
    leaves, tree = jax.tree.flatten(jax.jit(partial(trainer.init_params, run))(jnp.uint32(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    directory.mkdir(parents=True)
    checkpoint.save_params(directory / "params", jax.tree.unflatten(tree, drawn))
    files.write_json(directory / "config.json", run.config)
    return directory


def text_model(directory: Path, mixer: str, **fields: Any) -> Path:
    fields = {"task__max_length": 16, "model__width": 8, "model__feedforward": 1.0, **fields}
    positions = "sinusoidal" if mixer == "attention" else "none"
    return export(directory, shakespeare.get_config(mixer), **{"model__positions": positions, **fields})


@pytest.fixture(scope="module", autouse=True)
def made_up_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load_dataset", made_up)
        patch.setattr(explore, "title_details", lambda: ABOUT)
        yield


@pytest.fixture(scope="module")
def runs(made_up_data: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported: attention, lstm and titles."""
    root = tmp_path_factory.mktemp("runs")
    text_model(root / "attention", "attention")
    text_model(root / "lstm", "lstm", model__depth=1)
    export(root / "titles", titles.get_config(), model__width=8)
    return root


@pytest.fixture(scope="module")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three, reading markup; and the figures beside the page."""
    out = tmp_path_factory.mktemp("page") / "explore.html"
    paths = [runs / name for name in ("attention", "lstm", "titles")]
    explore.write_exploration(paths, NASTY, out, "data", 0, figures=True)
    return out


# ---- in a browser ---------------------------------------------------------------------------------------------------

BEFORE = """<script>
window.wrong = [];
window.addEventListener("error", (event) => wrong.push(String(event.message)));
for (const kind of ["error", "warn"]) console[kind] = (...words) => wrong.push(words.join(" "));
</script>"""

ACT = """<script>
{ // what a reader does, and what the page then says
const all = (selector) => [...document.querySelectorAll(selector)];
const cells = (rows) => all(rows).map((row) => [...row.children].map((cell) => cell.textContent));
const set = (element, value, kind) => {
  element.value = value;
  element.dispatchEvent(new Event(kind, { bubbles: true }));
};
const seen = { maps: {}, labels: [] };

set($("sentence").parentElement.querySelector("select[data-chooses=layer]"), 1, "change");
set($("sentence").parentElement.querySelector("select[data-chooses=head]"), 2, "change");
for (const figure of all("figure.map")) {
  const [canvas, readout] = [figure.querySelector("canvas"), figure.querySelector(".readout")];
  const press = (...keys) => keys.forEach((key) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key })));
  const said = (seen.maps[figure.id] = {});
  const top = ["PageUp", "PageUp", "PageUp", "PageUp", "PageUp", "PageUp", "Home"];
  press(...top);
  said["0 0"] = readout.textContent;
  press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight");
  said["3 1"] = readout.textContent;
  const box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 2, clientY: box.bottom - 2 }));
  said.last = readout.textContent;
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  said.drawn = new Set(pixels).size > 3;
  seen.labels.push([canvas.getAttribute("role"), canvas.getAttribute("aria-label"), canvas.tabIndex]);
}
seen.unlabelled = all("input, select, button, [role=listbox], [role=region], svg[role=img]").filter((one) =>
  !(one.labels?.length || one.getAttribute("aria-label") || (one.tagName === "BUTTON" && one.textContent))).length;

const options = () => [...$("sentence").children];
options()[0].click();
options()[0].dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true }));
seen.end = $("sentence").querySelector("[aria-selected=true]").getAttribute("aria-label");
seen.tabbable = options().filter((one) => one.tabIndex === 0).length;
options()[5].click();
seen.chosen = document.querySelector("[data-chosen=token]").textContent;
seen.likeliest = cells("#likeliest tr");
seen.next = $("next").textContent;
$("looks").children[9].dispatchEvent(new PointerEvent("pointerenter"));
seen.looks = $("looks-readout").textContent;
$("looks").children[9].dispatchEvent(new PointerEvent("pointerleave"));
seen.left = $("looks-readout").textContent;
seen.moves = $("moves-1-readout").textContent;

const hand = () => cells("#by-hand tr").map((row) => [row[0], ...row.slice(2).filter((cell) => cell)]);
const total = () => Number($("total").textContent);
seen.hand = { before: hand(), totals: [total()] };
const slider = document.querySelector("#by-hand input");
for (const score of [3, -5, 1.5]) {
  set(slider, score, "input");
  seen.hand.totals.push(total());
}
slider.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
seen.hand.after = hand();
set($("temperature"), 0.3, "input");
seen.hand.warm = hand();
set($("temperature"), 0, "input");
for (const kind of ["linear", "sigmoid"]) {
  set($("normalizer"), kind, "change");
  seen.hand[kind] = [hand(), total()];
}

seen.search = {};
for (const query of ["love LOVE o'er, zebra", "<i>", "zebra", ""]) {
  set($("query"), query, "input");
  seen.search[query] = {
    words: $("words").textContent, shown: !$("answer").hidden, found: cells("#found tr"),
    blended: $("blended").textContent, kinds: cells("#blend div"),
  };
}
seen.markup = [all("script").length, all("img, iframe, [onerror]").length];
seen.title = document.title;
seen.resources = performance.getEntriesByType("resource").map((one) => one.name);
seen.wrong = wrong;
const told = document.createElement("pre");
told.id = "seen";
told.textContent = JSON.stringify(seen);
document.body.append(told);
}
</script>"""


class Told(HTMLParser):
    """The text of the element with the id "seen"."""

    def __init__(self, text: str):
        super().__init__()
        self.inside, self.text = False, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = ("id", "seen") in attrs

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        self.text += data if self.inside else ""


def browse(file: Path, *flags: str) -> Any:
    """What a page left in its element "seen" after it was loaded by a headless browser."""
    if BROWSER is None:
        pytest.skip("no chromium or chrome is installed, in which a page could be opened")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    words += ["--window-size=1200,1000", f"--user-data-dir={file.parent / 'profile'}", "--virtual-time-budget=2000"]
    told = subprocess.run(
        [BROWSER, *words, *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=100, check=True
    )
    return json.loads(Told(told.stdout).text)


@pytest.fixture(scope="module")
def seen(page: Path) -> Any:
    """The page of `page`, used by keyboard and pointer; a copy with the reader in it."""
    text = page.read_text("utf-8").replace("<head>", f"<head>{BEFORE}", 1).replace("</body>", f"{ACT}</body>", 1)
    copy = page.with_name("used.html")
    copy.write_text(text, "utf-8")
    return browse(copy)


def value(said: str) -> float:
    """The number at the end of what is said of a cell."""
    return float(said.split(": ")[-1].split(" = ")[0].split()[-1].replace("−", "-"))


def test_the_page_asks_for_nothing_and_raises_nothing(page: Path, seen: Any):
    text = page.read_text("utf-8")
    assert seen["wrong"] == []
    assert seen["resources"] == []
    assert set(re.findall(r"https?:[^\s\"')]*", text)) <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")|<img|<iframe|<script src", text)
    assert list(page.parent.glob(".*")) == [], "nothing half-written is left"


def test_every_cell_says_the_number_that_the_model_computed(runs: Path, seen: Any):
    """By keyboard at two cells, by pointer at the last: layer 2, head 3 of attention, and both models' influence."""
    run, params = export_module.load(runs / "attention")
    tokens = np.array(run.task.encode(NASTY))
    found = activations.capture_activations(run, params, tokens)
    block = found.blocks[1]
    attended = block.attention
    assert attended
    chosen = 3 * len(tokens) // 4
    weighted = attended.weights[2][chosen][:, None] * attended.value[2]
    expected = {
        "embedding": found.embedding.T, "position": found.placed.T, "read": block.read.T,
        "query": attended.query[2].T, "key": attended.key[2].T, "value": attended.value[2].T,
        "scores": attended.scores[2], "weights": attended.weights[2], "weighted": weighted.T,
        "heads": attended.heads[2].T, "mixed": block.mixed.T, "added": block.added.T,
        "feedforward": block.feedforward.T if block.feedforward is not None else None, "after": block.after.T,
        "final": found.final.T, "probabilities": found.probabilities.T,
    }  # fmt: skip
    for index, one in enumerate(found.blocks):
        assert one.attention
        expected |= {f"head-{index}-{head}": one.attention.weights[head] for head in range(4)}
    for index, name in enumerate(("attention", "lstm")):
        moved = activations.measure_influence(*export_module.load(runs / name), tokens)
        expected |= {f"occlusion-{index}": moved.occlusion, f"gradient-{index}": moved.gradient}
    assert set(seen["maps"]) == {f"map-{name}" for name in expected}
    for name, x in expected.items():
        said = seen["maps"][f"map-{name}"]
        assert said["drawn"], name
        for r, c in ((0, 0), (min(3, len(x) - 1), 1), (len(x) - 1, x.shape[1] - 1)):
            told = said["last" if r == len(x) - 1 and c > 1 else f"{'0 0' if c == 0 else '3 1'}"]
            if name == "weighted" and c > chosen:
                assert told.endswith(": –"), told
            else:
                assert value(told) == pytest.approx(float(x[r, c]), rel=1e-3, abs=1e-7), (name, told)
    assert seen["maps"]["map-weights"]["3 1"].startswith("query ‘c’ (4) → key ‘/’ (2): weight 0.")
    assert seen["maps"]["map-query"]["0 0"].startswith("query, feature 1 of ‘<’ (1): ")
    total, embedded, added = re.findall(r"[−\d.e]+(?= |$)", seen["maps"]["map-position"]["last"].split(": ")[1])
    assert value(total) == pytest.approx(value(embedded) + value(added), abs=2e-3)


def test_what_a_query_may_not_see_is_said_to_lie_ahead(page: Path, seen: Any):
    assert "lies ahead" not in seen["maps"]["map-weights"]["last"]
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)[0])
    assert data["path"]["blocks"][0]["weights"]["packed"]
    assert data["path"]["blocks"][0]["weights"]["shape"] == [4, len(NASTY), len(NASTY)]


def test_tokens_are_chosen_and_hovered(runs: Path, seen: Any):
    run, params = export_module.load(runs / "attention")
    tokens = np.array(run.task.encode(NASTY))
    found = activations.capture_activations(run, params, tokens)
    assert seen["end"] == f"‘x’ ({len(NASTY)})"
    assert seen["chosen"] == "‘i’ (6)"
    assert seen["tabbable"] == 1
    best = np.argsort(-found.probabilities[5])[:10]
    assert [row[0] for row in seen["likeliest"]] == list(map(str, range(1, 11)))
    assert [float(row[2]) for row in seen["likeliest"]] == pytest.approx(found.probabilities[5][best], rel=1e-3)
    rank = 1 + int((found.probabilities[5] > found.probabilities[5][tokens[6]]).sum())
    assert seen["next"].endswith(f"and ranked {rank}.")
    attended = found.blocks[1].attention
    assert attended
    most = int(attended.weights[2][9].argmax())
    assert seen["looks"].startswith(f"‘{NASTY[9]}’ (10) looks at ‘{NASTY[most]}’ ({most + 1}) ")
    assert seen["left"].startswith("‘i’ (6) looks at ")
    moved = activations.measure_influence(*export_module.load(runs / "lstm"), tokens).occlusion[5]
    assert seen["moves"].startswith(f"after ‘i’ (6): moved by ‘{NASTY[int(moved.argmax())]}’ ")


def test_everything_that_is_used_has_a_label(seen: Any):
    assert seen["unlabelled"] == 0
    assert all(role == "img" and label and index == 0 for role, label, index in seen["labels"])


def columns(rows: Any) -> np.ndarray:
    """Score, weight, change and slope of each key."""
    return np.array([[float(cell.replace("−", "-")) for cell in row[1:]] for row in rows])


def test_softmax_by_hand(runs: Path, seen: Any):
    """The model's own scores first, whose weights are the model's; then one is dragged, and the sum stays one."""
    run, params = export_module.load(runs / "attention")
    attended = activations.capture_activations(run, params, np.array(run.task.encode(NASTY))).blocks[1].attention
    assert attended
    hand = seen["hand"]
    before, after, warm = (columns(hand[name]) for name in ("before", "after", "warm"))
    assert [row[0] for row in hand["before"]] == [f"‘{c}’ ({i + 1})" for i, c in enumerate(NASTY[:6])]
    np.testing.assert_allclose(before[:, 0], attended.scores[2][5][:6], atol=1e-4)
    np.testing.assert_allclose(before[:, 1], attended.weights[2][5][:6], atol=1e-4)
    assert not before[:, 2].any()
    assert hand["totals"] == [1, 1, 1, 1]
    scores = np.array([1.6, *before[1:, 0]])  # dragged to 1.5, and 0.1 further by an arrow key

    def softmax(s: np.ndarray) -> np.ndarray:
        return np.exp(s) / np.exp(s).sum()

    for found, heat in ((after, 1), (warm, 10**0.3)):
        w = softmax(scores / heat)
        np.testing.assert_allclose(found[:, 0], scores, atol=1e-4)
        np.testing.assert_allclose(found[:, 1], w, atol=2e-4)
        np.testing.assert_allclose(found[:, 2], w - softmax(before[:, 0] / heat), atol=2e-4)
        np.testing.assert_allclose(found[:, 3], w * ((np.arange(6) == 0) - w[0]) / heat, atol=2e-4)
        assert found[:, 1].sum() == pytest.approx(1, abs=5e-4)
    assert (np.abs(after[1:, 2]) > 0).any(), "the others moved"
    positive = np.maximum(scores, 0)
    np.testing.assert_allclose(columns(hand["linear"][0])[:, 1], positive / positive.sum(), atol=2e-4)
    assert hand["linear"][1] == 1
    sigmoid = 1 / (1 + np.exp(np.log(6) - scores))
    np.testing.assert_allclose(columns(hand["sigmoid"][0])[:, 1], sigmoid, atol=2e-4)
    assert hand["sigmoid"][1] == pytest.approx(sigmoid.sum(), abs=2e-4)
    assert not columns(hand["sigmoid"][0])[1:, 2].any(), "each key for itself"


def test_search_says_what_the_model_says(runs: Path, seen: Any):
    run, params = export_module.load(runs / "titles")
    tokens = jnp.array(run.task.encode("love love o'er"))[None]
    y, _ = run.model.apply({"params": params}, tokens)
    scores, weights = np.asarray(y[0]), np.asarray(jax.nn.softmax(y[0]))
    found = seen["search"]["love LOVE o'er, zebra"]
    assert found["words"] == "Known: “love”, “love”, “o'er”. Left out, since training never saw them: “zebra”."
    order = np.argsort(-weights)
    assert [row[0] for row in found["found"]] == [TITLES[c] for c in order]
    assert [row[1:3] for row in found["found"]] == [[ABOUT[TITLES[c]][0], str(ABOUT[TITLES[c]][1])] for c in order]
    assert [float(row[3].replace("−", "-")) for row in found["found"]] == pytest.approx(
        scores[order], rel=1e-2, abs=1e-3
    )
    assert [float(row[4]) for row in found["found"]] == pytest.approx(weights[order], rel=1e-2)
    year = sum(w * ABOUT[title][1] for w, title in zip(weights, TITLES, strict=True))
    best = TITLES[order[0]]
    assert found["blended"] == f"{100 * weights[order[0]]:.0f} % {ABOUT[best][0]}, about {year:.0f}"
    assert seen["search"]["zebra"] == {**seen["search"]["zebra"], "shown": False}
    assert seen["search"]["zebra"]["words"] == "None of these words is known: “zebra”."
    assert seen["search"][""]["words"] == "Type a few words."


def test_markup_is_shown_and_never_run(page: Path, seen: Any):
    assert seen["markup"] == [4, 0]  # of the scripts two are the test's
    assert seen["title"] == f"Look inside: {NASTY}"
    assert seen["search"]["<i>"]["shown"] is False  # what is typed is split into words, as in training
    text = page.read_text("utf-8")
    assert text.count("</script>") == 2
    assert "<b>'x" not in text
    assert html_page.script_json({"a": "</script>&\u2028"}) == '{"a":"\\u003c/script\\u003e\\u0026\\u2028"}'


def test_on_a_phone_nothing_runs_out_of_the_page(page: Path):
    frames = page.with_name("frames.html")
    frames.write_text(
        "".join(f'<iframe src="{page.name}" style="width:{w}px;height:900px;border:0"></iframe>' for w in (320, 390))
        + """<script>window.onload = () => {
          const pages = [...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument);
          const wide = pages.map((page) => page.documentElement.scrollWidth - page.documentElement.clientWidth);
          document.body.insertAdjacentHTML("beforeend", `<pre id="seen">${JSON.stringify(wide)}</pre>`);
        };</script>"""
    )
    assert browse(frames, "--allow-file-access-from-files") == [0, 0]


# ---- the file, the figures, the arrays ------------------------------------------------------------------------------


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
    attended = (
        activations.AttentionActivations(heads, heads, heads, pairs, pairs, heads) if mixer == "attention" else None
    )
    block = activations.BlockActivations(x, attended, x, x, x, x)
    found = activations.Activations(x, x, x, (block, block), x, outputs, outputs)
    moved = activations.Influence(np.abs(draw(64, 64)), np.abs(draw(64, 64)))
    return ModelReading(name, name, run, found, activations.summarize_heads(run, found, np.arange(64)), moved)


def test_two_layers_of_four_heads_over_64_tokens_are_below_a_mebibyte(tmp_path: Path):
    """With three models' influence, and a search over 4,000 words and 42 titles."""
    random = np.random.default_rng(0)
    readings = [drawn_reading(mixer, mixer) for mixer in ("attention", "lstm", "gru")]
    draw = lambda *shape: random.normal(size=shape).astype(np.float32)  # noqa: E731
    words = ["".join(random.choice(list("abcdefghijklmno"), 8)) for _ in range(4000)]
    found = html_page.SearchPanel(activations.SearchModel(draw(4001, 24), draw(24, 42), draw(42)), ["", *words],
                                [(f"The Title Number {i}", "history", 1600) for i in range(42)], "")  # fmt: skip
    names = readings[0].run.task.names
    out = html_page.write_page(tmp_path / "page.html", "", np.arange(64), names, names, readings, found)
    assert out.stat().st_size < 2**20


def test_figures_and_arrays(page: Path, runs: Path):
    drawn = {path.name for path in page.parent.iterdir() if path.suffix in (".svg", ".pdf", ".npz")}
    names = ("path", "heads", "influence", "distance")
    assert drawn == {f"explore-{name}.{kind}" for name in names for kind in ("svg", "pdf")} | {"explore.npz"}
    assert "Layer 2, head 4" in page.with_name("explore-heads.svg").read_text()
    run, params = export_module.load(runs / "attention")
    with np.load(page.with_suffix(".npz")) as kept:
        tokens = kept["tokens"]
        assert "".join(run.task.names[token] for token in tokens) == NASTY
        for name, x in activations.named_arrays(activations.capture_activations(run, params, tokens)).items():
            np.testing.assert_allclose(kept[f"attention/{name}"], x, rtol=1e-6)
        assert kept["lstm/occlusion"].shape == (len(NASTY), len(NASTY))
        assert "lstm/block_0.weights" not in kept


# ---- what else can be looked into -----------------------------------------------------------------------------------


def text_of(page: Path) -> str:
    return re.sub(r"<script.*?</script>", "", page.read_text("utf-8"), flags=re.S)


def test_without_attention_the_page_says_so_and_shows_influence(runs: Path, tmp_path: Path):
    explore.write_exploration([runs / "lstm"], "tosses", tmp_path / "page.html", "data", 0, figures=True)
    text = text_of(tmp_path / "page.html")
    assert "This model has no attention: no queries, keys and values to show" in text
    assert "None of these models has attention" in text
    assert "No search model is among these runs" in text
    assert 'id="map-occlusion-0"' in text
    assert 'id="map-given"' in text
    assert 'id="map-query"' not in text
    assert not (tmp_path / "page-heads.svg").exists()


@pytest.fixture(scope="module")
def recall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir, of a task without text, trained for a moment."""
    fields = {"ensemble.seeds": (0, 1), "training.steps": 10}
    loop.train(
        tiny_config("attention", fields), directory := tmp_path_factory.mktemp("recall") / "run", tensorboard=False
    )
    return directory


def test_a_workdir_of_a_generated_task(recall: Path, tmp_path: Path):
    """Tokens are numbers; without any, a sequence of the test is read. Nothing in the workdir changes."""
    before = {path: path.stat().st_mtime_ns for path in recall.rglob("*")}
    text = text_of(explore.write_exploration([recall], "3 9 3", tmp_path / "page.html", "data", 1, False)[0])
    assert "<title>Look inside: 3 9 3</title>" in text
    assert "1 layer of width 8 on recall, 10 steps" in text
    assert {path: path.stat().st_mtime_ns for path in recall.rglob("*")} == before
    run, _ = export_module.load(recall)
    drawn, _ = explore.encode_input(run, None)
    assert len(drawn) == 8
    assert 0 <= drawn.min() < drawn.max() < run.task.vocabulary


def test_a_bag_of_words_alone_is_taken_apart(runs: Path, tmp_path: Path):
    text = text_of(
        explore.write_exploration([runs / "titles"], "love blood", tmp_path / "page.html", "data", 0, False)[0]
    )
    assert "mean over all tokens" in text
    assert 'id="query"' in text


def test_what_is_trained_where_nothing_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Attention, two recurrences and the search, each a config that can be built, with room for the sentence."""
    asked = []
    monkeypatch.setattr(
        loop, "train", lambda config, workdir, **_: asked.append((workdir.name, builder.build_run(config)))
    )
    monkeypatch.setattr(explore, "DEFAULT_SENTENCE", explore.DEFAULT_SENTENCE.lower())  # the stand-in has no capitals
    assert [path.name for path in explore.train_default_runs(tmp_path, "data", None)] == [
        "attention",
        "lstm",
        "gru",
        "titles",
    ]
    for name, run in asked[:3]:
        assert run.config["model"]["mixer"] == name
        assert len(explore.DEFAULT_SENTENCE) <= explore.max_input_length(run)
    assert activations.is_search_model(asked[3][1])
    assert asked[0][1].config["model"]["positions"] == "sinusoidal"
    with pytest.raises(ValueError, match=r"has 65 tokens and \S+attention takes 64 at most"):
        explore.train_default_runs(tmp_path, "data", "a" * 65)
    assert len(asked) == 4, "and nothing was trained for it"


# ---- bad input ------------------------------------------------------------------------------------------------------


def refused(*given: Any, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    capsys.readouterr()
    paths, text, out, replica = given
    with pytest.raises(SystemExit) as stop:
        cli.report_errors(lambda: explore.write_exploration(paths, text, out / "page.html", "data", replica, False))
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert not list(out.glob("*.html"))
    return line.removeprefix("error: ")


def test_characters_never_seen_are_left_out_and_said_to_be(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    explore.write_exploration([runs / "lstm"], "a—b☃a—", tmp_path / "shown.htm", "data", 0, False)
    assert capsys.readouterr().err == "left out, since the model never saw them: '—', '☃'\n"
    assert "<title>Look inside: aba</title>" in text_of(tmp_path / "shown.htm")
    line = refused([runs / "attention"], "☃☃", tmp_path, 0, capsys=capsys)
    assert line.startswith("--input: nothing is left of it; the model knows !\"'()")
    tokens, said = explore.encode_input(export_module.load(runs / "titles")[0], "Love, zebra, sea")
    assert tokens.tolist() == [1, 5]
    assert said == "left out, since the model never saw them: ',', 'zebra'"


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_sentence(text: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refused([runs / "attention"], text, tmp_path, 0, capsys=capsys)
    assert line == f"--input={text!r} is empty: give a few words or tokens"


def test_a_sentence_that_is_too_long(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refused([runs / "lstm", runs / "attention"], "a" * 20, tmp_path, 0, capsys=capsys)
    assert line == f"--input has 20 tokens and {runs / 'attention'} takes 16 at most; leave out 4"
    assert explore.max_input_length(export_module.load(runs / "lstm")[0]) == explore.MAX_TOKENS
    line = refused([runs / "lstm"], "a" * 300, tmp_path, 0, capsys=capsys)
    assert line.endswith("takes 256 at most; leave out 44")


def test_tokens_that_are_none(recall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for text in ("3 x 4", "3 99", "-1"):
        line = refused([recall], text, tmp_path, 0, capsys=capsys)
        assert re.fullmatch(r"--input: '(x|99|-1)' is no token of this task, .* from 0 to 15 with blanks between", line)


def test_runs_that_read_other_tokens(runs: Path, recall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refused([runs / "lstm", recall], "abc", tmp_path, 0, capsys=capsys)
    assert line == f"{recall} and {runs / 'lstm'} read other tokens; give runs on one task"


def test_what_is_no_run(recall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = refused([tmp_path / "nothing"], "abc", tmp_path, 0, capsys=capsys)
    assert line.startswith(f"{tmp_path / 'nothing'} is no run: it must hold config.json, and ")
    assert refused([recall], "1", tmp_path, 7, capsys=capsys) == f"--member=7: {recall} has members 0 to 1"


def test_a_checkpoint_of_another_format(runs: Path, recall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A config without its fields, of another version, or of another model; parameters that are none; no checkpoint."""
    other = shutil.copytree(runs / "lstm", tmp_path / "other")
    config = files.read_json(other / "config.json")

    def told(change: Any) -> str:
        files.write_json(other / "config.json", change)
        return refused([other], "abc", tmp_path, 0, capsys=capsys)

    assert "config.json is damaged ('model' is a required property)" in told({"task": config["task"]})
    assert "config.json is damaged ('versions' is a required property); put it back from a copy, or check out" in told(
        {name: value for name, value in config.items() if name != "versions"}
    )
    assert "was made by versions" in told({**config, "versions": {**config["versions"], "mixer": 99}})
    wider = {**config, "model": {**config["model"], "width": 12}}
    assert told(wider) == f"{other} holds parameters of another model than its config.json says; train it anew"
    (other / "config.json").write_text("{")
    assert "is damaged" in refused([other], "abc", tmp_path, 0, capsys=capsys)
    files.write_json(other / "config.json", config)
    shutil.rmtree(other / "params")
    (other / "params").mkdir()
    assert f"{other / 'params'} can't be read (" in refused([other], "abc", tmp_path, 0, capsys=capsys)
    bare = shutil.copytree(recall, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    (bare / "checkpoints").mkdir()
    assert refused([bare], "1", tmp_path, 0, capsys=capsys).endswith("holds no checkpoint yet")


def test_pixels_and_encoders_with_decoders_are_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    pixels: dict[str, Any] = {"inputs": {s: np.zeros((4, 64, 1), np.float32) for s in data.SPLITS}}
    pixels["labels"] = {s: np.zeros(4, np.int32) for s in data.SPLITS}
    monkeypatch.setattr(data, "load_dataset", lambda name, data_dir: pixels)
    ends: dict[str, tuple[Any, str]] = {
        "digits": (
            digits.get_config("gru"),
            "reads real numbers, as pixels are: explore takes models that read tokens",
        ),
        "both": (
            translation.get_config("gru"),
            "is an encoder and a decoder, or a memory: explore takes one stack of layers",
        ),
    }
    for name, (config, end) in ends.items():
        run = builder.build_run(config)
        monkeypatch.setattr(export, "load", lambda *_, run=run: (run, None))
        assert refused([tmp_path / name], "abc", tmp_path, 0, capsys=capsys) == f"{tmp_path / name} {end}"
