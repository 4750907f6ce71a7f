/** `cacheBytes` is a budget: sequences wait for blocks, give way, and come to the same tokens. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, type Session } from "../lib/index.js";
import { type Calls, watchCalls } from "./support/calls.js";
import { failure } from "./support/errors.js";
import { fixture } from "./support/expected.js";
import { expectAlone, type Recorded, record } from "./support/scripts.js";

const NAME = "quadrivium-gqa-f32";
/** Tokens a sequence comes to. */
const LENGTH = 250;

let plain: Model;
beforeAll(async () => {
  plain = await loadModel(fixture(NAME), { threads: 1, prefixShare: 0 });
});
afterAll(async () => {
  await plain.dispose();
});

/** Blocks that a sequence may come to need: all of its keys and values, and rows at every boundary. */
function bytesFor(positions: number): number {
  const { native, segments } = plain.core;
  const { cache, boundary } = native.blockBytes();
  return Math.ceil(positions / 64) * (cache + (segments - 1) * boundary);
}

/** A model with room for so many sequences of LENGTH; no call ever finds more in use than that. */
async function withRoomFor(
  sequences: number,
  use: (model: Model, calls: Calls) => Promise<void>,
): Promise<void> {
  const cacheBytes = Math.floor(sequences * bytesFor(LENGTH));
  const model = await loadModel(fixture(NAME), { threads: 1, cacheBytes });
  const calls = watchCalls(model);
  calls.before = () => {
    const { used, cached, limit } = model.info.memory;
    expect(limit).toBe(cacheBytes);
    expect(used).toBeLessThanOrEqual(limit);
    expect(cached).toBeLessThanOrEqual(used);
  };
  try {
    await use(model, calls);
  } finally {
    await model.dispose();
  }
}

const tokensOf = (length: number, salt = 0) =>
  Array.from({ length }, (_, i) => (salt * 17 + i * 7) % 61);

describe("sequences that do not fit together", () => {
  it("all end, with the tokens each draws alone", async () => {
    await withRoomFor(1.5, async (model) => {
      const all = Array.from({ length: 5 }, (_, seed) => record(model, { seed }));
      await Promise.all(
        all.map(async (one, i) => {
          one.append(tokensOf(190 - 10 * i, i));
          await one.decode(40, 0);
          await one.session.flush();
          for (let n = 0; n < 3; n++) await one.step(1);
        }),
      );
      expect(model.info.waiting).toBe(0);
      for (const [seed, one] of all.entries()) await expectAlone(plain, one, seed);
    });
  });

  it("all end when they are forks that share a text", async () => {
    await withRoomFor(1.5, async (model) => {
      const parent = record(model, { seed: 3 });
      parent.append(tokensOf(200));
      await parent.step(0);
      const all = [parent, ...[1, 2, 3].map((stream) => parent.fork(stream))];
      await Promise.all(all.map((one) => one.decode(40, 0)));
      for (const one of all) await expectAlone(plain, one, 3);
    });
  });

  it("wait for one another, and it is told how many", async () => {
    await withRoomFor(1.5, async (model, calls) => {
      const [a, b, c] = [1, 2, 3].map((seed) => record(model, { seed })) as [
        Recorded,
        Recorded,
        Recorded,
      ];
      for (const one of [a, b, c]) one.append(tokensOf(LENGTH - 1));
      calls.hold();
      const held = calls.held();
      const first = a.step(0);
      const controller = new AbortController();
      const second = b.step(0, { signal: controller.signal });
      const third = c.step(0);
      await held;
      expect(model.info.waiting).toBe(2);
      controller.abort(new Error("enough"));
      await expect(second).rejects.toThrow("enough");
      expect(model.info.waiting).toBe(1);
      calls.hold(false);
      await Promise.all([first, third]);
      expect(model.info.waiting).toBe(0);
    });
  });
});

describe("a sequence that nothing is asked of", () => {
  it("gives way, the one used longest ago first, and goes on with the same tokens", async () => {
    await withRoomFor(2.2, async (model) => {
      const all = [1, 2, 3].map((seed) => record(model, { seed }));
      for (const one of all) {
        one.append(tokensOf(200, 1));
        await one.step(0);
      }
      const [first, second, third] = all.map(({ session }) => session) as [
        Session,
        Session,
        Session,
      ];
      expect(first.frontiers).toEqual([0, 0, 0, 0]);
      expect(second.frontiers[0]).toBe(200);
      expect(third.frontiers[0]).toBe(200);
      for (const one of all) await one.decode(5, 0);
      for (const [i, one] of all.entries()) await expectAlone(plain, one, i + 1);
    });
  });

  it("gives way only after prefixes of ended ones", async () => {
    await withRoomFor(2, async (model) => {
      const ended = model.createSession({ seed: 1 });
      ended.append(tokensOf(200, 1));
      await ended.step();
      await ended.dispose();
      const kept = model.info.memory.cached;
      expect(kept).toBeGreaterThan(0);
      const idle = model.createSession({ seed: 1 });
      idle.append(tokensOf(201, 2));
      await idle.flush();
      const other = model.createSession({ seed: 1 });
      other.append(tokensOf(LENGTH - 1, 3));
      await other.step();
      expect(idle.frontiers[0]).toBe(200);
      expect(model.info.memory.cached).toBeLessThan(kept);
    });
  });
});

describe("a device without memory", () => {
  it("for many sequences has it for fewer: each comes to its tokens", async () => {
    await withRoomFor(20, async (model, calls) => {
      const all = Array.from({ length: 9 }, (_, seed) => record(model, { seed }));
      for (const [i, one] of all.entries()) one.append(tokensOf(3 + i, i));
      calls.refuse = ({ requests }) => requests.length > 2;
      await Promise.all(all.map((one) => one.decode(8, 0)));
      expect(calls.made.some(({ call }) => calls.refuse(call))).toBe(true);
      for (const [seed, one] of all.entries()) await expectAlone(plain, one, seed);
    });
  });

  it("even for one is an error once no prefix is left, and for as long only", async () => {
    await withRoomFor(20, async (model, calls) => {
      const ended = model.createSession();
      ended.append(tokensOf(100));
      await ended.flush();
      await ended.dispose();
      expect(model.info.memory.cached).toBeGreaterThan(0);
      const all = Array.from({ length: 3 }, (_, seed) => record(model, { seed }));
      for (const [i, one] of all.entries()) one.append(tokensOf(9, i));
      calls.refuse = () => true;
      await Promise.all(
        all.map(({ session }) => failure("ERR_NVIUM_OUT_OF_MEMORY", session.step())),
      );
      expect(model.info.memory.cached).toBe(0);
      calls.refuse = () => false;
      await Promise.all(all.map((one) => one.step(0)));
      for (const [seed, one] of all.entries()) await expectAlone(plain, one, seed);
    });
  });
});

describe("a sequence that can never fit", () => {
  it("is an error with what it needs and what there is, and harms nobody", async () => {
    await withRoomFor(1.5, async (model) => {
      const small = record(model, { seed: 1 });
      small.append(tokensOf(50));
      const large = model.createSession({ seed: 2 });
      large.append(tokensOf(800));
      const [error] = await Promise.all([
        failure("ERR_NVIUM_OUT_OF_MEMORY", large.step()),
        small.decode(20, 0),
      ]);
      const { needed, limit } = error.details as { needed: number; limit: number };
      expect(limit).toBe(model.info.memory.limit);
      expect(needed).toBeGreaterThanOrEqual(bytesFor(800));
      expect(large.length).toBe(800);
      await failure("ERR_NVIUM_OUT_OF_MEMORY", () => large.stepSync());
      large.truncate(100);
      expect((await large.step()).position).toBe(100);
      await expectAlone(plain, small, 1);
    });
  });

  it("makes room on the calling thread too", async () => {
    await withRoomFor(1.5, async (model) => {
      const all = [1, 2].map((seed) => record(model, { seed }));
      for (const [i, one] of all.entries()) one.append(tokensOf(200, i));
      for (let n = 0; n < 4; n++) for (const one of all) one.stepSync(0);
      for (const [i, one] of all.entries()) await expectAlone(plain, one, i + 1);
    });
  });
});
