import { describe, expect, test } from "vitest";
import {
  createPainter,
  createProgressLine,
  exitColor,
  legend,
  printable,
  wantsColor,
} from "../../lib/cli/terminal.js";
import { plain } from "./fake.js";

/** WCAG's contrast of a colour of the 6 × 6 × 6 cube to black and to white. */
function contrasts(color: number): [number, number] {
  const levels = [0, 95, 135, 175, 215, 255];
  const place = color - 16;
  const [r = 0, g = 0, b = 0] = [place / 36, (place / 6) % 6, place % 6]
    .map((level) => (levels[Math.floor(level)] ?? 0) / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return [(luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)];
}

describe("the colours of exits", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])("differ and read well for %i exits", (exits) => {
    const colors = Array.from({ length: exits }, (_, i) => exitColor(i + 1, exits));
    expect(new Set(colors).size).toBe(exits);
    for (const color of colors) expect(Math.min(...contrasts(color))).toBeGreaterThan(3.6);
  });

  test("exist for any number of exits", () => {
    expect(exitColor(40, 40)).toBeGreaterThan(15);
    expect(exitColor(17, 40)).toBeGreaterThan(15);
  });
});

test.each<[string, boolean, Record<string, string>, boolean, boolean]>([
  ["a terminal", true, {}, false, true],
  ["a pipe", false, {}, false, false],
  ["a dumb terminal", true, { TERM: "dumb" }, false, false],
  ["NO_COLOR", true, { NO_COLOR: "1" }, false, false],
  ["an empty NO_COLOR", true, { NO_COLOR: "" }, false, true],
  ["FORCE_COLOR in a pipe", false, { FORCE_COLOR: "1" }, false, true],
  ["FORCE_COLOR=0", true, { FORCE_COLOR: "0" }, false, false],
  ["FORCE_COLOR and NO_COLOR", false, { FORCE_COLOR: "3", NO_COLOR: "1" }, false, true],
  ["--no-color and FORCE_COLOR", true, { FORCE_COLOR: "1" }, true, false],
])("colour with %s", (_name, isTTY, env, noColor, expected) => {
  expect(wantsColor({ write() {}, isTTY }, env, noColor)).toBe(expected);
});

test("paint ends with every line and leaves empty lines alone", () => {
  const painter = createPainter(true, 4);
  expect(painter.exit("a\n\nb", 1)).toBe("\x1b[38;5;30ma\x1b[39m\n\n\x1b[38;5;30mb\x1b[39m");
  expect(painter.faint("a")).toBe("\x1b[2ma\x1b[22m");
  expect(createPainter(false, 4).exit("a", 1)).toBe("a");
});

test("control characters of a text do not reach the terminal, line ends and tabs do", () => {
  expect(printable("a\x1b[2Jb\x07\x9b\x7f\rc\r\n\td é🎉")).toBe("a�[2Jb����c\r\n\td é🎉");
});

test.each([20, 21, 39, 40, 41, 80, 200])("the legend keeps to %i columns", (columns) => {
  const lines = plain(legend([2, 4, 6, 8], createPainter(true, 4), columns)).split("\n");
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
  expect(lines.join("   ")).toBe(
    "■ exit 1, layer 2   ■ exit 2, layer 4   ■ exit 3, layer 6   ■ all 8 layers",
  );
});

describe("the progress line", () => {
  function record(isTTY: boolean, columns: number) {
    const writes: string[] = [];
    const output = { write: (text: string) => writes.push(text), isTTY, columns };
    return { writes, line: createProgressLine(output, "Loading a model") };
  }

  test("is written over, only when it changes, and goes away", () => {
    const { writes, line } = record(true, 80);
    line.update(1, 1000);
    line.update(2, 1000);
    line.update(1000, 1000);
    line.clear();
    expect(writes).toEqual([
      "\r\x1b[2KLoading a model   0 %",
      "\r\x1b[2KLoading a model 100 %",
      "\r\x1b[2K",
    ]);
  });

  test("never wraps", () => {
    const { writes, line } = record(true, 10);
    line.update(1, 2);
    expect(writes).toEqual(["\r\x1b[2KLoading a"]);
  });

  test("writes nothing where there is no terminal", () => {
    const { writes, line } = record(false, 80);
    line.update(1, 2);
    line.clear();
    expect(writes).toEqual([]);
  });
});
