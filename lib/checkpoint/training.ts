/** The training configuration, a YAML file: where the exits are, and which heads share a matrix (SPEC §4). */

import { dirname, join } from "node:path";
import { parseDocument } from "yaml";
import { malformed, quote, unsupported } from "./failure.js";
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
import { decodeUtf8 } from "./json.js";
import { MAX_LAYERS, MAX_WIDTH } from "./limits.js";

/** In bytes; configurations have a few thousand. The parser's time grows with the square of the keys in a mapping. */
const MAX_YAML = 1 << 16;

/** YAML 1.2 and nothing that reaches beyond plain data: no merge keys, and any tag but the core ones is a warning. */
const PLAIN = {
  schema: "core",
  merge: false,
  resolveKnownTags: false,
  stringKeys: true,
  logLevel: "error",
} as const;

/** How often all aliases together may be expanded. */
const MAX_ALIASES = 100;

/** What a file says of sizes that the tensors also have; null where it says nothing, and the tensors decide alone. */
export interface StatedRouter {
  readonly blocks: number | null;
  readonly hiddenSize: number | null;
  readonly intermediateSize: number | null;
}

export interface StatedAdapter {
  readonly width: number | null;
}

export interface TrainingConfig {
  /** Null for a checkpoint without a training configuration. */
  readonly file: string | null;
  /** Layers run before each exit, ascending; empty for a standard transformer. */
  readonly exits: readonly number[];
  readonly tieFinalToEmbeddings: boolean;
  /** Whose matrix the early heads use. */
  readonly earlyHeads: "own" | "final" | "embeddings";
  readonly router: StatedRouter;
  readonly routerTemperature: number;
  /** Null where there is none. */
  readonly earlyAdapter: StatedAdapter | null;
  readonly finalAdapter: StatedAdapter | null;
  /** The `inference` block as it stands; null when there is none. */
  readonly inference: unknown;
}

/** What holds for a standard transformer: no exits, no adapters. */
export function standardTraining(tieFinalToEmbeddings: boolean): TrainingConfig {
  return {
    file: null,
    exits: [],
    tieFinalToEmbeddings,
    earlyHeads: "own",
    router: { blocks: null, hiddenSize: null, intermediateSize: null },
    routerTemperature: 1,
    earlyAdapter: null,
    finalAdapter: null,
    inference: null,
  };
}

/** Where the file is looked for; the first that exists counts. */
export function trainingFiles(directory: string): string[] {
  const parent = dirname(directory);
  return [
    ...[directory, parent, dirname(parent)].map((place) => join(place, ".hydra", "config.yaml")),
    join(directory, "ft_exp_config.yaml"),
    join(parent, "train_config.yaml"),
  ];
}

/** Null when there is no such file. `layers` bounds where exits can be. */
export async function readTraining(
  directory: string,
  layers: number,
): Promise<TrainingConfig | null> {
  for (const file of trainingFiles(directory)) {
    const bytes = await readSmall(file, MAX_YAML);
    if (bytes !== null) return trainingConfig(rootFields(file, parseYaml(bytes, file)), layers);
  }
  return null;
}

function parseYaml(bytes: Uint8Array, file: string): unknown {
  const text = decodeUtf8(bytes, file);
  try {
    const document = parseDocument(text, PLAIN);
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) throw problem;
    const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
    // An alias inside its own anchor makes a circle, which no reader of the `inference` block would expect.
    JSON.stringify(value);
    return value;
  } catch (cause) {
    throw malformed(file, "is not valid YAML", {}, cause);
  }
}

function trainingConfig(yaml: Fields, layers: number): TrainingConfig {
  const kind = modelKind(yaml);
  const temperature = real(yaml, "temperature", [0, Number.MAX_VALUE], 1);
  if (temperature !== 1) {
    throw unsupported(yaml.file, `temperature is ${temperature}, of which only 1 is supported`, {
      field: "temperature",
      expected: 1,
      actual: temperature,
    });
  }
  const tying = section(yaml, "tying");
  const shared = {
    ...standardTraining(boolean(tying, "tie_final_to_embeddings", true)),
    file: yaml.file,
    inference: field(yaml, "inference") ?? null,
  };
  if (kind === "baseline") return shared;
  return {
    ...shared,
    exits: exitLayers(yaml, layers),
    earlyHeads: boolean(tying, "tie_early_to_final", false)
      ? "final"
      : boolean(tying, "tie_early_to_embeddings", false)
        ? "embeddings"
        : "own",
    router: statedRouter(section(yaml, "router")),
    routerTemperature: real(section(yaml, "router"), "router_temp", [1e-30, 1e30], 1),
    earlyAdapter: statedAdapter(section(yaml, "early_adapter")),
    finalAdapter: statedAdapter(section(yaml, "final_adapter")),
  };
}

/** `Nvium` and its older name `multihead`, or `baseline`, the dense twin. The trainer's default is `Nvium`. */
function modelKind(yaml: Fields): "nvium" | "baseline" {
  const type = optionalString(yaml, "model_type") ?? "Nvium";
  if (type === "Nvium" || type === "multihead") return "nvium";
  if (type === "baseline") return "baseline";
  throw unsupported(
    yaml.file,
    `model_type is ${quote(type)}, of which only "Nvium", "multihead" and "baseline" are supported`,
    { field: "model_type", actual: type },
  );
}

/** `early_layer_idx`: a number or a list of numbers in any order, each before the last layer, none twice. */
function exitLayers(yaml: Fields, layers: number): number[] {
  const value = field(yaml, "early_layer_idx");
  const list: unknown[] = Array.isArray(value) ? value : [value];
  const exits = list.map((exit) => {
    if (typeof exit !== "number" || !Number.isInteger(exit) || exit < 1 || exit >= layers) {
      throw wrongField(yaml, "early_layer_idx", `integers from 1 to ${layers - 1}`, exit);
    }
    return exit;
  });
  exits.sort((a, b) => a - b);
  const twice = exits.find((exit, i) => exit === exits[i - 1]);
  if (twice !== undefined) {
    throw malformed(yaml.file, `early_layer_idx names layer ${twice} twice, expected once`, {
      field: "early_layer_idx",
      actual: twice,
    });
  }
  return exits;
}

function statedRouter(router: Fields): StatedRouter {
  const type = optionalString(router, "router_type");
  if (type !== null && type !== "simple_mlp" && type !== "simple_deep_mlp") {
    throw unsupported(
      router.file,
      `router.router_type is ${quote(type)}, of which only "simple_mlp" and "simple_deep_mlp" are supported`,
      { field: "router.router_type", actual: type },
    );
  }
  return {
    // A simple_mlp has one block whatever num_layers says.
    blocks: type === "simple_mlp" ? 1 : stated(router, "num_layers", MAX_LAYERS),
    hiddenSize: stated(router, "hidden_size", MAX_WIDTH),
    intermediateSize: stated(router, "intermediate_size", MAX_WIDTH),
  };
}

/** Absent means disabled, as for the trainer. */
function statedAdapter(adapter: Fields): StatedAdapter | null {
  return boolean(adapter, "enabled", false) ? { width: stated(adapter, "dim", MAX_WIDTH) } : null;
}

function stated(fields: Fields, key: string, max: number): number | null {
  return field(fields, key) === undefined ? null : integer(fields, key, [1, max]);
}
