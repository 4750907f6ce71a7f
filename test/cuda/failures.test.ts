/** A device that refuses or dies: typed errors, and sessions that go on with the same tokens or are refused. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, NviumError, type Session } from "../../lib/index.js";
import { emulatedDevice as device } from "../support/emulated.js";
import { fixture } from "../support/expected.js";
import { difference, keysAndValues } from "../support/kv.js";

const ALLOCATION = 0;
const LAUNCH = 1;
const EXECUTION = 2;

const FIXTURE = fixture("quadrivium-gqa-f32");
const PROMPT = Array.from({ length: 66 }, (_, i) => 3 + ((i * 11) % 40));
const LENGTH = 74;

const load = () => loadModel(FIXTURE, { device: "cuda", prefixShare: 0 });

function begin(model: Model, stream = 0): Session {
  const session = model.createSession({ seed: 5, stream, maxPending: 3 });
  session.append(PROMPT);
  return session;
}

async function finish(model: Model, session: Session) {
  while (session.length < LENGTH) await session.step();
  await session.flush();
  return { tokens: session.tokens, computed: keysAndValues(model, session.state) };
}

/** What a program does with a session: all that reaches the device. */
async function work(session: Session): Promise<void> {
  await session.step();
  for await (const _ of session.decode(2));
  const child = session.fork({ stream: 7 });
  try {
    await child.step({ topK: 3 });
  } finally {
    await child.dispose();
  }
  session.stepSync();
  await session.flush();
}

/** What `action` fails with while the n-th of a kind fails; undefined if there is no n-th. */
async function failing(
  what: number,
  n: number,
  action: () => Promise<unknown>,
): Promise<NviumError | undefined> {
  device?.failAfter(what, n);
  let thrown: unknown;
  try {
    await action();
  } catch (error) {
    thrown = error;
  }
  // A failure is felt, and nothing else fails.
  expect(thrown !== undefined, `failure ${n}: ${thrown}`).toBe(device?.failed());
  if (thrown === undefined) return undefined;
  expect(thrown).toBeInstanceOf(NviumError);
  return thrown as NviumError;
}

describe.skipIf(device === undefined)("a CUDA device", () => {
  let cpu: Model;
  let expected: Awaited<ReturnType<typeof finish>>;
  let expectedOther: typeof expected;

  beforeAll(async () => {
    cpu = await loadModel(FIXTURE, { device: "cpu", threads: 1 });
    expected = await finish(cpu, begin(cpu));
    expectedOther = await finish(cpu, begin(cpu, 1));
  });
  afterAll(() => cpu.dispose());
  afterEach(() => {
    device?.failed();
    device?.resetDevice();
  });

  async function goesOn(model: Model, session: Session, as: typeof expected) {
    const { tokens, computed } = await finish(model, session);
    expect(tokens).toEqual(as.tokens);
    expect(difference(computed, as.computed)).toBeNull();
    await session.dispose();
  }

  it("without memory for a model says so, and loads it when there is some", async () => {
    let count = 0;
    for (; ; count++) {
      let model: Model | undefined;
      const error = await failing(ALLOCATION, count, async () => {
        model = await load();
      });
      await model?.dispose();
      if (error === undefined) break;
      expect(error.code).toBe("ERR_NVIUM_OUT_OF_MEMORY");
    }
    expect(count).toBeGreaterThan(8);
    const model = await load();
    await goesOn(model, begin(model), expected);
    await model.dispose();
  });

  it("that cannot be opened is not available, and the CPU takes its place", async () => {
    const refusal = await failing(LAUNCH, 0, load);
    expect(refusal).toMatchObject({ code: "ERR_NVIUM_CUDA_UNAVAILABLE" });
    device?.failAfter(LAUNCH, 0);
    await using model = await loadModel(FIXTURE);
    expect(device?.failed()).toBe(true);
    expect(model.info).toMatchObject({ device: "cpu", deviceReason: refusal?.message });
  });

  it("that gives other bits than the CPU is not used, and the reason says where", async () => {
    device?.setFlushing(false);
    try {
      const refusal = await load().catch((error: unknown) => error);
      expect(refusal).toMatchObject({ code: "ERR_NVIUM_CUDA_UNAVAILABLE" });
      await using model = await loadModel(FIXTURE);
      expect(model.info.device).toBe("cpu");
      expect(model.info.deviceReason).toMatch(
        /gives other bits than the CPU in a product of 1 rows/,
      );
    } finally {
      device?.setFlushing(true);
    }
    await using again = await loadModel(FIXTURE);
    expect(again.info.device).toBe("cuda");
  });

  it("that refuses an allocation leaves every session able to go on", async () => {
    let count = 0;
    for (; ; count++) {
      const model = await load();
      const session = begin(model);
      const error = await failing(ALLOCATION, count, () => work(session));
      if (error !== undefined) expect(error.code).toBe("ERR_NVIUM_OUT_OF_MEMORY");
      const other = begin(model, 1);
      await goesOn(model, session, expected);
      await goesOn(model, other, expectedOther);
      const { cache, boundary } = model.core.scheduler.memory.pools;
      expect(cache.used + boundary.used).toBe(0);
      await model.dispose();
      if (error === undefined) break;
    }
    expect(count).toBeGreaterThan(5);
  });

  it("that refuses a launch or a copy leaves every session able to go on", async () => {
    const model = await load();
    let count = 0;
    // Not every one, for time's sake: a layer has 5 launches, so 17 apart meets each kind.
    for (let n = 0; ; n += 17) {
      const other = begin(model, 1);
      await other.step();
      const session = begin(model);
      const before = session.length;
      const error = await failing(LAUNCH, n, () => work(session));
      if (error !== undefined) {
        expect(error.code).toBe("ERR_NVIUM_CUDA");
        expect(error.details.cudaName).toBe("cudaErrorLaunchOutOfResources");
        expect(error.details.operation).not.toBe("");
      }
      expect(session.length).toBeGreaterThanOrEqual(before);
      await goesOn(model, session, expected);
      await goesOn(model, other, expectedOther);
      if (error === undefined) break;
      count++;
    }
    const { cache, boundary } = model.core.scheduler.memory.pools;
    expect(cache.used + boundary.used).toBe(0);
    await model.dispose();
    expect(count).toBeGreaterThan(10);
  });

  it("that dies refuses its sessions with ERR_NVIUM_CUDA and harms nobody else", async () => {
    const lost = (error: unknown) => {
      expect(error).toMatchObject({
        code: "ERR_NVIUM_CUDA",
        details: { cudaName: "cudaErrorLaunchFailure" },
      });
      expect(error).toBeInstanceOf(NviumError);
    };
    const refused = async (action: Promise<unknown>) =>
      lost(
        await action.then(
          () => undefined,
          (error: unknown) => error,
        ),
      );
    let died = 0;
    // Later ones further apart: each takes a device of its own.
    for (let n = 0; ; n += 1 + Math.floor(n / 4)) {
      const model = await load();
      const other = begin(model, 1);
      await other.step();
      const session = begin(model);
      const error = await failing(EXECUTION, n, () => work(session));
      if (error === undefined) {
        await model.dispose();
        break;
      }
      died++;
      lost(error);
      const { tokens } = session;
      expect(tokens).toEqual(expected.tokens.slice(0, tokens.length));
      for (const one of [session, other]) {
        const { length } = one;
        await refused(one.step());
        await refused(one.decode(3).next());
        await refused(one.flush());
        expect(one.length).toBe(length);
        await one.dispose();
      }
      await refused(model.evaluate(PROMPT));
      await expect(load()).rejects.toMatchObject({ code: "ERR_NVIUM_CUDA_UNAVAILABLE" });
      await using automatic = await loadModel(FIXTURE);
      expect(automatic.info.device).toBe("cpu");
      await model.dispose();
      const { cache, boundary } = model.core.scheduler.memory.pools;
      expect(cache.used + boundary.used).toBe(0);
      await goesOn(cpu, begin(cpu), expected);
      device?.resetDevice();
    }
    expect(died).toBeGreaterThan(10);
    const model = await load();
    await goesOn(model, begin(model), expected);
    await model.dispose();
  });
});
