// Part 4, unit by unit: what each holds behind every token, and which ones count.

/** Chooses the unit in row r, and the token in column c. */
function chooseUnit(r, c) {
  keeps.unit = r;
  choose({ token: c });
}

/** The unit that goes best with the characters since the last line break; without any, the slowest one. */
function chooseBestUnit() {
  const block = recurrentBlock();
  if (!block) return;
  const best = block.line_correlations.map(Math.abs);
  keeps.unit = best.length ? best.indexOf(Math.max(...best)) : block.numbers.length - 1;
}
chooseBestUnit();
const keptUnit = (block) => clamp(keeps.unit, 0, block.numbers.length - 1);

map("state", () => {
  const block = recurrentBlock();
  if (!block?.state) return null;
  const say = (r, c) => `${block.state_name} of ${unitName(block, r)}, behind ${place(c)}: ${number(block.state.at(c, r))}`;
  const view = features("state", block.state);
  return { ...view, say, pick: chooseUnit, height: 9, mark: { ...view.mark, row: keptUnit(block) } };
});

/** Characters since the last line break, behind token i: 0 at the break itself. */
const sinceBreak = (i) => i - Math.max(-1, ...BREAKS.filter((c) => c <= i));

/** What the chosen unit holds behind every token. */
function heldByUnit() {
  const block = recurrentBlock();
  if (!block?.state) return null;
  const values = range(TOKENS.length).map((t) => block.state.at(t, keptUnit(block)));
  return { block, values, low: Math.min(...values), high: Math.max(...values) };
}

strip(
  "unit-text",
  () => {
    const held = heldByUnit();
    return held && [(i) => ({ share: (held.values[i] - held.low) / (held.high - held.low || 1) })];
  },
  (at) => {
    const { block, values } = heldByUnit();
    const counted = BREAKS.length ? `; ${sinceBreak(at)} since the line began` : "";
    return `${block.state_name} of unit ${block.numbers[keptUnit(block)]} behind ${place(at)}: ${number(values[at])}${counted}`;
  },
  1,
  true,
);

followers.push(() => {
  const held = heldByUnit();
  if (!held || !$("unit")) return;
  const { block, low, high } = held;
  const chosen = keptUnit(block);
  const told = (r) => {
    const tau = block.time_constants[r];
    return `${block.numbers[r]}${tau === undefined ? "" : ` (τ ${tau >= 1e6 ? "∞" : tau.toPrecision(3)})`}`;
  };
  $("unit").replaceChildren(...block.numbers.map((_, r) => make("option", { value: r }, told(r))));
  $("unit").value = chosen;
  const r = block.line_correlations[chosen];
  $("unit-note").textContent =
    `Bars from ${number(low)} to ${number(high)}.` +
    (r === undefined ? "" : ` With the characters since the last line break, here: r = ${number(r)}.`);
});

$("unit")?.addEventListener("change", () => {
  keeps.unit = Number($("unit").value);
  choose({});
});

document.querySelectorAll("button[data-unit]").forEach((button) =>
  button.addEventListener("click", () => {
    const [model, block, number] = button.dataset.unit.split(" ").map(Number);
    Object.assign(keeps, { model, block });
    keeps.unit = recurrentBlock().numbers.indexOf(number);
    for (const name of ["model", "block"])
      document.querySelectorAll(`select[data-keeps=${name}]`).forEach((one) => (one.value = keeps[name]));
    choose({});
    $("unit").focus();
  }),
);
