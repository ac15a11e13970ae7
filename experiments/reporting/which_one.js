// The form of "Which one?": ranks the mixers for what is chosen. The rule is that of mixer_ranking.py.
(() => {
  "use strict";
  const root = document.getElementById("chooser");
  const data = JSON.parse(document.getElementById("chooser-data").textContent);
  const { margin, units, header, mark, constant, start } = data.settings;
  const form = root.querySelector("form");
  const notMeasured = (source) => ({ value: null, low: null, high: null, source: source ?? "not measured" });

  // ---- the rule ----

  /** The point [length, …] whose length is nearest, as a ratio; of two, the longer. */
  function nearest(points, length) {
    const far = ([at]) => Math.max(at / length, length / at);
    return points.reduce((a, b) => (far(b) < far(a) || (far(b) === far(a) && b[0] > a[0]) ? b : a));
  }

  /** The value of a curve at a length: measured, or by its power of length from the nearest point. */
  function findFigure(curve, length) {
    if (!curve?.points.length) return notMeasured();
    const remark = curve.remark ? `; ${curve.remark}` : "";
    const limit = curve.memory_limit;
    if (limit && length >= limit) return notMeasured(`not measured: memory ran out at ${commas(limit)}`);
    const [at, value, low, high] = nearest(curve.points, length);
    if (at === length) return { value, low, high, source: `measured${remark}` };
    if (!curve.exponent) return notMeasured(`measured at ${commas(at)} only`);
    const [power, powerLow, powerHigh, text] = curve.exponent;
    if (powerLow === powerHigh && isConstant(power)) {
      return { value, low, high, source: `measured at ${commas(at)}, of one size${remark}` };
    }
    const lengths = curve.points.map((point) => point[0]);
    const inside = Math.min(...lengths) < length && length < Math.max(...lengths);
    const source = `${inside ? "interpolated" : "extrapolated"} from ${commas(at)} by length^${text}${remark}`;
    const ratio = length / at;
    const grown = value * ratio ** power;
    if (powerLow === null || powerHigh === null) return { value: grown, low: null, high: null, source };
    const [less, more] = [ratio ** powerLow, ratio ** powerHigh].sort((a, b) => a - b);
    return { value: grown, low: (low ?? value) * less, high: (high ?? value) * more, source };
  }

  /** Why a row does not meet the choice; empty where it does. */
  function findObstacle(row, mean, state, choice) {
    if (mean === null) return "every seed diverged";
    const growth = row.state.exponent;
    if (choice.fixed && !growth) return "it is not measured whether the state grows";
    if (choice.fixed && !isConstant(growth[0])) return "the state grows";
    if (choice.budget === null) return "";
    if (state.value === null) return `the state at ${commas(choice.length)} is not measured`;
    return state.value > choice.budget ? "the state is larger" : "";
  }

  const isConstant = (power) => Math.abs(power) < constant;
  const meet = ([, a, aLow, aHigh], [, b, bLow, bHigh]) => (aLow ?? a) <= (bHigh ?? b) && (bLow ?? b) <= (aHigh ?? a);
  const tie = (a, b) => Math.abs(a[1] - b[1]) <= margin && meet(a, b);

  /** Ranked rows, and the labels of the others by the reason why they are left out. */
  function rankMixers(question, costs, choice) {
    const leftOut = {};
    let rest = [];
    for (const row of question.rows) {
      const score = nearest(row.scores, choice.length);
      const state = findFigure(row.state, choice.length);
      const obstacle = findObstacle(row, score[1], state, choice);
      if (obstacle) (leftOut[obstacle] ??= []).push(row.label);
      else {
        const figures = { state };
        for (const name in costs) figures[name] = findFigure(costs[name][row.mixer], choice.length);
        rest.push({ row, score, figures });
      }
    }
    const sign = question.less ? 1 : -1;
    rest.sort((a, b) => sign * (a.score[1] - b.score[1]));
    const cost = (one) => one.figures[choice.streaming ? "token" : "step"].value ?? Infinity;
    const ranks = [];
    const best = rest[0]?.score;
    while (rest.length) {
      const leader = rest[0].score;
      const tied = rest.filter((one) => tie(one.score, leader));
      tied.sort((a, b) => (cost(a) === cost(b) ? 0 : cost(a) - cost(b)));
      rest = rest.filter((one) => !tie(one.score, leader));
      const [first, last] = [ranks.length + 1, ranks.length + tied.length];
      const rank = last > first ? `${first}–${last}` : `${first}`;
      for (const one of tied) ranks.push({ ...one, rank, unsettled: leader !== best && meet(one.score, best) });
    }
    return { ranks, leftOut };
  }

  // ---- what is shown ----

  const commas = (number) => number.toLocaleString("en-US");
  const quantity = (value) => Number.isInteger(value) ? commas(value)
    : Number(value.toPrecision(3)).toLocaleString("en-US", { maximumFractionDigits: 20 });

  function figureText({ value, low, high }, name) {
    if (value === null) return "–";
    const [unit, factor] = units[name];
    const text = quantity(factor * value);
    const ends = [low, high].map((end) => (end === null ? text : quantity(factor * end)));
    const size = name === "state" ? ` (${quantity(4 * value)} bytes)` : "";
    const spread = ends.some((end) => end !== text) ? ` [${ends.join(", ")}]` : "";
    return `${text} ${unit}${spread}${size}`;
  }

  /** The cells of a row, each [text, where it comes from]. */
  function rankCells({ rank, row, score, figures, unsettled }, choice) {
    const [at, , , , text] = score;
    let source = at === choice.length ? "measured" : `measured at ${commas(at)}`;
    if (unsettled) source += "; may be as good as rank 1";
    const label = `${row.label}${row.plain ? "" : " ‡"}${row.outdated ? ` ${mark}` : ""}`;
    const figure = (name) => [figureText(figures[name], name), figures[name].source];
    const tied = rank.includes("–") ? "tie" : "";
    return [[rank, tied], [label, ""], [text, source], ...["state", "step", "token", "memory"].map(figure)];
  }

  function element(tag, text, attributes = {}) {
    const node = document.createElement(tag);
    node.textContent = text;
    for (const name in attributes) node.setAttribute(name, attributes[name]);
    return node;
  }

  function readChoice() {
    const value = (name) => form.elements[name].value;
    return {
      question: data.questions[value("question")],
      hardware: data.hardware[value("hardware")],
      length: Number(value("tokens")),
      budget: value("budget") === "" ? null : Number(value("budget")),
      fixed: value("fixed") === "yes",
      streaming: value("streaming") === "yes",
    };
  }

  /** A link to where the page's table of records leads for this question. */
  function recordLink(file, text) {
    const links = [...document.querySelectorAll("a[href]")].filter((link) => !root.contains(link));
    const target = links.map((link) => link.getAttribute("href")).find((href) => href.endsWith(file));
    return element("a", text, { href: target ?? "#records" });
  }

  function show() {
    const [summary, body] = [root.querySelector(".summary"), root.querySelector("tbody")];
    if (!form.checkValidity()) {
      summary.textContent = "Length and state must be whole numbers, from 1 on.";
      body.replaceChildren();
      return;
    }
    const choice = readChoice();
    const { question, hardware } = choice;
    const { ranks, leftOut } = rankMixers(question, hardware.costs, choice);
    body.replaceChildren(
      ...ranks.map((one) => {
        const line = element("tr", "", { role: "row" });
        rankCells(one, choice).forEach(([text, source], i) => {
          const kind = i === 1 ? { role: "rowheader", scope: "row" } : { role: "cell" };
          const cell = element(i === 1 ? "th" : "td", "", { "data-title": header[i], ...kind });
          const inner = element("span", text);
          if (source) inner.append(element("small", source));
          cell.append(inner);
          line.append(cell);
        });
        return line;
      }),
    );
    const by = choice.streaming ? "a streamed token" : "a training step";
    const count = `${ranks.length} of ${question.rows.length} rows meet the choice`;
    summary.textContent = `${question.text} ${count}; ties stand by the time of ${by}. `;
    const links = [recordLink(question.record, "The record"), recordLink(`results/${question.page}.html`, "its page")];
    summary.append(links[0], ", ", links[1], ".");
    const others = [];
    for (const reason in leftOut) others.push(`Left out, since ${reason}: ${leftOut[reason].join("; ")}.`);
    if (question.missing.length) others.push(`Not measured on this task: ${question.missing.join(", ")}.`);
    root.querySelector(".others").replaceChildren(...others.map((line) => element("p", line)));
    root.querySelector(".setup").textContent = `${hardware.name}: ${hardware.setup}.`;
  }

  for (const name in start) form.elements[name].value = start[name];
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", show);
  root.hidden = false;
  document.addEventListener("DOMContentLoaded", show); // when the table of records, further down, is there
})();
