/** The header of one safetensors file: 8 bytes of length, then JSON, then the tensors without a gap (SPEC §4). */

import { describe, malformed, quote } from "./failure.js";
import { type OpenFile, withFile } from "./files.js";
import { parseJson } from "./json.js";

/** The longest header the format allows, in bytes. */
const MAX_HEADER = 100_000_000;

/** Names of the notes that a quantised checkpoint has in its files. */
export const QUANTISED = {
  version: "nvium.version",
  dtype: "nvium.dtype",
  cacheType: "nvium.cacheType",
} as const;
export const QUANTISED_VERSION = "1";

/** Bytes per element of every type the format knows in whole bytes. */
const ELEMENT_SIZES: ReadonlyMap<unknown, number> = new Map([
  ...["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"].map((type) => [type, 1] as const),
  ...["U16", "I16", "F16", "BF16"].map((type) => [type, 2] as const),
  ...["U32", "I32", "F32"].map((type) => [type, 4] as const),
  ...["U64", "I64", "F64", "C64"].map((type) => [type, 8] as const),
]);

/** What a file of a quantised checkpoint says of itself (SPEC §4). */
export interface Quantised {
  readonly dtype: "int8" | "int4";
  /** What keys and values are kept as: the type of the key projections it was made of decided. */
  readonly cacheType: "bf16" | "f32";
}

/** One tensor as its file describes it. */
export interface StoredTensor {
  readonly name: string;
  /** Path of the file that holds it. */
  readonly file: string;
  /** What the file says its matrices of integers are, if it says so. */
  readonly quantised: Quantised | null;
  /** As the file spells it, one of the format's own: `"BF16"`, `"I64"`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file. */
  readonly begin: number;
  /** One past the last byte. */
  readonly end: number;
}

/** The tensors of a file, in the order of their bytes; null when there is no such file. */
export function readSafetensors(path: string): Promise<StoredTensor[] | null> {
  return withFile(path, async (file) => {
    const { header, dataBegin } = await readHeader(file);
    const { __metadata__: metadata, ...entries } = header;
    const quantised = metadata === undefined ? null : readMetadata(path, metadata);
    const tensors = Object.entries(entries).map(([name, entry]) =>
      storedTensor(path, name, entry, dataBegin, quantised),
    );
    tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
    checkCoverage(file, tensors, dataBegin);
    return tensors;
  });
}

async function readHeader(file: OpenFile) {
  if (file.size < 8) {
    throw malformed(
      file.path,
      `has ${file.size} bytes, expected at least the 8 of a header length`,
    );
  }
  const length = (await file.read(0, 8)).readBigUInt64LE();
  if (length > MAX_HEADER || length > file.size - 8) {
    const most = Math.min(MAX_HEADER, file.size - 8);
    throw malformed(file.path, `has a header of ${length} bytes, expected at most ${most}`);
  }
  const bytes = await file.read(8, Number(length));
  const header = bytes[0] === 0x7b ? parseJson(bytes, file.path) : undefined;
  if (!isRecord(header)) throw malformed(file.path, "has a header that is not a JSON object");
  return { header, dataBegin: 8 + Number(length) };
}

/** The format's free-form notes, a map of strings; ours among them say that matrices are quantised, and how. */
function readMetadata(path: string, metadata: unknown): Quantised | null {
  if (!isRecord(metadata) || !Object.values(metadata).every((text) => typeof text === "string")) {
    throw malformed(path, "__metadata__ is not a map of strings", { field: "__metadata__" });
  }
  if (metadata[QUANTISED.dtype] === undefined) return null;
  const oneOf = <const T extends string>(field: string, values: readonly T[]): T => {
    const value = values.find((one) => one === metadata[field]);
    if (value !== undefined) return value;
    const [actual, expected] = [describe(metadata[field]), values.map(quote).join(" or ")];
    const what = `__metadata__ has ${field} as ${actual}, expected ${expected}`;
    throw malformed(path, what, { field, expected, actual });
  };
  oneOf(QUANTISED.version, [QUANTISED_VERSION]);
  return {
    dtype: oneOf(QUANTISED.dtype, ["int8", "int4"]),
    cacheType: oneOf(QUANTISED.cacheType, ["bf16", "f32"]),
  };
}

function storedTensor(
  file: string,
  name: string,
  entry: unknown,
  dataBegin: number,
  quantised: Quantised | null,
): StoredTensor {
  const wrong = (what: string, actual: unknown, expected: string) =>
    malformed(file, `tensor ${quote(name)} has ${what} ${describe(actual)}, expected ${expected}`, {
      tensor: name,
      expected,
      actual: describe(actual),
    });
  if (!isRecord(entry)) throw wrong("the description", entry, "a mapping");
  const { dtype, shape, data_offsets: offsets } = entry;
  const size = ELEMENT_SIZES.get(dtype);
  if (typeof dtype !== "string" || size === undefined) {
    throw wrong("the type", dtype, "one of the format's types");
  }
  if (!isCounts(shape)) throw wrong("the shape", shape, "a list of integers from 0 to 2^53");
  if (!isCounts(offsets)) throw wrong("the offsets", offsets, "two integers from 0 to 2^53");
  const [begin, end] = offsets;
  if (offsets.length !== 2 || begin === undefined || end === undefined || begin > end) {
    throw wrong("the offsets", `[${offsets.slice(0, 4).join(", ")}]`, "two ascending integers");
  }
  const expected = byteSize(shape, size);
  if (end - begin !== expected) {
    const shown = `${dtype} [${shape.slice(0, 8).join(", ")}]`;
    throw wrong(
      "a range of bytes of",
      end - begin,
      `${expected ?? "fewer than 2^53"} for ${shown}`,
    );
  }
  return { name, file, quantised, dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

/** Product of the sizes in bytes; undefined when it, or a part of it, cannot be counted exactly. */
function byteSize(shape: readonly number[], elementSize: number): number | undefined {
  let product = elementSize;
  for (const extent of shape) {
    product *= extent;
    if (!Number.isSafeInteger(product)) return undefined;
  }
  return product;
}

/** Every byte after the header belongs to exactly one tensor. */
function checkCoverage(file: OpenFile, tensors: readonly StoredTensor[], dataBegin: number): void {
  let position = dataBegin;
  for (const { name, begin, end } of tensors) {
    if (begin !== position) {
      const what =
        begin < position ? "overlaps the one before it" : "leaves bytes unused before it";
      throw malformed(
        file.path,
        `tensor ${quote(name)} ${what}, starting at byte ${begin}, expected ${position}`,
        { tensor: name, expected: position, actual: begin },
      );
    }
    if (end > file.size) {
      throw malformed(
        file.path,
        `is truncated: tensor ${quote(name)} ends at byte ${end}, expected at most ${file.size}`,
        { tensor: name, expected: file.size, actual: end },
      );
    }
    position = end;
  }
  if (position !== file.size) {
    throw malformed(
      file.path,
      `ends with ${file.size - position} bytes that belong to no tensor, expected none`,
      { expected: position, actual: file.size },
    );
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}
