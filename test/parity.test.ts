/** Against what the model's authors' own code gives: within the tolerances measured for it (test/fixtures/README.md). */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../lib/index.js";
import {
  DEMO,
  DEMO_TWIN,
  FIXTURES,
  fixture,
  type Greedy,
  readExpected,
} from "./support/expected.js";

/** ‖a - b‖ / ‖b‖ */
function relativeError(a: Float32Array, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    const reference = b[i] as number;
    difference += ((a[i] as number) - reference) ** 2;
    norm += reference ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Mean over rows of KL(b || a), both logs of laws over `vocab` tokens. */
function meanDivergence(a: Float32Array, b: ArrayLike<number>, vocab: number): number {
  let sum = 0;
  for (let i = 0; i < b.length; i++) {
    const p = b[i] as number;
    sum += Math.exp(p) * (p - (a[i] as number));
  }
  return sum / (b.length / vocab);
}

function maxDifference(a: Float32Array, b: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < b.length; i++) {
    largest = Math.max(largest, Math.abs((a[i] as number) - (b[i] as number)));
  }
  return largest;
}

describe.each(FIXTURES)("%s", (name) => {
  const { tensors, greedy } = readExpected(fixture(name));
  const bf16 = name.endsWith("bf16");
  const inputs = greedy.map((_, i) => Array.from(tensors.get(`tokens.${i}`) ?? []));
  let model: Model;

  beforeAll(async () => {
    model = await loadModel(fixture(name));
  });
  afterAll(async () => {
    await model.dispose();
  });

  it.each(inputs.map((_, i) => i))("gives the authors' laws for input %i", async (i) => {
    const result = await model.evaluate(inputs[i] ?? [], { exitLogits: true, mixture: true });
    const logits = result.exitLogits ?? new Float32Array();
    const mixture = result.mixtureLogProbs ?? new Float32Array();
    const expected = (key: string) => tensors.get(`${key}.${i}`) ?? [];
    expect(logits.length).toBe(expected("exit_logits").length);
    expect(mixture.length).toBe(expected("mix_logprobs").length);
    expect(relativeError(logits, expected("exit_logits"))).toBeLessThanOrEqual(
      bf16 ? 1.5e-2 : 2e-5,
    );
    expect(maxDifference(result.exitProbs, expected("exit_probs"))).toBeLessThanOrEqual(
      bf16 ? 0.05 : 1e-4,
    );
    const divergence = meanDivergence(mixture, expected("mix_logprobs"), model.info.vocabSize);
    expect(Math.abs(divergence)).toBeLessThanOrEqual(bf16 ? 1e-3 : 1e-6);
  });

  it.each(inputs.map((_, i) => i))("continues input %i greedily as they do", async (i) => {
    const differing = await followGreedily(model, inputs[i] ?? [], greedy[i] as Greedy, bf16);
    // Close calls may go either way in bf16; most steps are not close.
    expect(differing.length).toBeLessThanOrEqual(bf16 ? 8 : 0);
  });
});

describe("the demo", () => {
  const directory = fileURLToPath(new URL("demo", import.meta.url));
  const { tensors, greedy } = readExpected(directory);
  const { inputs } = JSON.parse(readFileSync(`${directory}/expected.json`, "utf8")) as {
    inputs: { text: string }[];
  };
  const tokensOf = (i: number) => Array.from(tensors.get(`tokens.${i}`) ?? []);
  const prompts = [0, 1, 2];
  let model: Model;

  beforeAll(async () => {
    model = await loadModel(DEMO);
  });
  afterAll(async () => {
    await model.dispose();
  });

  it.each(prompts)("tokenizes text %i as they do", async (i) => {
    expect(await model.encode(inputs[i]?.text ?? "")).toEqual(tokensOf(i));
  });

  it.each(prompts)("gives the authors' laws after prompt %i", async (i) => {
    const tokens = tokensOf(i);
    const { vocabSize: V, exits } = model.info;
    const result = await model.evaluate(tokens, { exitLogits: true, mixture: true });
    const last = (values: Float32Array | undefined, k: number) =>
      values?.subarray(((k + 1) * tokens.length - 1) * V, (k + 1) * tokens.length * V) ?? [];
    const logits = Float32Array.from(exits.flatMap((_, k) => [...last(result.exitLogits, k)]));
    const mixture = Float32Array.from(last(result.mixtureLogProbs, 0));
    const expected = (key: string) => tensors.get(`${key}.${i}`) ?? [];
    expect(logits.length).toBe(expected("exit_logits_last").length);
    expect(relativeError(logits, expected("exit_logits_last"))).toBeLessThanOrEqual(1.5e-2);
    expect(maxDifference(result.exitProbs, expected("exit_probs"))).toBeLessThanOrEqual(0.05);
    const divergence = meanDivergence(mixture, expected("mix_logprobs_last"), V);
    expect(Math.abs(divergence)).toBeLessThanOrEqual(1e-3);
  });

  it.each(prompts)("continues prompt %i greedily as they do", async (i) => {
    expect(greedy[i]?.tokens.length).toBe(96);
    const differing = await followGreedily(model, tokensOf(i), greedy[i] as Greedy, true);
    expect(differing.length).toBeLessThanOrEqual(8);
  });

  it("scores a long text as they do", async () => {
    const tokens = tokensOf(3);
    const { exitProbs, mixtureLogProbs } = await model.evaluate(tokens, { mixture: true });
    expect(maxDifference(exitProbs, tensors.get("exit_probs.3") ?? [])).toBeLessThanOrEqual(0.05);
    const expected = tensors.get("token_logprobs.3") ?? new Float32Array();
    expect(expected.length).toBe(tokens.length - 1);
    const V = model.info.vocabSize;
    const scores = tokens.slice(1).map((token, t) => mixtureLogProbs?.[t * V + token] as number);
    expect(maxDifference(Float32Array.from(scores), expected)).toBeLessThanOrEqual(0.1);
    const mean = (values: ArrayLike<number>) =>
      Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.abs(mean(scores) - mean(expected))).toBeLessThanOrEqual(5e-3);
  });

  it("has the cross-entropy and the exits on the validation text that its card states", async () => {
    const { crossEntropy, shares } = await scoreValidation(model);
    expect(Math.abs(crossEntropy / 2.4014 - 1)).toBeLessThanOrEqual(1e-3);
    expect(shares).toHaveLength(4);
    for (const [k, p] of [0.113, 0.187, 0.325, 0.375].entries()) {
      expect(Math.abs((shares[k] as number) - p)).toBeLessThanOrEqual(0.005);
    }
  }, 300_000);
});

describe("the demo's dense twin", () => {
  it("has the size and the cross-entropy on the validation text that its card states", async () => {
    await using model = await loadModel(DEMO_TWIN);
    expect(model.info).toMatchObject({ parameters: 4_476_096, exits: [8] });
    const { crossEntropy, shares } = await scoreValidation(model);
    expect(Math.abs(crossEntropy / 2.412 - 1)).toBeLessThanOrEqual(1e-3);
    expect(shares).toEqual([1]);
  }, 300_000);
});

/** Of the validation text in windows of 256 tokens: nats a token of the mixture, and the mean of each exit's probability. */
async function scoreValidation(model: Model): Promise<{ crossEntropy: number; shares: number[] }> {
  const text = readFileSync(fileURLToPath(new URL("demo/validation.txt", import.meta.url)), "utf8");
  const tokens = await model.encode(text, { addSpecialTokens: false });
  const windows = Array.from({ length: 116 }, (_, w) => tokens.slice(w * 256, (w + 1) * 256));
  expect(windows.at(-1)?.length).toBe(256);
  const { vocabSize: V, exits } = model.info;
  let loss = 0;
  const shares = exits.map(() => 0);
  for (const window of windows) {
    const { exitProbs, mixtureLogProbs } = await model.evaluate(window, { mixture: true });
    for (const [t, token] of window.slice(1).entries()) {
      loss -= mixtureLogProbs?.[t * V + token] as number;
      for (const k of shares.keys()) {
        shares[k] = (shares[k] as number) + (exitProbs[t * exits.length + k] as number);
      }
    }
  }
  const scored = windows.length * 255;
  return { crossEntropy: loss / scored, shares: shares.map((sum) => sum / scored) };
}

/** Steps along the expected tokens; returns the steps that differed, all of which must have been close calls. */
async function followGreedily(
  model: Model,
  prompt: number[],
  expected: Greedy,
  closeCallsAllowed: boolean,
): Promise<number[]> {
  const session = model.createSession({ seed: 0 });
  session.append(prompt);
  const differing: number[] = [];
  for (let s = 0; s < expected.tokens.length; s++) {
    const token = expected.tokens[s] as number;
    const step = await session.step({ greedy: true, router: "greedy", force: token });
    const drawn = step.drawn ?? step.token;
    if (drawn === token && step.exit === expected.exits[s]) continue;
    const close =
      (expected.token_margin[s] as number) < 0.1 || (expected.router_margin[s] as number) < 0.05;
    expect(
      closeCallsAllowed && close,
      `step ${s}: token ${drawn} at exit ${step.exit}, expected ${token} at ${expected.exits[s]}`,
    ).toBe(true);
    differing.push(s);
  }
  await session.dispose();
  return differing;
}
