// How a map is drawn on its canvas.

const FONT = '11px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';

/** Draws a view and returns where its cells lie. */
function paint(canvas, view, cursor) {
  const paper = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const [ink, muted, page] = ["--ink", "--muted", "--page"].map((name) => style.getPropertyValue(name));
  const longest = (names) => Math.max(0, ...(names || []).map((name) => name.length));
  const wide = Math.min(canvas.parentElement.clientWidth - 6, view.square ? 560 : 1200); // 3 on each side: its padding
  let left = view.down && longest(view.down) ? Math.min(12 + 7 * (longest(view.down) - 1), 90) + 4 : 0;
  if (view.square && (wide - left) / view.columns < 8.5) left = 0;
  const width = wide - left;
  const cell = width / view.columns;
  const turned = longest(view.across) > 2;
  const top = view.across && cell >= (turned ? 11 : 7.5) ? (turned ? 7 * Math.min(longest(view.across), 12) + 4 : 15) : 0;
  const height = view.square ? cell * view.rows : view.rows * view.height;
  const ratio = window.devicePixelRatio || 1;
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${top + height}px`;
  canvas.width = Math.round(wide * ratio);
  canvas.height = Math.round((top + height) * ratio);
  paper.scale(ratio, ratio);

  const cells = new ImageData(view.columns, view.rows);
  const colors = ramp(view.scale.ramp);
  for (let r = 0; r < view.rows; r++)
    for (let c = 0; c < view.columns; c++) {
      const value = view.value(r, c);
      if (Number.isNaN(value)) continue; // stays transparent
      const color = colors[clamp(Math.round(255 * view.scale.share(value)), 0, 255)];
      cells.data.set([...color, 255], 4 * (r * view.columns + c));
    }
  const small = Object.assign(document.createElement("canvas"), { width: view.columns, height: view.rows });
  small.getContext("2d").putImageData(cells, 0, 0);
  paper.imageSmoothingEnabled = false;
  paper.drawImage(small, left, top, width, height);

  const [tall, mark] = [height / view.rows, view.mark || {}];
  paper.font = FONT;
  paper.textBaseline = "middle";
  if (top)
    view.across.forEach((name, c) => {
      paper.fillStyle = c === mark.column ? ink : muted;
      paper.save();
      paper.translate(left + (c + 0.5) * cell, top - (turned ? 3 : 7));
      if (turned) paper.rotate(-Math.PI / 2);
      paper.textAlign = turned ? "left" : "center";
      paper.fillText(turned ? name.slice(0, 12) : name, 0, 0);
      paper.restore();
    });
  if (left && tall >= 8)
    view.down.forEach((name, r) => {
      paper.fillStyle = r === mark.row ? ink : muted;
      paper.textAlign = "right";
      paper.fillText(name.slice(0, 13), left - 4, top + (r + 0.5) * tall);
    });
  const frame = (x, y, w, h, color, line) => {
    paper.strokeStyle = color;
    paper.lineWidth = line;
    paper.strokeRect(x, y, w, h);
  };
  paper.fillStyle = ink;
  for (const c of view.rules || []) paper.fillRect(left + (c + 1) * cell - 0.5, top, 1, height); // behind a line break
  if (mark.column !== undefined) frame(left + mark.column * cell, top + 0.5, cell, height - 1, ink, 1);
  if (mark.row !== undefined) frame(left + 0.5, top + mark.row * tall, width - 1, tall, ink, 1);
  if (cursor) {
    const [x, y] = [left + cursor.c * cell, top + cursor.r * tall];
    frame(x - 1.5, y - 1.5, cell + 3, tall + 3, page, 4);
    frame(x - 1, y - 1, cell + 2, tall + 2, ink, 2);
  }
  return { left, top, width, height };
}
