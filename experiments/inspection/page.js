// What the page of experiments/explore.py does. Its data are JSON in the page; text only ever goes into textContent.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const TOKENS = DATA.tokens; // [{shown, said}]: what a token looks like in a cell, and in a sentence
const state = { ...DATA.chosen, hovered: null }; // the token, layer and head that everything shows

// ---- small things ---------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const range = (n) => Array.from({ length: n }, (_, i) => i);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/** Four significant digits. */
function number(x) {
  if (!Number.isFinite(x)) return "–";
  return x === 0 ? "0" : x.toPrecision(4).replaceAll("-", "−");
}

const percent = (x) => (x < 0.01 ? "< 1 %" : x > 0.99 ? "> 99 %" : `${(100 * x).toFixed(0)} %`);
const place = (i) => `${TOKENS[i].said} (${i + 1})`;

/** An element with attributes and children; strings become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "g"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const bar = (share) => {
  const made = make("span", { class: "bar", "aria-hidden": "true" });
  made.style.setProperty("--share", clamp(share, 0, 1));
  return made;
};

// ---- arrays ---------------------------------------------------------------------------------------------------------

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%:()*+-;,=.?@^_`{|}~";
const DIGIT = new Uint8Array(128);
[...DIGITS].forEach((digit, i) => (DIGIT[digit.charCodeAt(0)] = i));

/** Base 85: five digits are four bytes. */
function bytes(text) {
  const made = new DataView(new ArrayBuffer((text.length / 5) * 4));
  for (let i = 0; i < text.length; i += 5) {
    let four = 0;
    for (let j = i; j < i + 5; j++) four = 85 * four + DIGIT[text.charCodeAt(j)];
    made.setUint32((i / 5) * 4, four);
  }
  return made.buffer;
}

/** {shape, data, packed} as {shape, at(row, column, head)}. Packed are the rows of triangles, keys up to the query. */
function array({ shape, data, packed }) {
  const values = new Float32Array(bytes(data));
  const [rows, columns] = shape.slice(-2);
  const triangle = (rows * (rows + 1)) / 2;
  const at = packed
    ? (r, c, h = 0) => (c > r ? NaN : values[h * triangle + (r * (r + 1)) / 2 + c])
    : (r, c, h = 0) => values[(h * rows + r) * columns + c];
  return { shape, at, values };
}

/** Every {shape, data} in a tree, unpacked. */
function arrays(tree) {
  if (tree === null || typeof tree !== "object") return tree;
  if (typeof tree.data === "string") return array(tree);
  for (const name of Object.keys(tree)) tree[name] = arrays(tree[name]);
  return tree;
}

/** IEEE halves as numbers. */
function halves(text) {
  const from = new Uint16Array(bytes(text));
  return Float32Array.from(from, (x) => {
    const [exponent, fraction] = [(x >> 10) & 31, x & 1023];
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction;
    return x >> 15 ? -size : size;
  });
}

/** The sum of two arrays as float32 has it. */
const plus = (a, b) => ({ shape: a.shape, at: (r, c) => Math.fround(a.at(r, c) + b.at(r, c)) });

const PATH = arrays(DATA.path);
const MODELS = arrays(DATA.models);
const attends = (layer) => PATH.blocks[layer] && PATH.blocks[layer].weights;
const networkInput = PATH.position ? plus(PATH.embedding, PATH.position) : PATH.embedding;
const layerInput = (layer) => (layer ? layerOutput(layer - 1) : networkInput);
const afterMixer = (layer) => PATH.blocks[layer].after_mixer || plus(layerInput(layer), PATH.blocks[layer].mixer_output);

function layerOutput(layer) {
  const block = PATH.blocks[layer];
  return block.output || (block.feedforward ? plus(afterMixer(layer), block.feedforward) : afterMixer(layer));
}

// ---- colors: two ramps out of the style sheet, and three scales ----------------------------------------------------

const ramps = {};

function ramp(name) {
  if (!ramps[name]) {
    const stops = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim().split(/\s+/);
    const rgb = stops.map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
    ramps[name] = range(256).map((i) => {
      const x = (i / 255) * (rgb.length - 1);
      const k = Math.min(Math.floor(x), rgb.length - 2);
      return rgb[k].map((from, j) => Math.round(from + (x - k) * (rgb[k + 1][j] - from)));
    });
  }
  return ramps[name];
}

const signed = (limit) => ({
  ramp: "diverging", share: (x) => 0.5 + x / (2 * limit || 1), marks: [number(-limit), "0", number(limit)],
});
const root = { ramp: "rising", share: (x) => Math.sqrt(x), marks: ["0", "¼", "1"] };
const LOWEST = 0.001;
const decades = {
  ramp: "rising",
  share: (x) => 1 + Math.log10(Math.max(x, LOWEST)) / 3,
  marks: ["≤ 0.001", "0.03", "1"],
};

function symmetric(view) {
  let limit = 0;
  for (let r = 0; r < view.rows; r++)
    for (let c = 0; c < view.columns; c++) limit = Math.max(limit, Math.abs(view.value(r, c)) || 0);
  return signed(limit);
}

// ---- maps: a canvas, a cell that follows pointer and arrow keys, and a line that says what is in it -----------------

const maps = [];

/**
 * `view()` gives what figure `id` shows now: rows, columns, value(r, c), say(r, c), and where it has them scale (else
 * signed), down (names of rows), across (names of columns), height (of a row), square, mark ({row} or {column}), and
 * pick(r, c), what a click does; or null for nothing.
 */
function map(id, view) {
  const figure = $(`map-${id}`);
  if (!figure) return;
  const canvas = figure.querySelector("canvas");
  const [readout, scale] = [figure.querySelector(".readout"), figure.querySelector(".scale")];
  const cursor = { r: null, c: null };
  let seen = null;
  let box = null;

  function draw() {
    seen = view();
    figure.hidden = !seen;
    if (!seen || !canvas.clientWidth) return;
    seen.scale = seen.scale || symmetric(seen);
    if (cursor.r === null) Object.assign(cursor, { r: seen.mark?.row ?? 0, c: seen.mark?.column ?? 0 });
    cursor.r = clamp(cursor.r, 0, seen.rows - 1);
    cursor.c = clamp(cursor.c, 0, seen.columns - 1);
    box = paint(canvas, seen, document.activeElement === canvas || figure.matches(":hover") ? cursor : null);
    const colors = ramp(seen.scale.ramp).filter((_, i) => i % 15 === 0);
    scale.querySelector("i").style.background = `linear-gradient(to right, ${colors.map((c) => `rgb(${c})`)})`;
    scale.querySelectorAll("span").forEach((one, i) => (one.textContent = seen.scale.marks[i]));
    readout.textContent = seen.say(cursor.r, cursor.c);
  }

  function under(event) {
    const frame = canvas.getBoundingClientRect();
    const c = Math.floor(((event.clientX - frame.left - box.left) / box.width) * seen.columns);
    const r = Math.floor(((event.clientY - frame.top - box.top) / box.height) * seen.rows);
    return { r: clamp(r, 0, seen.rows - 1), c: clamp(c, 0, seen.columns - 1) };
  }

  const aloud = (on) => readout.setAttribute("aria-live", on ? "polite" : "off");
  canvas.addEventListener("pointermove", (event) => {
    if (!box) return;
    Object.assign(cursor, under(event));
    draw();
  });
  canvas.addEventListener("pointerleave", draw);
  canvas.addEventListener("click", () => seen?.pick?.(cursor.r, cursor.c));
  canvas.addEventListener("focus", () => (aloud(true), draw()));
  canvas.addEventListener("blur", () => (aloud(false), draw()));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const far = { PageUp: [-8, 0], PageDown: [8, 0], Home: [0, -1e6], End: [0, 1e6] }[event.key];
    if (!seen || (!step && !far && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    if (step || far) {
      cursor.r += (step || far)[0];
      cursor.c += (step || far)[1];
      draw();
    } else seen.pick?.(cursor.r, cursor.c);
  });
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(canvas.parentElement);
  maps.push(draw);
}

const FONT = '11px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';

/** Draws a view and returns where its cells lie. */
function paint(canvas, view, cursor) {
  const paper = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const [ink, muted, page] = ["--ink", "--muted", "--page"].map((name) => style.getPropertyValue(name));
  const longest = (names) => Math.max(0, ...(names || []).map((name) => name.length));
  const wide = Math.min(canvas.parentElement.clientWidth - 6, view.square ? 560 : 1200); // 3 on each side: its padding
  let left = view.down && longest(view.down) ? Math.min(12 + 7 * (longest(view.down) - 1), 90) + 4 : 0;
  if (view.square && (wide - left) / view.columns < 8.5) left = 0;
  const width = wide - left;
  const cell = width / view.columns;
  const turned = longest(view.across) > 2;
  const top = view.across && cell >= (turned ? 11 : 7.5) ? (turned ? 7 * Math.min(longest(view.across), 12) + 4 : 15) : 0;
  const height = view.square ? cell * view.rows : view.rows * view.height;
  const ratio = window.devicePixelRatio || 1;
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${top + height}px`;
  canvas.width = Math.round(wide * ratio);
  canvas.height = Math.round((top + height) * ratio);
  paper.scale(ratio, ratio);

  const cells = new ImageData(view.columns, view.rows);
  const colors = ramp(view.scale.ramp);
  for (let r = 0; r < view.rows; r++)
    for (let c = 0; c < view.columns; c++) {
      const value = view.value(r, c);
      if (Number.isNaN(value)) continue; // stays transparent
      const color = colors[clamp(Math.round(255 * view.scale.share(value)), 0, 255)];
      cells.data.set([...color, 255], 4 * (r * view.columns + c));
    }
  const small = Object.assign(document.createElement("canvas"), { width: view.columns, height: view.rows });
  small.getContext("2d").putImageData(cells, 0, 0);
  paper.imageSmoothingEnabled = false;
  paper.drawImage(small, left, top, width, height);

  const [tall, mark] = [height / view.rows, view.mark || {}];
  paper.font = FONT;
  paper.textBaseline = "middle";
  if (top)
    view.across.forEach((name, c) => {
      paper.fillStyle = c === mark.column ? ink : muted;
      paper.save();
      paper.translate(left + (c + 0.5) * cell, top - (turned ? 3 : 7));
      if (turned) paper.rotate(-Math.PI / 2);
      paper.textAlign = turned ? "left" : "center";
      paper.fillText(turned ? name.slice(0, 12) : name, 0, 0);
      paper.restore();
    });
  if (left && tall >= 8)
    view.down.forEach((name, r) => {
      paper.fillStyle = r === mark.row ? ink : muted;
      paper.textAlign = "right";
      paper.fillText(name.slice(0, 13), left - 4, top + (r + 0.5) * tall);
    });
  const frame = (x, y, w, h, color, line) => {
    paper.strokeStyle = color;
    paper.lineWidth = line;
    paper.strokeRect(x, y, w, h);
  };
  if (mark.column !== undefined) frame(left + mark.column * cell, top + 0.5, cell, height - 1, ink, 1);
  if (mark.row !== undefined) frame(left + 0.5, top + mark.row * tall, width - 1, tall, ink, 1);
  if (cursor) {
    const [x, y] = [left + cursor.c * cell, top + cursor.r * tall];
    frame(x - 1.5, y - 1.5, cell + 3, tall + 3, page, 4);
    frame(x - 1, y - 1, cell + 2, tall + 2, ink, 2);
  }
  return { left, top, width, height };
}

const names = TOKENS.map((token) => token.shown);

/** A map of features [T, D]: tokens across, features down. */
function features(what, tensor, more = {}) {
  const [columns, rows] = tensor.shape.slice(-2);
  const at = more.at || ((t, d) => tensor.at(t, d));
  const say = (r, c) => `${what}, feature ${r + 1} of ${place(c)}: ${number(at(c, r))}${more.also?.(c, r) ?? ""}`;
  return {
    rows, columns, say, across: names, mark: { column: state.token }, height: rows <= 20 ? 9 : rows <= 40 ? 6 : 3.5,
    value: (r, c) => at(c, r), pick: (r, c) => choose({ token: c }), ...more.view,
  };
}

/** A map of pairs [T, T]: a query a row, a key a column. */
function pairs(what, at, rows, more = {}) {
  const say = (r, c) => {
    const told = Number.isNaN(at(r, c)) ? "not seen, it lies ahead" : `${what} ${number(at(r, c))}`;
    return more.say ? more.say(r, c, told) : `query ${place(r)} → key ${place(c)}: ${told}`;
  };
  const many = rows > 1;
  return {
    rows, columns: TOKENS.length, value: at, square: many, height: 26, across: names, down: many ? names : null,
    mark: many ? { row: state.token } : {}, scale: more.scale,
    pick: (r) => choose({ token: many ? r : state.token, ...more.pick }), say,
  };
}

// ---- the sentence as a strip of tokens, with bars where there are weights -------------------------------------------

const strips = [];

/**
 * A listbox of tokens. Arrow keys move in it, and hovering or moving shows `bars(i)`, [above, below] of every token
 * of token i (`sides` of them); Enter, Space or a click chooses a token for the whole page.
 */
function strip(id, bars, tell, sides = 2) {
  const list = $(id);
  if (!list) return;
  const readout = $(`${id}-readout`);
  const items = TOKENS.map((token, i) => {
    const item = make("span", { role: "option", tabindex: -1, "aria-label": place(i) });
    const name = make("b", {}, token.shown);
    item.append(...[[name], [make("i"), name], [make("i"), name, make("i", { class: "below" })]][bars ? sides : 0]);
    item.addEventListener("pointerenter", () => bars && hover(i));
    item.addEventListener("pointerleave", () => bars && hover(null));
    item.addEventListener("focus", () => (bars ? hover(i) : null));
    item.addEventListener("blur", () => bars && hover(null));
    item.addEventListener("click", () => choose({ token: i }));
    item.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1, Home: -1e6, End: 1e6 }[event.key];
      if (step === undefined && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      const next = clamp(i + (step || 0), 0, items.length - 1);
      if (!bars || !step) choose({ token: next });
      items[next].focus();
    });
    return item;
  });
  list.append(...items);
  list.addEventListener("focusin", () => readout?.setAttribute("aria-live", "polite"));
  list.addEventListener("focusout", () => readout?.setAttribute("aria-live", "off"));
  strips.push(() => {
    const at = state.hovered ?? state.token;
    const shown = bars?.(at);
    list.closest(".strips")?.toggleAttribute("hidden", Boolean(bars) && !shown);
    items.forEach((item, i) => {
      item.tabIndex = i === at ? 0 : -1;
      item.setAttribute("aria-selected", i === state.token);
      item.classList.toggle("at", i === at);
      if (!shown) return;
      [...item.querySelectorAll("i")].forEach((one, side) => {
        const value = shown[side]?.(i);
        one.style.setProperty("--share", Number.isFinite(value?.share) ? clamp(value.share, 0, 1) : 0);
      });
    });
    if (readout && shown) readout.textContent = tell(at);
  });
}

function hover(i) {
  if (state.hovered === i) return;
  state.hovered = i;
  strips.forEach((update) => update());
}

/** The largest few of (token, value) pairs, in words. */
function largest(value, count = 3) {
  const found = range(TOKENS.length).map((i) => [i, value(i)]).filter(([, x]) => Number.isFinite(x) && x > 0);
  const best = found.sort((a, b) => b[1] - a[1]).slice(0, count);
  return best.map(([i, x]) => `${place(i)} ${number(x)}`).join(", ") || "nothing";
}

// ---- what is chosen -------------------------------------------------------------------------------------------------

const followers = []; // what else is written anew after a choice

function choose(change) {
  Object.assign(state, change);
  for (const [name, value] of Object.entries({ layer: state.layer, head: state.head }))
    document.querySelectorAll(`select[data-chooses=${name}]`).forEach((one) => (one.value = value));
  const attention = Boolean(attends(state.layer));
  document.querySelectorAll("[data-for]").forEach((one) => (one.hidden = (one.dataset.for === "attention") !== attention));
  document.querySelectorAll("[data-chosen]").forEach((one) => {
    const told = { token: place(state.token), layer: state.layer + 1, head: state.head + 1 };
    one.textContent = told[one.dataset.chosen];
  });
  for (const update of [...followers, ...maps, ...strips]) update();
}

document.querySelectorAll("select[data-chooses]").forEach((select) => {
  select.addEventListener("change", () => choose({ [select.dataset.chooses]: Number(select.value) }));
});

strip("sentence");

// ---- 1: the path of a sentence --------------------------------------------------------------------------------------

const chosen = (name) => PATH.blocks[state.layer]?.[name];
const group = () => Math.floor((state.head * PATH.kv_heads) / PATH.heads);

/** A map of one head's vectors [H, T, K]. */
function ofHead(what, name, which = () => state.head) {
  const tensor = chosen(name);
  return tensor && features(what, tensor, { at: (t, d) => tensor.at(t, d, which()) });
}

map("embedding", () => features("embedding", PATH.embedding));
map("position", () => PATH.position && features("embedding + position", networkInput, {
  also: (t, d) => ` = ${number(PATH.embedding.at(t, d))} + ${number(PATH.position.at(t, d))}`,
}));
map("read", () => chosen("mixer_input") && features("what the layer reads", chosen("mixer_input")));
map("query", () => ofHead("query", "query"));
map("key", () => ofHead("key", "key", group));
map("value", () => ofHead("value", "value", group));

/** A map of one head's pairs [H, T, T]. */
function ofPairs(what, name, scale) {
  const tensor = chosen(name);
  return tensor && pairs(what, (t, s) => tensor.at(t, s, state.head), TOKENS.length, { scale });
}
map("scores", () => ofPairs("score", "scores"));
map("weights", () => ofPairs("weight", "weights", root));
map("weighted", () => {
  const [values, weights] = [chosen("value"), chosen("weights")];
  const product = (s, d) => {
    const weight = weights.at(state.token, s, state.head);
    return Number.isNaN(weight) ? NaN : Math.fround(weight * values.at(s, d, group()));
  };
  return weights && features(`weight from ${place(state.token)} · value`, values, { at: product });
});
map("heads", () => ofHead("what the head reads", "heads"));
map("mixed", () => chosen("mixer_output") && features("output of the mixer", chosen("mixer_output")));
map("given", () => chosen("mixer_output") && features("output of the mixer", chosen("mixer_output")));
map("added", () => chosen("mixer_output") && features("after the sum", afterMixer(state.layer)));
map("feedforward", () => chosen("feedforward") && features("feed-forward", chosen("feedforward")));
map("after", () => chosen("feedforward") && features("what leaves the layer", layerOutput(state.layer)));
map("final", () => features("what the prediction is read from", PATH.final));

const row = () => (PATH.rows > 1 ? state.token : 0);
const OUTPUTS = DATA.outputs;
map("probabilities", () => {
  const tensor = PATH.probabilities;
  if (!tensor) return null;
  const column = (c) => (PATH.rows > 1 ? ` after ${place(c)}` : "");
  return {
    rows: tensor.shape[1], columns: PATH.rows, value: (r, c) => tensor.at(c, r), scale: root,
    across: PATH.rows > 1 ? names : null, mark: PATH.rows > 1 ? { column: state.token } : {},
    height: tensor.shape[1] <= 20 ? 9 : 4, pick: (r, c) => PATH.rows > 1 && choose({ token: c }),
    say: (r, c) => `${OUTPUTS[r].said}${column(c)}: probability ${number(tensor.at(c, r))}`,
  };
});

/** [[output, probability], …], the likeliest ten first. */
function likeliest() {
  if (PATH.top) return PATH.top[row()];
  const found = range(OUTPUTS.length).map((o) => [o, PATH.probabilities.at(row(), o)]);
  return found.sort((a, b) => b[1] - a[1]).slice(0, 10);
}

followers.push(() => {
  const lines = likeliest().map(([o, p], i) => {
    const name = make("th", { scope: "row" }, OUTPUTS[o].shown);
    if (OUTPUTS[o].said !== OUTPUTS[o].shown) name.setAttribute("aria-label", OUTPUTS[o].said);
    return make("tr", {}, make("td", { class: "n" }, String(i + 1)), name, make("td", { class: "n" }, number(p)),
      make("td", { class: "wide" }, bar(p)));
  });
  $("likeliest").replaceChildren(...lines);
  const next = DATA.next?.[state.token];
  $("next").textContent = next ? `In the sentence follows ${place(state.token + 1)}, given ${number(next[0])} and ranked ${next[1]}.` : "";
});

// ---- 2: every head --------------------------------------------------------------------------------------------------

for (const { block, head } of DATA.heads) {
  const tensor = PATH.blocks[block].weights;
  map(`head-${block}-${head}`, () => {
    const view = pairs("weight", (t, s) => tensor.at(t, s, head), TOKENS.length, {
      scale: root, pick: { layer: block, head },
    });
    return { ...view, down: null, across: null };
  });
}

followers.push(() => {
  for (const { block, head } of DATA.heads)
    $(`map-head-${block}-${head}`).classList.toggle("chosen", block === state.layer && head === state.head);
});

$("order")?.addEventListener("change", () => {
  const byPlace = (a, b) => a.block - b.block || a.head - b.head;
  const order = $("order").value === "place" ? [...DATA.heads].sort(byPlace) : DATA.heads;
  $("heads").append(...order.map(({ block, head }) => $(`map-head-${block}-${head}`)));
});

const weight = (t, s) => chosen("weights").at(t, s, state.head);
strip(
  "looks",
  (at) => attends(state.layer) && [
    (i) => ({ share: Math.sqrt(weight(at, i)) }),
    (i) => ({ share: Math.sqrt(weight(i, at)) }),
  ],
  (at) => `${place(at)} looks at ${largest((i) => weight(at, i))}; it is looked at by ${largest((i) => weight(i, at))}.`,
);

// ---- 3: influence, model beside model -------------------------------------------------------------------------------

MODELS.forEach((model, m) => {
  const rows = model.occlusion.shape[0];
  const ahead = { scale: decades, say: (r, c, told) => {
    const where = rows > 1 ? ` at ${place(r)}` : "";
    return `${model.name}: the prediction${where}, token ${place(c)}: ${told.replace("not seen, ", "nothing, ")}`;
  } };
  for (const kind of ["occlusion", "gradient"])
    map(`${kind}-${m}`, () => ({ ...pairs(kind, model[kind].at, rows, ahead), down: null, across: null }));
  const moved = (t, s) => model[$("measure").value].at(rows > 1 ? t : 0, s);
  strip(
    `moves-${m}`,
    (at) => [(i) => ({ share: decades.share(moved(at, i)) })],
    (at) => `${rows > 1 ? `after ${place(at)}: ` : ""}moved by ${largest((i) => moved(at, i), 4)}`,
    1,
  );
});
$("measure").addEventListener("change", () => strips.forEach((update) => update()));

const DASHES = ["none", "7 3", "2 3", "9 3 2 3", "1 4"];

/** Mean influence against distance, a line a model, on logarithmic heights. */
function curves(kind) {
  const chart = $(`curve-${kind}`);
  if (!chart) return;
  const [width, height, left, bottom] = [360, 210, 44, 34];
  const farthest = Math.max(1, ...MODELS.map((model) => model[`${kind}_curve`].length - 1));
  const x = (d) => left + (d / farthest) * (width - left - 8);
  const y = (value) => 8 + (1 - decades.share(value)) * (height - bottom - 8);
  const line = (a, b, c, d) => make("line", { x1: a, y1: b, x2: c, y2: d, class: "rule" });
  const text = (told, at, up, anchor) => make("text", { x: at, y: up, "text-anchor": anchor }, told);
  const parts = [1, 0.1, 0.01, 0.001].flatMap((value) => [
    line(left, y(value), width - 8, y(value)), text(String(value), left - 6, y(value) + 4, "end"),
  ]);
  const every = [1, 2, 5, 10, 20, 50, 100].find((n) => farthest / n <= 8) || 200;
  for (let d = 0; d <= farthest; d += every) parts.push(text(String(d), x(d), height - bottom + 16, "middle"));
  parts.push(text("distance t − s, in tokens", (left + width) / 2, height - 2, "middle"));
  MODELS.forEach((model, m) => {
    const points = model[`${kind}_curve`].map((value, d) => `${x(d).toFixed(1)},${y(value).toFixed(1)}`);
    const drawn = make("path", { d: `M${points.join("L")}`, class: "curve", "stroke-dasharray": DASHES[m % 5] });
    drawn.style.stroke = `var(--${model.color})`;
    parts.push(drawn);
  });
  chart.replaceChildren(...parts);
}
curves("occlusion");
curves("gradient");

// ---- 4: a row of scores by hand -------------------------------------------------------------------------------------

const NORMALISERS = {
  softmax: (s) => {
    const shares = s.map((one) => Math.exp(one - Math.max(...s)));
    return shares.map((one) => one / sum(shares));
  },
  linear: (s) => {
    const total = sum(s.map((one) => Math.max(one, 0))) + 1e-6;
    return s.map((one) => Math.max(one, 0) / total);
  },
  sigmoid: (s) => s.map((one) => 1 / (1 + Math.exp(Math.log(s.length) - one))),
};
const SLOPES = {
  softmax: (w, i, j) => w[i] * ((i === j) - w[j]),
  linear: (w, i, j, s) => (s[j] > 0 ? ((i === j) - w[i]) / (sum(s.map((one) => Math.max(one, 0))) + 1e-6) : 0),
  sigmoid: (w, i, j) => (i === j ? w[i] * (1 - w[i]) : 0),
};
const hand = { keys: [], own: [], scores: [], moved: 0, rows: [] };

/** The scores that the sliders start with: of the chosen query and head, of its eight largest where there are more. */
function rowOfScores() {
  if (!attends(state.layer)) return [["a", 2], ["b", 1], ["c", 0.5], ["d", 0], ["e", -1]];
  const score = (s) => chosen("scores").at(state.token, s, state.head);
  const seen = range(TOKENS.length).filter((s) => Number.isFinite(score(s)));
  const kept = seen.sort((a, b) => score(b) - score(a)).slice(0, 8).sort((a, b) => a - b);
  return kept.map((s) => [place(s), score(s)]);
}

function deal() {
  const dealt = rowOfScores();
  const own = dealt.map(([, s]) => s);
  Object.assign(hand, { keys: dealt.map(([key]) => key), own, moved: own.indexOf(Math.max(...own)) });
  const far = Math.ceil(Math.max(4, ...hand.own.map(Math.abs))) + 2;
  hand.rows = hand.keys.map((key, i) => {
    const slider = make("input", { type: "range", min: -far, max: far, step: "any", "aria-label": `score of ${key}` });
    slider.value = hand.own[i];
    slider.addEventListener("input", () => ((hand.moved = i), settle()));
    slider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1 }[event.key];
      if (!step) return;
      event.preventDefault();
      slider.value = Number(slider.value) + step;
      hand.moved = i;
      settle();
    });
    const cells = ["score", "weight", "change", "slope"].map((name) => make("td", { class: `n ${name}` }));
    const share = bar(0);
    const line = make("tr", {}, make("th", { scope: "row" }, key), make("td", { class: "slide" }, slider), cells[0],
      make("td", { class: "wide" }, share), ...cells.slice(1));
    return { slider, share, cells, line };
  });
  $("by-hand").replaceChildren(...hand.rows.map(({ line }) => line));
  $("whose").textContent = attends(state.layer)
    ? `Scores of query ${place(state.token)} in layer ${state.layer + 1}, head ${state.head + 1}` +
      (hand.keys.length === 8 ? ": its eight highest, by themselves." : ".")
    : "This model has no scores; these are made up.";
  settle();
}

/** Four decimals, and on request a plus before what is above 0. */
function decimals(x, plus) {
  const told = Math.abs(x).toFixed(4);
  return (Number(told) === 0 ? "" : x < 0 ? "−" : plus ? "+" : "") + told;
}

/** Weights from the sliders as they stand. */
function settle() {
  const [kind, warmth] = [$("normalizer").value, 10 ** Number($("temperature").value)];
  const scores = hand.rows.map(({ slider }) => Number(slider.value));
  const warm = scores.map((s) => s / warmth);
  const weights = NORMALISERS[kind](warm);
  const before = NORMALISERS[kind](hand.own.map((s) => s / warmth));
  hand.rows.forEach(({ slider, share, cells, line }, i) => {
    const told = [scores[i], weights[i], weights[i] - before[i], SLOPES[kind](weights, i, hand.moved, warm) / warmth];
    cells.forEach((cell, k) => (cell.textContent = decimals(told[k], k === 2)));
    share.style.setProperty("--share", clamp(weights[i], 0, 1));
    slider.setAttribute("aria-valuetext", `score ${scores[i].toFixed(2)}, weight ${weights[i].toFixed(4)}`);
    line.classList.toggle("moved", i === hand.moved);
  });
  $("total").textContent = sum(weights).toFixed(4);
  $("warmth").textContent = warmth.toFixed(2);
  $("slope-of").textContent = hand.keys[hand.moved] ?? "";
  document.querySelectorAll("[data-normalizer]").forEach((one) => (one.hidden = one.dataset.normalizer !== kind));
}
$("temperature").addEventListener("input", settle);
$("normalizer").addEventListener("change", settle);
$("reset").addEventListener("click", () => (($("temperature").value = 0), deal()));
followers.push(deal);

// ---- 5: search as attention -----------------------------------------------------------------------------------------

const SEARCH = DATA.search;

/** Scores of every title for the words of a query that have an embedding; none for none. */
function scored(words) {
  const { features: size, titles } = SEARCH;
  const mean = range(size).map((d) => sum(words.map((w) => SEARCH.table[w * size + d])) / words.length);
  return titles.map((_, c) => SEARCH.bias[c] + sum(mean.map((x, d) => x * SEARCH.keys.at(d, c))));
}

function search() {
  const parts = $("query").value.toLowerCase().match(/\p{L}+(?:['’]\p{L}+)*|\d+|[^\p{L}\p{N}_\s]/gu) || [];
  const words = parts.filter((part) => /[\p{L}\p{N}]/u.test(part));
  const known = words.filter((word) => SEARCH.number.has(word));
  const unknown = words.filter((word) => !SEARCH.number.has(word));
  const quote = (some) => some.map((word) => `“${word}”`).join(", ");
  $("words").textContent = known.length
    ? `Known: ${quote(known)}.${unknown.length ? ` Left out, since training never saw them: ${quote(unknown)}.` : ""}`
    : words.length ? `None of these words is known: ${quote(unknown)}.` : "Type a few words.";
  $("answer").hidden = !known.length;
  if (!known.length) return;
  const scores = scored(known.map((word) => SEARCH.number.get(word)));
  const weights = NORMALISERS.softmax(scores);
  const order = range(scores.length).sort((a, b) => weights[b] - weights[a]);
  $("found").replaceChildren(...order.slice(0, 8).map((c) => {
    const { title, kind, year } = SEARCH.titles[c];
    const of = kind ? [make("td", {}, kind), make("td", { class: "n" }, String(year))] : [];
    return make("tr", {}, make("th", { scope: "row" }, title), ...of, make("td", { class: "n" }, number(scores[c])),
      make("td", { class: "n" }, number(weights[c])), make("td", { class: "wide" }, bar(weights[c])));
  }));
  $("rest").textContent = `${scores.length - Math.min(8, scores.length)} more share ${percent(sum(order.slice(8).map((c) => weights[c])))}.`;
  if (!SEARCH.titles[0].kind) return;
  const kinds = [...new Set(SEARCH.titles.map(({ kind }) => kind))];
  const share = (kind) => sum(SEARCH.titles.map((one, c) => (one.kind === kind ? weights[c] : 0)));
  kinds.sort((a, b) => share(b) - share(a));
  $("blend").replaceChildren(...kinds.map((kind) => make("div", {}, make("span", {}, kind), bar(share(kind)),
    make("span", { class: "n" }, percent(share(kind))))));
  const year = sum(SEARCH.titles.map((one, c) => one.year * weights[c]));
  $("blended").textContent = `${percent(share(kinds[0]))} ${kinds[0]}, about ${year.toFixed(0)}`;
}

if (SEARCH) {
  SEARCH.table = halves(SEARCH.table);
  SEARCH.keys = array(SEARCH.keys);
  SEARCH.bias = array(SEARCH.bias).values;
  SEARCH.number = new Map(SEARCH.words.split("\n").map((word, i) => [word, i]));
  SEARCH.number.delete("");
  $("query").addEventListener("input", search);
  document.querySelectorAll("[data-query]").forEach((one) => {
    one.addEventListener("click", () => (($("query").value = one.dataset.query), search()));
  });
  search();
}

// ---- begin ----------------------------------------------------------------------------------------------------------

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const name of Object.keys(ramps)) delete ramps[name];
  maps.forEach((draw) => draw());
});
choose({});
