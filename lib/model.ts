import { abortable } from "./abort.js";
import type { BlockMemoryOptions } from "./cache/memory.js";
import { readCheckpoint } from "./checkpoint/checkpoint.js";
import type { Checkpoint, DType } from "./checkpoint/plan.js";
import {
  checkOptions,
  checkSignal,
  flag,
  integer,
  invalid,
  type OptionNames,
  optionalFunction,
} from "./checks.js";
import type { ModelCore } from "./core.js";
import { isDeviceName } from "./devices.js";
import { NviumError } from "./errors.js";
import {
  type EvaluateOptions,
  type EvaluateResult,
  evaluate,
  evaluateMany,
  type ManyLaws,
} from "./evaluate.js";
import { type GenerateOptions, generate, type Prompt } from "./generate.js";
import { type GenerateManyOptions, generateMany, type ManyResult } from "./generate-many.js";
import type { Generation } from "./generation.js";
import type { Many } from "./many.js";
import { type CacheType, type NativeMemory, type NativeModel, native, typed } from "./native.js";
import { createScheduler } from "./scheduler.js";
import { openSession, type Session, type SessionOptions } from "./session.js";
import type { ChatMessage, ChatOptions } from "./text/chat.js";
import { noTokenizer } from "./text/files.js";
import { type CheckpointText, checkTextOptions, loadText, type TextOptions } from "./text/load.js";
import type { EncodeOptions, Tokenizer } from "./text/tokenizer.js";

export interface LoadProgress {
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

export interface LoadOptions extends TextOptions {
  /**
   * "auto" takes CUDA where this build has it and a device can be opened, else the CPU; `info.deviceReason` says why. "cuda" is the first
   * usable device, "cuda:1" that one of `getDevices()`. Default "auto".
   */
  readonly device?: "auto" | "cpu" | "cuda" | `cuda:${number}`;
  /**
   * Threads that compute on the CPU, 1 to 256. No more of them work than there are processors that the process may use at the
   * time, and small operations take one. Default: one for each such processor, but no more than the quota of the process's
   * control group feeds.
   */
  readonly threads?: number;
  /** Keep each thread to a processor of its own while it computes, the first ones the process may use, where there are enough. Two models then share them. Default true. */
  readonly placeThreads?: boolean;
  /** "avx512-bf16" or "portable": all give the same bits. Default: the fastest this machine has. */
  readonly instructionSet?: string;
  /**
   * What the matrices of layers, adapters and heads are held as. "int8" and "int4" quantise them while they are read,
   * to 0.51 and 0.28 of their bytes as bf16; everything else stays as stored. That is another model, near the stored
   * one: `nvium compare` tells how near. They run on the CPU. Default "stored".
   */
  readonly dtype?: "stored" | "int8" | "int4";
  /**
   * What keys and values are kept as. "int8" keeps a number for each element and one for each position and head, half
   * the bytes of bf16. That is another model, near this one: `nvium compare` tells how near. It runs on the CPU.
   * Default "stored": bf16 where the key projections are, else f32.
   */
  readonly cacheType?: "stored" | "int8";
  /**
   * Bytes that keys, values and deferred rows of all sequences may take. Who finds none left waits; where nobody can go on,
   * blocks of idle sessions and then of the youngest request are taken, and computed again later. Default: half of the
   * memory that is available when the weights have been read. At least 1.
   */
  readonly cacheBytes?: number;
  /**
   * Share of `cacheBytes`, 0 to 1, that what ended sequences have computed may take until it is wanted; 0 keeps nothing.
   * Default 0.25: a few long texts, and most of what the model may take stays for those that run.
   */
  readonly prefixShare?: number;
  /** Called now and then while weights are read, and once at the end. What it throws ends the load, which rejects with it. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Aborting makes the promise reject with the signal's reason; nothing stays in memory. */
  readonly signal?: AbortSignal;
}

/**
 * Bytes: what the device holds for weights (and of them for the table of embeddings, and for matrices of integers), keys and
 * values, deferred rows and workspace; and what is in use.
 */
export interface ModelMemory extends NativeMemory {
  /** Keys, values and deferred rows of sequences and of the prefix cache. */
  readonly used: number;
  /** Of those, what only the prefix cache is sure to hold. */
  readonly cached: number;
  /** What `used` may come to: `cacheBytes`. */
  readonly limit: number;
}

export interface ModelInfo {
  /** Layers, L. */
  readonly layers: number;
  /** Layers run at exit 1 … N: e_1 … e_{N-1}, L. */
  readonly exits: readonly number[];
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Positions the model was trained for. */
  readonly contextLength: number;
  /** Tied ones counted once. */
  readonly parameters: number;
  /** The type of most weights, as the model holds them. */
  readonly dtype: DType;
  /** What keys and values are kept as. */
  readonly cacheType: CacheType;
  readonly device: "cpu" | "cuda";
  /** Why this device. */
  readonly deviceReason: string;
  readonly instructionSet: string;
  readonly threads: number;
  /** Tokens that end a text: those given, or all that config.json, generation_config.json and the tokenizer name. */
  readonly eosTokens: readonly number[];
  /** Bytes held now. (The kernels' own scratch memory, some MB, is not counted.) */
  readonly memory: ModelMemory;
  /** Calls that wait for memory. */
  readonly waiting: number;
}

/** A checkpoint opened on a device. */
export class Model implements AsyncDisposable {
  readonly info: ModelInfo;
  readonly #core: ModelCore & { disposed: boolean };
  readonly #text: CheckpointText;
  #disposal: Promise<void> | undefined;

  /** @internal */
  constructor(
    checkpoint: Checkpoint,
    { dtype, cacheType }: Pick<ModelInfo, "dtype" | "cacheType">,
    nativeModel: NativeModel,
    text: CheckpointText,
    { limit, prefixLimit }: BlockMemoryOptions,
  ) {
    const { plan } = checkpoint;
    this.#text = text;
    const segments = plan.exits.length + 1;
    const scheduler = createScheduler(nativeModel, segments, { limit, prefixLimit });
    const core = { native: nativeModel, plan, segments, scheduler, text, disposed: false };
    this.#core = core;
    this.info = {
      layers: plan.layers,
      exits: [...plan.exits.map((exit) => exit.afterLayer), plan.layers],
      vocabSize: plan.vocabSize,
      hiddenSize: plan.hiddenSize,
      contextLength: plan.contextLength,
      parameters: checkpoint.parameters,
      dtype,
      cacheType,
      device: nativeModel.device,
      deviceReason: nativeModel.deviceReason,
      instructionSet: nativeModel.instructionSet,
      threads: nativeModel.threads,
      eosTokens: text.eosTokens,
      get memory() {
        if (core.disposed) return NO_MEMORY;
        const { used, prefixes, limit } = scheduler.memory;
        return { ...typed(() => nativeModel.memory()), used, cached: prefixes.bytes, limit };
      },
      get waiting() {
        return scheduler.waitingForMemory;
      },
    };
  }

  /** Text to tokens, with what the tokenizer puts around it. Rejects with ERR_NVIUM_TOKENIZER where the checkpoint has none. */
  async encode(text: string, options?: EncodeOptions): Promise<number[]> {
    return this.tokenizer.encode(text, options);
  }

  /** Tokens to text, special tokens left out. */
  decode(tokens: Iterable<number>): string {
    return this.tokenizer.decode(tokens, { skipSpecialTokens: true });
  }

  /** The checkpoint's tokenizer. Throws ERR_NVIUM_TOKENIZER where there is none. */
  get tokenizer(): Tokenizer {
    if (this.#text.tokenizer !== null) return this.#text.tokenizer;
    throw noTokenizer();
  }

  /** Messages to a prompt, by the checkpoint's chat template. Rejects with ERR_NVIUM_TOKENIZER where it has none. */
  async applyChatTemplate(
    messages: readonly ChatMessage[],
    options?: ChatOptions,
  ): Promise<string> {
    return (await this.#text.chat()).render(messages, options);
  }

  /** Throws ERR_NVIUM_INVALID_ARG, ERR_NVIUM_DISPOSED. */
  createSession(options: SessionOptions = {}): Session {
    this.#requireLive();
    return openSession(this.#core, options);
  }

  /**
   * Text in, text out. `prompt` is a text, its tokens, or messages for the chat template. Nothing happens until the
   * result is iterated or awaited; see `Generation`.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return generate(this, prompt, options);
  }

  /**
   * The same for several prompts, and several texts of each, all in one pass over the weights: iterate it for results as they
   * end, await it for all of them in the order of prompts and choices. Each is what `generate` gives alone.
   */
  generateMany(prompts: Iterable<Prompt>, options: GenerateManyOptions = {}): Many<ManyResult> {
    return generateMany(this, prompts, options);
  }

  /**
   * The law after every one of `tokens`, at every exit, computed from the start and keeping nothing. T * V numbers for the
   * mixture and N times as many for the exits' logits: mind the length. Rejects with ERR_NVIUM_INVALID_ARG,
   * ERR_NVIUM_CONTEXT_FULL, ERR_NVIUM_NON_FINITE, ERR_NVIUM_OUT_OF_MEMORY, ERR_NVIUM_CUDA, ERR_NVIUM_DISPOSED, or the
   * signal's reason.
   */
  async evaluate(tokens: Iterable<number>, options: EvaluateOptions = {}): Promise<EvaluateResult> {
    this.#requireLive();
    return evaluate(this.#core, tokens, options);
  }

  /**
   * The same for several texts, one after another: iterate it for laws as they are ready, await it for all of them in order.
   * Rejects as `evaluate` does.
   */
  evaluateMany(texts: Iterable<Iterable<number>>, options: EvaluateOptions = {}): Many<ManyLaws> {
    this.#requireLive();
    return evaluateMany(this.#core, texts, options);
  }

  /**
   * Gives back now what memory no session holds. It goes by itself too: behind a call that failed or was aborted at once, else
   * about a second after it was last used.
   */
  async trim(): Promise<void> {
    this.#requireLive();
    await this.#core.scheduler.memory.trim();
  }

  /** Disposes the sessions, waits for the job in flight and frees the memory. */
  async dispose(): Promise<void> {
    this.#disposal ??= this.#dispose();
    return this.#disposal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  async #dispose(): Promise<void> {
    const { native, scheduler } = this.#core;
    this.#core.disposed = true;
    await Promise.all([...scheduler.sequences].map((sequence) => scheduler.close(sequence)));
    await scheduler.memory.stop();
    native.dispose();
    await this.#text.tokenizer?.dispose();
  }

  #requireLive(): void {
    if (this.#core.disposed) {
      throw new NviumError("ERR_NVIUM_DISPOSED", "The model was disposed.");
    }
  }

  /** @internal */
  get checkpointText(): CheckpointText {
    return this.#text;
  }

  /** For tests. @internal */
  get core(): ModelCore {
    return this.#core;
  }
}

const LOAD_OPTIONS: OptionNames<LoadOptions> = {
  device: true,
  threads: true,
  placeThreads: true,
  instructionSet: true,
  dtype: true,
  cacheType: true,
  cacheBytes: true,
  prefixShare: true,
  onProgress: true,
  signal: true,
  tokenizer: true,
  chatTemplate: true,
  eosTokens: true,
};

const NO_MEMORY: ModelMemory = {
  weights: 0,
  embedding: 0,
  integers: 0,
  cache: 0,
  boundary: 0,
  workspace: 0,
  used: 0,
  cached: 0,
  limit: 0,
};

/** Half of what is there for blocks: of the device's memory, or of what this process may still take. */
function defaultCacheBytes(model: NativeModel): number {
  if (model.device === "cpu") return Math.floor(process.availableMemory() / 2);
  const [first] = native().cuda().devices;
  return Math.floor(Math.max((first?.memory ?? 0) - model.memory().weights, 0) / 2);
}

/**
 * Opens a checkpoint in the published N-vium format, or a standard Llama one, in the directory of this path or `file:` URL. Weights are read and packed off the
 * JavaScript thread. Rejects with ERR_NVIUM_MODEL_FORMAT, ERR_NVIUM_UNSUPPORTED, ERR_NVIUM_IO, ERR_NVIUM_TOKENIZER,
 * ERR_NVIUM_OUT_OF_MEMORY, ERR_NVIUM_CUDA_UNAVAILABLE, ERR_NVIUM_CUDA, ERR_NVIUM_BINDING, ERR_NVIUM_INVALID_ARG, or the signal's reason.
 */
export async function loadModel(
  directory: string | URL,
  options: LoadOptions = {},
): Promise<Model> {
  const {
    device = "auto",
    threads,
    placeThreads = true,
    instructionSet = "",
    dtype = "stored",
    cacheType = "stored",
    cacheBytes,
    prefixShare = 0.25,
    onProgress,
  } = checkOptions(options, LOAD_OPTIONS);
  const signal = checkSignal(options.signal);
  if (threads !== undefined) integer("threads", threads, 1, 256);
  flag("placeThreads", placeThreads);
  if (!isDeviceName(device)) {
    throw invalid("device", '"auto", "cpu", "cuda" or "cuda:0", "cuda:1" and on', device);
  }
  if (typeof instructionSet !== "string") {
    throw invalid("instructionSet", "a string", instructionSet);
  }
  if (dtype !== "stored" && dtype !== "int8" && dtype !== "int4") {
    throw invalid("dtype", '"stored", "int8" or "int4"', dtype);
  }
  if (cacheType !== "stored" && cacheType !== "int8") {
    throw invalid("cacheType", '"stored" or "int8"', cacheType);
  }
  if (cacheBytes !== undefined) integer("cacheBytes", cacheBytes, 1, Number.MAX_SAFE_INTEGER);
  if (typeof prefixShare !== "number" || !(prefixShare >= 0 && prefixShare <= 1)) {
    throw invalid("prefixShare", "a number from 0 to 1", prefixShare);
  }
  optionalFunction("onProgress", onProgress);

  checkTextOptions(options);
  native(); // What stands in its way is told before files are read.
  const checkpoint = await readCheckpoint(directory, signal === undefined ? {} : { signal });
  const { plan } = checkpoint;
  const integers = plan.tensors.find(({ scales }) => scales !== undefined);
  if (integers !== undefined && dtype !== "stored" && dtype !== integers.type) {
    throw new NviumError(
      "ERR_NVIUM_UNSUPPORTED",
      `${checkpoint.directory}: is quantised to ${integers.type}, which cannot be made ${dtype}.`,
      { expected: dtype, actual: integers.type },
    );
  }
  const held = {
    dtype: dtype === "stored" ? checkpoint.dtype : dtype,
    cacheType: cacheType === "stored" ? plan.cacheType : cacheType,
  };
  const text = await loadText({ ...checkpoint, vocabSize: plan.vocabSize }, options, signal);
  const progress = new Float64Array(1);
  const nativePlan = {
    ...plan,
    ...(dtype !== "stored" && { matrices: dtype }),
    cacheType: held.cacheType,
  };
  try {
    const totalBytes = typed(() => native().storedBytes(nativePlan));
    return await abortable(signal, async (abort) => {
      const report = reporter(onProgress, () => Atomics.store(abort, 0, 1));
      const tell = () => report.call({ loadedBytes: progress[0] ?? 0, totalBytes });
      const timer = onProgress === undefined ? undefined : setInterval(tell, 50);
      let nativeModel: NativeModel | undefined;
      try {
        nativeModel = await typed(
          () =>
            native().loadModel(
              nativePlan,
              { device, threads: threads ?? 0, place: placeThreads, instructionSet },
              { abort, progress },
            ),
          signal,
        );
        await tell();
        report.check();
        const made = nativeModel;
        const limit = cacheBytes ?? defaultCacheBytes(made);
        const blocks = { limit, prefixLimit: limit * prefixShare };
        return typed(() => new Model(checkpoint, held, made, text, blocks));
      } catch (error) {
        nativeModel?.dispose();
        report.check();
        throw error;
      } finally {
        clearInterval(timer);
      }
    });
  } catch (error) {
    await text.tokenizer?.dispose();
    throw error;
  }
}

/** Calls of `onProgress`, which may throw or reject: `stop` is called at the first, and `check` throws it. */
function reporter(onProgress: LoadOptions["onProgress"], stop: () => void) {
  let thrown: { readonly error: unknown } | undefined;
  const fail = (error: unknown) => {
    thrown ??= { error };
    stop();
  };
  return {
    async call(state: LoadProgress): Promise<void> {
      if (thrown !== undefined) return;
      try {
        await onProgress?.(state);
      } catch (error) {
        fail(error);
      }
    },
    check(): void {
      if (thrown !== undefined) throw thrown.error;
    },
  };
}
