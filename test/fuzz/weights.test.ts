/** Checkpoints with bytes wrong anywhere, through loadModel and a few steps: tokens or a typed error, nothing else. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { loadModel, type Model, NviumError } from "../../lib/index.js";
import { type Copy, copyFixture } from "../support/checkpoints.js";
import { fixture } from "../support/expected.js";
import type { Random } from "../support/random.js";
import { fuzz, TIMEOUT } from "./settings.js";

const FIXTURES = ["quadrivium-gqa-f32", "bivium-untied-bf16", "dense-llama3-rope-bf16"];
const copies = new Map<string, Copy>();
afterAll(() => {
  for (const copy of copies.values()) copy.remove();
});

function copyOf(name: string): Copy {
  const copy = copies.get(name) ?? copyFixture(name);
  copies.set(name, copy);
  return copy;
}

/** What a few steps and an evaluation come to. */
async function use(model: Model): Promise<string> {
  const session = model.createSession({ seed: 1, maxPending: 1 });
  session.append([1, 2, 3]);
  for await (const _ of session.decode(3));
  await session.flush();
  const { exitProbs } = await model.evaluate([1, 2, 3], { mixture: true });
  for (const p of exitProbs) if (!(p >= 0 && p <= 1)) throw new Error(`a probability of ${p}`);
  return session.tokens.join(" ");
}

const CODES =
  /^ERR_NVIUM_(MODEL_FORMAT|UNSUPPORTED|IO|TOKENIZER|NON_FINITE|OUT_OF_MEMORY|CONTEXT_FULL|INVALID_ARG)$/;

/** "used", or the code of the error that came of it. */
async function outcome(directory: string): Promise<string> {
  try {
    const model = await loadModel(directory, { threads: 1 });
    try {
      await use(model);
    } finally {
      await model.dispose();
    }
    return "used";
  } catch (error) {
    if (!(error instanceof NviumError)) throw error;
    expect(error.code).toMatch(CODES);
    return error.code;
  }
}

/** Values that end a computation, of each type: infinities, not-a-numbers, the largest, the smallest. */
const SPECIAL = [
  0x7f800000, 0xff800000, 0x7fc00001, 0x7f7fffff, 0xff7fffff, 0x00000001, 0x80000000,
];

function spoil(bytes: Buffer, { below, pick, once }: Random): Buffer {
  const header = 8 + Number(bytes.readBigUInt64LE());
  // Where the tensors lie, mostly; now and then in the header, which has a fuzzer of its own.
  for (let i = 1 + below(4); i > 0; i--) {
    const at = once(8) ? below(header) : header + below(bytes.length - header - 4);
    if (once(3)) bytes[at] = below(256);
    else if (once(2)) bytes.writeUInt32LE(pick(SPECIAL), at & ~3);
    else bytes.writeUInt16LE(pick(SPECIAL) >>> 16, at & ~1);
  }
  return once(16) ? bytes.subarray(0, below(bytes.length)) : bytes;
}

it("weights with bytes wrong", { timeout: TIMEOUT }, async () => {
  const seen = new Map<string, number>();
  await fuzz(250, async (choose) => {
    const name = choose.pick(FIXTURES);
    const original = readFileSync(join(fixture(name), "model.safetensors"));
    const { directory, file } = copyOf(name);
    writeFileSync(file, spoil(Buffer.from(original), choose));
    const what = await outcome(directory);
    seen.set(what, (seen.get(what) ?? 0) + 1);
  });
  // All of these must occur, or the fuzzer would not be looking where it should.
  for (const what of ["used", "ERR_NVIUM_MODEL_FORMAT", "ERR_NVIUM_NON_FINITE"]) {
    expect(seen.get(what) ?? 0, what).toBeGreaterThan(4);
  }
});

it("configurations with a value wrong", { timeout: TIMEOUT }, async () => {
  const seen = new Map<string, number>();
  await fuzz(250, async ({ below, pick }) => {
    const name = pick(FIXTURES);
    const { directory } = copyOf(name);
    const original = readFileSync(join(fixture(name), "config.json"), "utf8");
    const model = readFileSync(join(fixture(name), "model.safetensors"));
    writeFileSync(join(directory, "model.safetensors"), model);
    const config = JSON.parse(original) as Record<string, unknown>;
    const keys = Object.keys(config);
    const values = [0, -1, 1, 1.5, 2 ** 31, 2 ** 53, 1e308, 1e-300, "", "x", null, [], {}, true];
    const small = [2, 3, 4, 6, 8, 16, 64, 1000, 1e-6, 1e6];
    config[pick(keys)] = pick(below(2) === 0 ? values : small);
    writeFileSync(join(directory, "config.json"), JSON.stringify(config));
    try {
      const what = await outcome(directory);
      seen.set(what, (seen.get(what) ?? 0) + 1);
    } finally {
      writeFileSync(join(directory, "config.json"), original);
    }
  });
  for (const what of ["used", "ERR_NVIUM_MODEL_FORMAT"]) {
    expect(seen.get(what) ?? 0, what).toBeGreaterThan(4);
  }
});

const CORPUS = fileURLToPath(new URL("corpus/configurations", import.meta.url));

it.each(readdirSync(CORPUS))("the finding %s stays a typed error", async (finding) => {
  const {
    fixture: name,
    set,
    code,
  } = JSON.parse(readFileSync(join(CORPUS, finding), "utf8")) as {
    fixture: string;
    set: Record<string, unknown>;
    code: string;
  };
  const copy = copyFixture(name);
  try {
    const file = join(copy.directory, "config.json");
    const config = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
    writeFileSync(file, JSON.stringify({ ...config, ...set }));
    expect(await outcome(copy.directory)).toBe(code);
  } finally {
    copy.remove();
  }
});
