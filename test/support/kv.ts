/** The keys and values a sequence has computed, read from its blocks: filled slots only. */
import type { SequenceState } from "../../lib/cache/sequence.js";
import type { Model } from "../../lib/model.js";

const POSITIONS = 64;
const TILE = 32;

type Tables = Pick<SequenceState, "cache" | "frontiers">;

export interface KeysAndValues {
  readonly frontiers: readonly number[];
  /** One a layer: the slots of positions [0, frontier of its segment), one after another. */
  readonly layers: readonly Uint8Array[];
  /** Bytes of one position in one layer. */
  readonly slotBytes: number;
}

/** Geometry of a block (native/backend.h, CacheShape). */
function shapeOf(model: Model) {
  const { plan } = model.core;
  const { cacheType } = model.info;
  const bf16 = cacheType === "bf16";
  const size = { int8: 1, bf16: 2, f32: 4 }[cacheType];
  const even = (plan.headDim + 1) & ~1;
  const keyTile = even * TILE * size;
  const keyBytes = (POSITIONS / TILE) * keyTile;
  const valueTile = POSITIONS * TILE * size;
  const tileBytes = keyBytes + Math.ceil(plan.headDim / TILE) * valueTile;
  // What the integers of keys, and of values, are worth: a float each.
  const headBytes = tileBytes + (cacheType === "int8" ? 2 * POSITIONS * 4 : 0);
  const index = (row: number, k: number) =>
    bf16 ? ((k >> 1) * TILE + row) * 2 + (k & 1) : k * TILE + row;
  /** Byte offsets in one head of everything at slot 0 … 63. */
  const offsets = Array.from({ length: POSITIONS }, (_, slot) => {
    const list: number[] = [];
    for (let k = 0; k < plan.headDim; k++) {
      list.push(Math.floor(slot / TILE) * keyTile + index(slot % TILE, k) * size);
      list.push(keyBytes + Math.floor(k / TILE) * valueTile + index(k % TILE, slot) * size);
    }
    for (let i = tileBytes; i < headBytes; i += POSITIONS * 4) {
      for (let byte = 0; byte < 4; byte++) list.push(i + slot * 4 + byte);
    }
    return list;
  });
  return { size, headBytes, layerBytes: headBytes * plan.kvHeads, offsets, kvHeads: plan.kvHeads };
}

/** First and last layer of each segment, [begin, end). */
export function segmentLayers(model: Model): [number, number][] {
  const { exits } = model.info;
  return exits.map((end, m) => [exits[m - 1] ?? 0, end]);
}

export function keysAndValues(
  model: Model,
  state: Tables,
  frontiers: readonly number[] = state.frontiers,
): KeysAndValues {
  const { size, headBytes, layerBytes, offsets, kvHeads } = shapeOf(model);
  const slotBytes = kvHeads * (offsets[0] as number[]).length * size;
  const blocks = state.cache.map((block) => model.core.native.readBlock("cache", block));
  const layers: Uint8Array[] = [];
  for (const [m, [begin, end]] of segmentLayers(model).entries()) {
    const positions = frontiers[m] as number;
    for (let layer = begin; layer < end; layer++) {
      const bytes = new Uint8Array(positions * slotBytes);
      let to = 0;
      for (let position = 0; position < positions; position++) {
        const block = blocks[Math.floor(position / POSITIONS)] as Uint8Array;
        const slot = offsets[position % POSITIONS] as number[];
        for (let head = 0; head < kvHeads; head++) {
          const base = layer * layerBytes + head * headBytes;
          for (const offset of slot) {
            for (let i = 0; i < size; i++) bytes[to++] = block[base + offset + i] as number;
          }
        }
      }
      layers.push(bytes);
    }
  }
  return { frontiers: [...frontiers], layers, slotBytes };
}

/** Where `a` differs from `b`, which reaches as far or further in every layer; null where it does not. */
export function difference(a: KeysAndValues, b: KeysAndValues): string | null {
  for (const [layer, bytes] of a.layers.entries()) {
    const other = b.layers[layer] as Uint8Array;
    if (other.length < bytes.length) return `layer ${layer} is shorter than expected`;
    if (Buffer.compare(bytes, other.subarray(0, bytes.length)) === 0) continue;
    const at = bytes.findIndex((byte, i) => byte !== other[i]);
    return `layer ${layer}, position ${Math.floor(at / a.slotBytes)}`;
  }
  return null;
}
