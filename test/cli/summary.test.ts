import { expect, test } from "vitest";
import { formatSummary, type Outcome, summaryEvent } from "../../lib/cli/summary.js";
import { createPainter } from "../../lib/cli/terminal.js";
import type { GenerateResult } from "../../lib/continuation.js";
import { info, plain, stats } from "./fake.js";

const outcome: Outcome = {
  info,
  exits: [100, 200, 300, 400],
  seconds: 2,
  seed: 2n ** 64n - 1n,
  result: {
    text: "",
    tokens: [],
    exits: [],
    promptTokens: [],
    finishReason: "eos",
    seed: 2n ** 64n - 1n,
    stats: {
      ...stats,
      layerPasses: 5700,
      weightBytes: 5.125e9,
      rowsRun: 6000,
      rowsNeverRun: 2000,
    },
  },
};
const none = createPainter(false, 4);

test("a summary says everything in numbers a person can read", () => {
  expect(formatSummary(outcome, none, 80)).toBe(
    [
      "model           4.48 M parameters, bf16, on cpu (portable, 2 threads)",
      "tokens          1,000 in 2.00 s, 500 tokens/s; the model ended the text",
      "left at         exit 1 10.0%   exit 2 20.0%   exit 3 30.0%   all layers 40.0%",
      "weight passes   5.70 layers a token, of 8",
      "bytes read      5.13 MB of weights a token",
      "rows run        6,000 (a row is one token in one layer)",
      "rows never run  2,000 (25.0%)",
      "seed            18446744073709551615",
      "",
    ].join("\n"),
  );
});

test("colour changes nothing but colour", () => {
  const tinted = formatSummary(outcome, createPainter(true, 4), 80);
  expect(tinted).toContain("\x1b[38;5;30mexit 1 10.0%\x1b[39m");
  expect(plain(tinted)).toBe(formatSummary(outcome, none, 80));
});

test("an interrupted generation says what is known", () => {
  const text = formatSummary({ info, exits: [1, 0, 0, 1], seconds: 1, seed: 7n }, none, 80);
  expect(text).toContain("2 in 1.00 s, 2.0 tokens/s; interrupted");
  expect(text).toMatch(/^seed +7$/m);
  expect(text).not.toContain("rows");
});

test("a context that is full is told apart from the length, and from a prompt that fills it", () => {
  const result = { ...(outcome.result as GenerateResult), finishReason: "context" as const };
  expect(formatSummary({ ...outcome, result }, none, 80)).toContain("; the context is full\n");
  const full = { ...outcome, exits: [0, 0, 0, 0], result };
  expect(formatSummary(full, none, 80)).toContain("; the prompt fills the context\n");
});

test("a short text after a long prompt does not count the prompt's passes as its own", () => {
  const result = outcome.result as GenerateResult;
  const stats = { ...result.stats, layerPasses: 5700 + 80, promptPasses: 80 };
  const text = formatSummary({ ...outcome, result: { ...result, stats } }, none, 80);
  expect(text).toContain("5.70 layers a token, of 8");
});

test("tokens drawn ahead and thrown away are told beside the others", () => {
  const result = outcome.result as GenerateResult;
  const discarded = { tokens: 12, layerPasses: 80, weightBytes: 1, rowsRun: 80 };
  const stats = { ...result.stats, discarded };
  const text = formatSummary({ ...outcome, result: { ...result, stats } }, none, 80);
  expect(text).toContain("thrown away     12 drawn ahead, beside all this\n");
  expect(formatSummary(outcome, none, 80)).not.toContain("thrown away");
});

test("no token at all divides nothing by zero", () => {
  const text = formatSummary({ ...outcome, exits: [0, 0, 0, 0], seconds: 0 }, none, 80);
  expect(text).toContain("0 in 0.00 s, 0.0 tokens/s");
  expect(text).not.toMatch(/NaN|Infinity/);
});

test("the event has the plain numbers, and the seed without loss", () => {
  expect(summaryEvent(outcome)).toEqual({
    type: "summary",
    finishReason: "eos",
    tokens: 1000,
    exits: [100, 200, 300, 400],
    seconds: 2,
    layerPasses: 5700,
    weightBytes: 5.125e9,
    rowsRun: 6000,
    rowsNeverRun: 2000,
    discarded: { tokens: 0, layerPasses: 0, weightBytes: 0, rowsRun: 0 },
    seed: "18446744073709551615",
  });
  expect(summaryEvent({ info, exits: [1], seconds: 1, seed: 7n })).toEqual({
    type: "summary",
    finishReason: "interrupted",
    tokens: 1,
    exits: [1],
    seconds: 1,
    seed: "7",
  });
});
