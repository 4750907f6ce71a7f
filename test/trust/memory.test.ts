/** Memory that comes back, and an event loop that keeps turning. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { loadModel, type Model, type Session } from "../../lib/index.js";
import { DEMO, fixture } from "../support/expected.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const FIXTURE = fixture("quadrivium-long-bf16");
const MB = 2 ** 20;

const load = (directory = FIXTURE) => loadModel(directory, { threads: 1 });

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
        const session = model.createSession({ extendContext: true, maxTokens: 20_000 });
        session.append(new Array(20_000 - 1).fill(1));
        // Reserves blocks for all of the prompt, and is stopped at the first chunk.
        const stop = new AbortController();
        const step = session.step({ signal: stop.signal });
        await new Promise((resolve) => setImmediate(resolve));
        stop.abort("enough");
        await expect(step).rejects.toBe("enough");
        expect(total(model)).toBeGreaterThan(40 * MB);
      })();
      await new Promise((resolve) => setTimeout(resolve, 1));
      most = Math.max(most, models.filter((model) => model.deref() !== undefined).length);
    }
    expect(most).toBeLessThan(15);
  });
});

describe("sessions that are forgotten without dispose", () => {
  it("give their blocks back, and the others draw what they would have", async () => {
    const model = await load();
    const { pools, sessions } = model.engine;
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
      expect(forgotten.length).toBe(sessions.size - 1);
      expect(pools.cache.used).toBeGreaterThan(used + 20);
    })();
    await collectUntil(() => sessions.size === 1);
    expect([sessions.size, pools.cache.used]).toEqual([1, used]);
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
