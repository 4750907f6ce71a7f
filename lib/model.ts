import { type BlockPool, createBlockPool } from "./cache/pool.js";
import {
  commit,
  createSequence,
  describe,
  type Pools,
  release,
  reserve,
} from "./cache/sequence.js";
import { createTrimmer, type Trimmer } from "./cache/trim.js";
import { readCheckpoint } from "./checkpoint/checkpoint.js";
import type { Checkpoint, DType, ModelPlan } from "./checkpoint/plan.js";
import { NviumError } from "./errors.js";
import { type GenerateOptions, type Generation, generate } from "./generate.js";
import {
  fromNative,
  type NativeFailure,
  type NativeMemory,
  type NativeModel,
  native,
  typed,
} from "./native.js";
import { abortable, createQueue, type Queue } from "./queue.js";
import { checkOptions, flag, integer, invalid } from "./sampling.js";
import { checkSignal, checkTokens, Session, type SessionOptions } from "./session.js";
import type { ChatMessage, ChatOptions } from "./text/chat.js";
import { type CheckpointText, checkTextOptions, loadText, type TextOptions } from "./text/load.js";
import type { EncodeOptions, Tokenizer } from "./text/tokenizer.js";

export interface LoadProgress {
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

export interface LoadOptions extends TextOptions {
  /** "auto" takes CUDA where this build has it and a device can be opened, else the CPU; `info.deviceReason` says why. Default "auto". */
  readonly device?: "auto" | "cpu" | "cuda";
  /** Threads that compute on the CPU, 1 to 256. Default: one for each processor the process may use. */
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
  /** Called now and then while weights are read, and once at the end. What it throws ends the load, which rejects with it. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Aborting makes the promise reject with the signal's reason; nothing stays in memory. */
  readonly signal?: AbortSignal;
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
  readonly device: "cpu" | "cuda";
  /** Why this device. */
  readonly deviceReason: string;
  readonly instructionSet: string;
  readonly threads: number;
  /** Tokens that end a text: those given, or all that config.json, generation_config.json and the tokenizer name. */
  readonly eosTokens: readonly number[];
  /** Bytes held now: weights (and of them the table of embeddings, and matrices of integers), keys and values, deferred rows, workspace. (The kernels' own scratch memory, some MB, is not counted.) */
  readonly memory: NativeMemory;
}

export interface EvaluateOptions {
  /** Give `exitLogits`. Default false. */
  readonly exitLogits?: boolean;
  /** Give `mixtureLogProbs`. Default false. */
  readonly mixture?: boolean;
  readonly signal?: AbortSignal;
}

/** The laws after each of T tokens: N exits, a vocabulary of V. */
export interface EvaluateResult {
  /** [T * N]: p_k, the probability that the token after position t leaves at exit k. */
  readonly exitProbs: Float32Array;
  /** [N * T * V]: logits of each exit. */
  readonly exitLogits?: Float32Array;
  /** [T * V]: log of the mixture. */
  readonly mixtureLogProbs?: Float32Array;
}

/** What sessions need of their model. @internal */
export interface Engine {
  readonly native: NativeModel;
  readonly plan: ModelPlan;
  readonly segments: number;
  readonly pools: Pools;
  /** Gives memory back. */
  readonly trimmer: Trimmer;
  /** One job of a model at a time. */
  readonly queue: Queue;
  /** Those that are neither disposed nor forgotten. */
  readonly sessions: Set<WeakRef<Session>>;
  readonly disposed: boolean;
}

const NO_MEMORY: NativeMemory = {
  weights: 0,
  embedding: 0,
  integers: 0,
  cache: 0,
  boundary: 0,
  workspace: 0,
};

/** A checkpoint opened on a device. */
export class Model implements AsyncDisposable {
  readonly info: ModelInfo;
  readonly #engine: Engine & { disposed: boolean };
  readonly #text: CheckpointText;
  #disposal: Promise<void> | undefined;

  /** @internal */
  constructor(
    checkpoint: Checkpoint,
    dtype: DType,
    nativeModel: NativeModel,
    text: CheckpointText,
  ) {
    const { plan } = checkpoint;
    this.#text = text;
    const queue = createQueue();
    const sessions: Engine["sessions"] = new Set();
    const pool = (): BlockPool => createBlockPool(() => trimmer.soon());
    const pools = { cache: pool(), boundary: pool() };
    const trimmer = createTrimmer({
      get busy() {
        return queue.busy;
      },
      get used() {
        return pools.cache.used;
      },
      get changes() {
        return pools.cache.changes + pools.boundary.changes;
      },
      async trim() {
        const lengths = [...sessions].map((session) => session.deref()?.length ?? 0);
        const positions = Math.max(0, ...lengths);
        await nativeModel.trim(pools.cache.occupied(), pools.boundary.occupied(), positions);
      },
    });
    this.#engine = {
      native: nativeModel,
      plan,
      segments: plan.exits.length + 1,
      pools,
      trimmer,
      queue,
      sessions,
      disposed: false,
    };
    const engine = this.#engine;
    let memory = nativeModel.memory();
    this.info = {
      layers: plan.layers,
      exits: [...plan.exits.map((exit) => exit.afterLayer), plan.layers],
      vocabSize: plan.vocabSize,
      hiddenSize: plan.hiddenSize,
      contextLength: plan.contextLength,
      parameters: checkpoint.parameters,
      dtype,
      device: nativeModel.device,
      deviceReason: nativeModel.deviceReason,
      instructionSet: nativeModel.instructionSet,
      threads: nativeModel.threads,
      eosTokens: text.eosTokens,
      get memory() {
        if (engine.disposed) return NO_MEMORY;
        // While a job runs the counts may be changing: then they are as of the last look.
        if (!engine.queue.busy) memory = typed(() => nativeModel.memory());
        return memory;
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
    throw new NviumError(
      "ERR_NVIUM_TOKENIZER",
      "The checkpoint has no tokenizer.json, which text needs; tokens can be used without one.",
      { file: null },
    );
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
    return new Session(this.#engine, options);
  }

  /**
   * Text in, text out. `prompt` is a text, its tokens, or messages for the chat template. Nothing happens until the
   * result is iterated or awaited; see `Generation`.
   */
  generate(
    prompt: string | readonly number[] | readonly ChatMessage[],
    options: GenerateOptions = {},
  ): Generation {
    return generate(this, prompt, options);
  }

  /**
   * The law after every one of `tokens`, at every exit, computed from the start and keeping nothing. T * V numbers for the
   * mixture and N times as many for the exits' logits: mind the length. Rejects with ERR_NVIUM_INVALID_ARG,
   * ERR_NVIUM_CONTEXT_FULL, ERR_NVIUM_NON_FINITE, ERR_NVIUM_OUT_OF_MEMORY, ERR_NVIUM_CUDA, ERR_NVIUM_DISPOSED, or the
   * signal's reason.
   */
  async evaluate(tokens: Iterable<number>, options: EvaluateOptions = {}): Promise<EvaluateResult> {
    this.#requireLive();
    const { plan, pools, queue, segments, trimmer } = this.#engine;
    const { exitLogits: wantsLogits = false, mixture = false } = checkOptions(options);
    flag("exitLogits", wantsLogits);
    flag("mixture", mixture);
    const signal = checkSignal(options.signal);
    const list = checkTokens(tokens, plan.vocabSize);
    if (list.length > plan.contextLength) {
      throw new NviumError(
        "ERR_NVIUM_CONTEXT_FULL",
        `${list.length} tokens are more than the context of ${plan.contextLength}.`,
        { limit: plan.contextLength, needed: list.length },
      );
    }
    const size = list.length * plan.vocabSize;
    const exitProbs = floats(list.length * segments);
    const exitLogits = wantsLogits ? floats(size * segments) : null;
    const mixtureLogProbs = mixture ? floats(size) : null;
    if (list.length > 0) {
      await queue.run(() => {
        this.#requireLive();
        return abortable(signal, async (abort) => {
          const state = createSequence(segments);
          for (const token of list) {
            state.tokens.push(token);
            state.generated.push(0);
          }
          const reservation = reserve(state, pools, list.length);
          let error: NativeFailure | null;
          try {
            const call = {
              sequences: [describe(state, reservation, 0n, 0)],
              cacheBlocks: pools.cache.size,
              boundaryBlocks: pools.boundary.size,
              fresh: new Uint32Array(reservation.fresh),
              positions: reservation.end,
              control: { abort },
              exitProbs,
              exitLogits,
              mixtureLogProbs,
            };
            ({ error } = await typed(() => this.#engine.native.evaluate(call)));
          } finally {
            commit(state, pools, reservation, state.frontiers);
            release(state, pools);
          }
          if (error !== null) {
            await trimmer.now();
            throw fromNative(error, signal);
          }
        });
      });
    }
    return {
      exitProbs,
      ...(exitLogits === null ? {} : { exitLogits }),
      ...(mixtureLogProbs === null ? {} : { mixtureLogProbs }),
    };
  }

  /**
   * Gives back now what memory no session holds. It goes by itself too: behind a call that failed or was aborted at once, else
   * about a second after it was last used.
   */
  async trim(): Promise<void> {
    this.#requireLive();
    await this.#engine.queue.run(() => this.#engine.trimmer.now());
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
    this.#engine.disposed = true;
    await Promise.all([...this.#engine.sessions].map((session) => session.deref()?.dispose()));
    await this.#engine.queue.idle();
    await this.#engine.trimmer.stop();
    this.#engine.native.dispose();
    await this.#text.tokenizer?.dispose();
  }

  #requireLive(): void {
    if (this.#engine.disposed) {
      throw new NviumError("ERR_NVIUM_DISPOSED", "The model was disposed.");
    }
  }

  /** @internal */
  get checkpointText(): CheckpointText {
    return this.#text;
  }

  /** For tests. @internal */
  get engine(): Engine {
    return this.#engine;
  }
}

/**
 * Opens a checkpoint in the published N-vium format, or a standard Llama one. Weights are read and packed off the
 * JavaScript thread. Rejects with ERR_NVIUM_MODEL_FORMAT, ERR_NVIUM_UNSUPPORTED, ERR_NVIUM_IO, ERR_NVIUM_TOKENIZER,
 * ERR_NVIUM_OUT_OF_MEMORY, ERR_NVIUM_CUDA_UNAVAILABLE, ERR_NVIUM_CUDA, ERR_NVIUM_BINDING, ERR_NVIUM_INVALID_ARG, or the signal's reason.
 */
export async function loadModel(directory: string, options: LoadOptions = {}): Promise<Model> {
  const {
    device = "auto",
    threads,
    placeThreads = true,
    instructionSet = "",
    dtype = "stored",
    onProgress,
  } = checkOptions(options);
  const signal = checkSignal(options.signal);
  if (threads !== undefined) integer("threads", threads, 1, 256);
  flag("placeThreads", placeThreads);
  if (device !== "auto" && device !== "cpu" && device !== "cuda") {
    throw invalid("device", '"auto", "cpu" or "cuda"', device);
  }
  if (typeof instructionSet !== "string") {
    throw invalid("instructionSet", "a string", instructionSet);
  }
  if (dtype !== "stored" && dtype !== "int8" && dtype !== "int4") {
    throw invalid("dtype", '"stored", "int8" or "int4"', dtype);
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw invalid("onProgress", "a function", onProgress);
  }

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
  const held = dtype === "stored" ? checkpoint.dtype : dtype;
  const text = await loadText({ ...checkpoint, vocabSize: plan.vocabSize }, options, signal);
  const progress = new Float64Array(1);
  const nativePlan = dtype === "stored" ? plan : { ...plan, matrices: dtype };
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
        return typed(() => new Model(checkpoint, held, made, text));
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

function floats(count: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(count);
  } catch (cause) {
    const needed = count * 4;
    const message = `Could not allocate ${needed} bytes for the result.`;
    throw new NviumError("ERR_NVIUM_OUT_OF_MEMORY", message, { needed }, cause);
  }
}
