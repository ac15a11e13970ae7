// The page of encoder–decoders: what each step of the target looks at in the source, and what moves it.

const { start, next } = DATA; // the place of the separator in the row, and what comes after each step of the target
const BRIDGES = arrays(DATA.bridges);
const steps = next.length;

/** A map with a row for every step of the target, and columns of the row's tokens up to `columns`. */
function stepMap(columns, at, told) {
  return {
    rows: steps, columns, value: at, height: 20, down: next.map((token) => token.shown), across: names.slice(0, columns),
    mark: state.token >= start ? { row: state.token - start } : { column: state.token },
    pick: (r) => choose({ token: start + r }),
    say: (r, c) => `after ${place(start + r)}, before ${next[r].said}: ${told(r, c)}`,
  };
}

BRIDGES.forEach((model, m) => {
  model.weights.forEach((weights, block) => range(weights.shape[0]).forEach((head) =>
    map(`bridge-${m}-${block}-${head}`, () => ({
      ...stepMap(start, (r, c) => weights.at(r, c, head), (r, c) => `weight of ${place(c)} ${number(weights.at(r, c, head))}`),
      scale: root,
    })),
  ));
  map(`moved-${m}`, () => ({
    ...stepMap(TOKENS.length, model.occlusion.at, (r, c) => {
      const moved = model.occlusion.at(r, c);
      if (c === start) return "the separator is never replaced";
      return Number.isNaN(moved) ? `nothing, ${place(c)} lies ahead` : `moved by ${place(c)} ${number(moved)}`;
    }),
    scale: decades,
  }));

  const heads = model.weights.flatMap((weights) => range(weights.shape[0]).map((head) => (r, c) => weights.at(r, c, head)));
  const read = (at, i) => (at >= start && i < start ? sum(heads.map((weight) => weight(at - start, i))) / heads.length : NaN);
  strip(
    `reads-${m}`,
    (at) => heads.length > 0 && [(i) => ({ share: Math.sqrt(read(at, i)) })],
    (at) => at >= start
      ? `before ${next[at - start].said}, after ${place(at)}: reads ${largest((i) => read(at, i))}`
      : `${place(at)} is read in the target; choose a token of that`,
    1,
  );
});
