/** The difference of two models' laws: against sums done by hand, and of the demo from itself quantised. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { run } from "../lib/cli/run.js";
import { compare } from "../lib/compare.js";
import { type EvaluateResult, loadModel, type Model } from "../lib/index.js";
import { visit } from "./cli/fake.js";
import { DEMO } from "./support/expected.js";

/** A model of two exits and a vocabulary of two, with the same laws everywhere. */
function model(share: number, first: readonly [number, number], last: readonly [number, number]) {
  const mixture = first.map((p, v) => Math.log(share * p + (1 - share) * (last[v] ?? 0)));
  const evaluate = async (tokens: Iterable<number>): Promise<EvaluateResult> => {
    const count = [...tokens].length;
    const times = (values: readonly number[]) =>
      Float32Array.from(Array.from({ length: count }, () => values).flat());
    return {
      exitProbs: times([share, 1 - share]),
      // Any constant may be added to logits.
      exitLogits: Float32Array.from([
        ...times(first.map((p) => Math.log(p) + 5)),
        ...times(last.map((p) => Math.log(p) - 5)),
      ]),
      mixtureLogProbs: times(mixture),
    };
  };
  return { info: { vocabSize: 2, exits: [1, 2] }, evaluate } as unknown as Model;
}

const kl = (p: readonly number[], q: readonly number[]) =>
  p.reduce((sum, x, i) => sum + x * Math.log(x / (q[i] ?? 0)), 0);

test("is what its definition says", async () => {
  const one = model(0.25, [0.9, 0.1], [0.4, 0.6]);
  const two = model(0.5, [0.7, 0.3], [0.6, 0.4]);
  const difference = await compare(one, two, [
    [0, 1, 1],
    [1, 0],
  ]);
  const [a, b] = [
    [0.525, 0.475],
    [0.65, 0.35],
  ] as const;
  expect(difference.tokens).toBe(3);
  expect(difference.divergence).toBeCloseTo(kl(a, b), 6);
  expect(difference.agreement).toBe(1);
  const perplexity = (p: readonly [number, number]) => (p[1] * p[1] * p[0]) ** (-1 / 3);
  expect(difference.perplexity[0]).toBeCloseTo(perplexity(a), 5);
  expect(difference.perplexity[1]).toBeCloseTo(perplexity(b), 5);
  const [first, last] = difference.exits;
  expect(first?.divergence).toBeCloseTo(kl([0.9, 0.1], [0.7, 0.3]), 6);
  expect(last?.divergence).toBeCloseTo(kl([0.4, 0.6], [0.6, 0.4]), 6);
  expect([first?.agreement, last?.agreement]).toEqual([1, 0]);
  expect(first?.share).toEqual([0.25, 0.5]);
  expect(last?.share).toEqual([0.75, 0.5]);
});

async function pieces(of: Model, count: number): Promise<number[][]> {
  const tokens = await of.encode(readFileSync("test/demo/validation.txt", "utf8").slice(0, 12000));
  return Array.from({ length: count }, (_, i) => [...tokens.slice(i * 256, (i + 1) * 256)]);
}

test("of a model from itself is nothing", async () => {
  await using demo = await loadModel(DEMO, { device: "cpu" });
  const difference = await compare(demo, demo, await pieces(demo, 1));
  expect(difference).toMatchObject({ tokens: 255, divergence: 0, agreement: 1 });
  for (const exit of difference.exits) {
    expect(exit).toMatchObject({ divergence: 0, agreement: 1 });
    expect(exit.share[0]).toBe(exit.share[1]);
  }
});

// Bounds well above what was measured: 9e-4 and 3.7e-2 over more text.
test.each([
  [{ dtype: "int8" }, 1.2e-3, 0.003],
  [{ dtype: "int4" }, 6e-2, 0.06],
  [{ cacheType: "int8" }, 3e-4, 0.003],
] as const)("of the demo with %j stays small", async (types, divergence, change) => {
  await using stored = await loadModel(DEMO, { device: "cpu" });
  await using quantised = await loadModel(DEMO, { device: "cpu", ...types });
  const difference = await compare(stored, quantised, await pieces(stored, 4));
  expect(difference.divergence).toBeGreaterThan(0);
  expect(difference.divergence).toBeLessThan(divergence);
  const [before, after] = difference.perplexity;
  expect(Math.abs(after / before - 1)).toBeLessThan(change);
});

test("the command compares what the model writes by itself", async () => {
  let written = "";
  const output = {
    write(text: string) {
      written += text;
    },
  };
  const code = await run(["compare", DEMO, "--window", "40", "--windows", "2", "--json"], {
    stdin: process.stdin,
    stdout: output,
    stderr: output,
    env: {},
    signal: new AbortController().signal,
    loadModel,
  });
  expect(code).toBe(0);
  expect(JSON.parse(written)).toMatchObject({ model: DEMO, with: "int8", tokens: 78 });
});

test.each([
  ["compare"],
  ["compare one two"],
  ["compare one --dtype int3"],
  ["compare one --dtype int8 --with two"],
  ["compare one --window 1"],
])("%j is wrong usage", async (line) => {
  expect(await visit(line.split(" "))).toMatchObject({ code: 2, stdout: "", loads: [] });
});
