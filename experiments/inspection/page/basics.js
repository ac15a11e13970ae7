// The page of experiments/explore.py, in the parts that html_page.py joins in their order into one script. Its data are
// JSON in the page; text only ever goes into textContent.
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
  const svg = ["svg", "path", "line", "text", "circle", "g"].includes(tag);
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
