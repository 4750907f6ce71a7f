/** From names in a file to the tensors a model asks for: each is claimed once, and none may be left over (SPEC §4). */

import { malformed, quote } from "./failure.js";
import { MAX_WIDTH } from "./limits.js";
import type { DType, TensorIndex, TensorPlan } from "./plan.js";
import type { StoredTensor } from "./safetensors.js";
import type { Weights } from "./shards.js";

/** What `torch.compile` puts before every name. */
const COMPILED = "_orig_mod.";

/** The trainer's step counter and a rotary table that can be computed: present in some files, never used. */
const IGNORED = /^_step_tensor$|(^|\.)rotary_emb\.inv_freq$/;

const DTYPES: ReadonlyMap<string, DType> = new Map([
  ["BF16", "bf16"],
  ["F16", "f16"],
  ["F32", "f32"],
]);

/** The sizes a tensor must have; null where the tensor itself decides. */
export type ExpectedShape = readonly (number | null)[];

export interface TensorTable {
  /** The single file or the index: where to say that something is missing. */
  readonly source: string;
  has(name: string): boolean;
  /** Takes a tensor by its name without prefix, checking its shape and type. */
  claim(name: string, shape: ExpectedShape): TensorIndex;
  at(index: TensorIndex): TensorPlan;
  /** The file that holds a claimed tensor. */
  fileOf(index: TensorIndex): string;
  /** What was claimed so far, in that order. */
  readonly claimed: readonly TensorPlan[];
  /** A tensor that was not claimed, if there is one. */
  leftOver(): StoredTensor | undefined;
}

export function tensorTable(weights: Weights): TensorTable {
  const waiting = tensorsByName(weights);
  const claimed: TensorPlan[] = [];
  const fileIndex = new Map(weights.files.map((file, index) => [file, index]));

  const at = (index: TensorIndex): TensorPlan => {
    const plan = claimed[index];
    if (plan === undefined) throw new RangeError(`no tensor ${index} was claimed`);
    return plan;
  };

  return {
    source: weights.source,
    claimed,
    at,
    has: (name) => waiting.has(name),
    fileOf: (index) => weights.files[at(index).file] ?? weights.source,
    leftOver: () => waiting.values().next().value,
    claim(name, shape) {
      const tensor = waiting.get(name);
      if (tensor === undefined) {
        const expected = showShape(shape);
        throw malformed(
          weights.source,
          `tensor ${quote(name)} is missing, expected one of shape ${expected}`,
          { tensor: name, expected },
        );
      }
      waiting.delete(name);
      checkShape(tensor, shape);
      const [rows = 1, cols = 1] = tensor.shape;
      const file = fileIndex.get(tensor.file) ?? -1;
      const type = elementType(tensor);
      return claimed.push({ name: tensor.name, file, offset: tensor.begin, rows, cols, type }) - 1;
    },
  };
}

function tensorsByName(weights: Weights): Map<string, StoredTensor> {
  const byName = new Map<string, StoredTensor>();
  for (const tensor of weights.tensors) {
    const compiled = tensor.name.startsWith(COMPILED);
    const name = compiled ? tensor.name.slice(COMPILED.length) : tensor.name;
    if (IGNORED.test(name)) continue;
    const other = byName.get(name);
    if (other !== undefined) {
      throw malformed(
        tensor.file,
        `tensor ${quote(tensor.name)} is the same as ${quote(other.name)} in ${other.file}, expected one of them`,
        { tensor: tensor.name },
      );
    }
    byName.set(name, tensor);
  }
  return byName;
}

function checkShape({ name, file, shape }: StoredTensor, expected: ExpectedShape): void {
  const fits = (extent: number, wanted: number | null | undefined) =>
    wanted === null ? extent > 0 && extent <= MAX_WIDTH : extent === wanted;
  if (shape.length === expected.length && shape.every((extent, i) => fits(extent, expected[i]))) {
    return;
  }
  const details = { tensor: name, expected: showShape(expected), actual: showShape(shape) };
  throw malformed(
    file,
    `tensor ${quote(name)} has the shape ${details.actual}, expected ${details.expected}`,
    details,
  );
}

function elementType({ name, file, dtype }: StoredTensor): DType {
  const type = DTYPES.get(dtype);
  if (type !== undefined) return type;
  throw malformed(file, `tensor ${quote(name)} has the type ${dtype}, expected BF16, F16 or F32`, {
    tensor: name,
    expected: "BF16, F16 or F32",
    actual: dtype,
  });
}

function showShape(shape: ExpectedShape): string {
  const shown = shape.slice(0, 8).map((extent) => extent ?? "any");
  return `[${shown.join(", ")}${shape.length > 8 ? ", …" : ""}]`;
}
