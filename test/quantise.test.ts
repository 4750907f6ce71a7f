/** Quantised checkpoints as files: they load without the original, to the same bits, and damage is an error that names the tensor. */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { loadModel, type Model } from "../lib/index.js";
import { quantise } from "../lib/quantise.js";
import { visit } from "./cli/fake.js";
import { copyFixture } from "./support/checkpoints.js";
import { DEMO, FIXTURES, fixture } from "./support/expected.js";

const folder = mkdtempSync(join(tmpdir(), "nvium-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let made = 0;
const fresh = () => join(folder, `out-${made++}`);

type Entries = Record<
  string,
  { dtype: string; shape: number[]; data_offsets: [number, number] } & Record<string, string>
>;

/** Changes the header and the bytes of a copy of a quantised checkpoint, and gives its directory. */
function spoilt(directory: string, change: (header: Entries, data: Buffer) => void): string {
  const copy = fresh();
  cpSync(directory, copy, { recursive: true });
  const path = join(copy, "model.safetensors");
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Entries;
  const data = file.subarray(8 + length);
  change(header, data);
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([size, text, data]));
  return copy;
}

const laws = async (model: Model) => {
  const tokens = Array.from({ length: 70 }, (_, i) => (i * 37) % model.info.vocabSize);
  const { exitProbs, exitLogits, mixtureLogProbs } = await model.evaluate(tokens, {
    exitLogits: true,
    mixture: true,
  });
  return [exitProbs, exitLogits, mixtureLogProbs].map((values) =>
    Buffer.from(values?.buffer ?? new ArrayBuffer(0)).toString("base64"),
  );
};

describe.each([...FIXTURES, "demo"] as const)("%s", (name) => {
  const directory = name === "demo" ? DEMO : fixture(name);

  it.each(["int8", "int4"] as const)(
    "in %s loads without the original, to the same bits",
    async (dtype) => {
      const to = fresh();
      await quantise(directory, to, { dtype });
      await using stored = await loadModel(to);
      await using loaded = await loadModel(directory, { dtype });
      expect(await laws(stored)).toEqual(await laws(loaded));
      expect(stored.core.plan.cacheType).toBe(loaded.core.plan.cacheType);
      expect(stored.info).toMatchObject({
        dtype,
        parameters: loaded.info.parameters,
        eosTokens: loaded.info.eosTokens,
        exits: loaded.info.exits,
      });
      expect(stored.info.memory.integers).toBe(loaded.info.memory.integers);
      if (name === "demo") expect(await stored.encode("a")).toEqual(await loaded.encode("a"));
    },
  );
});

test("matrices of integers take the bytes they should, and no others change", async () => {
  const bytes = async (dtype: "stored" | "int8" | "int4") => {
    await using model = await loadModel(DEMO, { dtype });
    return model.info.memory;
  };
  const [stored, int8, int4] = [await bytes("stored"), await bytes("int8"), await bytes("int4")];
  const rest = (memory: typeof stored) => memory.weights - memory.integers;
  // The head is tied: beside the table there is one of integers.
  const matrices = stored.weights - rest(int8) + stored.embedding;
  expect(rest(int4)).toBe(rest(int8));
  expect(int8.embedding).toBe(stored.embedding);
  // Rows of 192 are a group and a half: half a scale more than a whole one would have.
  expect(int8.integers / matrices).toBeLessThan(0.511);
  expect(int4.integers / matrices).toBeLessThan(0.285);
});

describe("a damaged file", () => {
  const WEIGHT = "model.layers.1.self_attn.q_proj.weight";
  const SCALES = `${WEIGHT}.scales`;
  const files: Record<string, string> = {};

  beforeAll(async () => {
    for (const dtype of ["int8", "int4"] as const) {
      files[dtype] = fresh();
      await quantise(fixture("quadrivium-gqa-f32"), files[dtype], { dtype });
    }
  });

  const at = (header: Entries, name: string) => header[name] as Entries[string];
  /** Gives a tensor's place in the file to one of another name or type. */
  const rename = (header: Entries, from: string, to: string) => {
    header[to] = at(header, from);
    delete header[from];
  };

  it.each<[string, "int8" | "int4", string, (header: Entries, data: Buffer) => void]>([
    ["without scales", "int8", SCALES, (h) => rename(h, SCALES, "other.scales")],
    ["with scales of F16", "int8", SCALES, (h) => Object.assign(at(h, SCALES), { dtype: "F16" })],
    ["with scales turned", "int4", SCALES, (h) => at(h, SCALES).shape.reverse()],
    ["with a matrix turned", "int4", WEIGHT, (h) => at(h, WEIGHT).shape.reverse()],
    [
      "that says it is of the other type",
      "int8",
      "lm_head.weight",
      (h) => Object.assign(at(h, "__metadata__"), { "nvium.dtype": "int4" }),
    ],
    ["that says nothing of integers", "int4", "lm_head.weight", (h) => delete h.__metadata__],
    [
      "with an integer of -128",
      "int8",
      WEIGHT,
      (h, data) =>
        data.fill(0x80, at(h, WEIGHT).data_offsets[0], at(h, WEIGHT).data_offsets[0] + 1),
    ],
    [
      "with a scale that is not finite",
      "int4",
      SCALES,
      (h, data) => data.writeUInt16LE(0x7f80, at(h, SCALES).data_offsets[1] - 2),
    ],
    [
      "with integers for a norm",
      "int8",
      "model.norm.weight",
      (h) =>
        Object.assign(at(h, "model.norm.weight"), {
          dtype: "I8",
          shape: [4 * (at(h, "model.norm.weight").shape[0] ?? 0)],
        }),
    ],
  ])("%s is an error that names the tensor (%s)", async (_, dtype, tensor, change) => {
    await expect(loadModel(spoilt(files[dtype] ?? "", change))).rejects.toMatchObject({
      code: "ERR_NVIUM_MODEL_FORMAT",
      details: { tensor },
    });
  });

  it.each(["nvium.version", "nvium.dtype", "nvium.cacheType"])(
    "of another %s is refused",
    async (field) => {
      const directory = spoilt(files.int8 ?? "", (header) =>
        Object.assign(at(header, "__metadata__"), { [field]: "9" }),
      );
      await expect(loadModel(directory)).rejects.toMatchObject({
        code: "ERR_NVIUM_MODEL_FORMAT",
        details: { field },
      });
    },
  );

  it("is not what one is that is asked for as the type it has", async () => {
    await using model = await loadModel(files.int8 ?? "", { dtype: "int8" });
    expect(model.info.dtype).toBe("int8");
  });

  it("is not what one of another type is: that is not supported", async () => {
    const unsupported = { code: "ERR_NVIUM_UNSUPPORTED" };
    await expect(loadModel(files.int8 ?? "", { dtype: "int4" })).rejects.toMatchObject(unsupported);
    const again = quantise(files.int8 ?? "", fresh(), { dtype: "int8" });
    await expect(again).rejects.toMatchObject(unsupported);
  });
});

describe("quantising", () => {
  it("leaves what is there alone", async () => {
    const to = fresh();
    await quantise(fixture("dense-baseline-f32"), to, { dtype: "int8" });
    const before = readFileSync(join(to, "model.safetensors"));
    const again = quantise(fixture("dense-baseline-f32"), to, { dtype: "int4" });
    await expect(again).rejects.toMatchObject({ code: "ERR_NVIUM_IO" });
    expect(readFileSync(join(to, "model.safetensors")).equals(before)).toBe(true);
  });

  it("leaves nothing when it is aborted, or meets a value that is not finite", async () => {
    const to = fresh();
    const controller = new AbortController();
    const aborted = quantise(DEMO, to, {
      dtype: "int8",
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("enough")),
    });
    await expect(aborted).rejects.toThrow("enough");
    expect(existsSync(to)).toBe(false);

    const copy = copyFixture("dense-baseline-f32");
    try {
      const tensor = "model.layers.0.mlp.up_proj.weight";
      copy.edit(tensor, (bytes) => bytes.writeFloatLE(Number.NaN, 8));
      await expect(quantise(copy.directory, to, { dtype: "int8" })).rejects.toMatchObject({
        code: "ERR_NVIUM_MODEL_FORMAT",
        details: { tensor },
      });
      expect(existsSync(to)).toBe(false);
    } finally {
      copy.remove();
    }
  });

  it.each(["quantize", "quantize one", "quantize one two three", "quantize one two --dtype bf16"])(
    "by %j is wrong usage",
    async (line) => {
      expect(await visit(line.split(" "))).toMatchObject({ code: 2, stdout: "" });
    },
  );
});

test("a device that cannot compute with integers is refused by name, or gives way", async () => {
  const asked = loadModel(DEMO, { device: "cuda", dtype: "int8" });
  await expect(asked).rejects.toMatchObject({ code: "ERR_NVIUM_UNSUPPORTED" });
  await using model = await loadModel(DEMO, { device: "auto", dtype: "int8" });
  expect(model.info).toMatchObject({
    device: "cpu",
    deviceReason: "Matrices of integers run on the CPU only.",
  });
  const cache = loadModel(DEMO, { device: "cuda", cacheType: "int8" });
  await expect(cache).rejects.toMatchObject({ code: "ERR_NVIUM_UNSUPPORTED" });
});
