/** Colours, widths and progress: everything that is only for eyes. */

import type { Output } from "./types.js";

/**
 * Colours of the 256-colour palette in the order of the rainbow's cold half, then the warm one. Each has a contrast
 * of at least 3.6 to black and to white alike, and neighbours differ for the colour-blind too.
 */
const RAMP = [30, 32, 99, 164, 161, 166, 100, 28] as const;

/** The palette index of exit `exit` (1-based) of `exits`: cold leaves early, warm late. */
export function exitColor(exit: number, exits: number): number {
  const ramp = exits <= 6 ? RAMP.slice(0, 6) : RAMP;
  const place = exits > 1 ? (exit - 1) / (exits - 1) : 0;
  return ramp[Math.round(place * (ramp.length - 1))] ?? RAMP[0];
}

/**
 * Whether to colour what goes to `output`: `--no-color`, then FORCE_COLOR, then NO_COLOR decide; else terminals that
 * are not dumb have colours.
 */
export function wantsColor(
  output: Output,
  env: Readonly<Record<string, string | undefined>>,
  noColor: boolean,
): boolean {
  if (noColor) return false;
  const { FORCE_COLOR: force, NO_COLOR: no, TERM: term } = env;
  if (force !== undefined) return force !== "0" && force !== "false";
  return !no && output.isTTY === true && term !== "dumb";
}

/** Columns of a terminal; elsewhere COLUMNS says it, or nobody. */
export function width(output: Output, env: Readonly<Record<string, string | undefined>>): number {
  const told = Number(env.COLUMNS);
  return output.columns ?? (told >= 20 ? told : 80);
}

export interface Painter {
  /** Text in the colour of the exit its token left at. */
  exit(text: string, exit: number): string;
  /** Text that stands back. */
  faint(text: string): string;
}

export function createPainter(color: boolean, exits: number): Painter {
  if (!color) return { exit: (text) => text, faint: (text) => text };
  return {
    exit: (text, exit) => paint(text, `38;5;${exitColor(exit, exits)}`, "39"),
    faint: (text) => paint(text, "2", "22"),
  };
}

/** Line by line, so that a pager or a cut-off line leaves nothing switched on. */
function paint(text: string, on: string, off: string): string {
  return text.replace(/[^\n]+/g, (line) => `\x1b[${on}m${line}\x1b[${off}m`);
}

/** Text from a model may hold control characters; on a terminal they must not act. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
  return text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)/g, "\uFFFD");
}

/** What each colour means, in lines no wider than `columns`. `layers[i]` is what exit `i + 1` has run. */
export function legend(layers: readonly number[], painter: Painter, columns: number): string {
  const entries = layers.map((layer, i) => {
    const name = i === layers.length - 1 ? `all ${layer} layers` : `exit ${i + 1}, layer ${layer}`;
    return `■ ${name}`;
  });
  return perExit(entries, painter, columns).join("\n");
}

/** One entry an exit, each in its colour, side by side as far as `columns` allows. */
export function perExit(
  entries: readonly string[],
  painter: Painter,
  columns: number,
): readonly string[] {
  const lines: string[] = [];
  let width = Number.POSITIVE_INFINITY;
  entries.forEach((entry, i) => {
    const painted = painter.exit(entry, i + 1);
    width += 3 + entry.length;
    if (width <= columns) {
      lines.push(`${lines.pop()}   ${painted}`);
    } else {
      lines.push(painted);
      width = entry.length;
    }
  });
  return lines;
}

export interface ProgressLine {
  update(done: number, total: number): void;
  /** Removes the line. */
  clear(): void;
}

/** One line that is written over; nothing at all where `output` is no terminal. */
export function createProgressLine(output: Output, label: string): ProgressLine {
  if (output.isTTY !== true) return { update() {}, clear() {} };
  let shown = "";
  return {
    update(done, total) {
      const percent = total > 0 ? Math.floor((100 * done) / total) : 0;
      const columns = output.columns ?? 80;
      const line = `${label} ${String(percent).padStart(3)} %`.slice(0, columns - 1);
      if (line === shown) return;
      shown = line;
      output.write(`\r\x1b[2K${line}`);
    },
    clear() {
      if (shown !== "") output.write("\r\x1b[2K");
      shown = "";
    },
  };
}
