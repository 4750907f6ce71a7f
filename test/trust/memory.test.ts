/** Memory that comes back, and an event loop that keeps turning. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { createSequence, describe as describeSequence, reserve } from "../../lib/cache/sequence.js";
import { loadModel, type Model, type Session } from "../../lib/index.js";
import { DEMO, fixture } from "../support/expected.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const FIXTURE = fixture("quadrivium-long-bf16");
const MB = 2 ** 20;

const load = (directory = FIXTURE) =>
  loadModel(directory, { threads: 1, prefixShare: 0, cacheBytes: 2 ** 32 });

function total({ info: { memory } }: Model): number {
  return memory.weights + memory.cache + memory.boundary + memory.workspace;
}

const prompt = (length: number) => Array.from({ length }, (_, i) => 1 + ((i * 7) % 40));

/** Collects until `done`, a few turns of the event loop at a time. */
async function collectUntil(done: () => boolean): Promise<void> {
  for (let i = 0; i < 100 && !done(); i++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function use(model: Model): Promise<string> {
  const session = model.createSession({ seed: 3, extendContext: true, maxTokens: 5000 });
  session.append(prompt(100));
  for await (const _ of session.decode(5));
  await session.fork({ stream: 1 }).step();
  await model.evaluate(prompt(20), { mixture: true });
  return session.tokens.join(" ");
}

describe("100 times load, use and dispose", () => {
  it("hold the same bytes each time and leave nothing", async () => {
    const held = new Set<string>();
    const resident: number[] = [];
    for (let i = 0; i < 100; i++) {
      const model = await load();
      const tokens = await use(model);
      held.add(JSON.stringify([model.info.memory, tokens]));
      await model.dispose();
      expect(total(model)).toBe(0);
      if (i % 10 === 9) {
        collect();
        resident.push(process.memoryUsage().rss);
      }
    }
    expect([...held]).toHaveLength(1);
    const one = await load();
    await use(one);
    // Less than the memory of ten models more than at the first look; a hundred were made.
    const growth = Math.max(...resident.slice(5)) - (resident[0] ?? 0);
    expect(growth).toBeLessThan(10 * total(one) + 64 * MB);
    await one.dispose();
  });
});

describe("the garbage collector", () => {
  // process.memoryUsage().external counts array buffers only, so what is seen is what the collector does: nobody
  // calls it here.
  it("is told what a model holds: forgotten ones go before there are many", async () => {
    const models: WeakRef<Model>[] = [];
    let most = 0;
    for (let i = 0; i < 40; i++) {
      await (async () => {
        const model = await load();
        models.push(new WeakRef(model));
        // Blocks for 20,000 tokens, of which one is computed.
        const { native, scheduler, segments } = model.core;
        const { pools } = scheduler.memory;
        const state = createSequence(segments);
        state.tokens.push(1);
        state.generated.push(0);
        const reservation = reserve(state, pools, 20_000);
        const request = {
          ...describeSequence(state, reservation, 0n, 0),
          law: { temperature: 1, topK: 0, routerTemperature: 1 },
          maxPending: 15,
          force: -1,
          count: 0,
          capacity: 20_000,
          stopTokens: new Uint32Array(),
          abort: new Int32Array(1),
          remaining: 1,
        };
        await native.run({
          requests: [request],
          cacheBlocks: pools.cache.size,
          boundaryBlocks: pools.boundary.size,
          promptRows: 32,
          budget: 1000,
        });
        expect(total(model)).toBeGreaterThan(40 * MB);
      })();
      await new Promise((resolve) => setTimeout(resolve, 1));
      most = Math.max(most, models.filter((model) => model.deref() !== undefined).length);
    }
    // Where it is not told, none goes.
    expect(most).toBeLessThan(40);
  });
});

describe("memory that nobody uses", () => {
  const LONG = { extendContext: true, maxTokens: 30_000 };

  it("goes back as a call that was aborted ends, in the middle of its work or before", async () => {
    const model = await load();
    const kept = model.createSession({ seed: 8 });
    kept.append(prompt(80));
    await kept.step();
    await model.trim();
    const before = model.info.memory;
    for (const turns of [0, 1, 3, 10]) {
      const large = model.createSession(LONG);
      large.append(new Array(29_000).fill(1));
      const stop = new AbortController();
      const step = large.step({ signal: stop.signal });
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setTimeout(resolve, 5));
      stop.abort("enough");
      await expect(step).rejects.toBe("enough");
      // What was computed of it stays until it is disposed of, and that is not all of it.
      const { cache } = model.info.memory;
      expect(cache - before.cache).toBeLessThan(40 * MB);
      await large.dispose();
      await model.trim();
      const { cache: left, boundary, workspace } = model.info.memory;
      expect([left, boundary]).toEqual([before.cache, before.boundary]);
      // The rotary table is made anew when it is needed.
      expect(workspace).toBeLessThanOrEqual(before.workspace);
    }
    await model.dispose();
  });

  it("goes back by itself some time after a session is disposed of", async () => {
    const model = await load();
    const kept = model.createSession({ seed: 8 });
    kept.append(prompt(80));
    const large = model.createSession(LONG);
    large.append(prompt(9000));
    await large.flush();
    await kept.step(); // in blocks behind those of the large one
    const peak = model.info.memory.cache;
    await large.dispose();
    await expect.poll(() => model.info.memory.cache, { timeout: 60_000 }).toBeLessThan(peak / 2);
    expect(model.info.memory.cache).toBeGreaterThan(0);
    for (let i = 0; i < 20; i++) await kept.step();
    const alone = (await load()).createSession({ seed: 8 });
    alone.append(prompt(80));
    for (let i = 0; i < 21; i++) await alone.step();
    expect(kept.tokens).toEqual(alone.tokens);
    await model.dispose();
  });
});

describe("sessions that are forgotten without dispose", () => {
  it("give their blocks back, and the others draw what they would have", async () => {
    const model = await load();
    const { sequences, memory } = model.core.scheduler;
    const { pools } = memory;
    const kept = model.createSession({ seed: 8 });
    kept.append(prompt(80));
    await kept.step();
    const used = pools.cache.used;
    await (async () => {
      const forgotten: Session[] = [];
      for (let i = 0; i < 20; i++) {
        const session = i % 2 === 0 ? kept.fork({ stream: i }) : model.createSession();
        forgotten.push(session);
        if (i % 2 === 1) session.append(prompt(70 + i));
        await session.step();
        // An iterator that is dropped in the middle.
        if (i % 3 === 0) await session.decode(5).next();
      }
      expect(forgotten.length).toBe(sequences.size - 1);
      expect(pools.cache.used).toBeGreaterThan(used + 20);
    })();
    await collectUntil(() => sequences.size === 1);
    expect([sequences.size, pools.cache.used]).toEqual([1, used]);
    for (let i = 0; i < 20; i++) await kept.step();
    const alone = (await load()).createSession({ seed: 8 });
    alone.append(prompt(80));
    for (let i = 0; i < 21; i++) await alone.step();
    expect(kept.tokens).toEqual(alone.tokens);
    await model.dispose();
  });
});

describe("dispose", () => {
  it("of a model in the middle of a job frees everything when that job ends", async () => {
    const model = await load(DEMO);
    const session = model.createSession({ extendContext: true, maxTokens: 3000 });
    session.append(prompt(1000));
    const step = session.step();
    const evaluation = model.evaluate(prompt(50));
    const outcomes = Promise.allSettled([step, evaluation]);
    await model.dispose();
    expect(total(model)).toBe(0);
    const [first, second] = await outcomes;
    // What was under way or about to be: a token, or the news that the model is gone.
    for (const outcome of [first, second]) {
      if (outcome.status === "rejected") {
        expect(outcome.reason).toMatchObject({ code: "ERR_NVIUM_DISPOSED" });
      }
    }
    expect(second.status).toBe("rejected");
  });
});

describe("the event loop", () => {
  it("keeps turning while a prompt of 2,000 tokens runs on one thread", async () => {
    const model = await load(DEMO);
    const session = model.createSession({ extendContext: true, maxTokens: 3000 });
    session.append(prompt(2000));
    let turns = 0;
    let running = true;
    const turn = () => {
      turns++;
      // As a timer and not an immediate: the loop must come round through all of its phases.
      if (running) setTimeout(turn, 0);
    };
    turn();
    const begin = performance.now();
    await session.step();
    const during = turns;
    const milliseconds = performance.now() - begin;
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    const idle = turns - during;
    running = false;
    // Against the same time with nothing to do: how long a prompt takes is the machine's affair.
    expect(during).toBeGreaterThan(idle / 4);
    await model.dispose();
  });
});
