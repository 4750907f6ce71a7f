/**
 * A device without arithmetic: blocks are arrays, and what a segment computes at a position is a number that stands for
 * everything it was computed from. It reads and writes as the native side does, through the same tables, and complains
 * about every access that a wrong table would cause.
 */
import type { Pools } from "../../lib/cache/sequence.js";
import type { NativeBlockTable, NativeSequence } from "../../lib/native.js";
import type { Random } from "../support/random.js";

const POSITIONS = 64;
const ZERO = 0;
const POISON = -2;

export type Pool = keyof Pools;

/** Numbers for histories: the same inputs give the same number, others another. */
const numbers = new Map<string, number>();
export function history(segment: number, input: number, before: number): number {
  const key = `${segment},${input},${before}`;
  const known = numbers.get(key) ?? numbers.size + 1;
  numbers.set(key, known);
  return known;
}

export interface Described {
  readonly sequence: NativeSequence;
  /** Blocks nobody but this sequence holds, or nobody at all. */
  readonly mayWrite: (pool: Pool, block: number) => boolean;
}

export interface Outcome {
  readonly frontiers: number[][];
  readonly steps: number[][];
  readonly failed: boolean;
}

/** What goes wrong, if anything: the chunk of that number leaves rubbish behind and ends the call. */
export interface Plan {
  readonly count: number;
  readonly failAt: number;
}

interface Lane {
  length: number;
  readonly tokens: number[];
  readonly frontiers: number[];
  readonly cache: { block: Int32Array; spare: Int32Array };
  readonly boundary: { block: Int32Array; spare: Int32Array }[];
  readonly mayWrite: Described["mayWrite"];
}

class Failed extends Error {}

export class Device {
  readonly #segments: number;
  readonly #random: Random;
  readonly #slots: Record<Pool, Map<number, number[]>> = { cache: new Map(), boundary: new Map() };

  constructor(segments: number, random: Random) {
    this.#segments = segments;
    this.#random = random;
  }

  /** What lies there. Segments have slots of their own in a cache block. */
  read(pool: Pool, block: number, position: number, segment: number): number {
    const value = this.#block(pool, block)[segment * POSITIONS + (position % POSITIONS)];
    if (value === undefined) throw new Error(`No slot ${position} in ${pool} block ${block}`);
    return value;
  }

  /** Blocks nobody holds any more: reading them is an error from now on. */
  poison(pool: Pool, inUse: ReadonlySet<number>): void {
    for (const [block, slots] of this.#slots[pool]) {
      if (!inUse.has(block)) slots.fill(POISON);
    }
  }

  zero(blocks: Iterable<number>): void {
    for (const block of blocks) this.#block("cache", block).fill(ZERO);
  }

  /** Steps, or with `count` 0 a flush, as native/model/step.cc orders them; exits are chosen at random. */
  run(described: readonly Described[], { count, failAt }: Plan): Outcome {
    let chunk = 0;
    const next = () => chunk++ === failAt;
    const copy = ({ block, spare }: NativeBlockTable) => ({
      block: block.slice(),
      spare: spare.slice(),
    });
    const lanes = described.map(({ sequence, mayWrite }): Lane => {
      const first = sequence.length - sequence.tokens.length;
      return {
        length: sequence.length,
        tokens: [...new Array<number>(first).fill(POISON), ...sequence.tokens],
        frontiers: [...sequence.frontiers],
        cache: copy(sequence.cache),
        boundary: sequence.boundary.map(copy),
        mayWrite,
      };
    });
    const steps = lanes.map((): number[] => []);
    const outcome = (failed: boolean) => ({
      frontiers: lanes.map(({ frontiers, length }) =>
        frontiers.map((f) => Math.min(f, Math.max(length - 1, 0))),
      ),
      steps,
      failed,
    });
    try {
      if (count === 0) {
        for (let m = 0; m < this.#segments; m++) {
          for (const lane of lanes) this.#advance(lane, m, Math.max(lane.length - 1, 0), next);
        }
      }
      for (let step = 0; step < count; step++) {
        const deepest = lanes.map(() => this.#random.below(this.#segments));
        for (let m = 0; m < this.#segments; m++) {
          for (const [i, lane] of lanes.entries()) {
            if (m <= (deepest[i] as number)) this.#advance(lane, m, lane.length, next);
          }
        }
        for (const [i, lane] of lanes.entries()) {
          const token = this.#random.below(50);
          lane.tokens.push(token);
          lane.length++;
          steps[i]?.push(token);
        }
      }
    } catch (error) {
      if (error instanceof Failed) return outcome(true);
      throw error;
    }
    return outcome(false);
  }

  #advance(lane: Lane, m: number, top: number, fails: () => boolean): void {
    const target = m === 0 ? top : (lane.frontiers[m - 1] as number);
    while ((lane.frontiers[m] as number) < target) {
      const begin = lane.frontiers[m] as number;
      const end = Math.min(target, begin + 1 + this.#random.below(90));
      const failing = fails();
      for (let p = begin; p < end; p++) {
        const value = failing ? ZERO : this.#compute(lane, m, p);
        this.#write(lane, "cache", lane.cache, p, m, value);
      }
      if (failing) throw new Failed();
      if (m + 1 < this.#segments) {
        for (let p = begin; p < end; p++) {
          const value = this.#row("cache", lane.cache, p, m);
          this.#write(lane, "boundary", lane.boundary[m], p, 0, value);
        }
      }
      lane.frontiers[m] = end;
    }
  }

  #compute(lane: Lane, m: number, position: number): number {
    const input =
      m === 0
        ? (lane.tokens[position] as number)
        : this.#row("boundary", lane.boundary[m - 1], position, 0);
    const before = position === 0 ? 0 : this.#row("cache", lane.cache, position - 1, m);
    return history(m, input, before);
  }

  #row(pool: Pool, table: NativeBlockTable | undefined, position: number, segment: number): number {
    const block = table?.block[Math.floor(position / POSITIONS)] ?? -1;
    const value = this.read(pool, block, position, segment);
    if (value === POISON) throw new Error(`${pool} block ${block} is read after it was freed`);
    if (value === ZERO) throw new Error(`${pool} block ${block} is read before it was written`);
    return value;
  }

  #write(
    lane: Lane,
    pool: Pool,
    table: NativeBlockTable | undefined,
    position: number,
    segment: number,
    value: number,
  ): void {
    if (table === undefined) throw new Error(`No table for ${pool}`);
    const b = Math.floor(position / POSITIONS);
    const spare = table.spare[b] ?? -1;
    if (spare >= 0) {
      this.#slots[pool].set(spare, [...this.#block(pool, table.block[b] ?? -1)]);
      table.block[b] = spare;
      table.spare[b] = -1;
    }
    const block = table.block[b] ?? -1;
    if (block < 0) throw new Error(`Position ${position} has no ${pool} block`);
    if (!lane.mayWrite(pool, block)) {
      throw new Error(`${pool} block ${block} is written while another sequence holds it`);
    }
    this.#block(pool, block)[segment * POSITIONS + (position % POSITIONS)] = value;
  }

  #block(pool: Pool, block: number): number[] {
    if (block < 0) throw new Error(`There is no ${pool} block ${block}`);
    const known = this.#slots[pool].get(block);
    if (known !== undefined) return known;
    const slots = pool === "cache" ? this.#segments * POSITIONS : POSITIONS;
    const made = new Array<number>(slots).fill(POISON);
    this.#slots[pool].set(block, made);
    return made;
  }
}
