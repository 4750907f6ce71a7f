/** decode(): the same steps, several a call; who owns the session meanwhile, and what is left when the loop is left. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type DecodeOptions,
  loadModel,
  type Model,
  type Session,
  type SessionOptions,
  type Step,
} from "../lib/index.js";
import { failure, refuses } from "./support/errors.js";
import { fixture } from "./support/expected.js";
import { difference, keysAndValues } from "./support/kv.js";

const PROMPT = [60, 8, 196, 159, 9];

let model: Model;
beforeAll(async () => {
  model = await loadModel(fixture("quadrivium-gqa-f32"), { threads: 1, prefixShare: 0 });
});
afterAll(async () => {
  await model.dispose();
});

function start(options: SessionOptions = {}): Session {
  const session = model.createSession({ seed: 5, ...options });
  session.append(PROMPT);
  return session;
}

async function stepwise(session: Session, count: number): Promise<Step[]> {
  const steps: Step[] = [];
  for (let i = 0; i < count; i++) steps.push(await session.step());
  return steps;
}

async function all(session: Session, count: number, options?: DecodeOptions): Promise<Step[]> {
  const steps: Step[] = [];
  for await (const step of session.decode(count, options)) steps.push(step);
  return steps;
}

/** How often the native side is called while `work` runs. */
async function nativeSteps(work: () => Promise<unknown>): Promise<number> {
  const { native } = model.core;
  const { run } = native;
  let calls = 0;
  const counted: typeof run = (call) => {
    calls++;
    return run.call(native, call);
  };
  Object.defineProperty(native, "run", { value: counted, configurable: true });
  try {
    await work();
  } finally {
    Reflect.deleteProperty(native, "run");
  }
  return calls;
}

describe("decode", () => {
  it.each([0, 1, 3, 100])("gives the same %i steps as step()", async (count) => {
    const [a, b] = [start(), start()];
    expect(await all(a, count)).toEqual(await stepwise(b, count));
    expect([a.tokens, a.frontiers]).toEqual([b.tokens, b.frontiers]);
    const { layerPasses: _, weightBytes: __, ...stats } = a.stats();
    expect(b.stats()).toMatchObject(stats);
  });

  it("asks the native side once for several tokens", async () => {
    const session = start();
    const calls = await nativeSteps(() => all(session, 30));
    expect(session.length).toBe(PROMPT.length + 30);
    expect(calls).toBeLessThan(15);
  });

  it("does nothing before the first next()", async () => {
    const session = start();
    const steps = session.decode(3);
    session.append([1]);
    await session.step();
    session.truncate(PROMPT.length);
    expect(await steps.next()).toEqual({ done: false, value: (await stepwise(start(), 1))[0] });
    await steps.return();
  });

  it("hands out a stop token, last", async () => {
    const drawn = (await stepwise(start(), 20)).map(({ token }) => token);
    const stop = drawn[11] as number;
    const end = drawn.indexOf(stop) + 1;
    const session = start();
    const steps = await all(session, 20, { stopTokens: new Set([stop]) });
    expect(steps.map(({ token }) => token)).toEqual(drawn.slice(0, end));
    expect(session.tokens).toEqual([...PROMPT, ...drawn.slice(0, end)]);
  });

  it("can be done again and goes on where it ended", async () => {
    const session = start();
    const steps = [...(await all(session, 7)), ...(await all(session, 9))];
    expect(steps).toEqual(await stepwise(start(), 16));
  });
});

describe("a loop that is left early", () => {
  it.each([1, 2, 5])("keeps the %i tokens handed out and no more", async (handed) => {
    const session = start();
    for await (const { position } of session.decode(50)) {
      if (position === PROMPT.length + handed - 1) break;
    }
    const expected = await stepwise(start(), 20);
    expect(session.tokens).toEqual([...PROMPT, ...expected.slice(0, handed).map((s) => s.token)]);
    for (const f of session.frontiers) expect(f).toBeLessThan(session.length);
    expect(session.stats()).toMatchObject({ tokens: handed });
    expect(session.stats().exits.reduce((a, b) => a + b)).toBe(handed);
    expect((await stepwise(session, 5)).map(({ token }) => token)).toEqual(
      expected.slice(handed, handed + 5).map(({ token }) => token),
    );
    await session.flush();
    const other = start();
    await stepwise(other, handed + 5);
    await other.flush();
    expect(
      difference(keysAndValues(model, session.state), keysAndValues(model, other.state)),
    ).toBeNull();
  });

  it("by an exception of its body is left all the same", async () => {
    const session = start();
    const loop = async () => {
      for await (const _ of session.decode(50)) throw new Error("enough");
    };
    await expect(loop()).rejects.toThrow("enough");
    expect(session.length).toBe(PROMPT.length + 1);
    session.append([1]);
  });
});

describe("while an iterator owns the session", () => {
  it("all but getters and dispose is refused, until it ends", async () => {
    const session = start();
    const steps = session.decode(10);
    await steps.next();
    await failure("ERR_NVIUM_BUSY", session.step());
    await failure("ERR_NVIUM_BUSY", session.flush());
    await failure("ERR_NVIUM_BUSY", session.decode(1).next());
    await failure("ERR_NVIUM_BUSY", () => session.stepSync());
    await failure("ERR_NVIUM_BUSY", () => session.append([1]));
    await failure("ERR_NVIUM_BUSY", () => session.truncate(1));
    await failure("ERR_NVIUM_BUSY", () => session.fork());
    expect((await steps.next()).done).toBe(false);
    await steps.return();
    expect((await session.step()).position).toBe(PROMPT.length + 2);
  });

  it("getters count the tokens handed out", async () => {
    const session = start({ maxPending: 0 });
    let handed = 0;
    for await (const { token, position } of session.decode(10)) {
      handed++;
      expect(position).toBe(PROMPT.length + handed - 1);
      expect(session.length).toBe(PROMPT.length + handed);
      expect(session.tokens.length).toBe(session.length);
      expect(session.tokens.at(-1)).toBe(token);
      expect(session.frontiers).toEqual(new Array(4).fill(session.length - 1));
      expect(session.stats().rowsNeverRun).toBe(0);
    }
    expect(handed).toBe(10);
  });

  it("another session of the model goes on", async () => {
    const other = start({ seed: 6 });
    const drawn: Step[] = [];
    for await (const _ of start().decode(5)) drawn.push(await other.step());
    expect(drawn).toEqual(await stepwise(start({ seed: 6 }), 5));
  });

  it("dispose ends it with an error", async () => {
    const session = start();
    const steps = session.decode(10);
    await steps.next();
    await session.dispose();
    await failure("ERR_NVIUM_DISPOSED", steps.next());
    expect((await steps.next()).done).toBe(true);
  });

  it("dispose waits for its call in flight", async () => {
    const session = start({ extendContext: true, maxTokens: 10_000 });
    // So many that the call is under way for some time.
    session.append(new Array(6000).fill(9));
    const next = failure("ERR_NVIUM_DISPOSED", session.decode(10).next());
    await Promise.resolve(); // the call has begun
    await session.dispose();
    await next;
    expect(session.state.cache).toEqual([]);
  });
});

describe("an error", () => {
  it("arrives after the tokens drawn before it: the context is full", async () => {
    const session = start({ maxTokens: PROMPT.length + 6 });
    const steps: Step[] = [];
    const loop = async () => {
      for await (const step of session.decode(10)) steps.push(step);
    };
    const error = await failure("ERR_NVIUM_CONTEXT_FULL", loop());
    expect(error.details).toEqual({ limit: PROMPT.length + 6, needed: PROMPT.length + 7 });
    expect(steps).toEqual(await stepwise(start(), 6));
    expect(session.length).toBe(PROMPT.length + 6);
    session.truncate(3);
    expect((await session.step()).position).toBe(3);
  });

  it("of the signal ends it, with the tokens handed out kept", async () => {
    const session = start();
    const controller = new AbortController();
    let handed = 0;
    const loop = async () => {
      for await (const _ of session.decode(400, { signal: controller.signal })) {
        if (++handed === 5) controller.abort("enough");
      }
    };
    await expect(loop()).rejects.toBe("enough");
    expect(session.length).toBe(PROMPT.length + handed);
    const expected = await stepwise(start(), handed + 2);
    expect(session.tokens.slice(PROMPT.length)).toEqual(
      expected.slice(0, handed).map(({ token }) => token),
    );
    expect((await stepwise(session, 2)).map(({ token }) => token)).toEqual(
      expected.slice(handed).map(({ token }) => token),
    );
  });
});

describe("force", () => {
  it("is asked before each step and may replace what is drawn", async () => {
    const session = start();
    const asked: number[] = [];
    const steps = await all(session, 6, {
      force: (position) => {
        asked.push(position);
        return position % 2 === 0 ? position : undefined;
      },
    });
    expect(asked).toEqual([5, 6, 7, 8, 9, 10]);
    const other = start();
    for (const [i, step] of steps.entries()) {
      const position = PROMPT.length + i;
      expect(await other.step(position % 2 === 0 ? { force: position } : {})).toEqual(step);
    }
  });

  it("makes every token a call of its own", async () => {
    const calls = await nativeSteps(() => all(start(), 6, { force: () => undefined }));
    expect(calls).toBe(6);
  });

  it("that throws or gives no token ends the loop and leaves the session usable", async () => {
    const session = start();
    const thrown = new Error("no more");
    const throwing = all(session, 6, {
      force: (position) => {
        if (position === 7) throw thrown;
        return undefined;
      },
    });
    await expect(throwing).rejects.toBe(thrown);
    expect(session.length).toBe(7);
    await refuses("force", all(session, 1, { force: () => 199 }));
    expect((await session.step()).position).toBe(7);
  });
});

describe("a wrong argument is named", () => {
  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, "3", undefined])(
    "decode(%s)",
    async (count) => {
      await refuses("count", () => start().decode(count as number));
    },
  );

  it.each([
    ["stopTokens", 5],
    ["stopTokens", null],
    ["stopTokens[1]", [4, 199]],
    ["stopTokens[0]", ["a"]],
    ["force", 5],
  ])("decode(1, { %s: %s })", async (argument, value) => {
    const [name = ""] = argument.split("[");
    await refuses(argument, () => start().decode(1, { [name]: value } as DecodeOptions));
  });
});
