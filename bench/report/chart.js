/** Plots as inline SVG. Colours are CSS variables, so that they follow the page's light or dark. */

const WIDTH = 520;
const HEIGHT = 300;
const AREA = { left: 56, right: 14, top: 12, bottom: 46 };
const INNER = {
  width: WIDTH - AREA.left - AREA.right,
  height: HEIGHT - AREA.top - AREA.bottom,
};

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {readonly (number | null)[]} values one a label; null leaves a gap
 */

/**
 * @typedef {object} Chart
 * @property {readonly string[]} labels along the x axis, evenly spaced
 * @property {readonly Series[]} series at most five
 * @property {string} x what the x axis shows
 * @property {string} y what the y axis shows, with its unit
 * @property {number} [most] that the y axis must reach, where charts are to be compared
 * @property {{ value: number, name: string }} [line] drawn across
 * @property {readonly (number | null)[]} [marks] one a label: a line over the bars, such as a bound
 * @property {string} [marksName]
 */

export const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

export function format(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toFixed(size >= 10 ? 1 : 2);
}

/** Round numbers from 0 to at least `most`. */
function ticksTo(most) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? rough;
  const count = Math.ceil(most / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => i * step);
}

/** @param {Chart} chart */
function frame({ labels, series, x, y, line, most = 0, marks = [] }) {
  const values = [...series.flatMap((s) => s.values), ...marks, line?.value ?? 0, most];
  const ticks = ticksTo(Math.max(...values.filter((v) => v !== null), 1e-9) * 1.02);
  const top = ticks.at(-1) ?? 1;
  const across = (i) => AREA.left + ((i + 0.5) * INNER.width) / labels.length;
  const up = (value) => AREA.top + INNER.height * (1 - value / top);
  const bottom = AREA.top + INNER.height;
  const right = AREA.left + INNER.width;
  const grid = ticks.map((tick) => {
    const at = up(tick).toFixed(1);
    return (
      `<line class="grid" x1="${AREA.left}" x2="${right}" y1="${at}" y2="${at}"/>` +
      `<text class="tick" x="${AREA.left - 8}" y="${at}" dy="4" text-anchor="end">${+tick.toFixed(6)}</text>`
    );
  });
  const names = labels.map((label, i) => {
    const lines = label.split("\n").map((part, row) => {
      return `<tspan x="${across(i).toFixed(1)}" dy="${row === 0 ? 0 : 12}">${escaped(part)}</tspan>`;
    });
    return `<text class="tick" y="${bottom + 16}" text-anchor="middle">${lines.join("")}</text>`;
  });
  const middle = AREA.top + INNER.height / 2;
  const titles =
    `<text class="axis" x="${AREA.left + INNER.width / 2}" y="${HEIGHT - 4}" text-anchor="middle">${escaped(x)}</text>` +
    `<text class="axis" transform="translate(13 ${middle}) rotate(-90)" text-anchor="middle">${escaped(y)}</text>`;
  const target =
    line === undefined
      ? ""
      : `<line class="target" x1="${AREA.left}" x2="${right}" y1="${up(line.value)}" y2="${up(line.value)}"/>` +
        `<text class="tick" x="${right}" y="${up(line.value) - 5}" text-anchor="end">${escaped(line.name)}</text>`;
  return { across, up, bottom, under: [...grid, ...names, titles].join(""), over: target };
}

const svg = (label, body) =>
  `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(label)}">${body}</svg>`;

const hint = (chart, series, i) =>
  `<title>${escaped(`${series.name}, ${chart.labels[i]?.replace("\n", " ")}: ${format(series.values[i])}`)}</title>`;

/** @param {Chart} chart */
export function lines(chart) {
  const { across, up, under, over } = frame(chart);
  const drawn = chart.series.map((series, s) => {
    const points = series.values.flatMap((value, i) =>
      value === null ? [] : [{ i, x: across(i).toFixed(1), y: up(value).toFixed(1) }],
    );
    const path = points.map(({ x, y }) => `${x},${y}`).join(" ");
    const dots = points.map(
      ({ i, x, y }) => `<circle cx="${x}" cy="${y}" r="4">${hint(chart, series, i)}</circle>`,
    );
    return `<g class="s${s + 1}"><polyline points="${path}"/>${dots.join("")}</g>`;
  });
  return legend(chart) + svg(chart.y, under + over + drawn.join(""));
}

/** @param {Chart} chart */
export function bars(chart) {
  const { across, up, bottom, under, over } = frame(chart);
  const slot = INNER.width / chart.labels.length;
  const width = Math.min(36, (slot * 0.7) / chart.series.length);
  const left = (i, s) => across(i) + (s - chart.series.length / 2) * width + 1;
  const drawn = chart.series.map((series, s) => {
    const rects = series.values.map((value, i) => {
      if (value === null) return "";
      const x = left(i, s);
      const y = up(value);
      // Where a mark may cross the place over the bar, the number goes into it.
      const inside = chart.marks !== undefined && bottom - y > 20;
      const number = `<text class="value${inside ? " inside" : ""}" x="${(x + width / 2 - 1).toFixed(1)}" y="${(inside ? y + 14 : y - 4).toFixed(1)}" text-anchor="middle">${format(value)}</text>`;
      return (
        `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${(width - 2).toFixed(1)}" height="${(bottom - y).toFixed(1)}" rx="2">` +
        `${hint(chart, series, i)}</rect>${number}`
      );
    });
    return `<g class="s${s + 1}">${rects.join("")}</g>`;
  });
  const marks = (chart.marks ?? []).map((value, i) => {
    if (value === null) return "";
    const half = (width * chart.series.length) / 2 + 5;
    const at = up(value).toFixed(1);
    return `<line class="mark" x1="${across(i) - half}" x2="${across(i) + half}" y1="${at}" y2="${at}"/>`;
  });
  return legend(chart) + svg(chart.y, under + over + drawn.join("") + marks.join(""));
}

function legend({ series, marksName }) {
  if (series.length < 2 && marksName === undefined) return "";
  const items = series.map((s, i) => `<span class="s${i + 1}"><i></i>${escaped(s.name)}</span>`);
  if (marksName !== undefined) items.push(`<span><i class="dash"></i>${escaped(marksName)}</span>`);
  return `<div class="legend">${items.join("")}</div>`;
}
