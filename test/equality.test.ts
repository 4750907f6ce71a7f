/** Deferral, chunking, threads, instruction sets and neighbours change nothing: every comparison is of bits. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  loadModel,
  type Model,
  type SamplingOptions,
  type Session,
  type Step,
} from "../lib/index.js";
import type { LoadOptions } from "../lib/model.js";
import { native } from "../lib/native.js";
import { DEMO, FIXTURES, fixture, readTensors } from "./support/expected.js";
import { difference, type KeysAndValues, keysAndValues } from "./support/kv.js";
import { createLane, runLanes } from "./support/lanes.js";
import { random } from "./support/random.js";

const QUANTISED = [
  "demo, int8",
  "demo, int4, int8",
  "quadrivium-gqa-f32, int8",
  "trivium-sharded-f16, stored, int8",
] as const;
const CHECKPOINTS = [...FIXTURES, "demo", ...QUANTISED] as const;
type Name = (typeof CHECKPOINTS)[number];

/** A checkpoint's own name, what its matrices are quantised to, and what keys and values are kept as. */
function parts(name: Name) {
  const [checkpoint = "", dtype = "stored", cacheType = "stored"] = name.split(", ");
  return { checkpoint, dtype, cacheType } as Required<Pick<LoadOptions, "dtype" | "cacheType">> & {
    checkpoint: (typeof FIXTURES)[number] | "demo";
  };
}

function load(name: Name, options: LoadOptions): Promise<Model> {
  const { checkpoint, ...types } = parts(name);
  const directory = checkpoint === "demo" ? DEMO : fixture(checkpoint);
  return loadModel(directory, { ...options, ...types, prefixShare: 0 });
}

/** The longest input of the expected outputs. */
function longestInput(name: Name): number[] {
  const { checkpoint } = parts(name);
  const file = checkpoint === "demo" ? "test/demo" : fixture(checkpoint);
  const tensors = readTensors(`${file}/expected.safetensors`);
  const inputs = [...tensors].filter(([key]) => key.startsWith("tokens.")).map(([, t]) => [...t]);
  return inputs.reduce((a, b) => (a.length < b.length ? b : a));
}

function expectSameBits(a: Float32Array | undefined, b: Float32Array | undefined): void {
  const bytes = (values: Float32Array = new Float32Array()) =>
    Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  expect(a?.length).toBe(b?.length);
  expect(Buffer.compare(bytes(a), bytes(b))).toBe(0);
}

/** Ways of drawing, in turn by position, so that a comparison sees all of them. */
const MANNERS: readonly SamplingOptions[] = [
  {},
  { temperature: 0.7, topK: 5 },
  { router: "greedy" },
  { greedy: true, routerTemperature: 1.5 },
];
const mannerAt = (position: number) => MANNERS[position % MANNERS.length] as SamplingOptions;

const SEED = 20240229;

interface Trace {
  readonly steps: readonly { token: number; exit: number }[];
  readonly computed: KeysAndValues;
}

const outcome = ({ token, exit }: Step) => ({ token, exit });

/** Steps one by one, then everything computed. */
async function finish(model: Model, session: Session, count: number): Promise<Trace> {
  const steps: Trace["steps"][number][] = [];
  for (let i = 0; i < count; i++) steps.push(outcome(await session.step(mannerAt(session.length))));
  // What has been computed by now must be right before the flush as well as after it.
  const early = keysAndValues(model, session.state);
  await session.flush();
  const computed = keysAndValues(model, session.state);
  expect(difference(early, computed)).toBeNull();
  await session.dispose();
  return { steps, computed };
}

function expectEqual(trace: Trace, reference: Trace): void {
  expect(trace.steps).toEqual(reference.steps);
  expect(trace.computed.frontiers).toEqual(reference.computed.frontiers);
  expect(difference(trace.computed, reference.computed)).toBeNull();
}

describe.each(CHECKPOINTS)("%s", (name) => {
  const STEPS = 20;
  const prompt = longestInput(name).slice(0, 90);
  let model: Model;
  let reference: Trace;

  beforeAll(async () => {
    const plain = await load(name, { threads: 1, instructionSet: "portable" });
    const session = plain.createSession({ seed: SEED, maxPending: 0 });
    session.append(prompt);
    reference = await finish(plain, session, STEPS);
    await plain.dispose();
    model = await load(name, { threads: 1 });
  }, 60_000);
  afterAll(async () => {
    await model.dispose();
  });

  it.each([1, 7, 64, 65])("does not depend on a prompt in chunks of %i", async (size) => {
    const session = model.createSession({ seed: SEED });
    for (let i = 0; i < prompt.length; i += size) {
      session.append(prompt.slice(i, i + size));
      await session.flush();
    }
    expectEqual(await finish(model, session, STEPS), reference);
  });

  it.each([1, 2, 3, 5, 15, Number.POSITIVE_INFINITY])(
    "does not depend on how many rows may wait: %f",
    async (maxPending) => {
      const session = model.createSession({ seed: SEED, maxPending });
      session.append(prompt);
      expectEqual(await finish(model, session, STEPS), reference);
    },
  );

  it("draws what the laws of evaluate() say, greedily", async () => {
    const { vocabSize: V, exits } = model.info;
    const session = model.createSession({ seed: 1, maxPending: 3 });
    session.append(prompt);
    const steps: Step[] = [];
    for await (const step of session.decode(STEPS, { greedy: true, router: "greedy" })) {
      steps.push(step);
    }
    const T = session.length;
    const { exitLogits, exitProbs } = await model.evaluate(session.tokens, { exitLogits: true });
    for (const { position, token, exit } of steps) {
      const t = position - 1;
      const row = ((exit - 1) * T + t) * V;
      const logits = exitLogits?.subarray(row, row + V) ?? new Float32Array();
      expect(logits.indexOf(Math.max(...logits))).toBe(token);
      let stay = 1;
      for (let k = 1; k <= exit; k++) {
        const p = exitProbs[t * exits.length + k - 1] as number;
        if (k < exits.length && Math.abs(p / stay - 0.5) > 1e-5)
          expect(p / stay > 0.5).toBe(k === exit);
        stay -= p;
      }
    }
    await session.dispose();
  });

  it("gives each position the same law, however much text follows", async () => {
    const { vocabSize: V, exits } = model.info;
    const options = { exitLogits: true, mixture: true };
    const whole = await model.evaluate(prompt, options);
    for (const T of [1, 5, prompt.length - 1]) {
      const part = await model.evaluate(prompt.slice(0, T), options);
      expectSameBits(part.exitProbs, whole.exitProbs.subarray(0, T * exits.length));
      expectSameBits(part.mixtureLogProbs, whole.mixtureLogProbs?.subarray(0, T * V));
      for (let k = 0; k < exits.length; k++) {
        const from = k * prompt.length * V;
        expectSameBits(
          part.exitLogits?.subarray(k * T * V, (k + 1) * T * V),
          whole.exitLogits?.subarray(from, from + T * V),
        );
      }
    }
  });

  const [widest = "", ...others] = native().instructionSets();
  const machines: LoadOptions[] = [
    ...[2, 3, 4].map((threads) => ({ instructionSet: widest, threads })),
    ...others.map((instructionSet) => ({ instructionSet, threads: 2 })),
  ];

  it.each(machines)("does not depend on $threads threads, $instructionSet", async (options) => {
    const wanted = { exitLogits: true, mixture: true };
    const piece = prompt.slice(0, 40);
    const expected = await model.evaluate(piece, wanted);
    const other = await load(name, options);
    expect(other.info).toMatchObject(options);
    const session = other.createSession({ seed: SEED });
    session.append(prompt);
    // Threads that outnumber processors are slow: a few steps are enough.
    const { steps, computed } = await finish(other, session, 4);
    expect(steps).toEqual(reference.steps.slice(0, 4));
    expect(difference(computed, reference.computed)).toBeNull();
    const laws = await other.evaluate(piece, wanted);
    expectSameBits(laws.exitLogits, expected.exitLogits);
    expectSameBits(laws.exitProbs, expected.exitProbs);
    expectSameBits(laws.mixtureLogProbs, expected.mixtureLogProbs);
    await other.dispose();
  });

  it("does not depend on the sequences beside it in a call", async () => {
    const prompts = [prompt.slice(0, 1), prompt.slice(0, 70), prompt, prompt.slice(5, 30)];
    const lanes = prompts.map((tokens, i) => createLane(model, BigInt(i), tokens));
    const together = lanes.map((): { token: number; exit: number }[] => []);
    // Now all of them, now some, now several tokens a call.
    const calls = [
      { who: [0, 1, 2, 3], count: 1 },
      { who: [0, 2], count: 3 },
      { who: [3, 1, 0], count: 1 },
      { who: [1, 2], count: 0 },
      { who: [2, 1, 3, 0], count: 5 },
    ];
    for (const { who, count } of calls) {
      const group = who.map((i) => lanes[i] as (typeof lanes)[number]);
      const { steps, error } = await runLanes(model, group, { count, options: { maxPending: 2 } });
      expect(error).toBeNull();
      for (const [i, list] of steps.entries()) together[who[i] as number]?.push(...list);
    }
    for (const [i, lane] of lanes.entries()) {
      const alone = model.createSession({ seed: i, maxPending: 0 });
      alone.append(prompts[i] ?? []);
      const steps: { token: number; exit: number }[] = [];
      for (let s = 0; s < (together[i]?.length ?? 0); s++) steps.push(outcome(await alone.step()));
      expect(together[i]).toEqual(steps);
      await alone.flush();
      const computed = keysAndValues(model, alone.state);
      expect(difference(keysAndValues(model, lane.state), computed)).toBeNull();
      expect((await runLanes(model, lanes, { count: 0 })).error).toBeNull();
      expect(difference(keysAndValues(model, lane.state), computed)).toBeNull();
      await alone.dispose();
    }
  });
});

/** What a session that defers nothing and has no history draws after `tokens`. */
function oracle(model: Model) {
  const known = new Map<string, Promise<{ token: number; exit: number }>>();
  return (tokens: readonly number[], stream: number, manner: number) => {
    const key = `${tokens} ${stream} ${manner}`;
    const draw = async () => {
      const session = model.createSession({ seed: SEED, stream, maxPending: 0 });
      session.append(tokens);
      const step = await session.step(MANNERS[manner]);
      await session.dispose();
      return outcome(step);
    };
    const found = known.get(key) ?? draw();
    known.set(key, found);
    return found;
  };
}

/** Everything `tokens` gives, computed at once. */
async function computedAtOnce(model: Model, tokens: readonly number[]): Promise<KeysAndValues> {
  const session = model.createSession();
  session.append(tokens);
  await session.flush();
  const computed = keysAndValues(model, session.state);
  await session.dispose();
  return computed;
}

describe.each(CHECKPOINTS)("%s, operations in any order", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await load(name, { threads: 2 });
  });
  afterAll(async () => {
    await model.dispose();
  });

  it.each([1, 2])("draws and computes what a fresh session would, script %i", async (script) => {
    const { below, pick, once } = random(script * 1000 + name.length);
    const expected = oracle(model);
    const V = model.info.vocabSize;
    const pending = [0, 1, 3, 15, Number.POSITIVE_INFINITY];
    const open = () => model.createSession({ seed: SEED, maxPending: pick(pending) });
    let sessions = [open()];
    const draw = async (session: Session, manner: number, step: Step) => {
      const { stream, tokens } = session;
      expect(outcome(step)).toEqual(await expected(tokens.slice(0, step.position), stream, manner));
    };
    for (let i = 0; i < 60; i++) {
      const session = pick(sessions);
      const manner = below(MANNERS.length);
      const thing = session.length === 0 ? 0 : below(8);
      if (thing === 0 && session.length < 150) {
        session.append(Array.from({ length: 1 + below(40) }, () => below(V)));
      } else if (thing <= 2) {
        await draw(session, manner, await session.step(MANNERS[manner]));
      } else if (thing === 3) {
        const leave = 1 + below(12);
        const drawn: Step[] = [];
        for await (const step of session.decode(12, MANNERS[manner])) {
          drawn.push(step);
          if (drawn.length === leave) break;
        }
        for (const step of drawn) await draw(session, manner, step);
      } else if (thing === 4) {
        await session.flush();
      } else if (thing === 5) {
        session.truncate(below(session.length + 1), once(3) ? { stream: below(3) } : {});
      } else if (thing === 6 && sessions.length < 4) {
        sessions.push(session.fork(once(2) ? { stream: below(3) } : {}));
      } else {
        await draw(session, manner, session.stepSync(MANNERS[manner] ?? {}));
        if (once(3)) {
          await session.dispose();
          sessions = sessions.filter((other) => other !== session);
          if (sessions.length === 0) sessions.push(open());
        }
      }
      if (!once(3)) continue;
      const any = pick(sessions);
      const computed = await computedAtOnce(model, any.tokens);
      expect(difference(keysAndValues(model, any.state), computed)).toBeNull();
    }
    for (const session of sessions) {
      await session.flush();
      const computed = await computedAtOnce(model, session.tokens);
      expect(difference(keysAndValues(model, session.state), computed)).toBeNull();
      await session.dispose();
    }
    const { pools } = model.core.scheduler.memory;
    expect([pools.cache.used, pools.boundary.used]).toEqual([0, 0]);
  });
});

describe("a prompt of many chunks of rows", () => {
  const prompt = longestInput("quadrivium-long-bf16");
  let model: Model;
  let reference: Trace;
  beforeAll(async () => {
    model = await loadModel(fixture("quadrivium-long-bf16"), { threads: 2, prefixShare: 0 });
    const session = model.createSession({ seed: SEED, maxPending: 0 });
    session.append(prompt);
    reference = await finish(model, session, 20);
  }, 60_000);
  afterAll(async () => {
    await model.dispose();
  });

  it.each([
    { pieces: [255, 1, 256, 188], maxPending: 15 },
    { pieces: [257, 443], maxPending: 0 },
    { pieces: [1, 699], maxPending: 2 },
    { pieces: [512, 188], maxPending: Number.POSITIVE_INFINITY },
  ])("gives the same in pieces of $pieces", async ({ pieces, maxPending }) => {
    expect(pieces.reduce((a, b) => a + b)).toBe(prompt.length);
    const session = model.createSession({ seed: SEED, maxPending });
    let at = 0;
    for (const piece of pieces) {
      session.append(prompt.slice(at, at + piece));
      await session.flush();
      at += piece;
    }
    expectEqual(await finish(model, session, 20), reference);
  });

  it("gives the same when it waits whole and upper segments see it later", async () => {
    const session = model.createSession({ seed: SEED, maxPending: Number.POSITIVE_INFINITY });
    session.append(prompt);
    expectEqual(await finish(model, session, 20), reference);
  });
});
