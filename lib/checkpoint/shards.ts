/** The weights of a checkpoint as one set of tensors, whether they lie in one file or in shards (SPEC §4). */

import { join } from "node:path";
import { malformed, quote } from "./failure.js";
import { rootFields, section, wrongField } from "./fields.js";
import { readSmall } from "./files.js";
import { parseJson } from "./json.js";
import { MAX_TENSORS } from "./limits.js";
import { readSafetensors, type StoredTensor } from "./safetensors.js";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** In bytes: about 250 for each of the most tensors allowed. */
const MAX_INDEX = 1 << 24;

/** What a shard may be called. It names a file beside the index and can lead nowhere else. */
const SHARD_NAME = /^\w[\w-]*(\.[\w-]+)*\.safetensors$/;

export interface Weights {
  /** The single file or the index: where to say that something is missing. */
  readonly source: string;
  /** Paths of the files, ascending. */
  readonly files: readonly string[];
  readonly tensors: readonly StoredTensor[];
}

/**
 * Reads the headers of a checkpoint's weights. Where both a single file and an index exist the single file counts, as
 * for Hugging Face's loader.
 */
export async function readWeights(directory: string, signal?: AbortSignal): Promise<Weights> {
  const path = join(directory, SINGLE);
  const tensors = await readSafetensors(path);
  if (tensors === null) return readShards(directory, signal);
  checkCount(path, tensors.length);
  return { source: path, files: [path], tensors };
}

async function readShards(directory: string, signal?: AbortSignal): Promise<Weights> {
  const index = join(directory, INDEX);
  const locations = await readIndex(directory, index);
  const files = [...new Set(locations.values())].sort();
  const tensors: StoredTensor[] = [];
  for (const file of files) {
    signal?.throwIfAborted();
    const found = await readSafetensors(file);
    if (found === null) {
      throw malformed(file, `is missing, though ${INDEX} names it`, { expected: "a file" });
    }
    for (const tensor of found) {
      checkLocation(index, tensor, locations.get(tensor.name));
      tensors.push(tensor);
    }
  }
  const present = new Set(tensors.map((tensor) => tensor.name));
  for (const [name, file] of locations) {
    if (present.has(name)) continue;
    throw malformed(file, `tensor ${quote(name)} is missing, though ${INDEX} places it here`, {
      tensor: name,
    });
  }
  return { source: index, files, tensors };
}

/** Where the index says each tensor lies: name to path. */
async function readIndex(directory: string, index: string): Promise<Map<string, string>> {
  const bytes = await readSmall(index, MAX_INDEX);
  if (bytes === null) {
    throw malformed(directory, `holds neither ${SINGLE} nor ${INDEX}, expected one of them`);
  }
  const map = section(rootFields(index, parseJson(bytes, index)), "weight_map");
  const entries = Object.entries(map.values);
  if (entries.length === 0) {
    throw malformed(index, "weight_map is empty, expected at least one tensor", {
      field: "weight_map",
    });
  }
  checkCount(index, entries.length);
  return new Map(
    entries.map(([name, shard]) => {
      if (typeof shard !== "string" || !SHARD_NAME.test(shard)) {
        throw wrongField(
          map,
          quote(name),
          "the name of a .safetensors file beside the index",
          shard,
        );
      }
      return [name, join(directory, shard)];
    }),
  );
}

function checkLocation(index: string, tensor: StoredTensor, expected: string | undefined): void {
  if (tensor.file === expected) return;
  const where = expected === undefined ? "does not name it" : `places it in ${expected}`;
  throw malformed(tensor.file, `holds tensor ${quote(tensor.name)}, but ${index} ${where}`, {
    tensor: tensor.name,
    expected,
    actual: tensor.file,
  });
}

function checkCount(file: string, count: number): void {
  if (count > MAX_TENSORS) {
    throw malformed(file, `holds ${count} tensors, expected at most ${MAX_TENSORS}`, {
      expected: MAX_TENSORS,
      actual: count,
    });
  }
}
