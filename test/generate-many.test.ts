/** generateMany() and evaluateMany(): each text is what it is alone, whatever runs beside it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type ManyResult, type Model } from "../lib/index.js";
import { failure, refuses } from "./support/errors.js";
import { DEMO } from "./support/expected.js";

const PROMPTS = ["Once upon a time there was a king who", "The dragon", "She said that she"];

let model: Model;
beforeAll(async () => {
  model = await loadModel(DEMO, { threads: 1, prefixShare: 0 });
});
afterAll(async () => {
  await model.dispose();
});

const fixed = { seed: 5, maxNewTokens: 25, eosTokens: [] };

/** Without what depends on who runs beside it. */
const bare = ({ stats: _, ...result }: Partial<ManyResult>) => result;

async function alone(n: number, options: object = fixed) {
  const results: object[] = [];
  for (const [prompt, text] of PROMPTS.entries()) {
    for (let choice = 0; choice < n; choice++) {
      const result = await model.generate(text, { ...options, stream: choice });
      results.push({ prompt, choice, ...bare(result) });
    }
  }
  return results;
}

function clean() {
  expect(model.core.scheduler.sequences.size).toBe(0);
  expect(model.core.scheduler.memory.pools.cache.used).toBe(0);
  expect(model.core.scheduler.memory.pools.boundary.used).toBe(0);
}

describe("generateMany", () => {
  it("gives all in order when awaited, each as it is alone", async () => {
    const results = await model.generateMany(PROMPTS, { ...fixed, n: 3 });
    expect(results.map(bare)).toEqual(await alone(3));
    clean();
  });

  it("gives each once as it ends when iterated, and then all in order", async () => {
    const many = model.generateMany(PROMPTS, { ...fixed, n: 2 });
    const seen: ManyResult[] = [];
    for await (const result of many) seen.push(result);
    const results = await many.results();
    expect(results.map(bare)).toEqual(await alone(2));
    expect(new Set(seen)).toEqual(new Set(results));
    await failure(
      "ERR_NVIUM_BUSY",
      (async () => {
        for await (const _ of many);
      })(),
    );
  });

  it("gives a short one before a long one that was asked for first", async () => {
    // The context ends it after two tokens.
    const short = new Array(1022).fill(300);
    const order: number[] = [];
    const many = model.generateMany([[300], short], { ...fixed, maxNewTokens: 500 });
    for await (const { prompt } of many) order.push(prompt);
    expect(order).toEqual([1, 0]);
  });

  it("warns of nothing where many listen to one signal", async () => {
    const warnings: Error[] = [];
    const heed = (warning: Error) => warnings.push(warning);
    process.on("warning", heed);
    await model.generateMany(PROMPTS, { ...fixed, maxNewTokens: 3, n: 8 });
    await new Promise(setImmediate);
    process.off("warning", heed);
    expect(warnings).toEqual([]);
  });

  it("computes the prompt of several choices once", async () => {
    const prompt = new Array(600).fill(300);
    const [one] = await model.generateMany([prompt], { ...fixed, maxNewTokens: 4 });
    const four = await model.generateMany([prompt], { ...fixed, maxNewTokens: 4, n: 4 });
    const rows = four.reduce((sum, { stats }) => sum + stats.rowsRun + stats.rowsNeverRun, 0);
    const { layers } = model.info;
    expect(one?.stats.tokens).toBe(4);
    // 599 rows of the prompt, and of each choice the last of the prompt and three of its own.
    expect(rows).toBe(layers * (599 + 4 * 4));
  });

  it("of choices on a random seed can be repeated one by one", async () => {
    const { seed: _, ...unseeded } = fixed;
    const results = await model.generateMany(PROMPTS, { ...unseeded, n: 2 });
    expect(new Set(results.map(({ seed }) => seed)).size).toBe(PROMPTS.length);
    for (const { prompt, choice, seed, text } of results) {
      const options = { ...fixed, seed, stream: choice };
      expect(await model.generate(PROMPTS[prompt] as string, options).text()).toBe(text);
    }
  });

  it("oversteps neither counts nor cacheBytes", async () => {
    const prompt = new Array(200).fill(300);
    const expected = await model.generateMany([prompt, prompt.slice(1)], { ...fixed, n: 6 });
    const { cache, boundary } = model.core.native.blockBytes();
    // Room for one prompt and a few choices, not for all.
    const cacheBytes = 12 * cache + 8 * boundary;
    await using small = await loadModel(DEMO, { threads: 1, cacheBytes });
    const many = small.generateMany([prompt, prompt.slice(1)], { ...fixed, n: 6 });
    for await (const { tokens } of many) {
      expect(tokens.length).toBe(fixed.maxNewTokens);
      expect(small.info.memory.used).toBeLessThanOrEqual(cacheBytes);
    }
    expect((await many).map(bare)).toEqual(expected.map(bare));
  });

  it("that is left ends the rest and has what had ended", async () => {
    const many = model.generateMany([...PROMPTS, new Array(1022).fill(300)], {
      ...fixed,
      maxNewTokens: 900,
    });
    for await (const result of many) {
      expect(result).toMatchObject({ prompt: 3, finishReason: "context" });
      break;
    }
    expect((await many).map(({ prompt }) => prompt)).toEqual([3]);
    clean();
  });

  it("that is aborted rejects with the signal's reason", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const many = model.generateMany(PROMPTS, { ...fixed, n: 2, maxNewTokens: 900, signal });
    const all = many.results();
    setImmediate(() => controller.abort("enough"));
    await expect(all).rejects.toBe("enough");
    clean();
  });

  it("that fails for one fails, and leaves nothing behind", async () => {
    await failure("ERR_NVIUM_EMPTY", model.generateMany([...PROMPTS, []], fixed).results());
    await refuses("prompts[1]", model.generateMany(["a", 5 as unknown as string], fixed).results());
    clean();
  });

  it("ends all when the time is over", async () => {
    const options = { ...fixed, n: 2, maxNewTokens: 900, timeLimit: 100 };
    const results = await model.generateMany(PROMPTS, options);
    expect(results.map(({ finishReason }) => finishReason)).toEqual(new Array(6).fill("time"));
    const whole = await alone(2, { ...fixed, maxNewTokens: 900 });
    for (const [i, { tokens }] of results.entries()) {
      const { tokens: all } = whole[i] as ManyResult;
      expect(tokens).toEqual(all.slice(0, tokens.length));
    }
  });

  it("of no prompts is empty", async () => {
    expect(await model.generateMany([])).toEqual([]);
  });

  it("names wrong arguments", async () => {
    await refuses("n", model.generateMany(PROMPTS, { n: 0 }).results());
    await refuses("n", model.generateMany(PROMPTS, { n: 2, stream: 2 ** 32 - 1 }).results());
    await refuses("prompts", model.generateMany(5 as unknown as string[]).results());
    await refuses("prompts", model.generateMany("a text" as unknown as string[]).results());
    await refuses("stop", model.generateMany(PROMPTS, { stop: "" }).results());
    await refuses("best_of", model.generateMany(PROMPTS, { best_of: 2 } as object).results());
  });
});

describe("evaluateMany", () => {
  it("gives the laws of each text as evaluate does, one by one or all", async () => {
    const texts = [[60, 8, 196], [5], [], [7, 7, 7, 7]];
    const expected: object[] = [];
    for (const [text, tokens] of texts.entries()) {
      expected.push({ text, ...(await model.evaluate(tokens, { mixture: true })) });
    }
    expect(await model.evaluateMany(texts, { mixture: true })).toEqual(expected);
    const seen: number[] = [];
    for await (const { text } of model.evaluateMany(texts)) seen.push(text);
    expect(seen).toEqual([0, 1, 2, 3]);
    clean();
  });

  it("names wrong arguments", async () => {
    await refuses("texts[1][0]", model.evaluateMany([[1], [4096]]).results());
    await refuses("texts", model.evaluateMany(5 as unknown as number[][]).results());
  });
});
