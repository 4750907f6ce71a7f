import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import { type Draft, draft, expectRefusal, headerOf, safetensors, write } from "./draft.js";
import { expectSound } from "./invariants.js";

const INDEX = "model.safetensors.index.json";
const [FIRST, SECOND] = ["model-1-of-2.safetensors", "model-2-of-2.safetensors"];
const NORM = "model.norm.weight";

/** Splits the weights over two shards; the tests then spoil the index or the shards. */
function sharded(edit: (map: Record<string, unknown>, source: Draft) => void = () => {}) {
  return (source: Draft) => {
    const names = [...source.tensors.keys()];
    const half = (shard: string) =>
      names.filter((_, i) => (i % 2 === 0 ? FIRST : SECOND) === shard);
    const map: Record<string, unknown> = {};
    source.files.set("model.safetensors", null);
    for (const shard of [FIRST, SECOND]) {
      for (const name of half(shard)) map[name] = shard;
      putShard(source, shard, half(shard));
    }
    edit(map, source);
    const index = JSON.stringify({ metadata: {}, weight_map: map });
    if (!source.files.has(INDEX)) source.files.set(INDEX, index);
  };
}

function putShard(source: Draft, shard: string, names: string[]): void {
  const tensors = new Map(
    names.map((name) => [name, source.tensors.get(name) ?? { dtype: "F32", shape: [8] }]),
  );
  const { header, bytes } = headerOf(tensors);
  source.files.set(shard, safetensors(header, bytes));
}

function shardOf(source: Draft, parity: number): string[] {
  return [...source.tensors.keys()].filter((_, i) => i % 2 === parity);
}

const refused = (edit: Parameters<typeof sharded>[0], ...says: string[]) =>
  expectRefusal(draft(), sharded(edit), "ERR_NVIUM_MODEL_FORMAT", ...says);

describe("shards", () => {
  it("give the same plan as one file, but for where the tensors lie", async () => {
    const path = await write(draft(), sharded());
    const { plan } = await readCheckpoint(path);
    expectSound(plan);
    expect(plan.files).toEqual([join(path, FIRST), join(path, SECOND)]);
    const one = (await readCheckpoint(await write(draft()))).plan;
    expect({ ...plan, files: [], tensors: [] }).toEqual({ ...one, files: [], tensors: [] });
    expect(plan.tensors.map((tensor) => tensor.name)).toEqual(
      one.tensors.map((tensor) => tensor.name),
    );
  });

  it("are not looked at where a single file exists too", async () => {
    const path = await write(draft(), (source) => source.files.set(INDEX, "nonsense"));
    expect((await readCheckpoint(path)).plan.files).toEqual([join(path, "model.safetensors")]);
  });

  it("must all be there", () =>
    refused((_, source) => source.files.set(SECOND, null), SECOND, "is missing", INDEX));

  it("must not be truncated", () =>
    refused(
      (_, source) => {
        const shard = source.files.get(SECOND);
        source.files.set(SECOND, (shard as Uint8Array).subarray(0, -4));
      },
      SECOND,
      "truncated",
    ));

  it("must hold every tensor the index places in them", () =>
    refused((map) => (map["extra.weight"] = FIRST), FIRST, '"extra.weight" is missing'));

  it("must not hold a tensor the index does not name", () =>
    refused((map) => delete map[NORM], FIRST, `"${NORM}"`, "does not name it"));

  it("must hold each tensor where the index says", () =>
    refused((map) => (map[NORM] = SECOND), FIRST, `"${NORM}"`, `places it in`, SECOND));

  it("must not both hold a tensor", () =>
    refused(
      (_, source) => putShard(source, SECOND, [...shardOf(source, 1), NORM]),
      SECOND,
      `"${NORM}"`,
      `places it in`,
      FIRST,
    ));
});

describe("an index", () => {
  it.each([
    "../model-1-of-2.safetensors",
    "/etc/passwd",
    "sub/model.safetensors",
    "sub\\model.safetensors",
    "..",
    "a..safetensors",
    "C:model.safetensors",
    "model-1-of-2.safetensors\0",
    "model-1-of-2.safetensors\n",
    "model.bin",
    ".safetensors",
    "",
    7,
    null,
  ])("that names %j as a shard is refused", (shard) =>
    refused((map) => (map[NORM] = shard), INDEX, NORM, "expected the name of a .safetensors file"),
  );

  it.each([
    ["nonsense", "not valid JSON"],
    ["[]", "expected a mapping"],
    ["{}", "weight_map is empty"],
    ['{"weight_map":[]}', "weight_map is a list"],
    [`{"weight_map":{"a":"b.safetensors","a":"c.safetensors"}}`, '"a" twice'],
  ])("that reads %j is refused", (text, says) =>
    refused((_, source) => source.files.set(INDEX, text), INDEX, says),
  );

  it("that claims more tensors than any model has is refused", () =>
    refused(
      (map) => {
        for (let i = 0; i < 65537; i++) map[`t${i}`] = FIRST;
      },
      INDEX,
      "expected at most 65536",
    ));

  it("of more than 16 MiB is refused unread", () =>
    refused((_, source) => source.files.set(INDEX, Buffer.alloc(2 ** 24 + 1)), INDEX, "16777216"));

  it("is one of two forms weights can have, and one must be there", () =>
    expectRefusal(
      draft(),
      (source) => source.files.set("model.safetensors", null),
      "ERR_NVIUM_MODEL_FORMAT",
      "neither model.safetensors nor model.safetensors.index.json",
    ));
});
