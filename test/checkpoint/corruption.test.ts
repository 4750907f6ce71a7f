import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import { NviumError } from "../../lib/errors.js";
import { draft, headerOf, safetensors, write } from "./draft.js";
import { expectSound } from "./invariants.js";

/** mulberry32: a small generator, so that a failing case can be found again. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Bytes that mean something to the parsers, which random ones seldom do. */
const TELLING = Buffer.from('{}[]",:-0129.eE\\ \n\t#&*!|>%@~');

/** One byte changed, taken away or put in, or the end cut off; anywhere in the first `extent` bytes. */
function corrupt(bytes: Buffer, extent: number, random: (below: number) => number): Buffer {
  const at = random(extent);
  const byte = random(2) ? (TELLING[random(TELLING.length)] ?? 0) : random(256);
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at + 1)];
  switch (random(8)) {
    case 0:
      return Buffer.from(head);
    case 1:
      return Buffer.concat([head, tail]);
    case 2:
      return Buffer.concat([head, Buffer.of(byte), bytes.subarray(at)]);
    default:
      return Buffer.concat([head, Buffer.of(byte), tail]);
  }
}

const SHARD = "model-1-of-1.safetensors";
const INDEX = "model.safetensors.index.json";

describe.each([
  ["model.safetensors", 1500, 1],
  ["config.json", 1000, 2],
  [".hydra/config.yaml", 1000, 3],
  [INDEX, 500, 4],
] as const)("%s with a byte wrong", (name, cases, seed) => {
  it(`gives a sound plan or an NviumError, ${cases} times`, { timeout: 60_000 }, async () => {
    const path = await write(draft(), (source) => {
      if (name !== INDEX) return;
      const { header, bytes } = headerOf(source.tensors);
      const map = Object.fromEntries(Object.keys(header).map((key) => [key, SHARD]));
      source.files.set(SHARD, safetensors(header, bytes));
      source.files.set(INDEX, JSON.stringify({ weight_map: map }));
      source.files.set("model.safetensors", null);
    });
    const original = readFileSync(join(path, name));
    const extent =
      name === "model.safetensors" ? 8 + Number(original.readBigUInt64LE()) : original.length;
    const random = generator(seed);
    const allocate = vi.spyOn(Buffer, "allocUnsafe");
    const outcomes = { sound: 0, refused: 0 };
    for (let i = 0; i < cases; i++) {
      const bytes = corrupt(original, extent, random);
      await writeFile(join(path, name), bytes);
      try {
        expectSound((await readCheckpoint(path)).plan);
        outcomes.sound++;
      } catch (error) {
        if (!(error instanceof NviumError)) {
          throw new Error(`case ${i}: ${bytes.toString("latin1")}`, { cause: error });
        }
        expect(error.code).toMatch(/^ERR_NVIUM_(MODEL_FORMAT|UNSUPPORTED)$/);
        outcomes.refused++;
      }
    }
    const largest = Math.max(...allocate.mock.calls.map(([size]) => size));
    allocate.mockRestore();
    expect(largest).toBeLessThan(100_000);
    // Both must occur, or the test would not be looking where it should.
    expect(outcomes.refused).toBeGreaterThan(cases / 20);
    expect(outcomes.sound).toBeGreaterThan(0);
  });
});
