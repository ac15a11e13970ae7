// Part 3: what moves a prediction, model beside model.

// The probability that each model gave to the token that came; nothing comes before the first one.
map("expected", () => {
  const shown = MODELS.filter((model) => model.expected);
  const value = (r, c) => (c ? shown[r].expected[c - 1] : NaN);
  const told = (r, c) => (c ? number(value(r, c)) : "nothing, it is the first");
  return shown.length && TOKENS.length > 1 ? {
    rows: shown.length, columns: TOKENS.length, value, scale: shares, height: 26, across: names, rules: BREAKS,
    down: shown.map((model) => model.name), mark: { column: state.token }, pick: (r, c) => choose({ token: c }),
    say: (r, c) => `${shown[r].name} gave ${place(c)}: ${told(r, c)}`,
  } : null;
});

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
