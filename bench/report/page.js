/** The page around the plots: one file, nothing from elsewhere. */
import { escaped, format } from "./chart.js";

const STYLE = `
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1c1e21; --soft: #5d6470; --line: #e2e4e8;
  --s1: #1f63c7; --s2: #d2691e; --s3: #0d8a7b; --s4: #8b46b8; --s5: #b3374f; }
@media (prefers-color-scheme: dark) { :root { --page: #131518; --card: #1b1e22; --ink: #e8eaed; --soft: #9aa2ae; --line: #30353c;
  --s1: #6ba5f7; --s2: #f0965a; --s3: #46c2b0; --s4: #c08be6; --s5: #ef7d92; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 32px 20px 64px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 40px 0 4px; }
p { margin: 4px 0 12px; color: var(--soft); max-width: 78ch; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 16px; }
figure { margin: 0; padding: 14px 16px 8px; background: var(--card); border: 1px solid var(--line); border-radius: 8px; min-width: 0; }
figcaption { font-weight: 600; } figure svg { display: block; width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0 6px; font-size: 13px; color: var(--soft); }
.legend span { display: inline-flex; align-items: center; gap: 6px; }
.legend i { width: 12px; height: 12px; border-radius: 3px; background: currentColor; color: inherit; }
.legend .s1 i { color: var(--s1); } .legend .s2 i { color: var(--s2); } .legend .s3 i { color: var(--s3); }
.legend .s4 i { color: var(--s4); } .legend .s5 i { color: var(--s5); }
.legend i.dash { height: 0; border-radius: 0; border-top: 2px dashed var(--ink); background: none; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } svg text.axis { font-size: 12px; }
svg text.value { fill: var(--ink); font-size: 10px; } svg text.inside { fill: var(--card); font-weight: 600; }
.grid { stroke: var(--line); } .target, .mark { stroke: var(--ink); stroke-dasharray: 5 3; stroke-width: 1.5; }
polyline { fill: none; stroke: currentColor; stroke-width: 2; } svg g circle, svg g rect { fill: currentColor; }
svg g.s1 { color: var(--s1); } svg g.s2 { color: var(--s2); } svg g.s3 { color: var(--s3); } svg g.s4 { color: var(--s4); } svg g.s5 { color: var(--s5); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; margin: 6px 0 4px; }
th, td { padding: 3px 12px 3px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--soft); }
`;

/** @param {string} title @param {string} text @param {readonly string[]} content */
export function section(title, text, content) {
  const kept = content.filter((part) => part !== "");
  if (kept.length === 0) return "";
  return `<section><h2>${escaped(title)}</h2><p>${escaped(text)}</p>${kept.join("\n")}</section>`;
}

/** @param {readonly string[]} figures */
export const charts = (figures) =>
  figures.length === 0 ? "" : `<div class="charts">${figures.join("\n")}</div>`;

/** @param {string} caption @param {string} plot */
export const figure = (caption, plot) =>
  `<figure><figcaption>${escaped(caption)}</figcaption>${plot}</figure>`;

/** @param {readonly string[]} head @param {readonly (readonly (string | number)[])[]} rows */
export function table(head, rows) {
  if (rows.length === 0) return "";
  const cells = (tag, row) =>
    row.map((c) => `<${tag}>${escaped(typeof c === "number" ? format(c) : c)}</${tag}>`).join("");
  const body = rows.map((row) => `<tr>${cells("td", row)}</tr>`).join("");
  return `<div class="scroll"><table><thead><tr>${cells("th", head)}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** @param {string} summary @param {string} content */
export const folded = (summary, content) =>
  content === "" ? "" : `<details><summary>${escaped(summary)}</summary>${content}</details>`;

/** @param {string} title @param {readonly string[]} body */
export const page = (title, body) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escaped(title)}</h1>
${body.filter((part) => part !== "").join("\n")}
</body>
</html>
`;
