/** What a benchmark leaves behind: a table on the terminal, JSON in bench/results/. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { basename, join, relative } from "node:path";
import { foreign } from "./foreign.js";
import { RESULTS, ROOT } from "./paths.js";

function git(...args) {
  try {
    return execFileSync("git", args, { cwd: ROOT, encoding: "utf8" }).trim();
  } catch {
    return "";
  }
}

/** What a figure must be read with. */
export function provenance() {
  const [script = "", ...args] = process.argv.slice(1);
  return {
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      processors: availableParallelism(),
      memory: totalmem(),
      system: `${process.platform} ${release()}`,
      node: process.versions.node,
    },
    commit: git("rev-parse", "--short", "HEAD"),
    changed: git("status", "--porcelain", "--untracked-files=no") !== "",
    foreign: foreign(),
    command: ["node", relative(ROOT, script) || basename(script), ...args].join(" "),
  };
}

/** @param {string} name @param {object} data */
export function save(name, data) {
  mkdirSync(RESULTS, { recursive: true });
  const file = join(RESULTS, `${name}.json`);
  writeFileSync(file, `${JSON.stringify({ ...provenance(), ...data }, null, 2)}\n`);
  console.log(`\n${relative(ROOT, file)}`);
  const busy = foreign() ?? 0;
  if (busy > 0.05) {
    console.log(
      `Others used ${(busy * 100).toFixed(0)} % of the processors meanwhile: rough figures.`,
    );
  }
}

/** Prints rows of cells under a title; numbers to three digits. @param {string} title @param {readonly string[]} head @param {readonly (readonly (string | number)[])[]} rows */
export function table(title, head, rows) {
  const text = [head, ...rows].map((row) => row.map(cell));
  const widths = head.map((_, i) => Math.max(...text.map((row) => row[i]?.length ?? 0)));
  const line = (row) =>
    row.map((c, i) => (i === 0 ? c.padEnd(widths[0]) : c.padStart(widths[i]))).join("  ");
  console.log(`\n${title}`);
  for (const row of text) console.log(`  ${line(row)}`);
}

/** @param {string | number} value */
function cell(value) {
  if (typeof value === "string") return value;
  if (!Number.isFinite(value)) return "-";
  if (Number.isInteger(value)) return String(value);
  const digits =
    Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toFixed(digits);
}
