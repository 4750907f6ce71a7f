/** What ended sequences leave is found again by its tokens, and is what would have been computed. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createBlockPool } from "../../lib/cache/pool.js";
import { createPrefixCache } from "../../lib/cache/prefix.js";
import {
  commit,
  createSequence,
  type Pools,
  release,
  reserve,
  type SequenceState,
} from "../../lib/cache/sequence.js";
import { loadModel, type Model, type Session } from "../../lib/index.js";
import { fixture } from "../support/expected.js";
import { difference, keysAndValues } from "../support/kv.js";
import { type Random, random } from "../support/random.js";
import { MANNERS } from "../support/scripts.js";

const BYTES = { cache: 1000, boundary: 10 };
const SEGMENTS = 3;

/** A text that shares beginnings of many lengths with others. */
function textOf({ below, pick, once }: Random, most: number): number[] {
  const length = 1 + below(most);
  const fork = below(length + 1);
  const first = below(2);
  const second = pick([first, 2, 3]);
  const text = Array.from({ length }, (_, i) => ((i < fork ? first : second) * 11 + i * 7) % 61);
  return once(4) ? text.slice(0, 1 + below(length)) : text;
}

describe("the cache alone", () => {
  const bare = (limit = 1e9) => {
    const pools: Pools = { cache: createBlockPool(), boundary: createBlockPool() };
    return { pools, prefixes: createPrefixCache(pools, BYTES, limit) };
  };
  const open = (tokens: readonly number[]): SequenceState => {
    const state = createSequence(SEGMENTS);
    for (const token of tokens) {
      state.tokens.push(token);
      state.generated.push(0);
    }
    return state;
  };
  /** As a call leaves it that brought the segments to `frontiers`. */
  const computed = (pools: Pools, state: SequenceState, frontiers: readonly number[]) => {
    const reached = frontiers.map((f, m) => Math.max(f, state.frontiers[m] ?? 0));
    commit(state, pools, reserve(state, pools, state.tokens.length), reached);
    return state;
  };
  const text = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i);

  it.each([1, 2, 3, 4])(
    "counts what it holds, keeps its limit and lets all go, seed %i",
    (seed) => {
      const rng = random(seed);
      const limit = 9500;
      const { pools, prefixes } = bare(limit);
      let live: SequenceState[] = [];
      let found = 0;
      for (let i = 0; i < 300; i++) {
        if (live.length < 4) {
          const tokens = textOf(rng, 300);
          const state = open(tokens);
          const known = prefixes.takeOver(state, rng.pick(["a", "b"]));
          expect(known).toBe(state.frontiers[0]);
          expect(known).toBeLessThan(tokens.length);
          state.frontiers.reduce((above, f) => {
            expect(f).toBeLessThanOrEqual(above);
            return f;
          });
          if (known > 0) found++;
          live.push(state);
        }
        const state = rng.pick(live);
        const frontiers: number[] = [];
        let most = state.tokens.length - 1;
        for (let m = 0; m < SEGMENTS; m++) {
          most = rng.below(most + 1);
          frontiers.push(most);
        }
        // Upper segments never pass lower ones, where they had come already either.
        const lowest = state.frontiers;
        const reached = frontiers.map((_, m) =>
          Math.max(...frontiers.slice(m), ...lowest.slice(m)),
        );
        computed(pools, state, reached);
        if (rng.once(2)) {
          prefixes.keep(state, rng.pick(["a", "b"]));
          release(state, pools);
          live = live.filter((other) => other !== state);
        }
        expect(prefixes.bytes).toBeLessThanOrEqual(limit);
        const held = pools.cache.used * BYTES.cache + pools.boundary.used * BYTES.boundary;
        expect(prefixes.bytes).toBeLessThanOrEqual(held);
        if (live.length === 0) expect(prefixes.bytes).toBe(held);
      }
      expect(found).toBeGreaterThan(20);
      for (const state of live) release(state, pools);
      expect(prefixes.bytes).toBe(
        pools.cache.used * BYTES.cache + pools.boundary.used * BYTES.boundary,
      );
      while (prefixes.drop());
      expect([prefixes.bytes, pools.cache.used, pools.boundary.used]).toEqual([0, 0, 0]);
    },
  );

  it("finds whole blocks and a part of one, and nothing of another salt", () => {
    const { pools, prefixes } = bare();
    const tokens = text(200);
    const state = computed(pools, open(tokens), [199, 199, 199]);
    prefixes.keep(state, "a");
    release(state, pools);
    expect(prefixes.takeOver(open(tokens), "b")).toBe(0);
    expect(prefixes.takeOver(open([...text(150), ...text(50, 500)]), "a")).toBe(150);
    expect(prefixes.takeOver(open([...tokens, 7, 8, 9]), "a")).toBe(199);
    // The last token is the next step's row.
    expect(prefixes.takeOver(open(text(65)), "a")).toBe(64);
    expect(prefixes.takeOver(open(text(64)), "a")).toBe(63);
    expect(prefixes.takeOver(open(text(1)), "a")).toBe(0);
  });

  it("gives rows that wait, and segments as far as they had come", () => {
    const { pools, prefixes } = bare();
    const state = computed(pools, open(text(200)), [199, 130, 20]);
    prefixes.keep(state, "");
    release(state, pools);
    const whole = open([...text(200), 1]);
    expect(prefixes.takeOver(whole, "")).toBe(199);
    expect(whole.frontiers).toEqual([199, 130, 20]);
    const part = open([...text(140), 1, 2, 3]);
    expect(prefixes.takeOver(part, "")).toBe(140);
    expect(part.frontiers).toEqual([140, 130, 20]);
  });

  it("puts a deeper copy in place of a shallower one, and keeps a deeper one", () => {
    const { pools, prefixes } = bare();
    const leave = (frontiers: readonly number[]) => {
      const state = computed(pools, open(text(65)), frontiers);
      prefixes.keep(state, "");
      release(state, pools);
      const next = open(text(65));
      prefixes.takeOver(next, "");
      const found = next.frontiers;
      release(next, pools);
      return found;
    };
    expect(leave([64, 10, 0])).toEqual([64, 10, 0]);
    expect(leave([64, 64, 64])).toEqual([64, 64, 64]);
    expect(leave([64, 20, 0])).toEqual([64, 64, 64]);
    expect(prefixes.bytes).toBe(BYTES.cache);
  });

  it("holds a block that two texts end in once", () => {
    const { pools, prefixes } = bare();
    const state = computed(pools, open(text(100)), [99, 99, 99]);
    prefixes.keep(state, "a");
    prefixes.keep(state, "b");
    expect(prefixes.bytes).toBe(2 * BYTES.cache);
    release(state, pools);
    while (prefixes.drop());
    expect(pools.cache.used).toBe(0);
  });
});

describe.each(["quadrivium-gqa-f32", "quadrivium-long-bf16"])("sessions of %s", (name) => {
  let plain: Model;
  beforeAll(async () => {
    plain = await loadModel(fixture(name), { threads: 1, prefixShare: 0 });
  });
  afterAll(async () => {
    await plain.dispose();
  });

  const step = async (session: Session, manner: number) => {
    const { token, exit } = await session.step(MANNERS[manner]);
    return { token, exit };
  };

  it.each([1, 2])("draw and hold the same, cold or warm, script %i", async (script) => {
    const rng = random(script + name.length);
    const model = await loadModel(fixture(name), { threads: 1, cacheBytes: 8e6, prefixShare: 0.7 });
    let taken = 0;
    for (let i = 0; i < 25; i++) {
      const text = textOf(rng, 260);
      const options = { seed: 5, maxPending: rng.pick([0, 3, 15, Number.POSITIVE_INFINITY]) };
      const cacheSalt = rng.pick(["", "tenant"]);
      const warm = model.createSession({ ...options, cacheSalt });
      const cold = plain.createSession({ ...options, maxPending: 0 });
      for (const session of [warm, cold]) session.append(text);
      const { cachedTokens } = warm.stats();
      expect(cachedTokens).toBe(warm.frontiers[0]);
      expect(cold.stats().cachedTokens).toBe(0);
      taken += cachedTokens;
      for (let n = rng.below(6); n > 0; n--) {
        const manner = rng.below(MANNERS.length);
        expect(await step(warm, manner)).toEqual(await step(cold, manner));
      }
      if (rng.once(3)) await warm.flush();
      if (rng.once(4)) {
        const other = warm.fork({ stream: 1 });
        await other.step();
        await other.dispose();
      }
      await cold.flush();
      const expected = keysAndValues(plain, cold.state);
      expect(difference(keysAndValues(model, warm.state), expected)).toBeNull();
      if (rng.once(2)) {
        const unfinished = warm.fork();
        await unfinished.flush();
        expect(difference(keysAndValues(model, unfinished.state), expected)).toBeNull();
        await unfinished.dispose();
      }
      if (rng.once(3)) warm.truncate(1 + rng.below(warm.length));
      await Promise.all([warm.dispose(), cold.dispose()]);
      const { cached, used, limit } = model.info.memory;
      expect(cached).toBe(used);
      expect(cached).toBeLessThanOrEqual(0.7 * limit);
    }
    expect(taken).toBeGreaterThan(200);
    await model.dispose();
  });
});

describe("what a session takes over", () => {
  const text = Array.from({ length: 150 }, (_, i) => (i * 7) % 61);
  const take = async (model: Model, options: Parameters<Model["createSession"]>[0] = {}) => {
    const session = model.createSession({ seed: 1, ...options });
    session.append(text);
    const { cachedTokens } = session.stats();
    await session.flush();
    await session.dispose();
    return cachedTokens;
  };

  it("is nothing of another salt, nor where it or who left it does not share", async () => {
    const model = await loadModel(fixture("quadrivium-gqa-f32"), { threads: 1 });
    expect(await take(model, { prefixCache: false })).toBe(0);
    expect(await take(model, { cacheSalt: "a" })).toBe(0);
    expect(await take(model, { cacheSalt: "b" })).toBe(0);
    expect(await take(model, { cacheSalt: "a", prefixCache: false })).toBe(0);
    expect(await take(model, { cacheSalt: "a" })).toBe(149);
    expect(await take(model)).toBe(0);
    expect(await take(model)).toBe(149);
    await model.dispose();
  });

  it("is nothing on a model that keeps none", async () => {
    const model = await loadModel(fixture("quadrivium-gqa-f32"), { threads: 1, prefixShare: 0 });
    for (let i = 0; i < 2; i++) expect(await take(model)).toBe(0);
    expect(model.info.memory.used).toBe(0);
    await model.dispose();
  });
});
