/** lib/cache driven at random against a plain model of frontiers, blocks and copy-on-write. */
import { describe, expect, it } from "vitest";
import { createBlockPool } from "../../lib/cache/pool.js";
import {
  commit,
  createSequence,
  describe as describeSequence,
  fork,
  type Pools,
  type Reservation,
  release,
  reserve,
  type SequenceState,
  truncate,
} from "../../lib/cache/sequence.js";
import { type Random, random } from "../support/random.js";
import { Device, history, type Pool } from "./device.js";

const POSITIONS = 64;
const blocksFor = (positions: number) => Math.ceil(positions / POSITIONS);

/** A sequence, and beside it what the plain model says of it. */
interface Twin {
  readonly state: SequenceState;
  tokens: number[];
  generated: number[];
  frontiers: number[];
}

class World {
  readonly pools: Pools = { cache: createBlockPool(), boundary: createBlockPool() };
  readonly twins: Twin[] = [];
  readonly #segments: number;
  readonly #random: Random;
  readonly #device: Device;
  /** How often each kind of thing happened, so that a test can tell that it did. */
  readonly seen = { shared: 0, copied: 0, failed: 0, forgotten: 0, waiting: 0 };

  constructor(segments: number, seed: number) {
    this.#segments = segments;
    this.#random = random(seed);
    this.#device = new Device(segments, this.#random);
  }

  open(): void {
    const state = createSequence(this.#segments);
    const frontiers = new Array<number>(this.#segments).fill(0);
    this.twins.push({ state, tokens: [], generated: [], frontiers });
  }

  append(twin: Twin): void {
    const tokens = Array.from({ length: 1 + this.#random.below(100) }, () =>
      this.#random.below(50),
    );
    for (const list of [twin.tokens, twin.state.tokens]) list.push(...tokens);
    for (const list of [twin.generated, twin.state.generated]) list.push(...tokens.map(() => 0));
  }

  /** One call for some of the sequences: steps, or a flush with `count` 0; it may fail at a chunk. */
  call(twins: readonly Twin[], count: number, failAt: number): void {
    const holders = new Map<string, Set<Twin>>();
    for (const twin of this.twins) {
      for (const [pool, block] of blocksOf(twin.state)) {
        const key = `${pool}${block}`;
        holders.set(key, (holders.get(key) ?? new Set()).add(twin));
      }
    }
    const reservations = twins.map(({ state }) =>
      reserve(state, this.pools, state.tokens.length + Math.max(count, 1) - 1),
    );
    const claimed = new Set<string>();
    const claim = (pool: Pool, block: number) => {
      const key = `${pool}${block}`;
      expect(holders.has(key), `${key} is handed out while it is held`).toBe(false);
      expect(claimed.has(key), `${key} is handed out twice`).toBe(false);
      claimed.add(key);
    };
    const described = twins.map((twin, i) => {
      const reservation = reservations[i] as Reservation;
      const fresh = new Set(reservation.fresh);
      for (const block of fresh) claim("cache", block);
      for (const block of reservation.cache.spare) if (block >= 0) claim("cache", block);
      for (const { block, spare } of reservation.boundary) {
        for (const b of block) if (b >= 0 && !holders.has(`boundary${b}`)) claim("boundary", b);
        for (const b of spare) if (b >= 0) claim("boundary", b);
      }
      this.#device.zero(fresh);
      const sequence = describeSequence(twin.state, reservation, 7n, 3);
      const known = twin.tokens.length - sequence.tokens.length;
      expect([...sequence.tokens]).toEqual(twin.tokens.slice(known));
      expect(known).toBeLessThanOrEqual(twin.frontiers[0] as number);
      const judged = twin.generated.length - sequence.generated.length;
      expect([...sequence.generated]).toEqual(twin.generated.slice(judged));
      expect(judged).toBeLessThanOrEqual(twin.frontiers.at(-1) as number);
      return {
        sequence,
        mayWrite: (pool: Pool, block: number) => {
          const set = holders.get(`${pool}${block}`);
          return set === undefined || (set.size === 1 && set.has(twin));
        },
      };
    });
    const { frontiers, steps, failed } = this.#device.run(described, { count, failAt });
    if (failed) this.seen.failed++;
    for (const [i, twin] of twins.entries()) {
      const before = twin.state.cache;
      commit(twin.state, this.pools, reservations[i] as Reservation, frontiers[i] as number[]);
      if (before.some((block, b) => block !== (twin.state.cache[b] ?? block))) this.seen.copied++;
      twin.frontiers = [...(frontiers[i] as number[])];
      const tokens = steps[i] as number[];
      for (const list of [twin.tokens, twin.state.tokens]) list.push(...tokens);
      for (const list of [twin.generated, twin.state.generated]) list.push(...tokens.map(() => 1));
    }
  }

  /** A call the native side refuses: reserved, and given back untouched. */
  refused(twin: Twin): void {
    const reservation = reserve(twin.state, this.pools, twin.tokens.length + 20);
    commit(twin.state, this.pools, reservation, twin.state.frontiers);
  }

  truncate(twin: Twin, length: number): void {
    if (length < twin.tokens.length) this.seen.forgotten++;
    truncate(twin.state, this.pools, length);
    twin.tokens = twin.tokens.slice(0, length);
    twin.generated = twin.generated.slice(0, length);
    const last = Math.max(twin.tokens.length - 1, 0);
    twin.frontiers = twin.frontiers.map((f) => Math.min(f, last));
  }

  fork({ state, tokens, generated, frontiers }: Twin): void {
    this.twins.push({
      state: fork(state, this.pools),
      tokens: [...tokens],
      generated: [...generated],
      frontiers: [...frontiers],
    });
  }

  dispose(twin: Twin): void {
    release(twin.state, this.pools);
    this.twins.splice(this.twins.indexOf(twin), 1);
  }

  /** Everything the plain model can say about the sequences, the pools and what the blocks hold. */
  audit(): void {
    const holders = { cache: new Map<number, number>(), boundary: new Map<number, number>() };
    for (const { state, tokens, generated, frontiers } of this.twins) {
      expect(state.tokens).toEqual(tokens);
      expect(state.generated).toEqual(generated);
      expect(state.frontiers).toEqual(frontiers);
      const cut = (table: readonly number[]) => table.map((block) => (block >= 0 ? "held" : "-"));
      const expected = (from: number, to: number) =>
        Array.from({ length: from < to ? blocksFor(to) : 0 }, (_, b) =>
          b >= Math.floor(from / POSITIONS) ? "held" : "-",
        );
      expect(cut(state.cache)).toEqual(expected(0, frontiers[0] as number));
      for (const [m, table] of state.boundary.entries()) {
        const range = [frontiers[m + 1] as number, frontiers[m] as number] as const;
        if (range[0] < range[1]) this.seen.waiting++;
        expect(cut(table)).toEqual(expected(...range));
      }
      for (const [pool, block] of blocksOf(state)) {
        holders[pool].set(block, (holders[pool].get(block) ?? 0) + 1);
      }
    }
    for (const pool of ["cache", "boundary"] as const) {
      expect(this.pools[pool].used, `${pool} blocks in use`).toBe(holders[pool].size);
      for (const [block, count] of holders[pool]) {
        if (count > 1) this.seen.shared++;
        expect(this.pools[pool].shared(block)).toBe(count > 1);
        expect(block).toBeLessThan(this.pools[pool].size);
      }
      this.#device.poison(pool, new Set(holders[pool].keys()));
    }
    for (const twin of this.twins) this.#auditContents(twin);
  }

  /** Every filled slot holds what its own sequence's tokens make of it. */
  #auditContents({ state, tokens, frontiers }: Twin): void {
    let rows: readonly number[] = tokens;
    for (let m = 0; m < this.#segments; m++) {
      const out: number[] = [];
      for (let p = 0; p < (frontiers[m] as number); p++) {
        const value = history(m, rows[p] as number, p === 0 ? 0 : (out[p - 1] as number));
        const block = state.cache[Math.floor(p / POSITIONS)] as number;
        if (this.#device.read("cache", block, p, m) !== value) {
          expect.fail(`segment ${m + 1} at position ${p} holds another sequence's value`);
        }
        out.push(value);
      }
      for (let p = frontiers[m + 1] ?? out.length; p < out.length; p++) {
        const block = state.boundary[m]?.[Math.floor(p / POSITIONS)] as number;
        if (this.#device.read("boundary", block, p, 0) !== out[p]) {
          expect.fail(`the row waiting at boundary ${m + 1}, position ${p}, is another's`);
        }
      }
      rows = out;
    }
  }

  /** One random thing. */
  act(): void {
    const { below, pick, once } = this.#random;
    if (this.twins.length === 0) this.open();
    const twin = pick(this.twins);
    const some = this.twins.filter((other) => other === twin || once(3));
    const filled = some.filter(({ tokens }) => tokens.length > 0);
    const failAt = once(4) ? below(4) : -1;
    const crowded = this.twins.length >= 6;
    const things: (() => void)[] = [
      () => (crowded ? this.dispose(twin) : this.open()),
      () => (crowded ? this.dispose(twin) : this.fork(twin)),
      () => (crowded ? this.dispose(twin) : this.fork(twin)),
      () => (twin.tokens.length < 400 ? this.append(twin) : this.truncate(twin, below(400))),
      () => this.call(filled, 1, failAt),
      () => this.call(filled, 1, failAt),
      () => this.leaveEarly(filled, failAt),
      () => this.call(some, 0, failAt),
      () => this.truncate(twin, below(twin.tokens.length + 1)),
      () => this.refused(twin),
    ];
    pick(things)();
  }

  /** Several steps in one call, the last of them forgotten. */
  leaveEarly(twins: readonly Twin[], failAt: number): void {
    const before = twins.map(({ tokens }) => tokens.length);
    this.call(twins, 2 + this.#random.below(8), failAt);
    this.audit();
    for (const [i, twin] of twins.entries()) {
      const drawn = twin.tokens.length - (before[i] as number);
      this.truncate(twin, (before[i] as number) + this.#random.below(drawn + 1));
    }
  }
}

function* blocksOf(state: SequenceState): Generator<[Pool, number]> {
  for (const block of state.cache) if (block >= 0) yield ["cache", block];
  for (const table of state.boundary) {
    for (const block of table) if (block >= 0) yield ["boundary", block];
  }
}

describe("random operations on several sequences", () => {
  const cases = [1, 2, 3, 4].flatMap((segments) =>
    [1, 2, 3].map((seed) => ({ segments, seed: segments * 100 + seed })),
  );

  it.each(cases)("agree with the plain model: $segments segments, seed $seed", (given) => {
    const world = new World(given.segments, given.seed);
    for (let i = 0; i < 300; i++) {
      world.act();
      world.audit();
    }
    for (const count of Object.values(world.seen).slice(0, given.segments === 1 ? 4 : 5)) {
      expect(count).toBeGreaterThan(3);
    }
    for (const twin of [...world.twins]) world.dispose(twin);
    expect([world.pools.cache.used, world.pools.boundary.used]).toEqual([0, 0]);
  });
});

describe("a sequence", () => {
  const pools = (): Pools => ({ cache: createBlockPool(), boundary: createBlockPool() });
  const filled = (tokens: number, world: Pools, frontiers: number[]) => {
    const state = createSequence(frontiers.length);
    for (let i = 0; i < tokens; i++) {
      state.tokens.push(i);
      state.generated.push(0);
    }
    commit(state, world, reserve(state, world, tokens), frontiers);
    return state;
  };

  it("keeps only the boundary blocks in which rows wait", () => {
    const world = pools();
    const state = filled(300, world, [299, 130]);
    expect(state.cache.length).toBe(5);
    expect(state.boundary[0]?.map((block) => block >= 0)).toEqual([false, false, true, true, true]);
    expect(world.boundary.used).toBe(3);
  });

  it("takes no spare for a block it does not share or will not write", () => {
    const world = pools();
    const state = filled(300, world, [299, 299]);
    expect([...reserve(state, world, 300).cache.spare]).toEqual([-1, -1, -1, -1, -1]);
    const other = fork(state, world);
    const { spare } = reserve(other, world, 300).cache;
    expect([...spare].map((block) => block >= 0)).toEqual([false, false, false, false, true]);
  });

  it("copies a shared block that looks full when an upper segment will write it", () => {
    const world = pools();
    const state = filled(130, world, [129, 10]);
    const other = fork(state, world);
    const { spare } = reserve(other, world, 130).cache;
    expect([...spare].map((block) => block >= 0)).toEqual([true, true, true]);
  });

  it("names blocks taken anew as fresh, and neither spares nor those it holds", () => {
    const world = pools();
    const state = filled(100, world, [99, 99]);
    const { cache, fresh } = reserve(state, world, 200);
    expect([...fresh]).toEqual([...cache.block].slice(2));
  });
});

describe("a block pool", () => {
  it("hands out a freed block before it makes a new one", () => {
    const pool = createBlockPool();
    const [a, b] = [pool.take(), pool.take()];
    pool.drop(a);
    expect(pool.used).toBe(1);
    expect(pool.take()).toBe(a);
    expect(pool.take()).not.toBe(b);
    expect(pool.size).toBe(3);
  });

  it("takes the lowest free number, and ends behind the last block in use", () => {
    const pool = createBlockPool();
    const blocks = Array.from({ length: 6 }, () => pool.take());
    expect(blocks).toEqual([0, 1, 2, 3, 4, 5]);
    for (const block of [5, 1, 3, 4]) pool.drop(block);
    expect([pool.size, pool.used]).toEqual([3, 2]);
    expect([...pool.occupied()]).toEqual([1, 0, 1]);
    expect([pool.take(), pool.take(), pool.take()]).toEqual([1, 3, 4]);
  });

  it("counts what is taken and freed, and tells when a block becomes free", () => {
    let freed = 0;
    const pool = createBlockPool(() => freed++);
    const block = pool.take();
    pool.hold(block);
    pool.drop(block);
    expect([pool.changes, freed]).toEqual([1, 0]);
    pool.drop(block);
    expect([pool.changes, freed]).toEqual([2, 1]);
  });

  it("frees a block with its last holder", () => {
    const pool = createBlockPool();
    const block = pool.take();
    pool.hold(block);
    expect(pool.shared(block)).toBe(true);
    pool.drop(block);
    expect([pool.shared(block), pool.used]).toEqual([false, 1]);
    pool.drop(block);
    expect(pool.used).toBe(0);
  });

  it("refuses to hold, drop or judge a block that is free", () => {
    const pool = createBlockPool();
    const block = pool.take();
    pool.drop(block);
    expect(() => pool.drop(block)).toThrow(RangeError);
    expect(() => pool.hold(block)).toThrow(RangeError);
    expect(() => pool.shared(block)).toThrow(RangeError);
  });
});
