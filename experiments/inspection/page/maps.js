// Maps of numbers: their colors, and a canvas whose cells pointer and arrow keys move over.

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
const shares = { ramp: "rising", share: (x) => x, marks: ["0", "½", "1"] };
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

const names = TOKENS.map((token) => token.shown);
const BREAKS = range(TOKENS.length).filter((i) => names[i] === "⏎");

/** A map of features [T, D]: tokens across, features down. */
function features(what, tensor, more = {}) {
  const [columns, rows] = tensor.shape.slice(-2);
  const at = more.at || ((t, d) => tensor.at(t, d));
  const say = (r, c) => `${what}, feature ${r + 1} of ${place(c)}: ${number(at(c, r))}${more.also?.(c, r) ?? ""}`;
  return {
    rows, columns, say, across: names, rules: BREAKS, mark: { column: state.token }, height: rows <= 20 ? 9 : rows <= 40 ? 6 : 3.5,
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
