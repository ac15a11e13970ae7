// The first drawing, and another one when the page turns dark or light.

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const name of Object.keys(ramps)) delete ramps[name];
  maps.forEach((draw) => draw());
});
choose({});
