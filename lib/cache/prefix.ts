/**
 * Blocks of ended sequences, found again by the tokens they were computed from. A tree: a node is a block of 64 positions
 * behind its parent's, or fewer in a leaf. What a node holds depends on nothing but the tokens on its path, so that
 * whoever takes it over goes on with the bits it would have computed.
 */
import type { BlockPool } from "./pool.js";
import { BLOCK_POSITIONS, type Pools, type SequenceState } from "./sequence.js";

export interface PrefixCache {
  /** Bytes of blocks held. */
  readonly bytes: number;
  /** Holds what a sequence that ends has computed. */
  keep(state: SequenceState, salt: string): void;
  /** Gives an empty sequence the longest part of its tokens that is known. Returns the positions segment 1 need not process. */
  takeOver(state: SequenceState, salt: string): number;
  /** Lets go of the block used longest ago; false where there is none. */
  drop(): boolean;
}

const NO_BLOCK = -1;

interface Node {
  readonly key: string;
  readonly tokens: readonly number[];
  /** Positions of the block that segment 1 … N has processed. */
  fills: readonly number[];
  cache: number;
  /** Per boundary the block with rows [fills[m + 1], fills[m]), or -1. */
  boundary: readonly number[];
  readonly children: Map<string, Node>;
}

export function createPrefixCache(
  pools: Pools,
  blockBytes: { readonly cache: number; readonly boundary: number },
  limit: number,
): PrefixCache {
  /** One per salt: nobody finds what another salt left. */
  const roots = new Map<string, Map<string, Node>>();
  /** The one used longest ago first; a parent always behind its children. */
  const order = new Map<Node, Map<string, Node>>();
  let bytes = 0;
  /** Bytes are those of blocks, however many nodes hold one. */
  const blocks = {
    cache: counted(pools.cache, (more) => {
      bytes += more * blockBytes.cache;
    }),
    boundary: counted(pools.boundary, (more) => {
      bytes += more * blockBytes.boundary;
    }),
  };

  return {
    get bytes() {
      return bytes;
    },

    keep(state, salt) {
      const top = Math.max(...state.frontiers);
      if (top === 0 || limit === 0) return;
      const root = roots.get(salt) ?? new Map<string, Node>();
      let siblings = root;
      const path: [Node, Map<string, Node>][] = [];
      for (let begin = 0; begin < top; begin += BLOCK_POSITIONS) {
        const b = begin / BLOCK_POSITIONS;
        const fills = state.frontiers.map((f) => Math.min(Math.max(f - begin, 0), BLOCK_POSITIONS));
        const tokens = state.tokens.slice(begin, begin + (fills[0] ?? 0));
        const key = keyOf(tokens);
        let node: Node | undefined = siblings.get(key);
        if (node === undefined) {
          node = { key, tokens, fills, ...NOTHING, children: new Map() };
          dropBeginnings(siblings, tokens);
          siblings.set(key, node);
          hold(node, fills, state, b);
        } else if (total(fills) > total(node.fills)) {
          letGo(node);
          hold(node, fills, state, b);
        }
        path.push([node, siblings]);
        siblings = node.children;
      }
      roots.set(salt, root);
      touch(path);
      while (bytes > limit && drop());
    },

    takeOver(state, salt) {
      const { tokens } = state;
      const segments = state.frontiers.length;
      const most = tokens.length - 1; // the last token is the next step's row
      let siblings = roots.get(salt);
      const frontiers = new Array<number>(segments).fill(0);
      const cache: number[] = [];
      const boundary: number[][] = Array.from({ length: segments - 1 }, () => []);
      const path: [Node, Map<string, Node>][] = [];
      for (let begin = 0; siblings !== undefined && begin < most; begin += BLOCK_POSITIONS) {
        const wanted = tokens.slice(begin, Math.min(begin + BLOCK_POSITIONS, most));
        const [node, common] = longestMatch(siblings, wanted);
        if (node === undefined) break;
        const before = [...frontiers];
        advance(frontiers, begin, node.fills, common);
        if (frontiers[0] === before[0]) break;
        pools.cache.hold(node.cache);
        cache.push(node.cache);
        for (const [m, block] of node.boundary.entries()) {
          boundary[m]?.push(block);
          if (block !== NO_BLOCK) pools.boundary.hold(block);
        }
        path.push([node, siblings]);
        if (common < BLOCK_POSITIONS) break;
        siblings = node.children;
      }
      touch(path);
      state.frontiers = frontiers;
      state.cache = cache;
      state.boundary = boundary.map((table, m) =>
        trim(pools.boundary, table, frontiers[m + 1] ?? 0, frontiers[m] ?? 0),
      );
      return frontiers[0] ?? 0;
    },

    drop,
  };

  function drop(): boolean {
    const [oldest] = order;
    if (oldest === undefined) return false;
    remove(...oldest);
    return true;
  }

  function remove(node: Node, siblings: Map<string, Node>): void {
    order.delete(node);
    siblings.delete(node.key);
    letGo(node);
    if (siblings.size > 0) return;
    for (const [salt, root] of roots) if (root === siblings) roots.delete(salt);
  }

  /** Leaves that hold a part of what is to be held. */
  function dropBeginnings(siblings: Map<string, Node>, tokens: readonly number[]): void {
    for (const node of siblings.values()) {
      const within = node.tokens.length < tokens.length;
      if (within && node.tokens.every((token, i) => token === tokens[i])) remove(node, siblings);
    }
  }

  function hold(node: Node, fills: readonly number[], state: SequenceState, b: number): void {
    node.fills = fills;
    node.cache = state.cache[b] ?? NO_BLOCK;
    blocks.cache.hold(node.cache);
    node.boundary = state.boundary.map((table, m) => {
      const block = (fills[m] ?? 0) > (fills[m + 1] ?? 0) ? (table[b] ?? NO_BLOCK) : NO_BLOCK;
      if (block !== NO_BLOCK) blocks.boundary.hold(block);
      return block;
    });
  }

  function letGo(node: Node): void {
    blocks.cache.drop(node.cache);
    for (const block of node.boundary) if (block !== NO_BLOCK) blocks.boundary.drop(block);
    Object.assign(node, NOTHING);
  }

  function touch(path: readonly [Node, Map<string, Node>][]): void {
    for (const [node, siblings] of [...path].reverse()) {
      order.delete(node);
      order.set(node, siblings);
    }
  }
}

const NOTHING = { cache: NO_BLOCK, boundary: [] as readonly number[] };

/** Holds blocks of a pool; `changed` is told of each that comes to be held, and of each that is no more. */
function counted(
  pool: BlockPool,
  changed: (more: 1 | -1) => void,
): Pick<BlockPool, "hold" | "drop"> {
  const holders = new Map<number, number>();
  return {
    hold(block) {
      pool.hold(block);
      const count = holders.get(block) ?? 0;
      if (count === 0) changed(1);
      holders.set(block, count + 1);
    },
    drop(block) {
      const left = (holders.get(block) ?? 0) - 1;
      if (left > 0) holders.set(block, left);
      else {
        holders.delete(block);
        changed(-1);
      }
      pool.drop(block);
    },
  };
}

/** Exact, so that nothing is found by a collision. */
function keyOf(tokens: readonly number[]): string {
  return tokens.join(",");
}

function total(fills: readonly number[]): number {
  return fills.reduce((sum, fill) => sum + fill, 0);
}

/** The node that begins with most of the tokens, and with how many. */
function longestMatch(
  siblings: ReadonlyMap<string, Node>,
  wanted: readonly number[],
): [Node | undefined, number] {
  const exact = siblings.get(keyOf(wanted));
  if (exact !== undefined) return [exact, wanted.length];
  let best: Node | undefined;
  let most = 0;
  for (const node of siblings.values()) {
    let common = 0;
    while (common < wanted.length && node.tokens[common] === wanted[common]) common++;
    if (common > most) [best, most] = [node, common];
  }
  return [best, most];
}

/**
 * Frontiers behind a node of which the first `common` positions are the same text. A segment goes on where it had come to
 * the node's beginning and the rows that are then to wait before the next one are there.
 */
function advance(
  frontiers: number[],
  begin: number,
  fills: readonly number[],
  common: number,
): void {
  for (let m = frontiers.length - 1; m >= 0; m--) {
    if (frontiers[m] !== begin) continue;
    const fill = Math.min(fills[m] ?? 0, common);
    const above = frontiers[m + 1];
    const kept = begin + Math.min(fills[m + 1] ?? 0, common);
    if (above === undefined || Math.max(above, begin) >= kept) frontiers[m] = begin + fill;
  }
}

/** Drops the blocks of a table that hold none of [from, to). */
function trim(pool: BlockPool, table: readonly number[], from: number, to: number): number[] {
  const kept = table.map((block, b) => {
    const begin = b * BLOCK_POSITIONS;
    const needed = from < to && begin < to && begin + BLOCK_POSITIONS > from;
    if (block !== NO_BLOCK && !needed) pool.drop(block);
    return needed ? block : NO_BLOCK;
  });
  while (kept.at(-1) === NO_BLOCK) kept.pop();
  return kept;
}
