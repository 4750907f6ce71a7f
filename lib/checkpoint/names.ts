/** From names in a file to the tensors a model asks for: each is claimed once, and none may be left over (SPEC §4). */

import { malformed, quote } from "./failure.js";
import { MAX_WIDTH } from "./limits.js";
import type { DType, TensorIndex, TensorPlan } from "./plan.js";
import type { Quantised, StoredTensor } from "./safetensors.js";
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
  /** The same for a matrix that may be of integers: then its scales are taken with it. */
  claimMatrix(name: string, shape: ExpectedShape): TensorIndex;
  /** Whether the tensor of that name is of integers. */
  holdsIntegers(name: string): boolean;
  /** What the checkpoint says of being quantised. */
  readonly quantised: Quantised | null;
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

  const take = (name: string, shape: ExpectedShape): StoredTensor => {
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
    return tensor;
  };
  const add = (tensor: StoredTensor, [rows = 1, cols = 1]: readonly number[], type: DType) => {
    const file = fileIndex.get(tensor.file) ?? -1;
    return claimed.push({ name: tensor.name, file, offset: tensor.begin, rows, cols, type }) - 1;
  };
  const claim = (name: string, shape: ExpectedShape): TensorIndex => {
    const tensor = take(name, shape);
    checkShape(tensor, shape);
    return add(tensor, tensor.shape, elementType(tensor));
  };
  const holdsIntegers = (name: string) => {
    const tensor = waiting.get(name);
    const format = tensor?.quantised && INTEGERS[tensor.quantised.dtype];
    return tensor !== undefined && format != null && tensor.dtype === format.stored;
  };

  return {
    source: weights.source,
    claimed,
    at,
    has: (name) => waiting.has(name),
    fileOf: (index) => weights.files[at(index).file] ?? weights.source,
    leftOver: () => waiting.values().next().value,
    quantised: weights.tensors.find((tensor) => tensor.quantised !== null)?.quantised ?? null,
    holdsIntegers,
    claim,
    claimMatrix(name, shape) {
      if (!holdsIntegers(name)) return claim(name, shape);
      const tensor = take(name, shape);
      const type = tensor.quantised?.dtype ?? "int8";
      const [rows = null, cols] = shape;
      if (cols == null) throw new RangeError(`the columns of ${name} are not known`);
      const { group, perByte } = INTEGERS[type];
      checkShape(tensor, [rows, Math.ceil(cols / perByte)]);
      const [count = 1] = tensor.shape;
      const index = add(tensor, [count, cols], type);
      const scales = take(scalesOf(name), [count, Math.ceil(cols / group)]);
      checkShape(scales, [count, Math.ceil(cols / group)]);
      checkScales(scales);
      claimed[index] = { ...at(index), scales: add(scales, scales.shape, "bf16") };
      return index;
    },
  };
}

/** How files hold integers: the type they give them, elements in a byte, elements that share a scale. */
export const INTEGERS = {
  int8: { stored: "I8", perByte: 1, group: 128 },
  int4: { stored: "U8", perByte: 2, group: 32 },
} as const;

/** The tensor that holds the scales of a matrix of integers. */
export const scalesOf = (name: string) => `${name}.scales`;

/** A name without what `torch.compile` puts before it. */
export const plainName = (name: string) =>
  name.startsWith(COMPILED) ? name.slice(COMPILED.length) : name;

function checkScales({ name, file, dtype }: StoredTensor): void {
  if (dtype === "BF16") return;
  const what = `tensor ${quote(name)} has the type ${dtype}, expected BF16, as scales have`;
  throw malformed(file, what, { tensor: name, expected: "BF16", actual: dtype });
}

function tensorsByName(weights: Weights): Map<string, StoredTensor> {
  const byName = new Map<string, StoredTensor>();
  for (const tensor of weights.tensors) {
    const name = plainName(tensor.name);
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
