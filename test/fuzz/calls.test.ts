/**
 * Calls of the API at random, with arguments right and wrong, several at once: what is refused is refused with a typed
 * error or the signal's own reason, and the model draws what it would have drawn.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { loadModel, type Model, NviumError, type Session } from "../../lib/index.js";
import { fixture } from "../support/expected.js";
import type { Random } from "../support/random.js";
import { fuzz, TIMEOUT } from "./settings.js";

const REASON = new Error("the signal's own reason");

/** What nobody should pass. Each is made anew: some are changed by being used. */
const WRONG: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => -1,
  () => 1.5,
  () => Number.NaN,
  () => Number.POSITIVE_INFINITY,
  () => 2 ** 53,
  () => 10n ** 30n,
  () => -1n,
  () => "",
  () => "seven",
  () => true,
  () => Symbol("symbol"),
  () => ({}),
  () => Object.create(null),
  () => [],
  () => [1, "2", 3],
  () => [[]],
  () => () => 3,
  () => new Date(Number.NaN),
  () => ({ length: 3 }),
  () => new Map([[1, 2]]),
  () => ({ toString: () => ({}) }),
];

const FIELDS = [
  "seed",
  "stream",
  "maxTokens",
  "extendContext",
  "maxPending",
  "temperature",
  "topK",
  "greedy",
  "routerTemperature",
  "router",
  "force",
  "signal",
  "stopTokens",
  "exitLogits",
  "mixture",
  "maxNewTokens",
  "stop",
  "eosTokens",
  "unheardOf",
];

const RIGHT: Readonly<Record<string, readonly unknown[]>> = {
  seed: [1, 2n],
  stream: [0, 7],
  maxTokens: [50, 120],
  maxPending: [0, 3, Number.POSITIVE_INFINITY],
  temperature: [0, 0.5, 1],
  topK: [1, 5, 10_000],
  greedy: [true, false],
  routerTemperature: [0, 2],
  router: ["sample", "greedy"],
  stopTokens: [[1, 2]],
  mixture: [true],
  maxNewTokens: [0, 3],
  eosTokens: [[0]],
};

let model: Model;
let other: Model;
let expected: string;
beforeAll(async () => {
  const directory = fixture("quadrivium-gqa-f32");
  model = await loadModel(directory, { threads: 1, prefixShare: 0 });
  other = await loadModel(directory, { threads: 1, prefixShare: 0 });
  expected = await story(other);
});
afterAll(async () => {
  await model.dispose();
  await other.dispose();
});

async function story(of: Model): Promise<string> {
  const session = of.createSession({ seed: 4 });
  session.append([3, 1, 4, 1, 5, 9, 2, 6]);
  for await (const _ of session.decode(20));
  const { exitProbs } = await of.evaluate(session.tokens);
  await session.dispose();
  return [...session.tokens, ...new Uint32Array(exitProbs.buffer)].join(" ");
}

function argument(choose: Random, right: () => unknown): unknown {
  return choose.once(4) ? choose.pick(WRONG)() : right();
}

function optionsOf(choose: Random, aborts: AbortController[]): unknown {
  const { below, once, pick } = choose;
  if (once(12)) return pick(WRONG)();
  const options: Record<string, unknown> = {};
  for (let i = below(4); i > 0; i--) {
    const field = pick(FIELDS);
    const right = RIGHT[field];
    options[field] = right !== undefined && !once(3) ? pick(right) : pick(WRONG)();
  }
  if (once(4)) {
    const controller = new AbortController();
    if (once(3)) controller.abort(REASON);
    else aborts.push(controller);
    options.signal = controller.signal;
  }
  return options;
}

type Call = (...given: unknown[]) => unknown;

/** A method by name, for arguments its type would refuse. */
const method = (of: object, name: string): Call => (Reflect.get(of, name) as Call).bind(of);

it("calls at random", { timeout: TIMEOUT }, async () => {
  const seen = new Map<string, number>();
  const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
  /** Waits for what a call gives, to its end. */
  const settle = async (call: () => unknown) => {
    try {
      const result = call();
      if (result !== null && typeof result === "object" && Symbol.asyncIterator in result) {
        let most = 40;
        for await (const _ of result as AsyncIterable<unknown>) if (--most === 0) break;
      } else await result;
      count("done");
    } catch (error) {
      if (error === REASON) return count("aborted");
      if (!(error instanceof NviumError)) throw error;
      expect(error.code).not.toBe("ERR_NVIUM_INTERNAL");
      expect(error.code).not.toBe("ERR_NVIUM_OUT_OF_MEMORY");
      count(error.code);
    }
  };

  await fuzz(300, async (choose) => {
    const { below, pick, once } = choose;
    const sessions: Session[] = [];
    const aborts: AbortController[] = [];
    const running: Promise<unknown>[] = [];
    const options = () => optionsOf(choose, aborts);
    const tokens = () => argument(choose, () => Array.from({ length: below(60) }, () => below(30)));
    const number = (most: number) => argument(choose, () => below(most));
    for (let i = 0; i < 40; i++) {
      const session = sessions.length === 0 ? undefined : pick(sessions);
      const call = pick<() => unknown>([
        () => {
          const given = once(2) ? [] : [options()];
          const made = method(model, "createSession")(...given) as Session;
          sessions.push(made);
        },
        () => session && method(session, "append")(tokens()),
        () => session && method(session, "append")(tokens()),
        () => session && method(session, "step")(options()),
        () => session && method(session, "step")(),
        () => session && method(session, "stepSync")(options()),
        () => session && method(session, "decode")(number(12), options()),
        () => session && method(session, "flush")(options()),
        () => session && method(session, "truncate")(number(20), options()),
        () => {
          if (session) sessions.push(method(session, "fork")(options()) as Session);
        },
        () => method(model, "evaluate")(tokens(), options()),
        () => method(method(model, "generate")(tokens(), options()) as object, "result")(),
        () => session && [session.tokens, session.frontiers, session.stats(), session.length],
        () => model.info.memory,
        () => once(4) && session?.dispose(),
        () => method(model, "decode")(tokens()),
        () => method(model, "encode")(argument(choose, () => "text")),
        () => aborts.pop()?.abort(REASON),
      ]);
      const settled = settle(call);
      running.push(settled);
      if (once(3)) await settled;
    }
    for (const controller of aborts) if (once(2)) controller.abort(REASON);
    await Promise.all(running);
    for (const session of sessions) {
      const { length, frontiers } = session;
      let bound = Math.max(length - 1, 0);
      for (const frontier of frontiers) {
        expect(frontier).toBeLessThanOrEqual(bound);
        bound = frontier;
      }
    }
    if (once(4)) expect(await story(model)).toBe(expected);
    await Promise.all(sessions.map((session) => session.dispose()));
    const { cache, boundary } = model.core.scheduler.memory.pools;
    expect([cache.used, boundary.used]).toEqual([0, 0]);
  });
  expect(await story(model)).toBe(expected);
  // Everything must have come about, or the calls would not be as varied as they should.
  for (const what of ["done", "aborted", "ERR_NVIUM_INVALID_ARG", "ERR_NVIUM_BUSY"]) {
    expect(seen.get(what) ?? 0, what).toBeGreaterThan(10);
  }
});

it("loadModel with arguments at random", { timeout: TIMEOUT }, async () => {
  await fuzz(60, async (choose) => {
    const names = ["device", "threads", "placeThreads", "instructionSet", "onProgress", "signal"];
    const options = Object.fromEntries(
      Array.from({ length: choose.below(3) }, () => [choose.pick(names), choose.pick(WRONG)()]),
    );
    const directory = argument(choose, () => fixture("quadrivium-gqa-f32"));
    try {
      const load = loadModel as unknown as (...given: unknown[]) => Promise<Model>;
      const made = await load(directory, choose.once(8) ? choose.pick(WRONG)() : options);
      await made.dispose();
    } catch (error) {
      if (!(error instanceof NviumError)) throw error;
      expect(error.code).toMatch(/^ERR_NVIUM_(INVALID_ARG|IO|MODEL_FORMAT)$/);
    }
  });
});

// Found by the calls above: it was a TypeError.
it.each([() => Object.create(null), () => ({ toString: () => ({}) })])(
  "refuses what has no text of its own by the argument's name",
  async (make) => {
    const error: unknown = await model.evaluate(make() as number[]).catch((reason) => reason);
    expect(error).toBeInstanceOf(NviumError);
    expect(error).toMatchObject({ code: "ERR_NVIUM_INVALID_ARG", details: { argument: "tokens" } });
  },
);
