// The sentence as a strip of tokens, and what is chosen on the page.

// ---- the sentence as a strip of tokens, with bars where there are weights -------------------------------------------

const strips = [];

/**
 * A listbox of tokens. Arrow keys move in it, and hovering or moving shows `bars(i)`, [above, below] of every token
 * of token i (`sides` of them); Enter, Space or a click chooses a token for the whole page. With `lines` each line of
 * the text has a row of its own.
 */
function strip(id, bars, tell, sides = 2, lines = false) {
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
  const ends = (i) => lines && BREAKS.includes(i);
  list.append(...items.flatMap((item, i) => (ends(i) ? [item, make("span", { class: "end", role: "presentation" })] : [item])));
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
