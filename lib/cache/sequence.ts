/**
 * A sequence's bookkeeping: its tokens, its frontiers and which blocks hold it. A call reserves what its deepest case
 * can write and commits what it did write; shared blocks are copied by the native side just before they are written.
 *
 * Frontiers: `length - 1 >= f_1 >= f_2 >= … >= f_N >= 0` for a sequence with tokens, all 0 for an empty one. Between two
 * calls of one request `f_1` may be `length`: the last token's row is under way.
 */
import type { NativeBlockTable, NativeSequence } from "../native.js";
import type { BlockPool } from "./pool.js";

/** Positions of one block. */
export const BLOCK_POSITIONS = 64;

const NO_BLOCK = -1;

/** The model's two pools: keys and values of all layers, and hidden rows waiting between segments. */
export interface Pools {
  readonly cache: BlockPool;
  readonly boundary: BlockPool;
}

export interface SequenceState {
  readonly tokens: number[];
  /** 1 where a token was appended by a step, 0 where it was given. */
  readonly generated: number[];
  /** f_1 … f_N: positions each segment has processed. */
  frontiers: readonly number[];
  /** Block b of positions [64 b, 64 b + 64), for all of [0, f_1). */
  cache: readonly number[];
  /** Per boundary m = 1 … N-1, likewise for [f_{m+1}, f_m); -1 below. */
  boundary: readonly (readonly number[])[];
}

/** What one call was given, until it is committed. */
export interface Reservation {
  /** Rows the call may process: positions [0, end). */
  readonly end: number;
  readonly cache: NativeBlockTable;
  readonly boundary: readonly NativeBlockTable[];
  /** Cache blocks that were free before: the native side zeroes them. */
  readonly fresh: readonly number[];
}

export function createSequence(segments: number): SequenceState {
  return {
    tokens: [],
    generated: [],
    frontiers: new Array<number>(segments).fill(0),
    cache: [],
    boundary: new Array<readonly number[]>(segments - 1).fill([]),
  };
}

/** Blocks and spares for a call that may run every segment over positions [its frontier, end). */
export function reserve(state: SequenceState, pools: Pools, end: number): Reservation {
  const { frontiers } = state;
  const lowest = at(frontiers, frontiers.length - 1);
  const cache = reserveTable(pools.cache, state.cache, 0, lowest, end);
  const boundary = state.boundary.map((table, m) =>
    reserveTable(pools.boundary, table, at(frontiers, m + 1), at(frontiers, m), end),
  );
  const fresh = [...cache.block].filter((block, b) => block !== (state.cache[b] ?? NO_BLOCK));
  return { end, cache, boundary, fresh };
}

/** Blocks that `reserve` would take from each pool. */
export function blocksNeeded(
  state: SequenceState,
  pools: Pools,
  end: number,
): { readonly cache: number; readonly boundary: number } {
  const cache = counting(pools.cache);
  const boundary = counting(pools.boundary);
  reserve(state, { cache, boundary }, end);
  return { cache: cache.taken, boundary: boundary.taken };
}

/** A pool that only counts what it is asked for. */
function counting(pool: BlockPool): BlockPool & { taken: number } {
  return Object.assign(Object.create(pool) as BlockPool, {
    taken: 0,
    take(this: { taken: number }) {
      return this.taken++;
    },
  });
}

/** Keeps what segments wrote up to `frontiers`, gives the rest of the reservation back. */
export function commit(
  state: SequenceState,
  pools: Pools,
  reservation: Reservation,
  frontiers: readonly number[],
): void {
  const before = state.frontiers;
  const deepest = before.map((from, m): Range => [from, at(frontiers, m)]);
  state.cache = settleTable(pools.cache, reservation.cache, [0, at(frontiers, 0)], deepest);
  state.boundary = reservation.boundary.map((table, m) =>
    settleTable(pools.boundary, table, [at(frontiers, m + 1), at(frontiers, m)], [at(deepest, m)]),
  );
  state.frontiers = frontiers;
}

/** Forgets tokens from position `length` on. Rows above the new frontiers run again when they are needed. */
export function truncate(state: SequenceState, pools: Pools, length: number): void {
  if (length >= state.tokens.length) return;
  state.tokens.length = length;
  state.generated.length = length;
  forget(state, pools, Math.max(length - 1, 0));
}

/** Cuts every frontier at `last`. */
function forget(state: SequenceState, pools: Pools, last: number): void {
  const frontiers = state.frontiers.map((f) => Math.min(f, last));
  state.cache = keep(pools.cache, state.cache, [0, at(frontiers, 0)]);
  state.boundary = state.boundary.map((table, m) =>
    keep(pools.boundary, table, [at(frontiers, m + 1), at(frontiers, m)]),
  );
  state.frontiers = frontiers;
}

/** The last token becomes the next step's row again, wherever its row had come to. */
export function settle(state: SequenceState, pools: Pools): void {
  const last = Math.max(state.tokens.length - 1, 0);
  if (at(state.frontiers, 0) > last) forget(state, pools, last);
}

/** Gives the blocks back and keeps the tokens: everything is computed again when it is needed. */
export function evict(state: SequenceState, pools: Pools): void {
  forget(state, pools, 0);
}

/** A second sequence with the same tokens and frontiers, sharing every block. */
export function fork(state: SequenceState, pools: Pools): SequenceState {
  holdAll(pools.cache, state.cache);
  for (const table of state.boundary) holdAll(pools.boundary, table);
  return { ...state, tokens: [...state.tokens], generated: [...state.generated] };
}

/** Gives every block back; the state is empty afterwards. */
export function release(state: SequenceState, pools: Pools): void {
  truncate(state, pools, 0);
}

/** The sequence as the native side reads it. */
export function describe(
  state: SequenceState,
  reservation: Reservation,
  seed: bigint,
  stream: number,
): NativeSequence {
  const { tokens, generated, frontiers } = state;
  return {
    length: tokens.length,
    tokens: new Uint32Array(tokens.slice(at(frontiers, 0))),
    generated: new Uint8Array(generated.slice(at(frontiers, frontiers.length - 1))),
    frontiers: new Uint32Array(frontiers),
    cache: reservation.cache,
    fresh: Uint32Array.from(reservation.fresh),
    boundary: reservation.boundary,
    seed,
    stream,
  };
}

/** Positions [from, to). */
type Range = readonly [from: number, to: number];

const blocksBelow = (position: number) => Math.ceil(position / BLOCK_POSITIONS);
const blockOf = (position: number) => Math.floor(position / BLOCK_POSITIONS);

function touches([from, to]: Range, block: number): boolean {
  return from < to && blockOf(from) <= block && block < blocksBelow(to);
}

/** A table for positions [first, end), with spares for shared blocks that may be written: those of [written, end). */
function reserveTable(
  pool: BlockPool,
  held: readonly number[],
  first: number,
  written: number,
  end: number,
): NativeBlockTable {
  const size = blocksBelow(end);
  const block = new Int32Array(size).fill(NO_BLOCK);
  const spare = new Int32Array(size).fill(NO_BLOCK);
  for (let b = blockOf(first); b < size; b++) {
    const known = held[b] ?? NO_BLOCK;
    block[b] = known === NO_BLOCK ? pool.take() : known;
    if (known !== NO_BLOCK && pool.shared(known) && touches([written, end], b)) {
      spare[b] = pool.take();
    }
  }
  return { block, spare };
}

/** The table after a call that wrote `written` and leaves `range` to be kept. */
function settleTable(
  pool: BlockPool,
  { block, spare }: NativeBlockTable,
  range: Range,
  written: readonly Range[],
): number[] {
  const settled: number[] = [];
  for (let b = 0; b < block.length; b++) {
    const original = at(block, b);
    const copy = at(spare, b);
    const used = copy !== NO_BLOCK && written.some((part) => touches(part, b));
    if (copy !== NO_BLOCK) pool.drop(used ? original : copy);
    settled.push(used ? copy : original);
  }
  return keep(pool, settled, range);
}

/** Drops the blocks of a table that hold none of `range`. */
function keep(pool: BlockPool, table: readonly number[], range: Range): number[] {
  const kept: number[] = [];
  for (let b = 0; b < table.length; b++) {
    const block = at(table, b);
    const needed = block !== NO_BLOCK && touches(range, b);
    if (block !== NO_BLOCK && !needed) pool.drop(block);
    kept.push(needed ? block : NO_BLOCK);
  }
  while (kept.at(-1) === NO_BLOCK) kept.pop();
  return kept;
}

function holdAll(pool: BlockPool, table: readonly number[]): void {
  for (const block of table) if (block !== NO_BLOCK) pool.hold(block);
}

function at(values: ArrayLike<number>, index: number): number;
function at<T>(values: ArrayLike<T>, index: number): T;
function at<T>(values: ArrayLike<T>, index: number): T {
  const value = values[index];
  if (value === undefined) throw new RangeError(`No entry ${index} in ${values.length}`);
  return value;
}
