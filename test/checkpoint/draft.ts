/** A tiny checkpoint to spoil: made in memory, changed by a test, written to a directory of its own. */

import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, expect } from "vitest";
import { stringify } from "yaml";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import { type ErrorCode, NviumError } from "../../lib/errors.js";

export interface Entry {
  dtype: string;
  shape: number[];
}

export interface Draft {
  config: Record<string, unknown>;
  /** Null for no file, text to be written as it stands. */
  yaml: Record<string, unknown> | string | null;
  /** In the order of their bytes. */
  tensors: Map<string, Entry>;
  /** Further files, by path relative to the checkpoint; null takes one away. */
  files: Map<string, string | Uint8Array | null>;
}

/** All sizes differ, so that no mix-up of two of them can pass. */
export const SIZE = { d: 8, ffn: 12, q: 24, kv: 12, vocab: 10, a: 3, b: 5, m: 7, h: 9 };

/** Three layers, exits after the first two, adapters, routers of two blocks, early heads tied to the final one. */
export function draft(): Draft {
  const { d, ffn, q, kv, vocab, a, b, m, h } = SIZE;
  const shapes: [string, number[]][] = [
    ["model.embed_tokens.weight", [vocab, d]],
    ["lm_head.weight", [vocab, d]],
    ["model.norm.weight", [d]],
    ["final_adapter.0.weight", [b, d]],
    ["final_adapter.2.weight", [d, b]],
  ];
  for (let i = 0; i < 3; i++) {
    const layer = `model.layers.${i}`;
    shapes.push(
      [`${layer}.input_layernorm.weight`, [d]],
      [`${layer}.self_attn.q_proj.weight`, [q, d]],
      [`${layer}.self_attn.k_proj.weight`, [kv, d]],
      [`${layer}.self_attn.v_proj.weight`, [kv, d]],
      [`${layer}.self_attn.o_proj.weight`, [d, q]],
      [`${layer}.post_attention_layernorm.weight`, [d]],
      [`${layer}.mlp.gate_proj.weight`, [ffn, d]],
      [`${layer}.mlp.up_proj.weight`, [ffn, d]],
      [`${layer}.mlp.down_proj.weight`, [d, ffn]],
    );
  }
  for (let k = 0; k < 2; k++) {
    shapes.push(
      [`early_norms.${k}.weight`, [d]],
      [`early_adapters.${k}.0.weight`, [a, d]],
      [`early_adapters.${k}.2.weight`, [d, a]],
      [`router_layers.${k}.layers.0.fc1.weight`, [m, d]],
      [`router_layers.${k}.layers.0.fc1.bias`, [m]],
      [`router_layers.${k}.layers.0.fc2.weight`, [h, m]],
      [`router_layers.${k}.layers.0.fc2.bias`, [h]],
      [`router_layers.${k}.layers.1.fc1.weight`, [m, h]],
      [`router_layers.${k}.layers.1.fc1.bias`, [m]],
      [`router_layers.${k}.layers.1.fc2.weight`, [h, m]],
      [`router_layers.${k}.layers.1.fc2.bias`, [h]],
      [`router_final_norms.${k}.weight`, [h]],
      [`router_heads.${k}.weight`, [2, h]],
      [`router_heads.${k}.bias`, [2]],
    );
  }
  return {
    config: {
      model_type: "llama",
      hidden_size: d,
      intermediate_size: ffn,
      num_hidden_layers: 3,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 6,
      rms_norm_eps: 1e-6,
      vocab_size: vocab,
      max_position_embeddings: 64,
      tie_word_embeddings: false,
      bos_token_id: 1,
      eos_token_id: 2,
    },
    yaml: {
      model_type: "Nvium",
      early_layer_idx: [1, 2],
      temperature: 1,
      tying: {
        tie_final_to_embeddings: false,
        tie_early_to_final: true,
        tie_early_to_embeddings: false,
      },
      router: {
        router_type: "simple_deep_mlp",
        router_temp: 1,
        hidden_size: h,
        intermediate_size: m,
        num_layers: 2,
      },
      early_adapter: { enabled: true, dim: a },
      final_adapter: { enabled: true, dim: b },
    },
    tensors: new Map(shapes.map(([name, shape]) => [name, { dtype: "F32", shape }])),
    files: new Map(),
  };
}

/** The draft without anything that belongs to exits: a standard Llama checkpoint. */
export function denseDraft(): Draft {
  const dense = draft();
  dense.yaml = null;
  for (const name of dense.tensors.keys()) {
    if (/^(early_|router_|final_)/.test(name)) dense.tensors.delete(name);
  }
  return dense;
}

const ELEMENT: Record<string, number> = { BF16: 2, F16: 2, F32: 4, F64: 8, I64: 8, I8: 1 };

export interface HeaderEntry extends Entry {
  data_offsets: number[];
}

export type Header = Record<string, HeaderEntry>;

/** The header that places tensors one after the other. */
export function headerOf(tensors: ReadonlyMap<string, Entry>): { header: Header; bytes: number } {
  let bytes = 0;
  const entries = [...tensors].map(([name, { dtype, shape }]): [string, HeaderEntry] => {
    const begin = bytes;
    bytes += shape.reduce((product, extent) => product * extent, ELEMENT[dtype] ?? 4);
    return [name, { dtype, shape, data_offsets: [begin, bytes] }];
  });
  return { header: Object.fromEntries(entries), bytes };
}

/** A safetensors file: the header, a text or something to write as JSON, and zeros behind it. */
export function safetensors(header: unknown, bytes: number): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(bytes)]);
}

const root = mkdtempSync(join(tmpdir(), "nvium-checkpoint-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;

/** A directory that nothing else uses, two levels deep so that its parents are its own too. */
export async function freshDirectory(): Promise<string> {
  const directory = join(root, String(count++), "checkpoints", "checkpoint-1");
  await mkdir(directory, { recursive: true });
  return directory;
}

/** Writes a draft, changed by `edit`, and says where. */
export async function write(source: Draft, edit: (draft: Draft) => void = () => {}) {
  edit(source);
  const directory = await freshDirectory();
  const { header, bytes } = headerOf(source.tensors);
  const files = new Map<string, string | Uint8Array | null>([
    ["config.json", JSON.stringify(source.config)],
    ["model.safetensors", safetensors(header, bytes)],
  ]);
  if (source.yaml !== null) {
    const text = typeof source.yaml === "string" ? source.yaml : stringify(source.yaml);
    files.set(".hydra/config.yaml", text);
  }
  for (const [path, content] of [...files, ...source.files]) {
    if (source.files.get(path) === null || content === null) continue;
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), content);
  }
  return directory;
}

/** The error a promise rejects with, which must be this project's own. */
export async function refusal(promise: Promise<unknown>): Promise<NviumError> {
  const error: unknown = await promise.then(
    () => expect.fail("expected a refusal"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof NviumError)) throw error;
  return error;
}

/** Expects the changed draft to be refused with this code, and a message that says each of these. */
export async function expectRefusal(
  source: Draft,
  edit: (draft: Draft) => void,
  code: ErrorCode,
  ...says: string[]
): Promise<void> {
  const error = await refusal(readCheckpoint(await write(source, edit)));
  expect(error).toMatchObject({ code });
  for (const part of says) expect(error.message).toContain(part);
  expect(error.message).toMatch(/^[^\n]+\.$/);
}
