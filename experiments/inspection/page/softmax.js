// Part 4: a row of scores by hand.

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
