// Turns bench/results/*.json into one page that needs nothing else: bench/results/report.html.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { RESULTS, ROOT } from "./lib/paths.js";
import { folded, page, table } from "./report/page.js";
import {
  bandwidth,
  latencies,
  operations,
  peer,
  rowsAtOnce,
  sequences,
  shares,
  threads,
  trained,
} from "./report/sections.js";

let files = [];
try {
  files = readdirSync(RESULTS).filter((file) => file.endsWith(".json"));
} catch {}
if (files.length === 0) {
  console.error(
    "There are no results yet: run npm run bench:decode, bench:twin, bench:peer or bench:kernels.",
  );
  process.exit(1);
}
const all = files.sort().map((file) => ({
  file,
  ...JSON.parse(readFileSync(join(RESULTS, file), "utf8")),
}));
const decodes = all.filter(({ file }) => file.startsWith("decode-"));
const peers = all.filter(({ file }) => file.startsWith("peer-"));
const twin = all.find(({ file }) => file === "twin.json");
const kernels = all.find(({ file }) => file === "kernels.json");

const { machine } = all[0];
const dates = all.map((r) => r.date.slice(0, 10)).sort();
const when = [...new Set([dates[0], dates.at(-1)])].join(" to ");
const busy = Math.max(...all.map((r) => r.foreign ?? 0));
const warning =
  busy > 0.05
    ? ` <strong>Others used up to ${(busy * 100).toFixed(0)} % of the processors meanwhile: rough figures.</strong>`
    : "";
const commits = [...new Set(all.map((r) => r.commit + (r.changed ? " with changes" : "")))];
const body = [
  `<p>${when}, commit ${commits.join(", ")}. ${machine.cpu}, ${machine.processors} processors, ${(machine.memory / 2 ** 30).toFixed(0)} GiB, ${machine.system}, Node.js ${machine.node}. ` +
    `Figures to compare are ratios within one run; the machine's own speed changes from one moment to the next.${warning}</p>`,
  bandwidth(decodes),
  rowsAtOnce(peers, decodes),
  peer(peers),
  trained(twin),
  shares(decodes),
  latencies(decodes),
  sequences(decodes),
  threads(decodes),
  operations(kernels),
  folded(
    "Where the figures come from",
    table(
      ["file", "date", "commit", "others' use of the processors", "command"],
      all.map((r) => [
        r.file,
        r.date,
        `${r.commit}${r.changed ? ", changed" : ""}`,
        r.foreign == null ? "unknown" : `${(r.foreign * 100).toFixed(0)} %`,
        r.command,
      ]),
    ),
  ),
];
const out = join(RESULTS, "report.html");
writeFileSync(out, page("nvium: benchmarks", body));
console.log(relative(ROOT, out));
