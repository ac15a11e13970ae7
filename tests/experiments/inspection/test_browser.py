"""The page of explore in a headless browser, used by keyboard and pointer as a reader does."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.inspection.page_data import script_json
from experiments.inspection.reading import ModelReading
from tests.experiments.inspection import ABOUT, NASTY, TITLES
from training import export

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

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

set($("unit"), 2, "change");
$("unit-text").children[4].dispatchEvent(new Event("focus"));
seen.unit = [$("unit-text-readout").textContent, $("unit-note").textContent, $("unit").selectedOptions[0].textContent];
$("unit-text").children[4].dispatchEvent(new Event("blur"));
const counting = document.querySelector("button[data-unit]");
counting.click();
seen.counting = [counting.dataset.unit, $("unit").selectedOptions[0].textContent, document.activeElement.id];
seen.table = cells("#counting tbody tr");
seen.eigenvalues = [$("eigenvalues-note").textContent, all("#eigenvalues .dot").map((dot) => dot.cx.baseVal.value)];
seen.unreachable = all("button, select, input, canvas").filter((one) => one.tabIndex < 0).length;
seen.colors = [getComputedStyle(document.body).backgroundColor, matchMedia("(prefers-color-scheme: dark)").matches];

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


class SeenParser(HTMLParser):
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


DARK = "--blink-settings=preferredColorScheme=0"


def browse(file: Path, *flags: str) -> Any:
    """What a page left in its element "seen" after it was loaded by a headless browser."""
    if BROWSER is None:
        pytest.skip("no chromium or chrome is installed, in which a page could be opened")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    words += ["--window-size=1200,1000", f"--user-data-dir={file.parent / 'profile'}", "--virtual-time-budget=2000"]
    told = subprocess.run(
        [BROWSER, *words, *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=100, check=True
    )
    return json.loads(SeenParser(told.stdout).text)


@pytest.fixture(scope="module")
def used(page: Path) -> Path:
    """A copy of the page of `page` with a reader in it, who uses keyboard and pointer."""
    text = page.read_text("utf-8").replace("<head>", f"<head>{BEFORE}", 1).replace("</body>", f"{ACT}</body>", 1)
    copy = page.with_name("used.html")
    copy.write_text(text, "utf-8")
    return copy


@pytest.fixture(scope="module")
def seen(used: Path) -> Any:
    return browse(used)


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


def test_every_cell_says_the_number_that_the_model_computed(readings: dict[str, ModelReading], seen: Any):
    """By keyboard at two cells, by pointer at the last: layer 2, head 3 of attention, and both models' influence."""
    reading = readings["attention"]
    tokens = np.array(reading.run.task.encode(NASTY))
    found = reading.activations
    block = found.blocks[1]
    attended = block.attention
    assert attended
    chosen = 3 * len(tokens) // 4
    weighted = attended.weights[2][chosen][:, None] * attended.value[2]
    expected = {
        "embedding": found.embedding.T, "position": found.input.T, "read": block.mixer_input.T,
        "query": attended.query[2].T, "key": attended.key[2].T, "value": attended.value[2].T,
        "scores": attended.scores[2], "weights": attended.weights[2], "weighted": weighted.T,
        "heads": attended.heads[2].T, "mixed": block.mixer_output.T, "added": block.after_mixer.T,
        "feedforward": block.feedforward.T if block.feedforward is not None else None, "after": block.output.T,
        "final": found.final.T, "probabilities": found.probabilities.T,
    }  # fmt: skip
    for index, one in enumerate(found.blocks):
        assert one.attention
        expected |= {f"head-{index}-{head}": one.attention.weights[head] for head in range(4)}
    for index, name in enumerate(("attention", "lstm")):
        moved = readings[name].influence
        expected |= {f"occlusion-{index}": moved.occlusion, f"gradient-{index}": moved.gradient}
    (kept,) = readings["lstm"].recurrences
    assert kept is not None
    assert kept.kept is not None
    expected |= {f"gate-{name}": gate.T for name, gate in kept.gates.items()} | {"kept": kept.kept}
    came = np.take_along_axis
    following = [came(one.activations.probabilities[:-1], tokens[1:, None], axis=1) for one in readings.values()]
    expected |= {
        "state": kept.states["c"].T,
        "expected": np.stack([np.append(np.nan, p) for p in following]),
    }
    assert set(seen["maps"]) == {f"map-{name}" for name in expected}
    for name, x in expected.items():
        said = seen["maps"][f"map-{name}"]
        assert said["drawn"], name
        for r, c in ((0, 0), (min(3, len(x) - 1), 1), (len(x) - 1, x.shape[1] - 1)):
            told = said["last" if r == len(x) - 1 and c > 1 else f"{'0 0' if c == 0 else '3 1'}"]
            if name == "expected" and c == 0:
                assert told.endswith(": nothing, it is the first")
            elif name == "weighted" and c > chosen:
                assert told.endswith(": –"), told
            else:
                assert value(told) == pytest.approx(float(x[r, c]), rel=1e-3, abs=1e-7), (name, told)
    assert seen["maps"]["map-weights"]["3 1"].startswith("query ‘c’ (4) → key ‘/’ (2): weight 0.")
    assert seen["maps"]["map-query"]["0 0"].startswith("query, feature 1 of ‘<’ (1): ")
    total, embedded, added = re.findall(r"[−\d.e]+(?= |$)", seen["maps"]["map-position"]["last"].split(": ")[1])
    assert value(total) == pytest.approx(value(embedded) + value(added), abs=2e-3)


def test_a_unit_is_shown_over_the_text(readings: dict[str, ModelReading], seen: Any):
    """The third of the LSTM's units by speed, by the select; then the one that counts best, by its button."""
    (found,) = readings["lstm"].recurrences
    (probe,) = readings["lstm"].probes
    assert found is not None
    assert found.units is not None
    assert found.time_constants is not None
    said, note, option = seen["unit"]
    held, number = found.states["c"][:, 2], int(found.units[2]) + 1
    assert said.startswith(f"c of unit {number} behind ‘{NASTY[4]}’ (5): ")
    assert float(said.split(": ")[1].split(";")[0].replace("−", "-")) == pytest.approx(held[4], rel=1e-3)
    low, high = re.fullmatch(r"Bars from (\S+) to (\S+)\.", note).groups()  # pyright: ignore[reportOptionalMemberAccess]
    assert [float(x.replace("−", "-")) for x in (low, high)] == pytest.approx([held.min(), held.max()], rel=1e-3)
    assert option == f"{number} (τ {found.time_constants[2]:.3g})"
    assert probe is not None
    assert probe.line_correlations is not None
    best = int(np.abs(probe.line_correlations).argmax())
    assert seen["counting"][0] == f"0 0 {best + 1}"
    assert seen["counting"][1].startswith(f"{best + 1} (")
    assert seen["counting"][2] == "unit"
    assert seen["table"][0][0] == f"lstm, layer 1, unit {best + 1}"
    assert seen["table"][0][2].replace("−", "-") == f"{probe.line_correlations[best]:.2f}"


def test_eigenvalues_are_drawn_where_they_lie(readings: dict[str, ModelReading], seen: Any):
    (found,) = readings["lstm"].recurrences
    assert found is not None
    assert found.eigenvalues is not None
    values = found.eigenvalues[5]
    note, drawn = seen["eigenvalues"]
    assert drawn == pytest.approx(values.real, abs=1e-5)
    count, low, high = re.match(r"(\d+) eigenvalues, of size (\S+) to ([^;]+);", note).groups()  # pyright: ignore[reportOptionalMemberAccess]
    assert int(count) == len(values)
    sizes = np.abs(values)
    assert [float(low), float(high)] == pytest.approx([sizes.min(), sizes.max()], rel=1e-3, abs=1e-6)


def test_in_the_dark_the_page_says_the_same(used: Path, seen: Any):
    dark = browse(used, DARK)
    assert dark["wrong"] == []
    assert [dark["colors"][1], seen["colors"][1]] == [True, False]
    assert dark["colors"][0] != seen["colors"][0]
    assert dark["maps"] == seen["maps"]


def test_what_a_query_may_not_see_is_said_to_lie_ahead(page: Path, seen: Any):
    assert "lies ahead" not in seen["maps"]["map-weights"]["last"]
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)[0])
    assert data["path"]["blocks"][0]["weights"]["packed"]
    assert data["path"]["blocks"][0]["weights"]["shape"] == [4, len(NASTY), len(NASTY)]


def test_tokens_are_chosen_and_hovered(readings: dict[str, ModelReading], seen: Any):
    reading = readings["attention"]
    tokens = np.array(reading.run.task.encode(NASTY))
    found = reading.activations
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
    moved = readings["lstm"].influence.occlusion[5]
    assert seen["moves"].startswith(f"after ‘i’ (6): moved by ‘{NASTY[int(moved.argmax())]}’ ")


def test_everything_that_is_used_has_a_label_and_is_reached_by_keyboard(seen: Any):
    assert seen["unlabelled"] == seen["unreachable"] == 0
    assert all(role == "img" and label and index == 0 for role, label, index in seen["labels"])


def columns(rows: Any) -> np.ndarray:
    """Score, weight, change and slope of each key."""
    return np.array([[float(cell.replace("−", "-")) for cell in row[1:]] for row in rows])


def test_softmax_by_hand(readings: dict[str, ModelReading], seen: Any):
    """The model's own scores first, whose weights are the model's; then one is dragged, and the sum stays one."""
    attended = readings["attention"].activations.blocks[1].attention
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
    run, params = export.load(runs / "titles")
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
    assert script_json({"a": "</script>&\u2028"}) == '{"a":"\\u003c/script\\u003e\\u0026\\u2028"}'


def test_on_a_phone_nothing_runs_out_of_the_page(page: Path):
    frames = page.with_name("frames.html")
    frames.write_text(
        "".join(
            f'<iframe src="{page.name}" style="width:{w}px;height:900px;border:0"></iframe>' for w in (320, 360, 1440)
        )
        + """<script>window.onload = () => {
          const pages = [...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument);
          const wide = pages.map((page) => page.documentElement.scrollWidth - page.documentElement.clientWidth);
          document.body.insertAdjacentHTML("beforeend", `<pre id="seen">${JSON.stringify(wide)}</pre>`);
        };</script>"""
    )
    assert browse(frames, "--allow-file-access-from-files") == [0, 0, 0]
