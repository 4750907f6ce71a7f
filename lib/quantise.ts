/** Writing a checkpoint whose matrices are integers: it loads without the one it was made of (SPEC §4). */

import { copyFile, cp, type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { readCheckpoint } from "./checkpoint/checkpoint.js";
import { INTEGERS, plainName, scalesOf } from "./checkpoint/names.js";
import type { Checkpoint, ModelPlan, TensorIndex, TensorPlan } from "./checkpoint/plan.js";
import { QUANTISED, QUANTISED_VERSION } from "./checkpoint/safetensors.js";
import { NviumError } from "./errors.js";
import { native, typed } from "./native.js";

export interface QuantiseOptions {
  readonly dtype: "int8" | "int4";
  /** Aborting makes the promise reject with the signal's reason; nothing stays on the disk. */
  readonly signal?: AbortSignal;
  /** Called now and then with the bytes read so far, and of how many. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Bytes of a tensor that are read and written at a time. */
const SLAB = 1 << 22;

/** What a checkpoint may have beside its weights and that is taken over as it is. */
const BESIDE = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "additional_chat_templates",
];

const STORED = { bf16: "BF16", f16: "F16", f32: "F32" } as const;
const BYTES = { bf16: 2, f16: 2, f32: 4 } as const;
type FloatType = keyof typeof BYTES;

/** A tensor of the new file: its rows as they are, or quantised with their scales in a tensor of their own. */
interface Output {
  readonly name: string;
  readonly from: TensorPlan & { readonly type: FloatType };
  readonly quantised: boolean;
}

/** What is written for one tensor, in the order of its bytes. */
interface Piece {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/**
 * Reads the checkpoint in `from` and writes it to the directory `to`, which must not exist, with the matrices of
 * layers, adapters and heads quantised. Rejects as `loadModel` does; ERR_NVIUM_UNSUPPORTED for a checkpoint that is
 * quantised already.
 */
export async function quantise(from: string, to: string, options: QuantiseOptions): Promise<void> {
  const { signal } = options;
  const checkpoint = await readCheckpoint(from, signal === undefined ? {} : { signal });
  const directory = resolve(to);
  await system(directory, mkdir(directory));
  try {
    await copyBeside(checkpoint, directory);
    await writeWeights(checkpoint, join(directory, "model.safetensors"), options);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

async function copyBeside(checkpoint: Checkpoint, directory: string): Promise<void> {
  for (const name of BESIDE) {
    const source = join(checkpoint.directory, name);
    const target = join(directory, name);
    await cp(source, target, { recursive: true }).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === "ENOENT") return;
      throw new NviumError("ERR_NVIUM_IO", `${source}: ${cause.message}.`, { file: source }, cause);
    });
  }
  if (checkpoint.trainingFile === null) return;
  const target = join(directory, ".hydra", "config.yaml");
  await system(target, mkdir(dirname(target)));
  await system(target, copyFile(checkpoint.trainingFile, target));
}

async function writeWeights(
  { plan }: Checkpoint,
  path: string,
  { dtype, signal, onProgress }: QuantiseOptions,
): Promise<void> {
  const outputs = outputsOf(plan);
  const total = outputs.reduce((sum, { from }) => sum + bytesOf(from), 0);
  const pieces = outputs.flatMap((output) => piecesOf(output, dtype));
  const part = `${path}.part`;
  const inputs: FileHandle[] = [];
  const file = await system(part, open(part, "wx"));
  try {
    for (const input of plan.files) inputs.push(await system(input, open(input, "r")));
    const { header, offsets } = headerOf(pieces, {
      format: "pt",
      [QUANTISED.version]: QUANTISED_VERSION,
      [QUANTISED.dtype]: dtype,
      [QUANTISED.cacheType]: plan.cacheType,
    });
    await system(part, file.write(header, 0, header.length, 0));
    let done = 0;
    for (const { name, from, quantised } of outputs) {
      const input = inputs[from.file] as FileHandle;
      const source = plan.files[from.file] ?? "";
      const rowBytes = from.cols * BYTES[from.type];
      const step = Math.max(1, Math.floor(SLAB / rowBytes));
      let at = offsets.get(name) ?? 0;
      let scalesAt = offsets.get(scalesOf(name)) ?? 0;
      for (let first = 0; first < from.rows; first += step) {
        signal?.throwIfAborted();
        const rows = Math.min(step, from.rows - first);
        const stored = await readExactly(
          input,
          source,
          from.offset + first * rowBytes,
          rows * rowBytes,
        );
        if (quantised) {
          const made = typed(() =>
            native().quantise({ from: from.type, to: dtype, rows, cols: from.cols, stored }),
          );
          if (made === null) throw notFinite(source, from.name);
          at += await write(part, file, made.integers, at);
          scalesAt += await write(part, file, bytes(made.scales), scalesAt);
        } else {
          at += await write(part, file, stored, at);
        }
        done += stored.length;
        onProgress?.(done, total);
      }
    }
    await system(part, file.sync());
  } finally {
    await Promise.all([file, ...inputs].map((handle) => handle.close()));
  }
  await system(path, rename(part, path));
}

/** Every tensor once, under its plain name; a head that is tied to the table of embeddings becomes one of its own. */
function outputsOf(plan: ModelPlan): Output[] {
  const copies = new Set(plan.mustEqual.map(([, copy]) => copy));
  const matrices = new Set<TensorIndex>();
  for (const l of plan.layerPlans) {
    for (const index of [l.query, l.key, l.value, l.output, l.gate, l.up, l.down])
      matrices.add(index);
  }
  for (const { adapter, head } of [...plan.exits, plan.final]) {
    if (adapter !== null) matrices.add(adapter.up).add(adapter.down);
    if (head !== plan.embedding) matrices.add(head);
  }
  const outputs: Output[] = [];
  plan.tensors.forEach((from, index) => {
    const { type } = from;
    if (type === "int8" || type === "int4") {
      throw new NviumError(
        "ERR_NVIUM_UNSUPPORTED",
        `${plan.files[from.file]}: tensor ${from.name} is quantised already.`,
        { file: plan.files[from.file] ?? "", tensor: from.name },
      );
    }
    if (copies.has(index)) return;
    const quantised = matrices.has(index);
    const output = { from: { ...from, type }, quantised };
    // The member of a tied group that is used may be any: the table has its own name.
    const name = index === plan.embedding ? TABLE : plainName(from.name);
    outputs.push({ ...output, name });
    const head = index === plan.embedding ? tiedHead(plan) : null;
    if (head !== null) outputs.push({ ...output, name: head, quantised: true });
  });
  return outputs;
}

const TABLE = "model.embed_tokens.weight";

/** The name under which heads that are tied to the table are stored beside it. */
function tiedHead({ final, exits, embedding }: ModelPlan): string | null {
  if (final.head === embedding) return "lm_head.weight";
  const k = exits.findIndex(({ head }) => head === embedding);
  return k < 0 ? null : `early_lm_heads.${k}.weight`;
}

function piecesOf({ name, from, quantised }: Output, dtype: "int8" | "int4"): Piece[] {
  const { rows, cols, type } = from;
  if (!quantised) {
    const shape = isVector(from) ? [rows] : [rows, cols];
    return [{ name, dtype: STORED[type], shape, bytes: bytesOf(from) }];
  }
  const { stored, perByte, group } = INTEGERS[dtype];
  const [width, groups] = [Math.ceil(cols / perByte), Math.ceil(cols / group)];
  return [
    { name, dtype: stored, shape: [rows, width], bytes: rows * width },
    { name: scalesOf(name), dtype: "BF16", shape: [rows, groups], bytes: rows * groups * 2 },
  ];
}

/** A plan does not tell a vector from a matrix of one column, but its name does: biases and norms are vectors. */
const isVector = ({ name }: TensorPlan) =>
  /(norm|norms\.\d+|layernorm)\.weight$|\.bias$/.test(name);

const bytesOf = ({ rows, cols, type }: Output["from"]) => rows * cols * BYTES[type];

function headerOf(pieces: readonly Piece[], metadata: Record<string, string>) {
  let end = 0;
  const entries: [string, unknown][] = [["__metadata__", metadata]];
  const begins = new Map<string, number>();
  for (const { name, dtype, shape, bytes } of pieces) {
    begins.set(name, end);
    entries.push([name, { dtype, shape, data_offsets: [end, end + bytes] }]);
    end += bytes;
  }
  const json = JSON.stringify(Object.fromEntries(entries));
  const text = Buffer.from(json.padEnd(Math.ceil(Buffer.byteLength(json) / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const header = Buffer.concat([length, text]);
  const offsets = new Map([...begins].map(([name, begin]) => [name, header.length + begin]));
  return { header, offsets };
}

const bytes = (array: Uint16Array) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

async function write(path: string, file: FileHandle, data: Uint8Array, at: number) {
  let written = 0;
  while (written < data.length) {
    const step = file.write(data, written, data.length - written, at + written);
    written += (await system(path, step)).bytesWritten;
  }
  return written;
}

async function readExactly(file: FileHandle, path: string, offset: number, length: number) {
  const data = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const step = file.read(data, filled, length - filled, offset + filled);
    const { bytesRead } = await system(path, step);
    if (bytesRead === 0) {
      const message = `${path} ends before byte ${offset + length}.`;
      throw new NviumError("ERR_NVIUM_IO", message, { file: path });
    }
    filled += bytesRead;
  }
  return data;
}

const notFinite = (file: string, tensor: string) =>
  new NviumError(
    "ERR_NVIUM_MODEL_FORMAT",
    `${file}: tensor ${tensor} holds a value that is not finite.`,
    { file, tensor },
  );

/** Awaits a system call, turning its failure into `ERR_NVIUM_IO`. */
async function system<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new NviumError("ERR_NVIUM_IO", `${path}: ${reason}.`, { file: path }, cause);
  }
}
