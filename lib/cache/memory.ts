/** Blocks against a budget: what calls are given, what ended sequences leave for others, and who gives way. */
import type { NativeModel } from "../native.js";
import { createBlockPool } from "./pool.js";
import { createPrefixCache, type PrefixCache } from "./prefix.js";
import {
  BLOCK_POSITIONS,
  blocksNeeded,
  type Pools,
  type Reservation,
  reserve,
  type SequenceState,
} from "./sequence.js";
import { createTrimmer } from "./trim.js";

export interface BlockMemory {
  readonly pools: Pools;
  readonly prefixes: PrefixCache;
  /** Bytes that blocks may take together. */
  readonly limit: number;
  /** Bytes of blocks in use, those that only the prefix cache holds included. */
  readonly used: number;
  /** Bytes that a sequence needs for a call over positions [0, end) when it shares nothing. */
  needed(state: SequenceState, end: number): number;
  /**
   * What such a call needs; undefined where it does not fit, although every prefix has given way, or where it needs more
   * than is held and may not grow.
   */
  reserve(state: SequenceState, end: number, mayGrow: boolean): Reservation | undefined;
  /** Gives back what memory no block in use lies in. */
  trim(): Promise<void>;
  /** No more of that; resolves when what is under way has ended. */
  stop(): Promise<void>;
}

export interface BlockMemoryOptions {
  readonly limit: number;
  /** Bytes of the limit that the prefix cache may take. */
  readonly prefixLimit: number;
}

/** `positions` tells the length of the longest sequence. */
export function createBlockMemory(
  native: NativeModel,
  { limit, prefixLimit }: BlockMemoryOptions,
  model: { readonly busy: boolean; readonly positions: number },
): BlockMemory {
  const blockBytes = native.blockBytes();
  const pool = () => createBlockPool(() => trimmer.soon());
  const pools: Pools = { cache: pool(), boundary: pool() };
  const prefixes = createPrefixCache(pools, blockBytes, prefixLimit);
  const trimmer = createTrimmer({
    get busy() {
      return model.busy;
    },
    get used() {
      return pools.cache.used;
    },
    get changes() {
      return pools.cache.changes + pools.boundary.changes;
    },
    trim: async () =>
      native.trim(pools.cache.occupied(), pools.boundary.occupied(), model.positions),
  });
  const bytes = ({ cache, boundary }: { cache: number; boundary: number }) =>
    cache * blockBytes.cache + boundary * blockBytes.boundary;
  const used = () => bytes({ cache: pools.cache.used, boundary: pools.boundary.used });
  return {
    pools,
    prefixes,
    limit,
    get used() {
      return used();
    },
    needed({ boundary, frontiers }, end) {
      const blocks = Math.ceil(end / BLOCK_POSITIONS);
      const rows = boundary.map(
        (_, m) => blocks - Math.floor((frontiers[m + 1] ?? 0) / BLOCK_POSITIONS),
      );
      return bytes({ cache: blocks, boundary: rows.reduce((sum, count) => sum + count, 0) });
    },
    reserve(state, end, mayGrow) {
      const boundaries = state.boundary.length;
      const blocks = Math.ceil(end / BLOCK_POSITIONS);
      // Twice as much as it can be, spares included: seldom more than what is free.
      const most = bytes({ cache: 2 * blocks, boundary: 2 * blocks * boundaries });
      if (!mayGrow || used() + most > limit) {
        const more = bytes(blocksNeeded(state, pools, end));
        if (more > 0 && !mayGrow) return undefined;
        while (used() + more > limit) if (!prefixes.drop()) return undefined;
      }
      return reserve(state, pools, end);
    },
    trim: trimmer.now,
    async stop() {
      while (prefixes.drop());
      await trimmer.stop();
    },
  };
}
