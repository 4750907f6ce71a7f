/** config.json: the Hugging Face Llama configuration, checked (SPEC §4). */

import { join } from "node:path";
import { describe, malformed, quote, unsupported } from "./failure.js";
import {
  boolean,
  type Fields,
  field,
  integer,
  optionalString,
  real,
  rootFields,
  section,
  wrongField,
} from "./fields.js";
import { readSmall } from "./files.js";
import { parseJson, parsePythonJson } from "./json.js";
import {
  MAX_CONTEXT,
  MAX_HEAD_DIM,
  MAX_HEADS,
  MAX_LAYERS,
  MAX_VOCABULARY,
  MAX_WIDTH,
} from "./limits.js";
import type { RotaryPlan } from "./plan.js";

/** In bytes; configurations have a few thousand. */
const MAX_CONFIG = 1 << 20;

export interface LlamaConfig {
  readonly file: string;
  /** `model_type`; null when it says nothing. */
  readonly modelType: string | null;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Even: rotary embedding turns halves against each other. */
  readonly headDim: number;
  readonly vocabSize: number;
  readonly normEpsilon: number;
  readonly contextLength: number;
  readonly rotary: RotaryPlan;
  /** Used only where there is no training configuration. */
  readonly tieWordEmbeddings: boolean;
  readonly bosTokens: readonly number[];
  readonly eosTokens: readonly number[];
}

export async function readConfig(directory: string): Promise<LlamaConfig> {
  const file = join(directory, "config.json");
  const bytes = await readSmall(file, MAX_CONFIG);
  if (bytes === null) throw malformed(file, "is missing");
  const config = rootFields(file, parseJson(bytes, file, parsePythonJson));
  refuseUnsupported(config);
  checkElementType(config);

  const hiddenSize = integer(config, "hidden_size", [1, MAX_WIDTH]);
  const vocabSize = integer(config, "vocab_size", [1, MAX_VOCABULARY]);
  return {
    file,
    modelType: optionalString(config, "model_type") || null,
    layers: integer(config, "num_hidden_layers", [1, MAX_LAYERS]),
    hiddenSize,
    intermediateSize: integer(config, "intermediate_size", [1, MAX_WIDTH]),
    ...headSizes(config, hiddenSize),
    vocabSize,
    normEpsilon: real(config, "rms_norm_eps", [1e-30, 1]),
    contextLength: integer(config, "max_position_embeddings", [1, MAX_CONTEXT]),
    rotary: { theta: rotaryBase(config), scaling: rotaryScaling(config) },
    tieWordEmbeddings: boolean(config, "tie_word_embeddings", false),
    bosTokens: tokens(config, "bos_token_id", vocabSize),
    eosTokens: tokens(config, "eos_token_id", vocabSize),
  };
}

/** What changes the arithmetic in a way this runtime does not follow is refused by name. */
function refuseUnsupported(config: Fields): void {
  const refuse = (key: string, supported: string, actual: string) =>
    unsupported(config.file, `${key} is ${actual}, of which only ${supported} is supported`, {
      field: key,
      expected: supported,
      actual,
    });
  for (const key of ["attention_bias", "mlp_bias"]) {
    if (boolean(config, key, false)) throw refuse(key, "false", "true");
  }
  const activation = optionalString(config, "hidden_act") ?? "silu";
  if (activation !== "silu") throw refuse("hidden_act", '"silu"', quote(activation));
  const rotated = real(config, "partial_rotary_factor", [0, 1], 1);
  if (rotated !== 1) throw refuse("partial_rotary_factor", "1", String(rotated));
  if (field(config, "quantization_config") !== undefined) {
    throw unsupported(config.file, "its quantization_config asks for quantised weights", {
      field: "quantization_config",
    });
  }
}

/** Old and new files name the element type differently. Tensors carry their own; only a contradiction matters. */
function checkElementType(config: Fields): void {
  agreeing(config, [
    ["torch_dtype", optionalString(config, "torch_dtype")],
    ["dtype", optionalString(config, "dtype")],
  ]);
}

function headSizes(config: Fields, hiddenSize: number) {
  const heads = integer(config, "num_attention_heads", [1, MAX_HEADS]);
  const kvHeads = integer(config, "num_key_value_heads", [1, heads], heads);
  if (heads % kvHeads !== 0) {
    throw wrongField(config, "num_key_value_heads", `a divisor of the ${heads} heads`, kvHeads);
  }
  if (field(config, "head_dim") === undefined && hiddenSize % heads !== 0) {
    throw wrongField(config, "hidden_size", `a multiple of the ${heads} heads`, hiddenSize);
  }
  const headDim = integer(config, "head_dim", [2, MAX_HEAD_DIM], hiddenSize / heads);
  if (headDim % 2 !== 0) throw wrongField(config, "head_dim", "an even number", headDim);
  return { heads, kvHeads, headDim };
}

/** `rope_theta`, which newer files keep among the `rope_parameters`. */
function rotaryBase(config: Fields): number {
  const places = [config, section(config, "rope_parameters"), section(config, "rope_scaling")];
  const base = agreeing(
    config,
    places.map((place) => [
      `${place.prefix}rope_theta`,
      field(place, "rope_theta") === undefined ? null : real(place, "rope_theta", [1, 1e15]),
    ]),
  );
  return base ?? 10000;
}

/** `rope_scaling` in older files, `rope_parameters` in newer ones. */
function rotaryScaling(config: Fields): RotaryPlan["scaling"] {
  const places = ["rope_scaling", "rope_parameters"].filter(
    (key) => field(config, key) !== undefined,
  );
  const found = places.map((key) => scalingIn(section(config, key)));
  const [first = { type: "default" }, second = first] = found;
  if (JSON.stringify(first) !== JSON.stringify(second)) {
    throw malformed(
      config.file,
      `rope_parameters is the scaling ${second.type}, expected all that rope_scaling says, ${first.type}`,
      { field: "rope_parameters" },
    );
  }
  return first;
}

function scalingIn(scaling: Fields): RotaryPlan["scaling"] {
  // Files written before the name changed say `type`, some say both.
  const type = agreeing(scaling, [
    [`${scaling.prefix}rope_type`, optionalString(scaling, "rope_type")],
    [`${scaling.prefix}type`, optionalString(scaling, "type")],
  ]);
  switch (type) {
    case null:
      if (field(scaling, "factor") === undefined) return { type: "default" };
      throw wrongField(scaling, "rope_type", '"default", "linear" or "llama3"', undefined);
    case "default":
      return { type };
    case "linear":
      return { type, factor: factor(scaling) };
    case "llama3": {
      const low = real(scaling, "low_freq_factor", [1e-6, 1e6]);
      const high = real(scaling, "high_freq_factor", [1e-6, 1e6]);
      if (high <= low) throw wrongField(scaling, "high_freq_factor", `a number above ${low}`, high);
      return {
        type,
        factor: factor(scaling),
        lowFrequencyFactor: low,
        highFrequencyFactor: high,
        originalContext: integer(scaling, "original_max_position_embeddings", [1, MAX_CONTEXT]),
      };
    }
    default:
      throw unsupported(
        scaling.file,
        `${scaling.prefix}rope_type is ${quote(type)}, of which only "default", "linear" and "llama3" are supported`,
        { field: `${scaling.prefix}rope_type`, actual: type },
      );
  }
}

/** How many times longer than in training a sequence may be. */
function factor(scaling: Fields): number {
  return real(scaling, "factor", [1, 1e6]);
}

/** A number, a list of numbers, or nothing. */
function tokens(config: Fields, key: string, vocabSize: number): number[] {
  const value = field(config, key) ?? [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.map((token) => {
    if (typeof token !== "number" || !Number.isInteger(token) || token < 0 || token >= vocabSize) {
      throw wrongField(config, key, `token ids from 0 to ${vocabSize - 1}`, token);
    }
    return token;
  });
}

/** The one value that all places which name one agree on; null when none does. */
function agreeing<T extends string | number>(
  config: Fields,
  places: readonly (readonly [name: string, value: T | null])[],
): T | null {
  const named = places.filter((place): place is readonly [string, T] => place[1] !== null);
  const [first] = named;
  for (const [name, value] of named) {
    if (first === undefined || value === first[1]) continue;
    const [actual, expected] = [describe(value), describe(first[1])];
    throw malformed(config.file, `${name} is ${actual}, expected ${expected} as ${first[0]} says`, {
      field: name,
      expected,
      actual,
    });
  }
  return first?.[1] ?? null;
}
