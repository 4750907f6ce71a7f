/** A session's contract: frontiers, deferral, random streams, order of calls, refusals and failures. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, NviumError, type Session, type Step } from "../lib/index.js";
import type { Copy } from "./support/checkpoints.js";
import { brokenHead, leavingAt, poisonedBy } from "./support/edited.js";
import { failure, refuses } from "./support/errors.js";
import { DEMO, fixture } from "./support/expected.js";
import { difference, keysAndValues, segmentLayers } from "./support/kv.js";

const PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35];
/** So many tokens that a step is under way for some time: for LONG_LIMITS. */
const LONG = Array.from({ length: 6000 }, (_, i) => PROMPT[i % PROMPT.length] ?? 0);
const LONG_LIMITS = { extendContext: true, maxTokens: 10_000 };
const INFINITY = Number.POSITIVE_INFINITY;

let model: Model;
beforeAll(async () => {
  model = await loadModel(fixture("quadrivium-gqa-f32"), { threads: 1, prefixShare: 0 });
});
afterAll(async () => {
  await model.dispose();
});

function start(
  options: Parameters<Model["createSession"]>[0] = {},
  tokens: readonly number[] = PROMPT,
  of = model,
): Session {
  const session = of.createSession({ seed: 11, ...options });
  session.append(tokens);
  return session;
}

async function draw(session: Session, count: number): Promise<number[]> {
  const tokens: number[] = [];
  for (let i = 0; i < count; i++) tokens.push((await session.step()).token);
  return tokens;
}

async function opened<T>(copy: Copy, work: (model: Model) => Promise<T>): Promise<T> {
  try {
    const edited = await loadModel(copy.directory, { threads: 1, prefixShare: 0 });
    const result = await work(edited);
    await edited.dispose();
    return result;
  } finally {
    copy.remove();
  }
}

/** The session rules as plain arithmetic: which segments a step runs, from what waits before it. */
class Rules {
  frontiers: number[];
  readonly generated: boolean[];
  readonly #exits: readonly number[];
  readonly #maxPending: number;

  constructor(prompt: number, exits: readonly number[], maxPending: number) {
    this.frontiers = exits.map(() => 0);
    this.generated = new Array<boolean>(prompt).fill(false);
    this.#exits = exits;
    this.#maxPending = maxPending;
  }

  step(exit: number): { layersRun: number; pending: number } {
    const n = this.generated.length;
    let deepest = exit - 1;
    for (let m = 1; m < this.frontiers.length; m++) {
      const [from, to] = [this.frontiers[m], this.frontiers[m - 1]];
      const waiting = this.generated.slice(from, to).filter(Boolean).length;
      if (waiting >= this.#maxPending) deepest = Math.max(deepest, m);
    }
    this.frontiers = this.frontiers.map((f, m) => (m <= deepest ? n : f));
    this.generated.push(true);
    const pending = n - (this.frontiers.at(-1) as number);
    return { layersRun: this.#exits[deepest] as number, pending };
  }
}

describe("a step", () => {
  it("gives the token appended, its position, exit, layers and what waits", async () => {
    const session = start();
    const step = await session.step();
    expect(session.tokens).toEqual([...PROMPT, step.token]);
    expect(step.position).toBe(PROMPT.length);
    expect(model.info.exits[step.exit - 1]).toBe(step.layersRun);
    const [first = 0, , , last = 0] = session.frontiers;
    expect(step.pending).toBe(first - last);
    expect(Object.keys(step)).not.toContain("drawn");
    await session.dispose();
  });

  it("leaves the upper segments at 0 when the prompt's last row leaves at exit 1", async () => {
    await opened(leavingAt(1), async (edited) => {
      const session = start({}, PROMPT, edited);
      const step = await session.step();
      expect(step).toMatchObject({ exit: 1, layersRun: 2, pending: PROMPT.length });
      expect(session.frontiers).toEqual([PROMPT.length, 0, 0, 0]);
    });
  });

  it.each([2, 3, 4])(
    "brings the segments below to the last row when it leaves at exit %i",
    async (exit) => {
      await opened(leavingAt(exit), async (edited) => {
        const session = start({}, PROMPT, edited);
        expect(await session.step()).toMatchObject({ exit, layersRun: 2 * exit });
        expect(session.frontiers).toEqual([1, 2, 3, 4].map((m) => (m <= exit ? PROMPT.length : 0)));
      });
    },
  );

  it("appends the token it is forced to and tells what it drew", async () => {
    const [free, forced] = [start(), start()];
    const drawn = await free.step();
    const other = (drawn.token + 1) % model.info.vocabSize;
    expect(await forced.step({ force: other })).toEqual({
      ...drawn,
      token: other,
      drawn: drawn.token,
    });
    expect(forced.tokens.at(-1)).toBe(other);
    expect(await start().step({ force: drawn.token })).toEqual(drawn);
  });

  it("draws the same synchronously", async () => {
    const session = start();
    const steps = [session.stepSync(), session.stepSync({ greedy: true }), session.stepSync()];
    const other = start();
    expect(steps).toEqual([
      await other.step(),
      await other.step({ greedy: true }),
      await other.step(),
    ]);
  });

  it("takes greedy for a temperature of 0 and a greedy router for a router temperature of 0", async () => {
    const [a, b] = [start(), start()];
    for (let i = 0; i < 12; i++) {
      expect(await a.step({ greedy: true, router: "greedy" })).toEqual(
        await b.step({ temperature: 0, routerTemperature: 0 }),
      );
    }
  });

  it("keeps greedy heads and greedy routers independent", async () => {
    const exits = async (options: object) => {
      const seen = new Set<string>();
      for (let seed = 0; seed < 12; seed++) {
        const { exit, token } = await start({ seed }).step(options);
        seen.add("greedy" in options ? `${exit}` : `${token}`);
      }
      return seen.size;
    };
    expect(await exits({ greedy: true })).toBeGreaterThan(1);
    expect(await exits({ router: "greedy" })).toBeGreaterThan(1);
  });

  it("draws the most likely token of the head reached with topK 1", async () => {
    const [a, b] = [start(), start()];
    for (let i = 0; i < 10; i++)
      expect(await a.step({ topK: 1 })).toEqual(await b.step({ greedy: true }));
  });
});

describe("rows that wait", () => {
  it.each([0, 1, 2, 3, 5, 15, INFINITY])(
    "are bounded as the rules say: maxPending %f",
    async (maxPending) => {
      const session = start({ maxPending });
      const free = start({ maxPending: 0 });
      const rules = new Rules(PROMPT.length, model.info.exits, maxPending);
      for (let i = 0; i < 60; i++) {
        // Forced rows count as generated ones.
        const options = i % 5 === 4 ? { force: i } : {};
        const step = await session.step(options);
        const { token, exit } = await free.step(options);
        expect(step).toMatchObject({ token, exit, ...rules.step(exit) });
        expect(session.frontiers).toEqual(rules.frontiers);
      }
      await Promise.all([session.dispose(), free.dispose()]);
    },
  );

  it.each([0, 1, 3, 15, INFINITY])(
    "are bounded inside decode too: maxPending %f",
    async (maxPending) => {
      const session = start({ maxPending });
      const rules = new Rules(PROMPT.length, model.info.exits, maxPending);
      for await (const step of session.decode(60))
        expect(step).toMatchObject(rules.step(step.exit));
      expect(session.frontiers).toEqual(rules.frontiers);
      await session.dispose();
    },
  );

  it("go up one boundary after another when no token asks for them", async () => {
    await opened(leavingAt(1), async (edited) => {
      const session = start({ maxPending: 3 }, PROMPT, edited);
      const layers: number[] = [];
      for (let i = 0; i < 13; i++) layers.push((await session.step()).layersRun);
      // Three generated rows wait when the fifth step begins; they reach the top two steps later.
      expect(layers).toEqual([2, 2, 2, 2, 4, 6, 8, 2, 2, 2, 4, 6, 8]);
    });
  });

  it("may be sixteen by default, the new one included", async () => {
    await opened(leavingAt(1), async (edited) => {
      const session = start({}, PROMPT, edited);
      const deep: number[] = [];
      for (let i = 0; i < 20; i++) if ((await session.step()).layersRun > 2) deep.push(i);
      // Step 16 processes the sixteenth generated row; 15 waited before it.
      expect(deep).toEqual([16, 17, 18]);
    });
  });

  it("of the prompt do not count, and go up with the first deep step", async () => {
    await opened(leavingAt(1), async (edited) => {
      const session = start(
        { maxPending: 1 },
        Array.from({ length: 200 }, (_, i) => i % 199),
        edited,
      );
      expect((await session.step()).pending).toBe(200);
      expect((await session.step()).layersRun).toBe(2);
      expect((await session.step()).layersRun).toBe(4);
      expect(session.frontiers).toEqual([202, 202, 0, 0]);
    });
  });

  it("are none after flush", async () => {
    const session = start();
    await draw(session, 5);
    await session.flush();
    expect(session.frontiers).toEqual(new Array(4).fill(PROMPT.length + 4));
    await session.flush();
    expect(session.frontiers).toEqual(new Array(4).fill(PROMPT.length + 4));
  });

  it("are none in an empty session, which can be flushed", async () => {
    const session = model.createSession();
    await session.flush();
    expect(session.frontiers).toEqual([0, 0, 0, 0]);
    session.append([5]);
    await session.flush();
    expect(session.frontiers).toEqual([0, 0, 0, 0]);
  });
});

describe("randomness", () => {
  it("is the same for the same seed, as number or bigint", async () => {
    const tokens = await draw(start({ seed: 99 }), 12);
    expect(await draw(start({ seed: 99n }), 12)).toEqual(tokens);
    expect(await draw(start({ seed: 98 }), 12)).not.toEqual(tokens);
  });

  it("uses all 64 bits of a seed", async () => {
    const tokens = await draw(start({ seed: 99 }), 12);
    expect(await draw(start({ seed: 99n + (1n << 63n) }), 12)).not.toEqual(tokens);
    expect(start({ seed: (1n << 64n) - 1n }).seed).toBe((1n << 64n) - 1n);
    expect(start({ seed: Number.MAX_SAFE_INTEGER }).seed).toBe(BigInt(Number.MAX_SAFE_INTEGER));
  });

  it("has a random seed by default, which can be read and used again", async () => {
    const [a, b] = [model.createSession(), model.createSession()];
    expect(a.seed).not.toBe(b.seed);
    a.append(PROMPT);
    expect(await draw(a, 12)).toEqual(await draw(start({ seed: a.seed }), 12));
  });

  it("differs between streams", async () => {
    const tokens = await draw(start(), 12);
    expect(await draw(start({ stream: 0 }), 12)).toEqual(tokens);
    expect(await draw(start({ stream: 1 }), 12)).not.toEqual(tokens);
    expect(await draw(start({ stream: 2 ** 32 - 1 }), 12)).not.toEqual(tokens);
  });

  it("gives the token again after truncate", async () => {
    const session = start();
    const tokens = await draw(session, 20);
    for (const kept of [19, 12, 1, 0]) {
      session.truncate(PROMPT.length + kept);
      expect(session.length).toBe(PROMPT.length + kept);
      expect(await draw(session, 20 - kept)).toEqual(tokens.slice(kept));
    }
  });

  it("gives other tokens after truncate to another stream", async () => {
    const session = start();
    const tokens = await draw(session, 12);
    session.truncate(PROMPT.length, { stream: 5 });
    expect(session.stream).toBe(5);
    expect(await draw(session, 12)).toEqual(await draw(start({ stream: 5 }), 12));
    session.truncate(PROMPT.length, { stream: 0 });
    expect(await draw(session, 12)).toEqual(tokens);
  });
});

describe("truncate", () => {
  it("brings frontiers down to the last token kept but one", async () => {
    const session = start({ maxPending: 0 });
    await draw(session, 5);
    session.truncate(8);
    expect([session.tokens, session.frontiers]).toEqual([PROMPT.slice(0, 8), [7, 7, 7, 7]]);
    session.truncate(1);
    expect(session.frontiers).toEqual([0, 0, 0, 0]);
    session.truncate(0);
    expect([session.length, session.frontiers]).toEqual([0, [0, 0, 0, 0]]);
    session.append(PROMPT);
    expect(await draw(session, 5)).toEqual(await draw(start(), 5));
  });

  it("does nothing at the present length", async () => {
    const session = start();
    await draw(session, 3);
    const { frontiers, tokens } = session;
    session.truncate(session.length);
    expect([session.frontiers, session.tokens]).toEqual([frontiers, tokens]);
  });
});

describe("fork", () => {
  it("draws the same tokens, and others on another stream", async () => {
    const session = start();
    await draw(session, 5);
    const [same, other] = [session.fork(), session.fork({ stream: 7 })];
    expect([same.seed, same.stream, same.maxTokens]).toEqual([11n, 0, session.maxTokens]);
    expect([same.tokens, same.frontiers]).toEqual([session.tokens, session.frontiers]);
    const tokens = await draw(session, 15);
    expect(await draw(same, 15)).toEqual(tokens);
    expect(await draw(other, 15)).not.toEqual(tokens);
  });

  it("leaves each what it has when the other goes on, is cut or disposed", async () => {
    const session = start(
      {},
      Array.from({ length: 70 }, (_, i) => i),
    );
    await draw(session, 3);
    const before = keysAndValues(model, session.state);
    const other = session.fork({ stream: 1 });
    other.truncate(40);
    other.append([8, 8, 8]);
    await draw(other, 10);
    await other.flush();
    expect(difference(before, keysAndValues(model, session.state))).toBeNull();
    await other.dispose();
    expect(await draw(session, 5)).toEqual(
      (
        await draw(
          start(
            {},
            Array.from({ length: 70 }, (_, i) => i),
          ),
          8,
        )
      ).slice(3),
    );
  });

  it("inherits maxPending and outlives what it was forked from", async () => {
    await opened(leavingAt(1), async (edited) => {
      const session = start({ maxPending: INFINITY }, PROMPT, edited);
      await session.step();
      const other = session.fork();
      await session.dispose();
      for (let i = 0; i < 20; i++) expect((await other.step()).layersRun).toBe(2);
    });
  });
});

describe("stats", () => {
  it("count what a short run did", async () => {
    await opened(leavingAt(1), async (edited) => {
      const session = start({ maxPending: 3 }, PROMPT, edited);
      const nothing = { tokens: 0, layerPasses: 0, weightBytes: 0, rowsRun: 0 };
      expect(session.stats()).toEqual({
        tokens: 0,
        exits: [0, 0, 0, 0],
        layerPasses: 0,
        promptPasses: 0,
        weightBytes: 0,
        rowsRun: 0,
        rowsNeverRun: 0,
        cachedTokens: 0,
        discarded: nothing,
      });
      await session.step();
      // A matrix is padded to 32 rows; f32.
      const matrix = (rows: number, cols: number) => Math.ceil(rows / 32) * 32 * cols * 4;
      const layer =
        matrix(64 + 32 + 32, 64) + matrix(64, 64) + 2 * matrix(172, 64) + matrix(64, 172);
      const router = matrix(40, 64) + matrix(64, 40) + matrix(2, 64);
      const outlet = 2 * matrix(64, 64) + matrix(199, 64);
      expect(session.stats()).toEqual({
        tokens: 1,
        exits: [1, 0, 0, 0],
        layerPasses: 2,
        promptPasses: 0,
        weightBytes: 2 * layer + router + outlet,
        rowsRun: 2 * 10,
        rowsNeverRun: 6 * 10,
        cachedTokens: 0,
        discarded: nothing,
      });
      await draw(session, 3);
      expect(session.stats()).toMatchObject({ layerPasses: 8, rowsRun: 26, rowsNeverRun: 6 * 13 });
      // Overdue: 14 rows through segment 2 in one pass.
      await session.step();
      expect(session.stats()).toMatchObject({
        tokens: 5,
        exits: [5, 0, 0, 0],
        layerPasses: 12,
        promptPasses: 0,
        rowsRun: 26 + 2 + 2 * 14,
        rowsNeverRun: 4 * 14,
      });
      await session.flush();
      expect(session.stats()).toMatchObject({ layerPasses: 16, rowsRun: 8 * 14, rowsNeverRun: 0 });
    });
  });

  it("begin anew in a fork", async () => {
    const session = start();
    await draw(session, 3);
    expect(session.fork().stats()).toMatchObject({ tokens: 0, layerPasses: 0, rowsRun: 0 });
  });
});

describe("calls at the same time", () => {
  it("run in the order they were made", async () => {
    const session = start();
    const order: number[] = [];
    const steps = await Promise.all(
      [0, 1, 2, 3].map(async (i) => {
        const step = await session.step();
        order.push(i);
        return step.token;
      }),
    );
    expect(order).toEqual([0, 1, 2, 3]);
    expect(steps).toEqual(await draw(start(), 4));
  });

  it("let sessions of one model take turns", async () => {
    const sessions = [start({ seed: 1 }), start({ seed: 2 }), start({ seed: 3 })];
    const together = await Promise.all(sessions.map((session) => draw(session, 8)));
    for (const [i, tokens] of together.entries()) {
      expect(await draw(start({ seed: i + 1 }), 8)).toEqual(tokens);
    }
  });

  it("refuse append, truncate, fork and stepSync while one is in flight", async () => {
    const session = start();
    const step = session.step();
    await failure("ERR_NVIUM_BUSY", () => session.append([1]));
    await failure("ERR_NVIUM_BUSY", () => session.truncate(2));
    await failure("ERR_NVIUM_BUSY", () => session.fork());
    await failure("ERR_NVIUM_BUSY", () => session.stepSync());
    expect(session.length).toBe(PROMPT.length);
    await step;
    session.append([1]);
    expect(session.length).toBe(PROMPT.length + 2);
  });

  it("refuse stepSync while any job of the model runs", async () => {
    const [a, b] = [start(), start()];
    const step = a.step();
    for (let i = 0; i < 3; i++) await Promise.resolve();
    await failure("ERR_NVIUM_BUSY", () => b.stepSync());
    await step;
    const laws = model.evaluate(PROMPT);
    await failure("ERR_NVIUM_BUSY", () => b.stepSync());
    await laws;
    expect(b.stepSync()).toEqual(await start().step());
  });

  it("show committed state while one is in flight", async () => {
    const session = start(LONG_LIMITS);
    await session.step();
    const { frontiers, length } = session;
    session.append(LONG);
    const step = session.step();
    await new Promise((resolve) => setImmediate(resolve));
    expect([session.frontiers, session.length]).toEqual([frontiers, length + LONG.length]);
    await step;
    expect(session.length).toBe(length + LONG.length + 1);
  });
});

describe("limits", () => {
  it("refuse a step without a token", async () => {
    const session = model.createSession();
    await failure("ERR_NVIUM_EMPTY", session.step());
    await failure("ERR_NVIUM_EMPTY", () => session.stepSync());
    await failure("ERR_NVIUM_EMPTY", session.decode(3).next());
    session.append([]);
    await failure("ERR_NVIUM_EMPTY", session.step());
    session.append(PROMPT);
    expect((await session.step()).position).toBe(PROMPT.length);
  });

  it("refuse a token too many, before any work", async () => {
    const session = start({ maxTokens: PROMPT.length + 1 });
    expect(session.maxTokens).toBe(PROMPT.length + 1);
    const error = await failure("ERR_NVIUM_CONTEXT_FULL", () => session.append([1, 2]));
    expect(error.details).toEqual({ limit: PROMPT.length + 1, needed: PROMPT.length + 2 });
    expect(session.length).toBe(PROMPT.length);
    await session.step();
    const stats = session.stats();
    await failure("ERR_NVIUM_CONTEXT_FULL", session.step());
    await failure("ERR_NVIUM_CONTEXT_FULL", () => session.stepSync());
    expect(session.stats()).toEqual(stats);
    session.truncate(PROMPT.length);
    expect((await session.step()).position).toBe(PROMPT.length);
  });

  it("name extendContext where maxTokens is past the model's context", async () => {
    const { message } = await failure("ERR_NVIUM_INVALID_ARG", () =>
      model.createSession({ maxTokens: model.info.contextLength + 1 }),
    );
    expect(message).toContain("extendContext");
  });

  it("let a session past the model's context only when asked", async () => {
    const limit = model.info.contextLength;
    expect(model.createSession().maxTokens).toBe(limit);
    await refuses("maxTokens", () => model.createSession({ maxTokens: limit + 1 }));
    const session = model.createSession({ maxTokens: limit + 1, extendContext: true });
    expect(session.fork().maxTokens).toBe(limit + 1);
  });
});

describe("a wrong argument is named", () => {
  // Callers without types.
  // biome-ignore lint/suspicious/noExplicitAny: that is the point
  const wild = (value: unknown) => value as any;

  it.each([
    ["seed", -1],
    ["seed", 1.5],
    ["seed", 2 ** 53],
    ["seed", -1n],
    ["seed", 1n << 64n],
    ["seed", "one"],
    ["seed", null],
    ["stream", -1],
    ["stream", 2 ** 32],
    ["stream", "0"],
    ["maxTokens", 0],
    ["maxTokens", 1.5],
    ["maxTokens", Number.NaN],
    ["maxPending", -1],
    ["maxPending", 0.5],
    ["maxPending", "15"],
    ["maxPending", Number.NaN],
    ["extendContext", 1],
  ])("createSession({ %s: %s })", async (name, value) => {
    await refuses(name, () => model.createSession(wild({ [name]: value })));
  });

  it.each([
    ["temperature", -1],
    ["temperature", Number.NaN],
    ["temperature", INFINITY],
    ["temperature", 1e-7],
    ["temperature", "1"],
    ["topK", 0],
    ["topK", 1.5],
    ["topK", "5"],
    ["routerTemperature", -1],
    ["routerTemperature", null],
    ["router", "random"],
    ["router", 1],
    ["greedy", 1],
    ["greedy", "yes"],
    ["force", -1],
    ["force", 199],
    ["force", 0.5],
    ["force", "3"],
    ["signal", {}],
    ["signal", null],
  ])("step({ %s: %s })", async (name, value) => {
    const session = start();
    await refuses(name, session.step(wild({ [name]: value })));
    await refuses(name, () => session.stepSync(wild({ [name]: value })));
    if (name === "signal") await refuses(name, session.flush(wild({ [name]: value })));
    if (name !== "force") {
      await refuses(name, () => session.decode(1, wild({ [name]: value })));
    }
    expect(session.length).toBe(PROMPT.length);
    await session.dispose();
  });

  it("contradictions: greedy with a temperature", async () => {
    const session = start();
    await refuses("temperature", session.step({ greedy: true, temperature: 1 }));
    await refuses("routerTemperature", session.step({ router: "greedy", routerTemperature: 1 }));
  });

  it.each([[-1], [199], [1.5], ["a"], [null], [undefined]])("append([5, %s])", async (token) => {
    const session = start();
    await refuses("tokens[1]", () => session.append(wild([5, token])));
    expect(session.tokens).toEqual(PROMPT);
  });

  it.each([5, null, undefined, "text", {}])("append(%s)", async (tokens) => {
    const session = start();
    await refuses("tokens", () => session.append(wild(tokens)));
  });

  it("options that are no object", async () => {
    const session = start();
    for (const options of [null, 5, "x"]) {
      await refuses("options", () => model.createSession(wild(options)));
      await refuses("options", session.step(wild(options)));
      await refuses("options", () => session.stepSync(wild(options)));
      await refuses("options", () => session.decode(1, wild(options)));
      await refuses("options", session.flush(wild(options)));
      await refuses("options", () => session.truncate(1, wild(options)));
      await refuses("options", () => session.fork(wild(options)));
    }
  });

  it("truncate and fork", async () => {
    const session = start();
    for (const length of [-1, 0.5, PROMPT.length + 1, "1"]) {
      await refuses("length", () => session.truncate(wild(length)));
    }
    await refuses("stream", () => session.truncate(3, { stream: -1 }));
    await refuses("stream", () => session.fork(wild({ stream: "1" })));
    expect([session.length, session.stream]).toEqual([PROMPT.length, 0]);
  });
});

describe("dispose", () => {
  it("gives every block back, once", async () => {
    // A model of its own: sessions that other tests forgot may be collected at any moment.
    const own = await loadModel(fixture("quadrivium-gqa-f32"), { threads: 1, prefixShare: 0 });
    const used = () => [
      own.core.scheduler.memory.pools.cache.used,
      own.core.scheduler.memory.pools.boundary.used,
    ];
    const before = used();
    const session = own.createSession({ seed: 1 });
    session.append(PROMPT);
    await draw(session, 5);
    const other = session.fork();
    await draw(other, 3);
    expect(used()).not.toEqual(before);
    await Promise.all([session.dispose(), session.dispose(), other[Symbol.asyncDispose]()]);
    await session.dispose();
    expect(used()).toEqual(before);
    await own.dispose();
  });

  it("waits for the call in flight and refuses those behind it", async () => {
    const session = start(LONG_LIMITS, LONG);
    const first = session.step();
    const second = failure("ERR_NVIUM_DISPOSED", session.step());
    await new Promise((resolve) => setImmediate(resolve));
    let ended = false;
    const disposed = session.dispose().then(() => expect(ended).toBe(true));
    expect((await first).position).toBe(LONG.length);
    ended = true;
    await second;
    await disposed;
  });

  it("makes every later call fail, and getters show nothing", async () => {
    const session = start();
    await session.step();
    await session.dispose();
    await failure("ERR_NVIUM_DISPOSED", session.step());
    await failure("ERR_NVIUM_DISPOSED", session.flush());
    await failure("ERR_NVIUM_DISPOSED", session.decode(1).next());
    await failure("ERR_NVIUM_DISPOSED", () => session.stepSync());
    await failure("ERR_NVIUM_DISPOSED", () => session.append([1]));
    await failure("ERR_NVIUM_DISPOSED", () => session.truncate(0));
    await failure("ERR_NVIUM_DISPOSED", () => session.fork());
    expect([session.length, session.tokens, session.frontiers]).toEqual([0, [], [0, 0, 0, 0]]);
    expect(session.seed).toBe(11n);
  });
});

describe("an abort", () => {
  it("before the start rejects with the signal's reason and changes nothing", async () => {
    const session = start();
    for (const reason of [new Error("enough"), "enough", 0, null]) {
      const signal = AbortSignal.abort(reason);
      await expect(session.step({ signal })).rejects.toBe(reason);
      await expect(session.flush({ signal })).rejects.toBe(reason);
      await expect(session.decode(2, { signal }).next()).rejects.toBe(reason);
      expect(() => session.stepSync({ signal })).toThrow();
    }
    expect([session.tokens, session.frontiers]).toEqual([PROMPT, [0, 0, 0, 0]]);
    expect(await draw(session, 5)).toEqual(await draw(start(), 5));
  });

  it("of a call that waits lets the one in flight end", async () => {
    const session = start();
    const controller = new AbortController();
    const first = session.step();
    const second = session.step({ signal: controller.signal });
    controller.abort("enough");
    await expect(second).rejects.toBe("enough");
    expect((await first).position).toBe(PROMPT.length);
    expect(session.length).toBe(PROMPT.length + 1);
  });

  describe("during a long prompt", () => {
    const tokens = Array.from({ length: 900 }, (_, i) => (i * 37) % 4096);
    let demo: Model;
    let expected: Step[];
    beforeAll(async () => {
      // The widest instructions are quick; the portable ones leave time for an abort.
      demo = await loadModel(DEMO, { threads: 1, prefixShare: 0 });
      const session = start({}, tokens, demo);
      expected = [await session.step(), await session.step()];
      await demo.dispose();
      demo = await loadModel(DEMO, { threads: 1, prefixShare: 0, instructionSet: "portable" });
    }, 60_000);
    afterAll(async () => {
      await demo.dispose();
    });

    it.each(["step", "flush", "decode"] as const)(
      "ends %s with the signal's reason",
      async (call) => {
        const session = start({}, tokens, demo);
        const controller = new AbortController();
        const { signal } = controller;
        const work = {
          step: () => session.step({ signal }),
          flush: () => session.flush({ signal }),
          decode: () => session.decode(5, { signal }).next(),
        }[call]();
        // Late enough to have begun on a busy machine, early in what takes seconds.
        setTimeout(() => controller.abort("enough"), 150);
        await expect(work).rejects.toBe("enough");
        expect(session.tokens).toEqual(tokens);
        const { frontiers } = session;
        expect(frontiers[0]).toBeGreaterThan(0);
        expect(frontiers[3]).toBeLessThan(899);
        for (const [m, f] of frontiers.entries())
          expect(f).toBeLessThanOrEqual(frontiers[m - 1] ?? 899);
        expect(
          [await session.step(), await session.step()].map(({ token, exit }) => [token, exit]),
        ).toEqual(expected.map(({ token, exit }) => [token, exit]));
        await session.dispose();
      },
    );

    it("again and again still comes to the same tokens", async () => {
      const session = start({}, tokens, demo);
      let aborts = 0;
      let step: Step | undefined;
      for (let delay = 5; step === undefined; delay *= 1.5) {
        const signal = AbortSignal.timeout(Math.round(delay));
        step = await session.step({ signal }).catch((reason: unknown) => {
          expect(reason).toBe(signal.reason);
          aborts++;
          return undefined;
        });
      }
      expect(aborts).toBeGreaterThan(0);
      expect([step.token, step.exit]).toEqual([expected[0]?.token, expected[0]?.exit]);
      await session.dispose();
    });
  });
});

describe("values that are not finite", () => {
  const POISON = 77;

  it("fail the call, move no frontier and leave zeroes where they were written", async () => {
    await opened(poisonedBy(POISON, 0), async (edited) => {
      const session = start({}, PROMPT, edited);
      await session.flush();
      const { frontiers } = session;
      const computed = keysAndValues(edited, session.state);
      session.append([POISON, 8]);
      const error = await failure("ERR_NVIUM_NON_FINITE", session.step());
      expect(error.details).toEqual({ where: "segment 1" });
      expect([session.tokens, session.frontiers]).toEqual([[...PROMPT, POISON, 8], frontiers]);
      await failure("ERR_NVIUM_NON_FINITE", () => session.stepSync());
      await failure("ERR_NVIUM_NON_FINITE", session.flush());
      expect(session.frontiers).toEqual(frontiers);
      expect(difference(computed, keysAndValues(edited, session.state))).toBeNull();
      const end = PROMPT.length + 2;
      const all = keysAndValues(edited, session.state, [end, end, end, end]);
      for (const layer of all.layers) {
        const written = layer.subarray((PROMPT.length - 1) * all.slotBytes);
        expect(written.some((byte) => byte !== 0)).toBe(false);
      }
    });
  });

  it("leave this session and others usable", async () => {
    await opened(poisonedBy(POISON, 0), async (edited) => {
      const [session, other] = [start({}, PROMPT, edited), start({}, PROMPT, edited)];
      const before = session.fork();
      session.append([POISON]);
      await failure("ERR_NVIUM_NON_FINITE", session.step());
      const tokens = await draw(start({}, PROMPT, edited), 8);
      session.truncate(PROMPT.length);
      for (const usable of [session, other, before]) expect(await draw(usable, 8)).toEqual(tokens);
    });
  });

  it("above the first segment keep what was computed below", async () => {
    await opened(poisonedBy(POISON, 3), async (edited) => {
      const session = start({}, [...PROMPT, POISON, 8, 9], edited);
      const error = await failure("ERR_NVIUM_NON_FINITE", session.flush());
      expect(error.details).toEqual({ where: "segment 2" });
      expect(session.frontiers).toEqual([PROMPT.length + 2, 0, 0, 0]);
      const all = keysAndValues(edited, session.state, new Array(4).fill(PROMPT.length + 2));
      for (const [m, [begin, end]] of segmentLayers(edited).entries()) {
        for (const layer of all.layers.slice(begin, end)) {
          expect(layer.some((byte) => byte !== 0)).toBe(m === 0);
        }
      }
      session.truncate(PROMPT.length);
      await session.flush();
      expect(await draw(session, 5)).toEqual(await draw(start({}, PROMPT, edited), 5));
    });
  });

  it("in a head leave the last token waiting", async () => {
    await opened(brokenHead(), async (edited) => {
      const session = start({}, PROMPT, edited);
      const failures: unknown[] = [];
      let steps = 0;
      for (let stream = 0; stream < 12; stream++) {
        session.truncate(PROMPT.length, { stream });
        const step = await session.step().catch((error: unknown) => {
          failures.push(error);
        });
        if (step) {
          expect(step.exit).toBeGreaterThan(1);
          steps++;
        } else {
          expect(session.length).toBe(PROMPT.length);
          expect(session.frontiers[0]).toBe(PROMPT.length - 1);
        }
      }
      expect([failures.length > 0, steps > 0]).toEqual([true, true]);
      for (const error of failures) {
        expect(error).toBeInstanceOf(NviumError);
        expect(error).toMatchObject({ code: "ERR_NVIUM_NON_FINITE", details: { where: "head 1" } });
      }
      await session.flush();
    });
  });
});
