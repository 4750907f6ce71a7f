/** GGUF for llama.cpp: a dense Llama of a shape, generated weights, a vocabulary of fillers. */
import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { CACHE } from "../lib/paths.js";
import { shape } from "../lib/shapes.js";
import { writeMatrix } from "../lib/weights.js";

const ALIGNMENT = 32;
const U32 = 4;
const I32 = 5;
const F32 = 6;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;
/** Types of tensors. */
const GGML = { f32: 0, q4_0: 2, q8_0: 8, bf16: 30 };
/** The type a file says it is of. */
const FILES = { q4_0: 2, q8_0: 7, bf16: 32 };
/** Bytes of 32 weights. */
const BLOCK_BYTES = { q4_0: 18, q8_0: 34, bf16: 64 };

/** Writes the file unless it is there, and gives its path. @param {string} name of a dense shape @param {"bf16" | "q8_0" | "q4_0"} type of its matrices */
export function gguf(name, type) {
  const path = join(CACHE, `${name}-${type}-v1.gguf`);
  if (existsSync(path)) return path;
  mkdirSync(CACHE, { recursive: true });
  const model = shape(name);
  const tensors = tensorsOf(model, type);
  const file = openSync(`${path}.part`, "w");
  let position = 0;
  const put = (buffer) => {
    position += writeSync(file, buffer);
  };
  try {
    put(header(tensors, metadata(model, type)));
    put(Buffer.alloc(padding(position)));
    for (const [i, { rows, cols, type }] of tensors.entries()) {
      if (type === "bf16") writeMatrix(file, rows, cols, i);
      else if (type !== "f32") writeBlocks(file, rows, cols, i, type);
      else writeSync(file, new Uint8Array(new Float32Array(cols).fill(1).buffer));
      writeSync(file, Buffer.alloc(padding(bytes(tensors[i]))));
    }
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.part`, path);
  return path;
}

const bytes = ({ rows, cols, type }) =>
  type === "f32" ? rows * cols * 4 : (rows * cols * BLOCK_BYTES[type]) / 32;
const padding = (size) => (ALIGNMENT - (size % ALIGNMENT)) % ALIGNMENT;

/** Blocks of 32 integers with an f16 scale, of 0.05 / 128 or 0.05 / 8: speed does not depend on them. */
function writeBlocks(file, rows, cols, salt, type) {
  const size = BLOCK_BYTES[type];
  const row = new Uint8Array((cols / 32) * size);
  let state = salt + 1;
  const perChunk = Math.max(1, Math.floor((1 << 22) / row.length));
  const chunk = new Uint8Array(perChunk * row.length);
  for (let i = 0; i < chunk.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    chunk[i] = state >>> 24;
  }
  const scale = type === "q8_0" ? 0x0e66 : 0x1e66;
  for (let i = 0; i < chunk.length; i += size) {
    chunk[i] = scale & 255;
    chunk[i + 1] = scale >> 8;
  }
  for (let first = 0; first < rows; first += perChunk) {
    writeSync(file, chunk, 0, Math.min(perChunk, rows - first) * row.length);
  }
}

function tensorsOf({ layers, hidden: d, ffn, heads, headDim, vocab }, type) {
  const width = heads * headDim;
  const norm = (name) => ({ name, rows: 1, cols: d, type: "f32" });
  const matrix = (name, rows, cols) => ({ name, rows, cols, type });
  const layer = (i) => {
    const at = `blk.${i}`;
    return [
      norm(`${at}.attn_norm.weight`),
      ...["q", "k", "v"].map((p) => matrix(`${at}.attn_${p}.weight`, width, d)),
      matrix(`${at}.attn_output.weight`, d, width),
      norm(`${at}.ffn_norm.weight`),
      matrix(`${at}.ffn_gate.weight`, ffn, d),
      matrix(`${at}.ffn_up.weight`, ffn, d),
      matrix(`${at}.ffn_down.weight`, d, ffn),
    ];
  };
  return [
    matrix("token_embd.weight", vocab, d),
    norm("output_norm.weight"),
    matrix("output.weight", vocab, d),
    ...Array.from({ length: layers }, (_, i) => layer(i)).flat(),
  ];
}

function metadata({ layers, hidden, ffn, heads, headDim, vocab }, type) {
  const bytePieces = Array.from({ length: 256 }, (_, b) => {
    return `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`;
  });
  const pieces = ["<unk>", "<s>", "</s>", ...bytePieces];
  const fillers = vocab - pieces.length;
  for (let i = 0; i < fillers; i++) pieces.push(`\u2581w${i}`);
  const types = [2, 3, 3, ...new Array(256).fill(6), ...new Array(fillers).fill(1)];
  return [
    ["general.architecture", STRING, "llama"],
    ["general.name", STRING, "generated"],
    ["general.alignment", U32, ALIGNMENT],
    ["general.file_type", U32, FILES[type]],
    ["llama.context_length", U32, 4096],
    ["llama.embedding_length", U32, hidden],
    ["llama.block_count", U32, layers],
    ["llama.feed_forward_length", U32, ffn],
    ["llama.attention.head_count", U32, heads],
    ["llama.attention.head_count_kv", U32, heads],
    ["llama.rope.dimension_count", U32, headDim],
    ["llama.rope.freq_base", F32, 10000],
    ["llama.attention.layer_norm_rms_epsilon", F32, 1e-6],
    ["llama.vocab_size", U32, vocab],
    ["tokenizer.ggml.model", STRING, "llama"],
    ["tokenizer.ggml.tokens", [STRING], pieces],
    ["tokenizer.ggml.scores", [F32], pieces.map((_, i) => (i < 259 ? 0 : 259 - i))],
    ["tokenizer.ggml.token_type", [I32], types],
    ["tokenizer.ggml.bos_token_id", U32, 1],
    ["tokenizer.ggml.eos_token_id", U32, 2],
    ["tokenizer.ggml.unknown_token_id", U32, 0],
    ["tokenizer.ggml.add_bos_token", BOOL, true],
  ];
}

function number(bytes, write) {
  const buffer = Buffer.alloc(bytes);
  write(buffer);
  return buffer;
}

const u32 = (value) => number(4, (b) => b.writeUInt32LE(value));
const u64 = (value) => number(8, (b) => b.writeBigUInt64LE(BigInt(value)));
const string = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);

const ENCODERS = {
  [U32]: u32,
  [I32]: (value) => number(4, (b) => b.writeInt32LE(value)),
  [F32]: (value) => number(4, (b) => b.writeFloatLE(value)),
  [BOOL]: (value) => Buffer.from([Number(value)]),
  [STRING]: string,
};

function entry([key, type, value]) {
  if (!Array.isArray(type)) return Buffer.concat([string(key), u32(type), ENCODERS[type](value)]);
  const head = [string(key), u32(ARRAY), u32(type[0]), u64(value.length)];
  return Buffer.concat([...head, ...value.map(ENCODERS[type[0]])]);
}

function header(tensors, entries) {
  const parts = [Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(entries.length)];
  parts.push(...entries.map(entry));
  let offset = 0;
  for (const tensor of tensors) {
    const { name, rows, cols, type } = tensor;
    // The contiguous dimension comes first.
    const shape = type === "f32" ? [u32(1), u64(cols)] : [u32(2), u64(cols), u64(rows)];
    parts.push(string(name), ...shape, u32(GGML[type]), u64(offset));
    offset += bytes(tensor) + padding(bytes(tensor));
  }
  return Buffer.concat(parts);
}
