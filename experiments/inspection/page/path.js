// Part 1: the path of a sentence through one model.

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
