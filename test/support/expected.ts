/** The golden outputs that lie beside the checkpoints in test/fixtures; see its README. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const FIXTURES = [
  "bivium-router-temp-f32",
  "bivium-untied-bf16",
  "dense-baseline-f32",
  "dense-llama3-rope-bf16",
  "quadrivium-gqa-f32",
  "quadrivium-long-bf16",
  "trivium-no-adapters-f32",
  "trivium-sharded-f16",
] as const;

export const DEMO = fileURLToPath(new URL("../../models/demo", import.meta.url));
/** Its dense twin: as many parameters, no exits. */
export const DEMO_TWIN = fileURLToPath(new URL("../../models/demo-twin", import.meta.url));

export function fixture(name: string): string {
  return fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
}

export interface Greedy {
  readonly tokens: readonly number[];
  readonly exits: readonly number[];
  readonly token_margin: readonly number[];
  readonly router_margin: readonly number[];
}

export interface ExpectedInput {
  readonly tokens: number[];
  readonly greedy: Greedy | undefined;
}

/** Tensors of a safetensors file of I32 and F32 tensors. */
export function readTensors(file: string): Map<string, Float32Array | Int32Array> {
  const data = readFileSync(file);
  const length = Number(data.readBigUInt64LE(0));
  const header = JSON.parse(data.toString("utf8", 8, 8 + length)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, Float32Array | Int32Array>();
  for (const [name, { dtype, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const bytes = new Uint8Array(
      data.subarray(8 + length + data_offsets[0], 8 + length + data_offsets[1]),
    );
    tensors.set(
      name,
      dtype === "I32" ? new Int32Array(bytes.buffer) : new Float32Array(bytes.buffer),
    );
  }
  return tensors;
}

export interface Expected {
  readonly tensors: Map<string, Float32Array | Int32Array>;
  readonly greedy: readonly Greedy[];
}

export function readExpected(directory: string): Expected {
  const json = JSON.parse(readFileSync(`${directory}/expected.json`, "utf8")) as {
    greedy: Greedy[];
  };
  return { tensors: readTensors(`${directory}/expected.safetensors`), greedy: json.greedy };
}
