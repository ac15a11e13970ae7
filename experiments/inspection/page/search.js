// Part 5: search as attention.

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
