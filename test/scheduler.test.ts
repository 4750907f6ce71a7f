/** Sessions of one model share its calls: what they draw, who waits for whom, and what is counted. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, type Session } from "../lib/index.js";
import type { LoadOptions } from "../lib/model.js";
import { type NativeOutcome, STEP_FIELDS } from "../lib/native.js";
import { type Calls, watchCalls } from "./support/calls.js";
import { failure } from "./support/errors.js";
import { fixture } from "./support/expected.js";
import { type Random, random } from "./support/random.js";
import { expectAlone, MANNERS, type Recorded, record } from "./support/scripts.js";

const SEED = 20240229;
const NAME = "quadrivium-gqa-f32";

/** One step a call, however slow or fast the machine. */
const ONE_STEP = { budget: 0 };

async function withModel(
  options: LoadOptions,
  use: (model: Model, calls: Calls) => Promise<void>,
  name = NAME,
): Promise<void> {
  const model = await loadModel(fixture(name), { threads: 1, ...options });
  try {
    await use(model, watchCalls(model));
  } finally {
    await model.dispose();
  }
}

function tokensOf(length: number, salt = 0): number[] {
  return Array.from({ length }, (_, i) => (salt * 13 + i * 7) % 61);
}

/** Sessions that hold a text and defer no row of it. */
async function readySessions(model: Model, count: number, length = 5): Promise<Session[]> {
  const sessions = Array.from({ length: count }, (_, i) => model.createSession({ seed: i }));
  for (const [i, session] of sessions.entries()) session.append(tokensOf(length, i));
  await Promise.all(sessions.map((session) => session.flush()));
  return sessions;
}

/** What a session may be asked, at random, one thing after another. */
async function act(model: Model, rng: Random, things: number): Promise<Recorded[]> {
  const { below, pick, once } = rng;
  const pending = [0, 1, 3, 15, Number.POSITIVE_INFINITY];
  const open = () => record(model, { seed: SEED, maxPending: pick(pending), maxTokens: 200 });
  const all: Recorded[] = [];
  const enter = (one: Recorded) => {
    all.push(one);
    return one;
  };
  let one = enter(open());
  const text = tokensOf(1 + below(100), below(2));
  for (let i = 0; i < things; i++) {
    const { session } = one;
    const manner = below(MANNERS.length);
    const thing = session.length === 0 ? 0 : session.length >= 180 ? 6 : below(10);
    if (thing === 0) one.append(session.length === 0 ? text : tokensOf(1 + below(20), i));
    else if (thing <= 2) await one.step(manner);
    else if (thing === 3) await one.decode(9, manner, 1 + below(9));
    else if (thing === 4) await session.flush();
    else if (thing === 5) trySync(one, manner);
    else if (thing === 6) one.truncate(below(session.length + 1), below(3));
    else if (thing === 7) await aborted(one, manner, below(4));
    else if (thing === 8) {
      const other = enter(one.fork(below(3)));
      await Promise.all([other.step(manner), one.step(manner)]);
      const [leaving, staying] = once(2) ? [one, other] : [other, one];
      await leaving.session.dispose();
      one = staying;
    } else {
      // Steps at once are steps in order.
      await Promise.all([one.step(manner), one.step(manner), session.flush()]);
    }
    if (!once(8)) continue;
    expect(one.session.stats().tokens).toBe(one.handedOut);
    await one.session.dispose();
    one = enter(open());
  }
  expect(one.session.stats().tokens).toBe(one.handedOut);
  await one.session.dispose();
  return all;
}

function trySync(one: Recorded, manner: number): void {
  try {
    one.stepSync(manner);
  } catch (error) {
    expect(error).toMatchObject({ code: "ERR_NVIUM_BUSY" });
  }
}

/** A step aborted at any time: it has drawn its token, or nothing has happened. */
async function aborted(one: Recorded, manner: number, turns: number): Promise<void> {
  const { session } = one;
  const controller = new AbortController();
  const before = session.tokens;
  const step = one.step(manner, { signal: controller.signal });
  const ended = step.then(
    () => undefined,
    (reason: unknown) => {
      expect(reason).toBe(controller.signal.reason);
      expect(session.tokens).toEqual(before);
    },
  );
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
  controller.abort();
  await ended;
}

describe("random sessions", () => {
  const names = [NAME, "bivium-router-temp-f32", "dense-baseline-f32"];
  const memories = [{ tight: false }, { tight: true }];

  describe.each(names)("of %s", (name) => {
    it.each(memories)("draw what each draws alone, memory tight: $tight", async ({ tight }) => {
      const plain = await loadModel(fixture(name), { threads: 1, prefixShare: 0 });
      const options = tight ? { cacheBytes: Math.ceil(1.5 * bytesFor(plain, 200)) } : {};
      await withModel(
        options,
        async (model, calls) => {
          const { memory } = model.info;
          calls.before = () => {
            expect(model.info.memory.used).toBeLessThanOrEqual(memory.limit);
          };
          const actors = Array.from({ length: 6 }, (_, i) => act(model, random(100 + i), 14));
          const all = (await Promise.all(actors)).flat();
          for (const one of all) await expectAlone(plain, one, SEED);
          expect(calls.made.some(({ call }) => call.requests.length > 1)).toBe(true);
          expect(model.info.memory.used).toBe(model.info.memory.cached);
        },
        name,
      );
      await plain.dispose();
    });
  });
});

/** Blocks that a sequence may come to need: all of its keys and values, and rows at every boundary. */
function bytesFor(model: Model, positions: number): number {
  const { native, segments } = model.core;
  const { cache, boundary } = native.blockBytes();
  return Math.ceil(positions / 64) * (cache + (segments - 1) * boundary);
}

describe("sessions at the same time", () => {
  it("take one call a step together", async () => {
    await withModel({}, async (model, calls) => {
      const sessions = await readySessions(model, 8);
      const before = calls.made.length;
      for (let i = 0; i < 10; i++) {
        await Promise.all(sessions.map((session) => session.step()));
      }
      expect(calls.made.length - before).toBe(10);
      for (const { call } of calls.made.slice(before)) expect(call.requests.length).toBe(8);
    });
  });

  it("take one call a step together when each steps for itself", async () => {
    await withModel({}, async (model, calls) => {
      const sessions = await readySessions(model, 5);
      const before = calls.made.length;
      const drive = async (session: Session) => {
        for (let i = 0; i < 12; i++) await session.step();
      };
      await Promise.all(sessions.map(drive));
      expect(calls.made.length - before).toBe(12);
    });
  });

  it("do not wait for one that asks for nothing more", async () => {
    await withModel({}, async (model, calls) => {
      const [leaving, staying] = await readySessions(model, 2);
      const before = calls.made.length;
      await Promise.all([leaving?.step(), staying?.step()]);
      // Two turns of the event loop: one until the call begins, and then it is under way.
      const step = staying?.step();
      let began = false;
      calls.before = () => {
        began = true;
      };
      for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(began).toBe(true);
      await step;
      expect(calls.made.length - before).toBe(2);
    });
  });

  it("cost together what was read: each is charged its share", async () => {
    await withModel({}, async (model, calls) => {
      const sessions = Array.from({ length: 5 }, (_, i) => model.createSession({ seed: i }));
      await Promise.all(
        sessions.map(async (session, i) => {
          session.append(tokensOf(1 + 20 * i, i));
          for (let n = 0; n < 10; n++) await session.step();
          let left = 5;
          for await (const _ of session.decode(20)) if (--left === 0) break;
          await session.flush();
        }),
      );
      const charged = { layerPasses: 0, weightBytes: 0, rowsRun: 0 };
      for (const session of sessions) {
        const { discarded, ...own } = session.stats();
        for (const key of ["layerPasses", "weightBytes", "rowsRun"] as const) {
          charged[key] += own[key] + discarded[key];
        }
        expect(own.tokens).toBe(15);
        expect(own.exits.reduce((a, b) => a + b)).toBe(15);
      }
      const told = { layerPasses: 0, weightBytes: 0, rowsRun: 0 };
      for (const { result } of calls.made) for (const one of result.requests) addTo(told, one);
      expect(charged.rowsRun).toBe(told.rowsRun);
      expect(charged.layerPasses).toBeCloseTo(told.layerPasses, 6);
      expect(charged.weightBytes / told.weightBytes).toBeCloseTo(1, 12);
      // Shares of passes over whole segments come to whole layers.
      expect(told.layerPasses).toBeCloseTo(Math.round(told.layerPasses), 6);
    });
  });
});

function addTo(
  sum: { layerPasses: number; weightBytes: number; rowsRun: number },
  { steps, work }: NativeOutcome,
): void {
  sum.layerPasses += work.layerPasses;
  sum.weightBytes += work.weightBytes;
  sum.rowsRun += work.layerRows;
  for (let at = 0; at < steps.length; at += STEP_FIELDS) {
    const [passes = 0, rows = 0, bytes = 0] = steps.subarray(at + 5);
    sum.layerPasses += passes;
    sum.rowsRun += rows;
    sum.weightBytes += bytes;
  }
}

describe("what waits for a call", () => {
  let model: Model;
  let calls: Calls;
  beforeAll(async () => {
    model = await loadModel(fixture(NAME), { threads: 1 });
    calls = watchCalls(model);
  });
  afterAll(async () => {
    await model.dispose();
  });

  it("rejects with its signal's reason at once", async () => {
    const [running, waiting] = (await readySessions(model, 2)) as [Session, Session];
    calls.hold();
    const held = calls.held();
    const first = running.step();
    await held;
    const controller = new AbortController();
    const second = waiting.step({ signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(second).rejects.toThrow("enough");
    expect(waiting.length).toBe(5);
    calls.hold(false);
    expect((await first).position).toBe(5);
    expect((await waiting.step()).position).toBe(5);
  });

  it("is rejected and disposed at once, while others run", async () => {
    const [running, waiting] = (await readySessions(model, 2)) as [Session, Session];
    calls.hold();
    const held = calls.held();
    const first = running.step();
    await held;
    const second = failure("ERR_NVIUM_DISPOSED", waiting.step());
    await waiting.dispose();
    await second;
    calls.hold(false);
    expect((await first).position).toBe(5);
  });

  it("may be aborted without touching the step before it that is half done", async () => {
    const plain = await loadModel(fixture(NAME), { threads: 1, prefixShare: 0 });
    await withModel({ prefixShare: 0 }, async (other, watched) => {
      watched.change = (call) => ({ ...call, ...ONE_STEP });
      let abortedInTime = 0;
      for (let seed = 0; seed < 12; seed++) {
        const one = record(other, { seed });
        // Where its second row begins a block: what is cut behind that gives one back.
        one.append(tokensOf(256));
        const controller = new AbortController();
        const steps = [one.step(0), one.step(0)];
        const aborted = one.step(0, { signal: controller.signal });
        const end = watched.made.length + 3 + (seed % 3);
        watched.before = () => {
          if (watched.made.length >= end) controller.abort(new Error("enough"));
        };
        const rejected = (reason: unknown) => {
          expect(reason).toBe(controller.signal.reason);
          abortedInTime++;
        };
        await Promise.all([...steps, aborted.catch(rejected)]);
        await one.step(0);
        await expectAlone(plain, one, seed);
        await one.session.dispose();
      }
      expect(abortedInTime).toBeGreaterThan(3);
    });
    await plain.dispose();
  });

  it("half done may be aborted while its session is disposed", async () => {
    await withModel({}, async (other, watched) => {
      const [quick] = (await readySessions(other, 1)) as [Session];
      watched.change = (call) => ({ ...call, ...ONE_STEP });
      const slow = other.createSession();
      slow.append(tokensOf(600));
      const controller = new AbortController();
      const step = slow.step({ signal: controller.signal });
      await quick.step();
      // No call runs now: one begins in the next turn of the event loop.
      expect(slow.frontiers[0]).toBeGreaterThan(0);
      const disposed = slow.dispose();
      controller.abort(new Error("enough"));
      await expect(step).rejects.toThrow("enough");
      await disposed;
      expect((await quick.step()).position).toBe(6);
    });
  });

  it("is served by the next call or the one behind it, however many there are", async () => {
    const sessions = await readySessions(model, 300, 2);
    const before = calls.made.length;
    const drive = async (session: Session) => {
      for (let i = 0; i < 4; i++) await session.step();
    };
    await Promise.all(sessions.map(drive));
    const last = new Map<bigint, number>();
    for (const [i, { call }] of calls.made.slice(before).entries()) {
      for (const { seed } of call.requests) {
        expect(i - (last.get(seed) ?? -1)).toBeLessThanOrEqual(2);
        last.set(seed, i);
      }
    }
    expect(last.size).toBe(300);
    await Promise.all(sessions.map((session) => session.dispose()));
  });
});

describe("a long prompt among sessions that decode", () => {
  it("goes on in every call, and everybody else has a token in each", async () => {
    await withModel(
      { prefixShare: 0 },
      async (model, calls) => {
        const sessions = await readySessions(model, 9);
        calls.change = (call) => ({ ...call, ...ONE_STEP });
        const newcomer = model.createSession({ seed: 77 });
        newcomer.append(tokensOf(2000));
        const before = calls.made.length;
        let arrived = false;
        const first = newcomer.step().then(() => {
          arrived = true;
        });
        const drive = async (session: Session) => {
          while (!arrived) await session.step();
        };
        await Promise.all([first, ...sessions.map(drive)]);
        const together = calls.made
          .slice(before)
          .filter(({ call }) => call.requests.some(({ seed }) => seed === 77n));
        // At 32 rows a step through the whole model, and more in those that come before the others.
        expect(together.length).toBeGreaterThan(20);
        expect(together.length).toBeLessThan(80);
        for (const { call, result } of together.slice(1)) {
          for (const [i, { seed }] of call.requests.entries()) {
            if (seed !== 77n) expect(result.requests[i]?.steps.length).toBe(STEP_FIELDS);
          }
        }
        const gained = sessions.map((session) => session.length - 5);
        expect(Math.min(...gained)).toBeGreaterThanOrEqual(together.length - 2);
      },
      "quadrivium-long-bf16",
    );
  });
});

describe("an evaluation among sessions that decode", () => {
  it("has its turn, and gives and takes no bit", async () => {
    const plain = await loadModel(fixture(NAME), { threads: 1, prefixShare: 0 });
    await withModel({}, async (model) => {
      const tokens = tokensOf(90);
      const all = Array.from({ length: 3 }, (_, seed) => record(model, { seed }));
      let evaluated = 0;
      const drive = async (one: Recorded, i: number) => {
        one.append(tokensOf(20 + i, i));
        while (evaluated < 3) await one.step(0);
      };
      const drives = all.map(drive);
      for (; evaluated < 3; evaluated++) {
        const { exitProbs } = await model.evaluate(tokens);
        expect(exitProbs).toEqual((await plain.evaluate(tokens)).exitProbs);
      }
      await Promise.all(drives);
      for (const [seed, one] of all.entries()) await expectAlone(plain, one, seed);
    });
    await plain.dispose();
  });
});
