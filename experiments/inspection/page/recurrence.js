// Part 4: what the state of a recurrence keeps.

const RECURRENCES = arrays(DATA.recurrences);
const keeps = { model: 0, block: 0, head: 0, unit: 0 }; // the unit by its place among those that are shown

/** The block that is chosen, or the model's first that has a recurrence. */
function recurrentBlock() {
  const blocks = RECURRENCES[keeps.model]?.blocks || [];
  return blocks[keeps.block] || blocks.find(Boolean) || null;
}
const keptHead = (tensor) => Math.min(keeps.head, tensor.shape[0] - 1);

/** A unit of the block in words, with its time constant where it has one. */
function unitName(block, r) {
  const tau = block.time_constants[r];
  const speed = tau === undefined ? "" : tau >= 1e6 ? ", which never forgets" : `, which forgets in ${tau.toPrecision(3)} tokens`;
  return `unit ${block.numbers[r]} of ${block.units}${speed}`;
}

for (const name of new Set(RECURRENCES.flatMap(({ blocks }) => blocks.flatMap((one) => Object.keys(one?.gates || {})))))
  map(`gate-${name}`, () => {
    const block = recurrentBlock();
    const gate = block?.gates[name];
    if (!gate) return null;
    const say = (r, c) => `${name} of ${unitName(block, r)}, at ${place(c)}: ${number(gate.at(c, r))}`;
    return { ...features(name, gate), scale: shares, say, pick: chooseUnit };
  });

map("kept", () => {
  const kept = recurrentBlock()?.kept;
  const say = (r, c, told) => `of what ${place(c)} wrote is left at ${place(r)}: ${told.replace("share ", "")}`;
  return kept && { ...pairs("share", kept.at, TOKENS.length, { scale: root, say }), down: null, across: null };
});

map("effective", () => {
  const weights = recurrentBlock()?.weights;
  if (!weights) return null;
  const at = (t, s) => weights.at(t, s, keptHead(weights));
  return { ...pairs("weight", at, TOKENS.length), down: null, across: null };
});

map("memory", () => {
  const memory = recurrentBlock()?.memory; // [H, T, K, V]
  if (!memory) return null;
  const [, length, rows, columns] = memory.shape;
  const first = (keptHead(memory) * length + state.token) * rows * columns;
  const value = (r, c) => memory.values[first + r * columns + c];
  return {
    rows, columns, value, height: Math.max(6, Math.min(16, 220 / rows)),
    say: (r, c) => `key ${r + 1}, value ${c + 1} behind ${place(state.token)}: ${number(value(r, c))}`,
  };
});

/** The eigenvalues at the chosen token, over the unit circle. */
function drawEigenvalues() {
  const chart = $("eigenvalues");
  const values = recurrentBlock()?.eigenvalues; // [2, T, M], or [2, 1, M] where they never change
  if (!chart || !values) return;
  const t = values.shape[1] === 1 ? 0 : state.token;
  const [real, imaginary] = [0, 1].map((part) => range(values.shape[2]).map((i) => values.at(t, i, part)));
  const axes = [[-1.3, 0, 1.3, 0], [0, -1.3, 0, 1.3]].map(([x1, y1, x2, y2]) => make("line", { x1, y1, x2, y2, class: "axis" }));
  const dots = real.map((x, i) => make("circle", { cx: x, cy: -imaginary[i], r: 0.03, class: "dot" }));
  chart.replaceChildren(...axes, make("circle", { r: 1, class: "circle" }), ...dots);
  const sizes = real.map((x, i) => Math.hypot(x, imaginary[i]));
  const count = (test) => range(sizes.length).filter(test).length;
  $("eigenvalues-note").textContent =
    `${sizes.length < recurrentBlock().eigenvalue_count ? `The largest ${sizes.length} of ${recurrentBlock().eigenvalue_count}` : sizes.length} eigenvalues, of size ${number(Math.min(...sizes))} to ${number(Math.max(...sizes))}; ` +
    `${count((i) => real[i] < -0.01)} have a negative real part, ${count((i) => Math.abs(imaginary[i]) > 0.01)} turn` +
    (values.shape[1] === 1 ? "; the same at every token" : "");
}

followers.push(() => {
  const block = recurrentBlock();
  document.querySelectorAll("[data-keeps-part]").forEach((one) => (one.hidden = !block?.[one.dataset.keepsPart]));
  $("keeps-gates")?.toggleAttribute("hidden", !Object.keys(block?.gates || {}).length);
  if ($("keeps-note") && block) {
    const some = block.numbers.length < block.units;
    const shown = some ? `${block.numbers.length} of ${block.units} units are shown, evenly spaced by speed.` : "";
    $("keeps-note").textContent = `${shown} ${block.note}`.trim();
  }
  drawEigenvalues();
});

document.querySelectorAll("select[data-keeps]").forEach((select) =>
  select.addEventListener("change", () => {
    keeps[select.dataset.keeps] = Number(select.value);
    if (select.dataset.keeps !== "head") chooseBestUnit();
    choose({});
  }),
);
