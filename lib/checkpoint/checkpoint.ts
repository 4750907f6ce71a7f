/** Reading a checkpoint directory into a checked description of it. No tensor's values are read here. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { NviumError } from "../errors.js";
import { isSignal } from "../signal.js";
import { assemble, type Parts } from "./assemble.js";
import { type LlamaConfig, readConfig } from "./config.js";
import { directoryPath, requireDirectory } from "./directory.js";
import { malformed, quote, unsupported } from "./failure.js";
import { type TensorTable, tensorTable } from "./names.js";
import type { Checkpoint, DType, TensorIndex, TensorPlan } from "./plan.js";
import { readWeights } from "./shards.js";
import { readTraining, standardTraining, type TrainingConfig, trainingFiles } from "./training.js";

export interface ReadOptions {
  /** Aborting makes the promise reject with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a checkpoint in the published N-vium format, or a standard Llama one (SPEC §4): config.json, the training
 * configuration if there is one, and the headers of the weights. Strict: what it resolves with is complete, fits
 * together, and leaves no byte of the weights unexplained.
 */
export async function readCheckpoint(
  directory: string | URL,
  options: ReadOptions = {},
): Promise<Checkpoint> {
  const path = directoryPath(directory);
  const { signal } = checkArguments(options);
  signal?.throwIfAborted();
  await requireDirectory(path);
  const config = await readConfig(path);
  signal?.throwIfAborted();
  const training = (await readTraining(path, config.layers)) ?? standardLlama(config);
  signal?.throwIfAborted();
  const weights = await readWeights(path, signal);
  signal?.throwIfAborted();

  const table = tensorTable(weights);
  const { copies, ...parts } = assemble(table, config, training);
  checkNoneLeft(table, training, path);
  const used = withoutCopies(parts, copies);
  return {
    directory: path,
    plan: {
      layers: config.layers,
      hiddenSize: config.hiddenSize,
      intermediateSize: config.intermediateSize,
      heads: config.heads,
      kvHeads: config.kvHeads,
      headDim: config.headDim,
      vocabSize: config.vocabSize,
      normEpsilon: config.normEpsilon,
      contextLength: config.contextLength,
      rotary: config.rotary,
      routerTemperature: training.routerTemperature,
      files: weights.files,
      ...parts,
    },
    bosTokens: config.bosTokens,
    eosTokens: config.eosTokens,
    tokenizerFile: await fileOrNull(join(path, "tokenizer.json")),
    tokenizerConfigFile: await fileOrNull(join(path, "tokenizer_config.json")),
    inference: training.inference,
    trainingFile: training.file,
    dtype: commonType(used),
    parameters: used.reduce((sum, { rows, cols }) => sum + rows * cols, 0),
  };
}

function checkArguments(options: unknown): { signal?: AbortSignal } {
  const invalid = (argument: string, expected: string) =>
    new NviumError("ERR_NVIUM_INVALID_ARG", `${argument} must be ${expected}.`, { argument });
  if (typeof options !== "object" || options === null) throw invalid("options", "an object");
  const signal = "signal" in options ? options.signal : undefined;
  if (signal === undefined) return {};
  if (!isSignal(signal)) throw invalid("signal", "an AbortSignal");
  return { signal };
}

/** Without a training configuration only a Llama will do: others use the same tensor names for other arithmetic. */
function standardLlama({ file, modelType, tieWordEmbeddings }: LlamaConfig): TrainingConfig {
  if (modelType !== null && modelType !== "llama") {
    throw unsupported(
      file,
      `model_type is ${quote(modelType)}, of which only "llama" is supported`,
      { field: "model_type", expected: "llama", actual: modelType },
    );
  }
  return standardTraining(tieWordEmbeddings);
}

/** Tensors that only a model with exits has. */
const EXIT_TENSOR = /^(_orig_mod\.)?(early_|router_|final_adapter\.)/;

function checkNoneLeft(table: TensorTable, training: TrainingConfig, path: string): void {
  const tensor = table.leftOver();
  if (tensor === undefined) return;
  const details = { tensor: tensor.name };
  if (training.file === null && EXIT_TENSOR.test(tensor.name)) {
    const places = trainingFiles(path).join(", ");
    const what = `tensor ${quote(tensor.name)} belongs to a model with exits, expected its training configuration in one of ${places}`;
    throw malformed(tensor.file, what, details);
  }
  const source = training.file === null ? "config.json" : `config.json and ${training.file}`;
  const what = `tensor ${quote(tensor.name)} is unknown, expected only those that ${source} call for`;
  throw malformed(tensor.file, what, details);
}

/** Every matrix once, though a file may hold several copies of one that is tied; no scales. */
function withoutCopies(
  { tensors, mustEqual }: Pick<Parts, "tensors" | "mustEqual">,
  quantised: readonly TensorIndex[],
): TensorPlan[] {
  const scales = tensors.flatMap((tensor) => tensor.scales ?? []);
  const left = new Set([...mustEqual.map(([, copy]) => copy), ...quantised, ...scales]);
  return tensors.filter((_, index) => !left.has(index));
}

/** The type of most elements. */
function commonType(tensors: readonly TensorPlan[]): DType {
  const counts = new Map<DType, number>();
  for (const { type, rows, cols } of tensors) {
    counts.set(type, (counts.get(type) ?? 0) + rows * cols);
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  return most?.[0] ?? "f32";
}

async function fileOrNull(path: string): Promise<string | null> {
  const status = await stat(path).catch(() => null);
  return status?.isFile() ? path : null;
}
