/** Opening a model, what it says of itself, evaluate(), and how it ends. */
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { demo, type LoadOptions, loadModel, type Model, NviumError } from "../lib/index.js";
import { native } from "../lib/native.js";
import { type Copy, copyFixture } from "./support/checkpoints.js";
import { failure, refuses } from "./support/errors.js";
import { DEMO, fixture } from "./support/expected.js";

const PROMPT = [60, 8, 196, 159, 9];

describe("info", () => {
  it("describes the checkpoint and the device", async () => {
    await using model = await loadModel(fixture("quadrivium-gqa-f32"), { threads: 2 });
    const { memory, ...info } = model.info;
    expect(info).toMatchObject({
      layers: 8,
      exits: [2, 4, 6, 8],
      vocabSize: 199,
      hiddenSize: 64,
      contextLength: 2048,
      dtype: "f32",
      device: "cpu",
      threads: 2,
      instructionSet: native().instructionSets()[0],
      eosTokens: [2],
    });
    expect(info.deviceReason).toMatch(/CUDA/);
    expect(memory.weights).toBeGreaterThan(info.parameters * 4);
  });

  it("counts the parameters of the demo as its card does", async () => {
    await using model = await loadModel(DEMO);
    expect(model.info.parameters).toBe(4_479_366);
    expect(model.info).toMatchObject({ exits: [2, 4, 6, 8], dtype: "bf16", contextLength: 1024 });
  });

  it("counts memory for keys, values and deferred rows as it is needed", async () => {
    await using model = await loadModel(fixture("quadrivium-gqa-f32"));
    expect(model.info.memory).toMatchObject({ cache: 0, boundary: 0 });
    const session = model.createSession({ seed: 1, maxPending: Number.POSITIVE_INFINITY });
    session.append(PROMPT);
    for await (const _ of session.decode(40));
    expect(model.info.memory.cache).toBeGreaterThan(0);
    expect(model.info.memory.boundary).toBeGreaterThan(0);
  });

  it("says the dense twin has one exit, full depth", async () => {
    await using model = await loadModel(fixture("dense-baseline-f32"));
    expect(model.info.exits).toEqual([4]);
    const session = model.createSession({ seed: 1 });
    session.append([1, 2, 3]);
    expect(await session.step()).toMatchObject({ exit: 1, layersRun: 4, pending: 0 });
  });
});

describe("the directory", () => {
  it("is a path, a file: URL or its text", async () => {
    const url = pathToFileURL(DEMO);
    for (const directory of [demo, url, url.href, { href: url.href } as URL]) {
      await using model = await loadModel(directory, { threads: 1 });
      expect(model.info.layers).toBe(8);
    }
  });

  it("that is not there is said so, and what ~ is", async () => {
    const { message } = await failure("ERR_NVIUM_IO", loadModel("/nowhere/at/all"));
    expect(message).toMatch(/^\/nowhere\/at\/all: there is no such directory\.$/);
    const home = await failure("ERR_NVIUM_IO", loadModel("~/model"));
    expect(home.message).toContain("os.homedir()");
    const file = await failure("ERR_NVIUM_IO", loadModel(join(DEMO, "config.json")));
    expect(file.message).toContain("not a directory");
  });

  it.each(["", "a\0b", 5, null, {}, "file://host/x?", new URL("http://x/y")])(
    "%s is refused",
    async (directory) => {
      await refuses("directory", loadModel(directory as string));
    },
  );
});

describe("evaluate", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(fixture("quadrivium-gqa-f32"), { prefixShare: 0 });
  });
  afterAll(async () => {
    await model.dispose();
  });

  it("gives only what is asked for, laws that sum to 1", async () => {
    const { vocabSize } = model.info;
    const plain = await model.evaluate(PROMPT);
    expect(Object.keys(plain)).toEqual(["exitProbs"]);
    const { exitProbs, exitLogits, mixtureLogProbs } = await model.evaluate(PROMPT, {
      exitLogits: true,
      mixture: true,
    });
    expect(exitProbs).toEqual(plain.exitProbs);
    expect(exitLogits?.length).toBe(4 * PROMPT.length * vocabSize);
    const sum = (values: Float32Array | undefined) =>
      values?.reduce((total, value) => total + value, 0);
    for (let t = 0; t < PROMPT.length; t++) {
      expect(sum(exitProbs.subarray(4 * t, 4 * t + 4))).toBeCloseTo(1, 5);
      const law = mixtureLogProbs?.subarray(t * vocabSize, (t + 1) * vocabSize).map(Math.exp);
      expect(sum(law)).toBeCloseTo(1, 4);
    }
  });

  it("keeps nothing", async () => {
    await model.evaluate(PROMPT);
    const { pools } = model.core.scheduler.memory;
    expect([pools.cache.used, pools.boundary.used]).toEqual([0, 0]);
  });

  it("of no tokens is empty", async () => {
    const law = await model.evaluate([], { exitLogits: true, mixture: true });
    expect([law.exitProbs.length, law.exitLogits?.length, law.mixtureLogProbs?.length]).toEqual([
      0, 0, 0,
    ]);
  });

  it("refuses more tokens than the context", async () => {
    const error = await failure("ERR_NVIUM_CONTEXT_FULL", model.evaluate(new Array(2049).fill(1)));
    expect(error.details).toEqual({ limit: 2048, needed: 2049 });
  });

  it("rejects with the signal's reason, before the start and during it", async () => {
    await expect(model.evaluate(PROMPT, { signal: AbortSignal.abort("no") })).rejects.toBe("no");
    const controller = new AbortController();
    const law = model.evaluate(new Array(2048).fill(1), { signal: controller.signal });
    setImmediate(() => controller.abort("enough"));
    await expect(law).rejects.toBe("enough");
    expect(model.core.scheduler.memory.pools.cache.used).toBe(0);
    expect((await model.evaluate(PROMPT)).exitProbs.length).toBe(20);
  });

  it("names wrong arguments", async () => {
    const wild = (options: unknown) => options as object;
    await refuses("tokens[0]", model.evaluate([199]));
    await refuses("tokens", model.evaluate(wild(5) as number[]));
    await refuses("exitLogits", model.evaluate([1], wild({ exitLogits: "yes" })));
    await refuses("mixture", model.evaluate([1], wild({ mixture: 1 })));
    await refuses("signal", model.evaluate([1], wild({ signal: 1 })));
    await refuses("options", model.evaluate([1], wild(null)));
  });
});

describe("an option that does not exist", () => {
  it("is refused by every call, with the nearest that does", async () => {
    await using model = await loadModel(DEMO, { threads: 1 });
    const session = model.createSession();
    session.append(PROMPT);
    // As a program without types has it.
    const any = <T extends object>(options: T) => options as never;
    await refuses("gpuLayers", loadModel(DEMO, any({ gpuLayers: 1 })));
    await refuses("contextSize", () => model.createSession(any({ contextSize: 5 })));
    await refuses("topP", session.step(any({ topP: 1 })));
    await refuses("topP", () => session.stepSync(any({ topP: 1 })));
    await refuses("stop", async () => session.decode(1, any({ stop: [1] })));
    await refuses("force", session.flush(any({ force: 1 })));
    await refuses("seed", () => session.truncate(3, any({ seed: 1 })));
    await refuses("seed", () => session.fork(any({ seed: 1 })));
    await refuses("logits", model.evaluate(PROMPT, any({ logits: true })));
    await refuses("bos", model.encode("a", any({ bos: true })));
    await refuses("special", () => model.tokenizer.decode([1], any({ special: true })));
    await refuses("before", () => model.tokenizer.stream(any({ before: [1] })));
    const { message } = await failure("ERR_NVIUM_INVALID_ARG", session.step(any({ topp: 1 })));
    expect(message).toContain("topK");
    const { tokens } = session;
    await session.step({ temperature: undefined } as object);
    expect(session.tokens.slice(0, -1)).toEqual(tokens);
  });
});

describe("text", () => {
  it("needs a tokenizer, tokens do not", async () => {
    await using model = await loadModel(fixture("quadrivium-gqa-f32"));
    for (const action of [
      () => model.encode("a"),
      () => model.decode([1]),
      () => model.tokenizer,
    ]) {
      await failure("ERR_NVIUM_TOKENIZER", action);
    }
    await failure("ERR_NVIUM_TOKENIZER", model.generate("a").text());
  });

  it("goes to tokens and back", async () => {
    await using model = await loadModel(DEMO);
    const tokens = await model.encode("Once upon a time");
    expect(model.decode(tokens)).toBe("Once upon a time");
    expect(tokens[0]).toBe((await model.encode(""))[0]);
  });
});

describe("dispose", () => {
  it("disposes sessions, waits for the job in flight and refuses what comes later", async () => {
    const model = await loadModel(fixture("quadrivium-gqa-f32"));
    const [a, b] = [model.createSession(), model.createSession()];
    for (const session of [a, b]) session.append(PROMPT);
    const steps = Promise.all([a.step(), b.step()]);
    const waiting = failure("ERR_NVIUM_DISPOSED", b.step());
    await Promise.resolve(); // the call of the first two has begun
    const law = failure("ERR_NVIUM_DISPOSED", model.evaluate(PROMPT));
    await Promise.all([model.dispose(), model.dispose()]);
    expect((await steps).map(({ position }) => position)).toEqual([PROMPT.length, PROMPT.length]);
    await Promise.all([waiting, law]);
    await failure("ERR_NVIUM_DISPOSED", a.step());
    await failure("ERR_NVIUM_DISPOSED", () => a.append([1]));
    await failure("ERR_NVIUM_DISPOSED", () => model.createSession());
    await failure("ERR_NVIUM_DISPOSED", model.evaluate(PROMPT));
    await failure("ERR_NVIUM_DISPOSED", model.generate(PROMPT).result());
    for (const bytes of Object.values(model.info.memory)) expect(bytes).toBe(0);
    const { memory, sequences } = model.core.scheduler;
    expect([memory.used, sequences.size, a.length]).toEqual([0, 0, 0]);
    await model[Symbol.asyncDispose]();
    await a.dispose();
  });

  it("leaves other models alone", async () => {
    const [one, two] = [await loadModel(DEMO), await loadModel(DEMO)];
    const session = two.createSession({ seed: 1 });
    session.append(PROMPT);
    await one.dispose();
    expect((await session.step()).position).toBe(PROMPT.length);
    await two.dispose();
  });
});

describe("loadModel", () => {
  it("reports progress up to all of it", async () => {
    const seen: { loadedBytes: number; totalBytes: number }[] = [];
    await using _ = await loadModel(DEMO, { onProgress: (progress) => seen.push(progress) });
    const last = seen.at(-1);
    expect(last?.totalBytes).toBeGreaterThan(8_900_000);
    expect(last?.loadedBytes).toBe(last?.totalBytes);
    const loaded = seen.map(({ loadedBytes }) => loadedBytes);
    expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
  });

  it.each([
    [
      "throws",
      () => {
        throw new Error("mine");
      },
    ],
    ["rejects", () => Promise.reject(new Error("mine"))],
  ])("rejects with what onProgress %s, and nothing escapes by a timer", async (_, onProgress) => {
    // So many at once that some last until their timers fire.
    const loads = Array.from({ length: 20 }, () =>
      failureMessage(loadModel(DEMO, { threads: 1, onProgress })),
    );
    expect(new Set(await Promise.all(loads))).toEqual(new Set(["mine"]));
  });

  it("cannot use CUDA in this build and says why", async () => {
    const error = await failure("ERR_NVIUM_CUDA_UNAVAILABLE", loadModel(DEMO, { device: "cuda" }));
    expect(error.details.reason).toBe(error.message);
    await using model = await loadModel(DEMO, { device: "auto" });
    expect(model.info).toMatchObject({ device: "cpu", deviceReason: error.details.reason });
    await using cpu = await loadModel(DEMO, { device: "cpu" });
    expect(cpu.info.deviceReason).toMatch(/asked for/);
  });

  it("rejects with the signal's reason, before the start or during it", async () => {
    const signal = AbortSignal.abort("no");
    await expect(loadModel(DEMO, { signal })).rejects.toBe("no");
    for (const delay of [0, 2, 5, 10]) {
      const controller = new AbortController();
      const model = loadModel(DEMO, { signal: controller.signal });
      setTimeout(() => controller.abort("enough"), delay);
      const outcome = await model.catch((reason: unknown) => reason);
      // It may have been faster.
      if (typeof outcome === "string") expect(outcome).toBe("enough");
      else await (outcome as Model).dispose();
    }
  });

  it.each([
    ["device", "gpu"],
    ["device", 1],
    ["threads", 0],
    ["threads", 257],
    ["threads", 1.5],
    ["threads", "2"],
    ["placeThreads", 1],
    ["instructionSet", 5],
    ["onProgress", true],
    ["signal", {}],
  ])("refuses { %s: %s } by name", async (name, value) => {
    await refuses(name, loadModel(DEMO, { [name]: value } as LoadOptions));
  });

  it("refuses an instruction set this machine lacks and lists those it has", async () => {
    const error = await failure(
      "ERR_NVIUM_INVALID_ARG",
      loadModel(DEMO, { instructionSet: "mmx" }),
    );
    expect(error.details.argument).toBe("instructionSet");
    for (const name of native().instructionSets()) expect(error.message).toContain(name);
  });

  it("refuses options that are no object", async () => {
    await refuses("options", loadModel(DEMO, null as unknown as LoadOptions));
  });

  it("says which directory is not there", async () => {
    const error = await failure("ERR_NVIUM_IO", loadModel("/nowhere/at all"));
    expect(error.message).toContain("/nowhere/at all");
    await failure("ERR_NVIUM_INVALID_ARG", loadModel(5 as unknown as string));
  });
});

describe("a damaged checkpoint", () => {
  async function spoilt(name: string, work: (copy: Copy) => Promise<void>): Promise<void> {
    const copy = copyFixture(name);
    try {
      await work(copy);
    } finally {
      copy.remove();
    }
  }

  it.each([
    ["quadrivium-gqa-f32", [0, 0, 0xc0, 0x7f]],
    ["quadrivium-gqa-f32", [0, 0, 0x80, 0xff]],
    ["bivium-untied-bf16", [0xc0, 0x7f]],
    ["bivium-untied-bf16", [0x80, 0x7f]],
  ])("with a value that is not finite names file and tensor: %s, %j", async (name, bytes) => {
    for (const tensor of ["model.layers.3.mlp.down_proj.weight", "model.norm.weight"]) {
      await spoilt(name, async (copy) => {
        copy.edit(tensor, (data) => data.set(bytes, data.length - bytes.length));
        const error = await failure("ERR_NVIUM_MODEL_FORMAT", loadModel(copy.directory));
        expect(error.details).toMatchObject({ file: copy.file, tensor });
        expect(error.message).toContain(copy.file);
        expect(error.message).toContain(tensor);
      });
    }
  });

  it("with tied tensors that differ names them", async () => {
    await spoilt("quadrivium-gqa-f32", async (copy) => {
      const yaml = join(copy.directory, ".hydra/config.yaml");
      const text = readFileSync(yaml, "utf8");
      writeFileSync(
        yaml,
        text.replace(/tie_final_to_embeddings: \w+/, "tie_final_to_embeddings: true"),
      );
      copy.edit("lm_head.weight", (data) => data.writeFloatLE(data.readFloatLE(400) + 1, 400));
      const error = await failure("ERR_NVIUM_MODEL_FORMAT", loadModel(copy.directory));
      expect(error.message).toMatch(/lm_head\.weight|embed_tokens\.weight/);
      expect(error.details.file).toBe(copy.file);
    });
  });

  it("cut short while it is read is an error of that file", async () => {
    await spoilt("quadrivium-gqa-f32", async (copy) => {
      const { plan } = (await loadModel(copy.directory)).core;
      truncateSync(copy.file, 200_000);
      const control = { abort: new Int32Array(1), progress: new Float64Array(1) };
      const load = native().loadModel(
        plan,
        { device: "cpu", threads: 1, place: false, instructionSet: "" },
        control,
      );
      await expect(load).rejects.toMatchObject({
        code: "ERR_NVIUM_IO",
        details: { file: copy.file },
      });
      // Seen when its header is read, it is not even tried.
      await failure("ERR_NVIUM_MODEL_FORMAT", loadModel(copy.directory));
    });
  });

  it("does not harm a model that is open", async () => {
    await spoilt("quadrivium-gqa-f32", async (copy) => {
      await using model = await loadModel(copy.directory);
      const before = await model.evaluate(PROMPT, { mixture: true });
      truncateSync(copy.file, 10);
      await expect(loadModel(copy.directory)).rejects.toBeInstanceOf(NviumError);
      expect(await model.evaluate(PROMPT, { mixture: true })).toEqual(before);
    });
  });
});

describe("the addon, called past the library,", () => {
  const control = { abort: new Int32Array(1), progress: new Float64Array(1) };
  const internal = { code: "ERR_NVIUM_INTERNAL" };

  it("refuses exits out of order", async () => {
    await using model = await loadModel(fixture("quadrivium-gqa-f32"));
    const { plan } = model.core;
    const options = { device: "cpu", threads: 1, place: false, instructionSet: "" } as const;
    for (const afterLayer of [0, plan.layers, plan.layers + 1]) {
      const exits = plan.exits.map((exit, m) => (m === 0 ? { ...exit, afterLayer } : exit));
      const load = async () => native().loadModel({ ...plan, exits }, options, control);
      await expect(load()).rejects.toMatchObject(internal);
    }
  });

  it("refuses a step of a sequence without a token", async () => {
    await using model = await loadModel(fixture("quadrivium-gqa-f32"));
    const { native: addon, segments } = model.core;
    const none = { block: new Int32Array(1), spare: new Int32Array(1).fill(-1) };
    const sequence = {
      length: 0,
      tokens: new Uint32Array(),
      generated: new Uint8Array(),
      frontiers: new Uint32Array(segments),
      cache: none,
      fresh: new Uint32Array(1),
      boundary: Array.from({ length: segments - 1 }, () => none),
      seed: 1n,
      stream: 0,
    };
    const request = {
      ...sequence,
      law: { temperature: 1, topK: 0, routerTemperature: 1 },
      maxPending: 15,
      force: -1,
      count: 1,
      capacity: 64,
      stopTokens: new Uint32Array(),
      abort: new Int32Array(1),
      remaining: 1,
    };
    const { error } = addon.runSync({
      requests: [request],
      promptRows: 32,
      budget: 0,
      cacheBlocks: 1,
      boundaryBlocks: 1,
    });
    expect(error).toMatchObject({ ...internal, message: expect.stringContaining("length") });
  });
});

function failureMessage(action: Promise<unknown>): Promise<string> {
  return action.then(
    () => "nothing",
    (error: Error) => error.message,
  );
}
