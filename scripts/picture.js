// Draws what the command shows in a terminal of 80 columns: docs/images/story.svg. Run it after `npm run build`.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";

const COLUMNS = 80;
const ARGUMENTS = ["generate", "--seed", "12063"];
const TARGET = "docs/images/story.svg";

const FONT = 14;
const CELL = 8.43; // DejaVu Sans Mono, Menlo and Consolas are within 2 % of it; `textLength` does the rest
const LINE = 20;
const MARGIN = 24;

const { status, stdout, stderr } = spawnSync(process.execPath, ["dist/cli/main.js", ...ARGUMENTS], {
  encoding: "utf8",
  env: { ...process.env, FORCE_COLOR: "1", COLUMNS: String(COLUMNS) },
});
if (status !== 0) throw new Error(`The command failed:\n${stderr}`);

const lines = [
  [{ text: `$ npx nvium ${ARGUMENTS.join(" ")}`, style: 'fill="#9aa4b2"' }],
  [],
  ...`${stdout}${stderr}`.trimEnd().split("\n").map(runs),
];
const width = Math.ceil(COLUMNS * CELL + 2 * MARGIN);
const height = lines.length * LINE + 2 * MARGIN - (LINE - FONT);

mkdirSync("docs/images", { recursive: true });
writeFileSync(
  TARGET,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title">
<title id="title">A story from the demo model in a terminal, each token in the colour of the exit it left at, with a legend and a summary of the cost</title>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="10" fill="#14171c" stroke="#3a414d"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace" font-size="${FONT}" fill="#d7dce4">
${lines.flatMap(drawn).join("\n")}
</g>
</svg>
`,
);
console.log(TARGET);

/** A line cut where its style changes. */
function runs(line) {
  const result = [];
  let color = "";
  let faint = false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  for (const [, codes, text] of line.matchAll(/(?:\x1b\[([0-9;]*)m)|([^\x1b]+)/g)) {
    if (text !== undefined) {
      const style = faint ? 'fill="#9aa4b2"' : color && `fill="${color}"`;
      result.push({ text, style });
    } else if (codes === "2") faint = true;
    else if (codes === "22") faint = false;
    else if (codes === "39") color = "";
    else color = paletteColor(Number(codes.split(";")[2]));
  }
  return result;
}

/** A colour of the 6 x 6 x 6 cube of a 256-colour terminal, lighter: a card is not black, and letters are thin. */
function paletteColor(index) {
  const levels = [36, 6, 1].map((place) => Math.floor((index - 16) / place) % 6);
  const lighter = levels.map((level) => {
    const value = level === 0 ? 0 : 55 + 40 * level;
    return Math.round(value + 0.28 * (255 - value));
  });
  return `#${lighter.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

function drawn(line, row) {
  const y = MARGIN + FONT + row * LINE - 2;
  let column = 0;
  return line.map(({ text, style }) => {
    const length = [...text].length;
    const x = (MARGIN + column * CELL).toFixed(1);
    column += length;
    const escaped = text
      .replace(/ /g, "\u00a0")
      .replace(/&/g, "&amp;")
      .replace(/</g, "&lt;")
      .replace(/>/g, "&gt;");
    const attributes = `x="${x}" y="${y}" textLength="${(length * CELL).toFixed(1)}"`;
    return `<text ${attributes}${style && ` ${style}`}>${escaped}</text>`;
  });
}
