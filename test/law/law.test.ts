/**
 * The law of the draws, end to end: tokens and exits that sessions drew after fixed texts against this build's own
 * `evaluate()`. (That `evaluate()` is right is parity's to test, and a million draws over prepared logits are
 * test/native/law.) The same tests are run on samplers that are wrong on purpose, and must refuse them.
 *
 * NVIUM_LAW_FACTOR asks for so many times the draws, NVIUM_LAW_VERBOSE for the p-values.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model, type Session, type StepOptions } from "../../lib/index.js";
import { DEMO, fixture, readTensors } from "../support/expected.js";
import {
  followers,
  judge,
  judgePairs,
  type Law,
  lawAfter,
  type Outcome,
  type Temperatures,
  type Verdict,
} from "./laws.js";
import { createSampler, type Mutant, words } from "./sampler.js";
import { ALPHA, binsOf, chiSquareTail } from "./statistics.js";

/** Every draw of this file: one of these seeds and one of these streams. 20,000 draws a case. */
const SEEDS = Array.from({ length: 20 * Number(process.env.NVIUM_LAW_FACTOR ?? 1) }, (_, i) => i);
const STREAMS = Array.from({ length: 1000 }, (_, i) => i);
const DRAWS = SEEDS.length * STREAMS.length;

/** Tokens of the text drawn after, and how many of them are made to look generated where rows are to be pending. */
const PREFIX = 12;
const GENERATED = 6;

const TIMEOUT = 60_000 * (DRAWS / 2000);

/** The first tokens of the longest of the expected outputs' inputs. */
function prefixOf(name: string): number[] {
  const tensors = readTensors(
    `${name === "demo" ? "test/demo" : fixture(name)}/expected.safetensors`,
  );
  const inputs = [...tensors].filter(([key]) => key.startsWith("tokens.")).map(([, t]) => [...t]);
  return inputs.reduce((a, b) => (a.length < b.length ? b : a)).slice(0, PREFIX);
}

/** Draws where nothing is deferred, one token or two in a row: the session goes back, and on with the next stream. */
async function drawsAfterFlush(
  model: Model,
  prefix: readonly number[],
  {
    pairs = false,
    options = {},
    seeds = SEEDS,
  }: { pairs?: boolean; options?: StepOptions; seeds?: readonly number[] } = {},
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const seed of seeds) {
    const session = model.createSession({ seed });
    session.append(prefix);
    await session.flush();
    for (const stream of STREAMS) {
      session.truncate(prefix.length, { stream });
      expectDeferred(session, 0);
      const { exit, token } = session.stepSync(options);
      outcomes.push(
        pairs ? { exit, token, next: session.stepSync(options).token } : { exit, token },
      );
    }
    await session.dispose();
  }
  return outcomes;
}

const deferred = ({ frontiers }: Session) =>
  (frontiers[0] as number) - (frontiers.at(-1) as number);

function expectDeferred(session: Session, rows: number): void {
  // Cheaper than an expectation, which is only wanted where it fails.
  if (deferred(session) !== rows) expect(deferred(session)).toBe(rows);
}

/**
 * Draws with rows pending: each from a fork of one session, so that it finds the same ones. `later` thousand streams further
 * than the draws without deferral, which they would otherwise be again, bit for bit.
 */
async function drawsFromForks(
  later: number,
  prepare: (seed: number) => Promise<Session>,
  check: (layersRun: number) => void = () => {},
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const seed of SEEDS) {
    const base = await prepare(seed);
    for (const stream of STREAMS) {
      const session = base.fork({ stream: stream + later * STREAMS.length });
      const { exit, token, layersRun } = session.stepSync();
      check(layersRun);
      outcomes.push({ exit, token });
      await session.dispose();
    }
    await base.dispose();
  }
  return outcomes;
}

/** The prefix with its last tokens forced, on the first stream that leaves the session as wanted. */
async function pendingSession(
  model: Model,
  prefix: readonly number[],
  options: { seed: number; maxPending: number },
  wanted: (session: Session) => boolean,
): Promise<Session> {
  const session = model.createSession(options);
  session.append(prefix.slice(0, -GENERATED));
  await session.flush();
  for (const stream of STREAMS) {
    session.truncate(prefix.length - GENERATED, { stream });
    for (const force of prefix.slice(-GENERATED)) session.stepSync({ force });
    if (wanted(session)) return session;
  }
  throw new Error("No stream leaves rows pending as wanted");
}

function expectLaw(name: string, verdict: Verdict): void {
  for (const [test, p] of Object.entries(verdict)) {
    expect(p, `p-value of ${test}, ${name}, ${DRAWS} draws`).toBeGreaterThan(ALPHA);
  }
  if (process.env.NVIUM_LAW_VERBOSE !== undefined) console.log(name, verdict);
}

interface Case {
  readonly name: string;
  /** First tokens told apart in the test of pairs: each asks for an evaluation. */
  readonly firsts?: number;
}

const CASES: readonly Case[] = [
  { name: "quadrivium-gqa-f32" },
  { name: "bivium-router-temp-f32" },
  { name: "trivium-sharded-f16" },
  { name: "dense-baseline-f32" },
  { name: "demo", firsts: 64 },
];

describe.each(CASES)("$name", ({ name, firsts }) => {
  const prefix = prefixOf(name);
  let model: Model;
  let law: Law;
  beforeAll(async () => {
    model = await loadModel(name === "demo" ? DEMO : fixture(name), { threads: 1 });
    law = await lawAfter(model, prefix);
  });
  afterAll(() => model.dispose());

  it("draws exits, tokens and pairs of tokens by the mixture", { timeout: TIMEOUT }, async () => {
    const outcomes = await drawsAfterFlush(model, prefix, { pairs: true });
    const pair = judgePairs(law, await followers(model, prefix, law, firsts), outcomes);
    expectLaw(`${name}, nothing pending`, { ...judge(law, outcomes), pair });
  });

  it.skipIf(name === "dense-baseline-f32")(
    "draws by the same law with generated rows pending",
    { timeout: TIMEOUT },
    async () => {
      const waiting = (session: Session) => deferred(session) >= 2;
      const outcomes = await drawsFromForks(1, (seed) =>
        pendingSession(model, prefix, { seed, maxPending: Number.POSITIVE_INFINITY }, waiting),
      );
      expectLaw(`${name}, rows pending`, judge(law, outcomes));
    },
  );
});

describe("quadrivium-gqa-f32", () => {
  const prefix = prefixOf("quadrivium-gqa-f32");
  let model: Model;
  let law: Law;
  let after: Map<number, Law>;
  beforeAll(async () => {
    model = await loadModel(fixture("quadrivium-gqa-f32"), { threads: 1 });
    law = await lawAfter(model, prefix);
    after = await followers(model, prefix, law);
  }, TIMEOUT);
  afterAll(() => model.dispose());

  it("draws by the same law when a boundary is overdue", { timeout: TIMEOUT }, async () => {
    const overdue = ({ frontiers }: Session) =>
      (frontiers.at(-2) as number) - (frontiers.at(-1) as number) >= 2;
    const outcomes = await drawsFromForks(
      2,
      (seed) => pendingSession(model, prefix, { seed, maxPending: 2 }, overdue),
      (layersRun) => {
        // Wherever its token left, the step took everything through all layers.
        if (layersRun !== model.info.layers) expect(layersRun).toBe(model.info.layers);
      },
    );
    expectLaw("a boundary overdue", judge(law, outcomes));
  });

  it("draws the first token by the law while the prompt waits", { timeout: TIMEOUT }, async () => {
    const outcomes = await drawsFromForks(3, async (seed) => {
      const session = model.createSession({ seed });
      session.append(prefix);
      return session;
    });
    expectLaw("the prompt waits", judge(law, outcomes));
  });

  const TEMPERATURES: Temperatures = { temperature: 0.7, routerTemperature: 1.5 };

  it("applies temperatures to the router and to the head it reaches", {
    timeout: TIMEOUT,
  }, async () => {
    const outcomes = await drawsAfterFlush(model, prefix, { options: TEMPERATURES });
    expectLaw("tempered", judge(law, outcomes, TEMPERATURES));
    // They are not the draws of the exact law.
    expect(judge(law, outcomes).token).toBeLessThan(ALPHA);
  });

  /** Two tokens in a row for every seed and stream, from a sampler over the evaluated laws. */
  function sampled(mutant?: Mutant, temperatures?: Temperatures): Outcome[] {
    const sample = createSampler(mutant, temperatures);
    return SEEDS.flatMap((seed) =>
      STREAMS.map((stream) => {
        const first = sample(law, { seed, stream, position: PREFIX });
        const then = sample(after.get(first.token) as Law, { seed, stream, position: PREFIX + 1 });
        return { ...first, next: then.token };
      }),
    );
  }

  it("agrees token for token with the sampler these tests change", {
    timeout: TIMEOUT,
  }, async () => {
    const drawn = await drawsAfterFlush(model, prefix, { pairs: true, seeds: SEEDS.slice(0, 4) });
    const own = sampled();
    // In doubles a close call may go the other way.
    const same = drawn.filter((drawn, i) => {
      const { exit, token, next } = own[i] as Outcome;
      return drawn.exit === exit && drawn.token === token && drawn.next === next;
    });
    expect(same.length).toBeGreaterThanOrEqual(drawn.length * 0.999);
    expectLaw("the test's sampler", { ...judge(law, own), pair: judgePairs(law, after, own) });
  });

  it("would refuse noise without a position", () => {
    expect(judgePairs(law, after, sampled("no position"))).toBeLessThan(ALPHA);
  });

  it("would refuse one uniform for exit and token", () => {
    expect(judge(law, sampled("one uniform")).exitAndToken).toBeLessThan(ALPHA);
  });

  const HEAD: Temperatures = { temperature: 0.7 };

  it("would pass the sampler with its temperature in the right place", () => {
    expectLaw("the test's sampler, tempered", judge(law, sampled(undefined, HEAD), HEAD));
  });

  it.each<Mutant>(["noise divided", "temperature on the mixture", "temperature on the routers"])(
    "would refuse a temperature in the wrong place: %s",
    (mutant) => {
      expect(judge(law, sampled(mutant, HEAD), HEAD).exitAndToken).toBeLessThan(ALPHA);
    },
  );
});

describe("the statistics", () => {
  it("know the tail of chi-square", () => {
    expect(chiSquareTail(3.841458820694124, 1)).toBeCloseTo(0.05, 12);
    expect(chiSquareTail(124.34211340400407, 100)).toBeCloseTo(0.05, 10);
    expect(chiSquareTail(50, 2) / Math.exp(-25)).toBeCloseTo(1, 10);
    expect(chiSquareTail(1, 2)).toBeCloseTo(Math.exp(-0.5), 12);
  });

  it("make bins of about equal mass that keep groups apart", () => {
    const law = Float64Array.from({ length: 1000 }, (_, i) => 1 + (i % 7));
    const groupOf = (cell: number) => Math.floor(cell / 400);
    const { of, mass } = binsOf(law, 50, groupOf);
    expect(mass.length).toBeGreaterThan(40);
    expect(mass.length).toBeLessThanOrEqual(50);
    expect(Math.min(...mass)).toBeGreaterThan(law.reduce((a, b) => a + b) / 50 / 10);
    const groups = new Map<number, Set<number>>();
    for (const [cell, bin] of of.entries()) {
      groups.set(bin, (groups.get(bin) ?? new Set()).add(groupOf(cell)));
    }
    expect([...groups.values()].every((set) => set.size === 1)).toBe(true);
  });

  it("rest on the published known answers of Philox", () => {
    const key = { seed: 0, stream: 0, position: 0 };
    expect(words(key, 0, 0)).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  });
});
