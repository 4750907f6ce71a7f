/** generate(): text in, chunks of text out. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Chunk,
  type GenerateOptions,
  type GenerateResult,
  loadModel,
  type Model,
} from "../lib/index.js";
import { failure, refuses } from "./support/errors.js";
import { DEMO, fixture } from "./support/expected.js";

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
    const tokens = await model.encode(PROMPT);
    for (const list of [tokens, Uint32Array.from(tokens), tokens.values()]) {
      expect(await model.generate(list, fixed).text()).toBe(text);
    }
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
    expect(result.finishReason).toBe("context");
    const reached = await model.generate(prompt, { ...fixed, maxNewTokens: 4 }).result();
    expect(reached).toMatchObject({ finishReason: "length", tokens: result.tokens });
    const full = await model.generate(new Array(1024).fill(300), fixed).result();
    expect(full).toMatchObject({ tokens: [], finishReason: "context" });
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

  it("looks for ends from the token minNewTokens names on, and draws the same until then", async () => {
    const { text, tokens } = await model.generate(PROMPT, fixed).result();
    const [eos] = tokens as [number];
    const least = 5;
    const again = tokens.indexOf(eos, least - 1);
    const late = await model
      .generate(PROMPT, { ...fixed, eosTokens: [eos], minNewTokens: least })
      .result();
    expect(late.tokens).toEqual(again < 0 ? tokens : tokens.slice(0, again + 1));
    const third = tokens[least - 1] as number;
    const at = await model
      .generate(PROMPT, { ...fixed, eosTokens: [third], minNewTokens: least })
      .result();
    expect(at).toMatchObject({ tokens: tokens.slice(0, least), finishReason: "eos" });
    const letters = [...new Set(text)];
    const stopped = await model
      .generate(PROMPT, { ...fixed, stop: letters, minNewTokens: 20 })
      .result();
    expect(stopped).toMatchObject({ tokens: tokens.slice(0, 20), finishReason: "stop" });
    expect(text.startsWith(stopped.text)).toBe(true);
  });

  it("heeds no token that ends where it is told to ignore them, and stop strings still", async () => {
    const { text, tokens } = await model.generate(PROMPT, fixed).result();
    const { eosTokens: _, ...rest } = fixed;
    const eager = await loadModel(DEMO, { threads: 1, eosTokens: [tokens[4] as number] });
    try {
      expect((await eager.generate(PROMPT, rest)).finishReason).toBe("eos");
      const through = await eager.generate(PROMPT, { ...rest, ignoreEos: true });
      expect(through).toMatchObject({ tokens, finishReason: "length" });
      const stop = text.slice(10, 14);
      expect(await eager.generate(PROMPT, { ...rest, ignoreEos: true, stop })).toMatchObject({
        finishReason: "stop",
      });
    } finally {
      await eager.dispose();
    }
  });

  it("ends with what there is when its time is over", async () => {
    const { tokens } = await model.generate(PROMPT, { ...fixed, maxNewTokens: 900 }).result();
    const generation = model.generate(PROMPT, { ...fixed, maxNewTokens: 900, timeLimit: 60 });
    const seen: number[] = [];
    for await (const chunk of generation) {
      seen.push(...chunk.tokens);
      // Whoever takes the chunks takes longer than there is.
      if (seen.length === 3) await new Promise((resolve) => setTimeout(resolve, 80));
    }
    const result = await generation;
    expect(result).toMatchObject({ finishReason: "time", tokens: seen });
    expect(tokens.slice(0, seen.length)).toEqual(seen);
    expect(result.stats.tokens).toBe(seen.length);
    const none = await model.generate(PROMPT, { ...fixed, timeLimit: Number.MIN_VALUE });
    expect(none.tokens.length).toBeLessThan(40);
    expect(none.finishReason).toBe("time");
  });

  it("passes on how to draw", async () => {
    const greedy = { ...fixed, greedy: true, router: "greedy" } as const;
    const text = await model.generate(PROMPT, greedy).text();
    expect(await model.generate(PROMPT, { ...greedy, seed: 99 }).text()).toBe(text);
  });
});

describe("without a tokenizer", () => {
  it("tokens go on as tokens, and text is refused", async () => {
    await using bare = await loadModel(fixture("quadrivium-gqa-f32"), { threads: 1 });
    const session = bare.createSession({ seed: 3 });
    session.append([60, 8, 9]);
    const tokens: number[] = [];
    for await (const { token } of session.decode(10)) tokens.push(token);
    const options = { ...fixed, maxNewTokens: 10 };
    expect(await bare.generate([60, 8, 9], options)).toMatchObject({ tokens, text: "" });
    await failure("ERR_NVIUM_TOKENIZER", bare.generate("a").text());
    await failure("ERR_NVIUM_TOKENIZER", bare.generate([60], { stop: "a" }).text());
  });
});

describe("a session", () => {
  it("goes on with text and stops, from what it holds", async () => {
    const whole = await model.generate(PROMPT, fixed).result();
    const session = model.createSession({ seed: 3 });
    const options = { eosTokens: [], maxNewTokens: 10 };
    const first = await session.generate(PROMPT, options);
    expect(first).toMatchObject({ tokens: whole.tokens.slice(0, 10), finishReason: "length" });
    expect(first.promptTokens).toEqual(whole.promptTokens);
    const second = await session.generate("", { ...options, maxNewTokens: 30 });
    expect([...first.tokens, ...second.tokens]).toEqual(whole.tokens);
    expect(first.text + second.text).toBe(whole.text);
    expect(session.tokens).toEqual([...whole.promptTokens, ...whole.tokens]);
    const more = await model.encode(" The end", { addSpecialTokens: false });
    const before = session.length;
    const third = await session.generate(" The end", { ...options, stop: [" "] });
    expect(third.promptTokens.slice(before)).toEqual(more);
    expect(session.tokens).toEqual([...third.promptTokens, ...third.tokens]);
    await session.dispose();
  });

  it("is owned while it goes on, and usable behind it", async () => {
    const session = model.createSession({ seed: 3 });
    for await (const _ of session.generate(PROMPT, { eosTokens: [] })) {
      await failure("ERR_NVIUM_BUSY", session.step());
      await failure("ERR_NVIUM_BUSY", session.generate("a").text());
      break;
    }
    const { length } = session;
    expect((await session.step()).position).toBe(length);
    await refuses("seed", session.generate("", { seed: 1 } as GenerateOptions).result());
    await session.dispose();
    await failure("ERR_NVIUM_DISPOSED", session.generate("a").text());
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

  it("is awaited for its result", async () => {
    const generation = model.generate(PROMPT, { ...fixed, maxNewTokens: 3 });
    const result = await generation;
    expect(await generation.result()).toBe(result);
    const empty = model.generate([]);
    await failure("ERR_NVIUM_EMPTY", (async () => await empty)());
  });

  it("has a result that JSON holds, whose seed is accepted", async () => {
    const seed = 2n ** 64n - 1n;
    const { text, ...result } = await model.generate(PROMPT, { ...fixed, seed });
    const printed = JSON.parse(JSON.stringify(await model.generate(PROMPT, { ...fixed, seed })));
    expect(printed).toEqual({ text, ...result, seed: String(seed) });
    expect(result.seed).toBe(seed);
    expect((await model.generate(PROMPT, { ...fixed, seed: printed.seed })).text).toBe(text);
  });

  it("that is cancelled before its first chunk computes nothing and was left", async () => {
    const generation = model.generate(PROMPT, fixed);
    const stream = ReadableStream.from(generation);
    await stream.cancel();
    const result = await generation;
    expect(result).toMatchObject({ text: "", tokens: [], finishReason: "left", seed: 3n });
    expect(result.stats).toMatchObject({ tokens: 0, layerPasses: 0, rowsRun: 0 });
    expect(model.core.scheduler.sequences.size).toBe(0);
  });

  it("that is left while its first chunk is awaited ends before it", async () => {
    const generation = model.generate(new Array(1000).fill(300), fixed);
    const iterator = generation[Symbol.asyncIterator]();
    const first = iterator.next();
    await iterator.return?.();
    expect(await first).toEqual({ done: true, value: undefined });
    expect(await generation).toMatchObject({ tokens: [], finishReason: "left" });
    expect(model.core.scheduler.sequences.size).toBe(0);
  });

  it("that ended early has the cost of its tokens alone, whatever was drawn ahead", async () => {
    const { tokens } = await model.generate(PROMPT, fixed).result();
    const short = await model.generate(PROMPT, { ...fixed, maxNewTokens: 7 });
    const costs = ({ discarded: _, ...stats }: GenerateResult["stats"]) => stats;
    for (let i = 0; i < 5; i++) {
      const generation = model.generate(PROMPT, fixed);
      let left = 7;
      for await (const _ of generation) {
        await new Promise((resolve) => setTimeout(resolve, i));
        if (--left === 0) break;
      }
      const result = await generation;
      expect(result.tokens).toEqual(tokens.slice(0, 7));
      expect(costs(result.stats)).toEqual(costs(short.stats));
      const { layerPasses, promptPasses } = result.stats;
      expect((layerPasses - promptPasses) / 7).toBeLessThanOrEqual(model.info.layers);
    }
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
    ["minNewTokens", 300],
    ["minNewTokens", "1"],
    ["ignoreEos", 1],
    ["timeLimit", 0],
    ["timeLimit", Number.POSITIVE_INFINITY],
    ["timeLimit", "1"],
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

  it.each([
    ["topP", "topK"],
    ["max_tokens", "maxNewTokens"],
    ["maxTokens", "maxNewTokens"],
    ["temp", "temperature"],
    ["stopSequences", "stop"],
    ["gpuLayers", "temperature, topK, greedy"],
  ])("an option there is not, with the nearest: %s", async (name, meant) => {
    const options = { [name]: 1 } as GenerateOptions;
    const error = await failure("ERR_NVIUM_INVALID_ARG", model.generate(PROMPT, options).result());
    expect(error.message).toContain(meant);
    expect(error.details.argument).toBe(name);
  });

  it("what contradicts itself", async () => {
    await refuses("chat", model.generate(PROMPT, { chat: { addGenerationPrompt: true } }).result());
    await refuses("ignoreEos", model.generate(PROMPT, { ...fixed, ignoreEos: true }).result());
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
