/** generate(): text in, chunks of text out. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Chunk, type GenerateOptions, loadModel, type Model } from "../lib/index.js";
import { failure, refuses } from "./support/errors.js";
import { DEMO } from "./support/expected.js";

const PROMPT = "Once upon a time there was a king who";

let model: Model;
beforeAll(async () => {
  model = await loadModel(DEMO, { threads: 1, prefixShare: 0 });
});
afterAll(async () => {
  await model.dispose();
});

/** No token ends it but those a test names. */
const fixed = { seed: 3, maxNewTokens: 40, eosTokens: [] };

async function chunks(options: GenerateOptions, prompt: string | number[] = PROMPT) {
  const list: Chunk[] = [];
  for await (const chunk of model.generate(prompt, options)) list.push(chunk);
  return list;
}

describe("generate", () => {
  it("gives the tokens a session of the same seed draws, and their text", async () => {
    const session = model.createSession({ seed: 3 });
    session.append(await model.encode(PROMPT));
    const steps = [];
    for await (const step of session.decode(40)) steps.push(step);
    const result = await model.generate(PROMPT, fixed).result();
    expect(result.tokens).toEqual(steps.map(({ token }) => token));
    expect(result.exits).toEqual(steps.map(({ exit }) => exit));
    expect(model.decode([...session.tokens])).toBe(`${PROMPT}${result.text}`);
    expect(result).toMatchObject({
      finishReason: "length",
      seed: 3n,
      promptTokens: await model.encode(PROMPT),
    });
    expect(result.stats).toEqual(session.stats());
    expect(result.stats.tokens).toBe(40);
    await session.dispose();
  });

  it("gives the same text for the same seed, and another for another", async () => {
    const text = await model.generate(PROMPT, fixed).text();
    expect(await model.generate(PROMPT, fixed).text()).toBe(text);
    expect(await model.generate(PROMPT, { ...fixed, seed: 3n, maxPending: 0 }).text()).toBe(text);
    expect(await model.generate(PROMPT, { ...fixed, seed: 4 }).text()).not.toBe(text);
    expect(await model.generate(PROMPT, { ...fixed, stream: 1 }).text()).not.toBe(text);
  });

  it("has a random seed by default, with which it can be repeated", async () => {
    const { seed, text } = await model.generate(PROMPT, { maxNewTokens: 20 }).result();
    expect(await model.generate(PROMPT, { maxNewTokens: 20, seed }).text()).toBe(text);
  });

  it("gives chunks that add up to the result", async () => {
    const generation = model.generate(PROMPT, fixed);
    const list: Chunk[] = [];
    for await (const chunk of generation) list.push(chunk);
    const result = await generation.result();
    expect(list.map(({ text }) => text).join("")).toBe(result.text);
    expect(list.flatMap(({ tokens }) => tokens)).toEqual(result.tokens);
    expect(list.flatMap(({ exits }) => exits)).toEqual(result.exits);
    expect(await generation.text()).toBe(result.text);
  });

  it("takes a text, its tokens or messages", async () => {
    const text = await model.generate(PROMPT, fixed).text();
    expect(await model.generate(await model.encode(PROMPT), fixed).text()).toBe(text);
    // The demo has no chat template.
    await failure(
      "ERR_NVIUM_TOKENIZER",
      model.generate([{ role: "user", content: "Hello" }]).text(),
    );
  });

  it("draws nothing where no new tokens are wanted", async () => {
    const result = await model.generate(PROMPT, { ...fixed, maxNewTokens: 0 }).result();
    expect(result).toMatchObject({ text: "", tokens: [], exits: [], finishReason: "length" });
  });

  it("ends where the context does", async () => {
    const prompt = new Array(1020).fill(300);
    const result = await model.generate(prompt, { ...fixed, maxNewTokens: 100 }).result();
    expect(result.tokens.length).toBe(4);
    expect(result.finishReason).toBe("length");
    await failure("ERR_NVIUM_CONTEXT_FULL", model.generate(new Array(1025).fill(300)).text());
  });

  it("ends at an end token, the model's own by default", async () => {
    expect(model.info.eosTokens.length).toBeGreaterThan(0);
    const { tokens } = await model.generate(PROMPT, fixed).result();
    const eos = tokens[9] as number;
    const end = tokens.indexOf(eos) + 1;
    const result = await model.generate(PROMPT, { ...fixed, eosTokens: [eos] }).result();
    expect(result).toMatchObject({ tokens: tokens.slice(0, end), finishReason: "eos" });
    const iterable = new Set([eos]) as unknown as number[];
    expect(await model.generate(PROMPT, { ...fixed, eosTokens: iterable }).result()).toMatchObject({
      tokens: tokens.slice(0, end),
      finishReason: "eos",
    });
  });

  it("ends at a stop string that spans tokens, which it does not give out", async () => {
    const { text, tokens } = await model.generate(PROMPT, fixed).result();
    const at = text.indexOf(" ", 30) - 2;
    const stop = text.slice(at, at + 6);
    const cut = text.slice(0, text.indexOf(stop));
    const list = await chunks({ ...fixed, stop });
    expect(list.map((chunk) => chunk.text).join("")).toBe(cut);
    const result = await model.generate(PROMPT, { ...fixed, stop: ["never there", stop] }).result();
    expect(result).toMatchObject({ text: cut, finishReason: "stop" });
    expect(result.tokens).toEqual(tokens.slice(0, result.tokens.length));
    expect(result.tokens.length).toBeLessThan(tokens.length);
    expect(result.stats.tokens).toBe(result.tokens.length);
  });

  it("gives out at the end what could have begun a stop string", async () => {
    const { text } = await model.generate(PROMPT, fixed).result();
    const stop = `${text.slice(-3)}and never this`;
    expect(await model.generate(PROMPT, { ...fixed, stop }).text()).toBe(text);
  });

  it("passes on how to draw", async () => {
    const greedy = { ...fixed, greedy: true, router: "greedy" } as const;
    const text = await model.generate(PROMPT, greedy).text();
    expect(await model.generate(PROMPT, { ...greedy, seed: 99 }).text()).toBe(text);
  });
});

describe("a generation", () => {
  it("starts once", async () => {
    const generation = model.generate(PROMPT, { ...fixed, maxNewTokens: 3 });
    const result = await generation.result();
    expect(await generation.result()).toBe(result);
    await expect(generation[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: "ERR_NVIUM_BUSY",
    });
  });

  it("has a result although an iterator was made and never used", async () => {
    const generation = model.generate(PROMPT, { ...fixed, maxNewTokens: 3 });
    generation[Symbol.asyncIterator]();
    expect((await generation.result()).tokens.length).toBe(3);
  });

  it("that is left early resolves with what there was and gives its memory back", async () => {
    const generation = model.generate(PROMPT, fixed);
    let text = "";
    let left = 5;
    for await (const chunk of generation) {
      text += chunk.text;
      if (--left === 0) break;
    }
    const result = await generation.result();
    expect(result).toMatchObject({ text, finishReason: "left" });
    expect(result.tokens.length).toBe(5);
    expect(result.stats.tokens).toBe(5);
    expect(model.core.scheduler.memory.pools.cache.used).toBe(0);
    expect(model.core.scheduler.sequences.size).toBe(0);
  });

  it("that is aborted rejects with the signal's reason, in the loop and in result()", async () => {
    const controller = new AbortController();
    const generation = model.generate(PROMPT, {
      ...fixed,
      signal: controller.signal,
      maxNewTokens: 500,
    });
    let seen = 0;
    const loop = async () => {
      for await (const _ of generation) if (++seen === 5) controller.abort("enough");
    };
    await expect(loop()).rejects.toBe("enough");
    await expect(generation.result()).rejects.toBe("enough");
    expect(seen).toBeLessThan(500);
    expect(model.core.scheduler.sequences.size).toBe(0);
    const signal = AbortSignal.abort("no");
    await expect(model.generate(PROMPT, { ...fixed, signal }).text()).rejects.toBe("no");
  });

  it("runs beside others", async () => {
    const alone = await model.generate(PROMPT, fixed).text();
    const texts = await Promise.all(
      [1, 2, 3].map((seed) => model.generate(PROMPT, { ...fixed, seed }).text()),
    );
    expect(texts[2]).toBe(alone);
    expect(new Set(texts).size).toBe(3);
  });
});

describe("a wrong argument is named", () => {
  it.each([
    ["maxNewTokens", -1],
    ["maxNewTokens", 1.5],
    ["maxNewTokens", "5"],
    ["seed", -1],
    ["stream", -1],
    ["maxPending", -1],
    ["temperature", -1],
    ["topK", 0],
    ["router", "no"],
    ["greedy", 1],
    ["signal", 5],
    ["stop", ""],
    ["stop", ["a", 5]],
    ["stop", 5],
    ["eosTokens[0]", [4096]],
    ["eosTokens", 5],
  ])("generate(prompt, { %s: %s })", async (argument, value) => {
    const [name = ""] = argument.split("[");
    await refuses(argument, model.generate(PROMPT, { [name]: value } as GenerateOptions).result());
    expect(model.core.scheduler.sequences.size).toBe(0);
  });

  it.each([5, null, {}])("generate(%s)", async (prompt) => {
    await refuses("prompt", model.generate(prompt as unknown as string).result());
  });

  it("generate(prompt, null)", async () => {
    await refuses("options", async () =>
      model.generate(PROMPT, null as unknown as GenerateOptions).result(),
    );
  });

  it("tokens outside the vocabulary", async () => {
    await refuses("tokens[1]", model.generate([5, 4096]).result());
    await failure("ERR_NVIUM_EMPTY", model.generate([]).result());
  });
});
