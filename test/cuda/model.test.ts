/** The whole stack on the CUDA backend over the emulator: the CPU's tokens, exits, keys, values and laws, bit for bit. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { getDevices, loadModel, type Model, NviumError } from "../../lib/index.js";
import { emulatedDevice } from "../support/emulated.js";
import { DEMO, FIXTURES, fixture, readTensors } from "../support/expected.js";
import { difference, keysAndValues } from "../support/kv.js";
import { random } from "../support/random.js";

const available = emulatedDevice !== undefined || getDevices().cuda.available;
const CHECKPOINTS = [...FIXTURES, "demo"] as const;
const directory = (name: string) => (name === "demo" ? DEMO : fixture(name));

function tokensOf(name: string): number[] {
  const file = name === "demo" ? "test/demo" : fixture(name);
  const inputs = [...readTensors(`${file}/expected.safetensors`)].filter(([key]) =>
    key.startsWith("tokens."),
  );
  return inputs.map(([, tensor]) => [...tensor]).reduce((a, b) => (a.length < b.length ? b : a));
}

const bytesOf = (values: Float32Array = new Float32Array()) =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

describe("devices", () => {
  it("are told without an error", () => {
    const { cpu, cuda } = getDevices();
    expect(cpu.available).toBe(true);
    expect(cuda.reason).not.toBe("");
  });
});

describe.skipIf(!available).each(CHECKPOINTS)("%s on CUDA", (name) => {
  let cpu: Model;
  let cuda: Model;

  beforeAll(async () => {
    cpu = await loadModel(directory(name), { device: "cpu", threads: 1 });
    cuda = await loadModel(directory(name), { device: "cuda" });
  });
  afterAll(async () => {
    await cpu.dispose();
    await cuda.dispose();
  });

  it("says where it runs", () => {
    expect(cuda.info.device).toBe("cuda");
    expect(cuda.info.instructionSet).toMatch(/^sm_\d+$/);
    expect(cuda.info.deviceReason).toContain("was found");
  });

  it("gives the laws of the CPU", async () => {
    const tokens = tokensOf(name).slice(0, 70);
    const [a, b] = await Promise.all(
      [cpu, cuda].map((model) => model.evaluate(tokens, { exitLogits: true, mixture: true })),
    );
    expect(bytesOf(b?.exitProbs).equals(bytesOf(a?.exitProbs))).toBe(true);
    expect(bytesOf(b?.exitLogits).equals(bytesOf(a?.exitLogits))).toBe(true);
    expect(bytesOf(b?.mixtureLogProbs).equals(bytesOf(a?.mixtureLogProbs))).toBe(true);
  });

  it("draws the tokens of the CPU through steps, deferral, flushes, truncation and forks", async () => {
    const prompt = tokensOf(name).slice(0, 66);
    const traces = [];
    for (const model of [cpu, cuda]) {
      const pick = random(5);
      const seen: unknown[] = [];
      let session = model.createSession({ seed: 42, maxPending: 6 });
      session.append(prompt);
      for (let i = 0; i < 24; i++) {
        const step = await session.step(
          i % 3 === 0 ? { temperature: 0.7, topK: 5 } : i % 3 === 1 ? {} : { router: "greedy" },
        );
        seen.push([step.token, step.exit, step.pending]);
        const what = pick.below(10);
        if (what === 0) await session.flush();
        if (what === 1) session.truncate(session.length - 1 - pick.below(3));
        if (what === 2) {
          const child = session.fork({ stream: i });
          await session.dispose();
          session = child;
        }
      }
      for await (const step of session.decode(8)) seen.push([step.token, step.exit]);
      await session.flush();
      traces.push({ seen, computed: keysAndValues(model, session.state) });
      await session.dispose();
    }
    const [a, b] = traces;
    expect(b?.seen).toEqual(a?.seen);
    if (a === undefined || b === undefined) throw new Error("no traces");
    expect(difference(a.computed, b.computed)).toBeNull();
  });
});

describe.skipIf(available)("without CUDA", () => {
  it("falls back, or says why it cannot", async () => {
    await using model = await loadModel(DEMO);
    expect(model.info).toMatchObject({ device: "cpu", deviceReason: getDevices().cuda.reason });
    await expect(loadModel(DEMO, { device: "cuda" })).rejects.toBeInstanceOf(NviumError);
  });
});
