// Part 2: what every head looks at.

for (const { block, head } of DATA.heads) {
  const tensor = PATH.blocks[block].weights;
  map(`head-${block}-${head}`, () => {
    const view = pairs("weight", (t, s) => tensor.at(t, s, head), TOKENS.length, {
      scale: root, pick: { layer: block, head },
    });
    return { ...view, down: null, across: null };
  });
}

followers.push(() => {
  for (const { block, head } of DATA.heads)
    $(`map-head-${block}-${head}`).classList.toggle("chosen", block === state.layer && head === state.head);
});

$("order")?.addEventListener("change", () => {
  const byPlace = (a, b) => a.block - b.block || a.head - b.head;
  const order = $("order").value === "place" ? [...DATA.heads].sort(byPlace) : DATA.heads;
  $("heads").append(...order.map(({ block, head }) => $(`map-head-${block}-${head}`)));
});

const weight = (t, s) => chosen("weights").at(t, s, state.head);
strip(
  "looks",
  (at) => attends(state.layer) && [
    (i) => ({ share: Math.sqrt(weight(at, i)) }),
    (i) => ({ share: Math.sqrt(weight(i, at)) }),
  ],
  (at) => `${place(at)} looks at ${largest((i) => weight(at, i))}; it is looked at by ${largest((i) => weight(i, at))}.`,
);
